//! A run's folder that may come from anyone: the one place where files below it are opened and written.
//!
//! A run has folders and regular files, each with one name, which belong to whoever owns the folder, to
//! root, or to the user. Anything else is refused before a byte of it is read: links lead elsewhere, FIFOs
//! and devices hang or never end, and a second name is a file of somebody else's. Paths are resolved
//! beneath the folder and never through a link (openat2(2)). Every read has a limit.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use serde::de::DeserializeOwned;

/// Bytes of a record, a plan, a log or another file that vexp itself writes.
pub const RECORD_BYTES: u64 = 256 << 20;
/// Bytes of one raw artefact: what a capture keeps of a program at most, and room.
pub const RAW_BYTES: u64 = 65 << 20;
/// Files and folders of a run.
pub const MOST_ENTRIES: usize = 2_000_000;
/// Folders within folders.
const DEPTH: usize = 32;

/// Why a folder is none that a run can be in, or a file in it can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", crate::shown::path(.path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not what a run has.
    #[error("{} is {what}, and a run has none such: remove it, or get the run from somebody you trust", crate::shown::path(.path))]
    Strange {
        /// The file.
        path: PathBuf,
        /// What it is: `a link`.
        what: &'static str,
    },
    /// It has more bytes than a reader takes.
    #[error("{} has more than {most} bytes, which no file of its kind has", crate::shown::path(.path))]
    Large {
        /// The file.
        path: PathBuf,
        /// The most.
        most: u64,
    },
    /// The name leads out of the folder.
    #[error("`{}` does not stay below the run's folder", crate::shown::path(.0))]
    Outside(PathBuf),
}

impl RunDirError {
    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// A folder, held open.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    dir: OwnedFd,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Read,
    /// For appending and locks; made if it is missing.
    Change,
}

impl RunDir {
    /// Opens a folder. What the user names may be a link; nothing below it may.
    ///
    /// # Errors
    /// It is no folder.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        let io = |source| RunDirError::Io {
            action: "open",
            path: path.to_owned(),
            source,
        };
        let path = path.canonicalize().map_err(io)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty());
        let dir = dir.map_err(|error| io(error.into()))?;
        Ok(Self { path, dir })
    }

    /// The same, where all that is in it is looked at first.
    ///
    /// # Errors
    /// It is no folder, or something in it is none of a run's: a link, a FIFO, a device, a file with a
    /// second name or of another owner.
    pub fn checked(path: &Path) -> Result<Self, RunDirError> {
        let run = Self::open(path)?;
        run.check()?;
        Ok(run)
    }

    /// Its path, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a whole file of at most `most` bytes.
    ///
    /// # Errors
    /// It is missing, larger, or no regular file with one name.
    pub fn read(&self, name: impl AsRef<Path>, most: u64) -> Result<Vec<u8>, RunDirError> {
        let path = self.path.join(name.as_ref());
        let file = self.open_file(name.as_ref(), How::Read)?;
        read_all(file, &path, most)
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    /// As for [`RunDir::read`], or it is not JSON of that shape.
    pub fn read_json<T: DeserializeOwned>(&self, name: impl AsRef<Path>) -> Result<T, RunDirError> {
        let path = self.path.join(name.as_ref());
        let bytes = self.read(name, RECORD_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|error| RunDirError::Io {
            action: "read",
            path,
            source: error.into(),
        })
    }

    /// Opens a file to lock it or add to it; it is made where there is none.
    ///
    /// # Errors
    /// It is no regular file with one name.
    pub fn change(&self, name: impl AsRef<Path>) -> Result<File, RunDirError> {
        self.open_file(name.as_ref(), How::Change)
    }

    /// Opens a file to look at it.
    ///
    /// # Errors
    /// It is missing, or no regular file with one name.
    pub fn look(&self, name: impl AsRef<Path>) -> Result<File, RunDirError> {
        self.open_file(name.as_ref(), How::Read)
    }

    /// Replaces a file of an existing folder, so that a reader sees all of it or nothing.
    ///
    /// # Errors
    /// The folder is a link or missing, or the operating system refuses.
    pub fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<(), RunDirError> {
        let name = name.as_ref();
        let path = self.path.join(name);
        let io = |error: rustix::io::Errno| failed("write", &path, error.into());
        let (folder, file) = match (name.parent(), name.file_name()) {
            (Some(folder), Some(file)) => (folder, file),
            _ => return Err(RunDirError::Outside(name.to_owned())),
        };
        let folder = self.beneath(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let temporary = format!(".tmp{}-{}", std::process::id(), unique());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let new = rustix::fs::openat(&folder, &temporary, flags, mode).map_err(io)?;
        let mut new = File::from(new);
        let written = new
            .write_all(bytes)
            .and_then(|()| new.sync_all())
            .map_err(|error| failed("write", &path, error));
        let renamed = written.and_then(|()| {
            rustix::fs::renameat(&folder, &temporary, &folder, file).map_err(io)?;
            rustix::fs::fsync(&folder).map_err(io)
        });
        if renamed.is_err() {
            // The first error is the one that is told.
            let _ = rustix::fs::unlinkat(&folder, &temporary, AtFlags::empty());
        }
        renamed
    }

    /// Makes a folder below this one, and those above it, where there is none.
    ///
    /// # Errors
    /// One of them is a link or no folder, or the operating system refuses.
    pub fn create_dir(&self, name: impl AsRef<Path>) -> Result<(), RunDirError> {
        let mut above = PathBuf::new();
        for part in name.as_ref().components() {
            let folder = self.beneath(&above, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            above.push(part);
            let made = rustix::fs::mkdirat(&folder, part.as_os_str(), Mode::from_raw_mode(0o755));
            match made {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(failed("write", &self.path.join(&above), error.into())),
            }
        }
        self.beneath(&above, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map(drop)
    }

    /// Replaces a folder by one with these files, by their paths in it. A folder can't be renamed over a full one,
    /// so that for a moment there is none; there never is a mixture.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn replace_dir(&self, name: &str, files: &[(String, Vec<u8>)]) -> Result<(), RunDirError> {
        let path = self.path.join(name);
        let io = |error: rustix::io::Errno| failed("write", &path, error.into());
        let temporary = || format!(".tmp{}-{}", std::process::id(), unique());
        let (new, old) = (temporary(), temporary());
        rustix::fs::mkdirat(&self.dir, &new, Mode::from_raw_mode(0o755)).map_err(io)?;
        let folder = OFlags::RDONLY | OFlags::DIRECTORY;
        let written = self
            .beneath(Path::new(&new), folder, Mode::empty())
            .and_then(|dir| {
                let path = self.path.join(&new);
                let inside = Self { path, dir };
                files.iter().try_for_each(|(name, bytes)| {
                    if let Some(above) = Path::new(name).parent() {
                        inside.create_dir(above)?;
                    }
                    inside.write(name, bytes)
                })
            });
        let replaced = written.and_then(|()| {
            match rustix::fs::renameat(&self.dir, name, &self.dir, &old) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(io(error)),
            }
            rustix::fs::renameat(&self.dir, &new, &self.dir, name).map_err(io)
        });
        for left in [new, old] {
            // Of a link this removes the link; what stays is removed by `vexp gc`.
            let _ = std::fs::remove_dir_all(self.path.join(left));
        }
        replaced
    }

    /// Looks at all that is in it.
    fn check(&self) -> Result<(), RunDirError> {
        let about = std::fs::metadata(&self.path);
        let about = about.map_err(|error| failed("look at", &self.path, error))?;
        let user = rustix::process::geteuid().as_raw();
        let owners = [0, user, about.uid()];
        let mut left = MOST_ENTRIES;
        let mut folders = vec![(self.path.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if depth > 0 && error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| failed("list", &folder, error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed("list", &folder, error))?;
                let path = entry.path();
                let about = match entry.metadata() {
                    Ok(about) => about,
                    // A run that is going on renames what is whole.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failed("look at", &path, error)),
                };
                let strange = |what| RunDirError::Strange {
                    path: path.clone(),
                    what,
                };
                left = left
                    .checked_sub(1)
                    .ok_or_else(|| strange("one of too many files"))?;
                if !owners.contains(&about.uid()) {
                    return Err(strange("somebody else's"));
                }
                if about.is_dir() {
                    if depth == DEPTH {
                        return Err(strange("a folder too deep below others"));
                    }
                    folders.push((path, depth + 1));
                } else {
                    regular(&about).map_err(strange)?;
                }
            }
        }
        Ok(())
    }

    fn open_file(&self, name: &Path, how: How) -> Result<File, RunDirError> {
        // Opening a FIFO would wait for its other end, and a terminal would become ours.
        let always = OFlags::NONBLOCK | OFlags::NOCTTY;
        let (flags, mode) = match how {
            How::Read => (always | OFlags::RDONLY, Mode::empty()),
            How::Change => {
                let flags = always | OFlags::RDWR | OFlags::CREATE | OFlags::APPEND;
                (flags, Mode::from_raw_mode(0o644))
            }
        };
        let file = File::from(self.beneath(name, flags, mode)?);
        let path = self.path.join(name);
        let about = file.metadata();
        let about = about.map_err(|error| failed("look at", &path, error))?;
        match regular(&about) {
            Ok(()) => Ok(file),
            Err(what) => Err(RunDirError::Strange { path, what }),
        }
    }

    /// Opens a path below the folder, through no link.
    fn beneath(&self, name: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, RunDirError> {
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !name.components().all(plain) {
            return Err(RunDirError::Outside(name.to_owned()));
        }
        let path = self.path.join(name);
        let name = if name == Path::new("") {
            Path::new(".")
        } else {
            name
        };
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.dir, name, flags, mode, resolve).map_err(|error| match error {
            rustix::io::Errno::LOOP | rustix::io::Errno::XDEV => RunDirError::Strange {
                path,
                what: "reached by a link",
            },
            rustix::io::Errno::NXIO => RunDirError::Strange {
                path,
                what: "a FIFO or a device",
            },
            error => failed("open", &path, error.into()),
        })
    }
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> RunDirError {
    RunDirError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// What keeps it from being a regular file with one name.
fn regular(about: &std::fs::Metadata) -> Result<(), &'static str> {
    match FileType::from_raw_mode(about.mode()) {
        FileType::RegularFile if about.nlink() > 1 => Err("a file with a second name (hard link)"),
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err("a link"),
        FileType::Fifo => Err("a FIFO"),
        FileType::Directory => Err("a folder"),
        FileType::Socket => Err("a socket"),
        _ => Err("a device"),
    }
}

/// Reads all of an open regular file.
fn read_all(file: File, path: &Path, most: u64) -> Result<Vec<u8>, RunDirError> {
    let mut bytes = Vec::new();
    // One more than allowed: a file may grow while it is read.
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| failed("read", path, error))?;
    if bytes.len() as u64 > most {
        return Err(RunDirError::Large {
            path: path.to_owned(),
            most,
        });
    }
    Ok(bytes)
}

/// Reads a whole regular file that the user has named, of at most `most` bytes. It may be a link, as any
/// file that a user names; a FIFO or a device is refused.
///
/// # Errors
/// It is missing, larger, or no regular file.
pub fn read_named(path: &Path, most: u64) -> Result<Vec<u8>, RunDirError> {
    let (file, about) = named(path)?;
    if about.len() > most {
        return Err(RunDirError::Large {
            path: path.to_owned(),
            most,
        });
    }
    read_all(file, path, most)
}

/// Opens such a file, of any size, to be read piece by piece.
///
/// # Errors
/// It is missing, or no regular file.
pub fn open_named(path: &Path) -> std::io::Result<File> {
    match named(path) {
        Ok((file, _)) => Ok(file),
        Err(RunDirError::Io { source, .. }) => Err(source),
        Err(_) => Err(std::io::Error::other("it is no regular file")),
    }
}

fn named(path: &Path) -> Result<(File, std::fs::Metadata), RunDirError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = File::from(opened.map_err(|error| failed("open", path, error.into()))?);
    let about = file.metadata();
    let about = about.map_err(|error| failed("look at", path, error))?;
    if !about.is_file() {
        return Err(RunDirError::Strange {
            path: path.to_owned(),
            what: "no regular file",
        });
    }
    Ok((file, about))
}

/// A number that no other call in this process gets.
fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    /// A folder with a file `f` and a folder `d` that has another, and a canary beside it.
    fn folder(name: &str) -> (PathBuf, PathBuf) {
        let base = std::env::temp_dir().join(format!("vexp-run-dir-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir_all(base.join("run/d")).unwrap();
        std::fs::write(base.join("canary"), "CANARY").unwrap();
        std::fs::write(base.join("run/f"), "1").unwrap();
        std::fs::write(base.join("run/d/f"), "2").unwrap();
        (base.join("run"), base.join("canary"))
    }

    #[test]
    fn what_is_no_file_of_a_run_is_refused_and_left() {
        type Make = fn(&Path, &Path);
        let strange: [(&str, Make); 5] = [
            ("link", |at, canary| symlink(canary, at).unwrap()),
            ("dangling", |at, _| symlink("/nowhere/x", at).unwrap()),
            ("hard link", |at, canary| {
                std::fs::hard_link(canary, at).unwrap();
            }),
            ("FIFO", |at, _| {
                assert!(Command::new("mkfifo").arg(at).status().unwrap().success());
            }),
            ("folder", |at, _| std::fs::create_dir(at).unwrap()),
        ];
        for (what, make) in strange {
            let (path, canary) = folder(&what.replace(' ', "-"));
            for name in ["g", "d/g"] {
                make(&path.join(name), &canary);
                let run = RunDir::open(&path).unwrap();
                assert!(run.read(name, 9).is_err(), "{what}");
                assert!(run.change(name).is_err(), "{what}");
                assert_eq!(RunDir::checked(&path).is_err(), what != "folder", "{what}");
                assert_eq!(std::fs::read_to_string(&canary).unwrap(), "CANARY");
            }
            std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn folders_that_are_links_lead_nowhere() {
        let (path, canary) = folder("folder-link");
        symlink(path.parent().unwrap(), path.join("e")).unwrap();
        let run = RunDir::open(&path).unwrap();
        assert!(run.read("e/canary", 9).is_err());
        assert!(run.write("e/canary", b"PWNED").is_err());
        assert!(run.change("e/canary").is_err());
        for outside in ["../canary", "/etc/passwd", "d/../../canary"] {
            assert!(matches!(run.read(outside, 9), Err(RunDirError::Outside(_))));
        }
        let error = RunDir::checked(&path).unwrap_err().to_string();
        assert!(error.contains("is a link"), "{error}");
        assert_eq!(std::fs::read_to_string(canary).unwrap(), "CANARY");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_is_written_replaces_a_name_and_follows_nothing() {
        let (path, canary) = folder("write");
        let run = RunDir::checked(&path).unwrap();
        run.write("d/f", b"new").unwrap();
        assert_eq!(run.read("d/f", 3).unwrap(), b"new");
        assert!(matches!(run.read("d/f", 2), Err(RunDirError::Large { .. })));
        symlink(&canary, path.join("g")).unwrap();
        run.write("g", b"own").unwrap();
        assert_eq!(run.read("g", 3).unwrap(), b"own");
        assert_eq!(std::fs::read_to_string(canary).unwrap(), "CANARY");
        assert_eq!(std::fs::read_dir(path.join("d")).unwrap().count(), 1);
        assert!(run.read("h", 3).unwrap_err().is_not_found());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_folder_is_replaced_whole_and_never_through_a_link() {
        let (path, canary) = folder("replace");
        let run = RunDir::open(&path).unwrap();
        let files = |name: &str| {
            vec![
                (name.to_owned(), b"1".to_vec()),
                (format!("sub/{name}"), vec![]),
            ]
        };
        let outside = path.parent().unwrap().join("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, path.join("report")).unwrap();
        symlink(&outside, path.join("frames")).unwrap();
        for name in ["a", "b"] {
            run.replace_dir("report", &files(name)).unwrap();
            assert_eq!(std::fs::read_dir(path.join("report")).unwrap().count(), 2);
            assert!(path.join("report/sub").join(name).is_file());
        }
        assert!(run.create_dir("frames").is_err());
        assert!(run.create_dir("f").is_err());
        run.create_dir("x/y").unwrap();
        run.create_dir("x/y").unwrap();
        run.write("x/y/z", b"1").unwrap();
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(canary).unwrap(), "CANARY");
        let left = std::fs::read_dir(&path).unwrap();
        let left = left.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().starts_with(".tmp")
        });
        assert_eq!(left.count(), 0);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_name_with_a_line_of_its_own_is_told_on_one_line() {
        let (path, canary) = folder("lines");
        symlink(canary, path.join("x\nerror: \u{1b}[2J\u{202e}")).unwrap();
        let error = RunDir::checked(&path).unwrap_err().to_string();
        assert!(
            error.contains("x\\nerror: \\u001b[2J\\u202e is a link"),
            "{error}"
        );
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn devices_that_a_user_names_are_refused() {
        for name in ["/dev/zero", "/dev/null", "/proc", "/nowhere"] {
            assert!(read_named(Path::new(name), 9).is_err(), "{name}");
        }
    }
}
