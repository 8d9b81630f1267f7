//! The seed of a machine in virtual time: all disks and programs that it has.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vexp_api::digest::Digest;

use super::super::seed::Archive;
use super::inside::InsideRequest;

/// Name of the program that runs workers, in the seed.
const WORKER: &str = "worker";
/// Name of the dynamic loader in the seed, where the program needs one.
const LOADER: &str = "ld.so";
/// Where an image of Debian for this architecture has its libraries, its loader too.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Where the seed lies in a machine that is up.
pub(super) const SEED: &str = "/run/vexp";

/// What the machine does before it is set up, and once it is ready; see `images/common`.
fn script(verb: &str) -> String {
    let (program, args) = worker_command();
    format!(
        "chmod 700 {program}\nexec {program} {} inside {verb}\n",
        args.join(" ")
    )
}

/// The program that runs workers, as the machine starts it: by a loader of its own, since it was not built
/// for the libraries of the machine's image.
pub(super) fn worker_command() -> (String, Vec<String>) {
    let at = |name: &str| format!("{SEED}/{name}");
    let args = ["--library-path".to_owned(), SEED.to_owned(), at(WORKER)];
    (at(LOADER), args.to_vec())
}

/// A program with the libraries that it needs.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Names in the seed, and files.
    files: Vec<(String, PathBuf)>,
}

impl Program {
    /// This process's own: its executable, and the libraries that are mapped into it.
    pub(super) fn own(executable: &Path) -> Result<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let mut files = vec![(WORKER.to_owned(), executable.to_owned())];
        for path in libraries(&maps) {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let name = if name.starts_with("ld-") || name.starts_with("ld.") {
                LOADER.to_owned()
            } else {
                name
            };
            files.push((name, path));
        }
        if files.iter().all(|(name, _)| name != LOADER) {
            let what = "this program has no dynamic loader, which virtual time needs";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        Ok(Self { files })
    }

    /// The same with the libraries of an image: those of this computer are another machine on another
    /// computer. `None` if the program does not run with them, as one does not that was built for a newer
    /// C library.
    pub(super) fn with_libraries_of(&self, root: &Path) -> Option<Self> {
        let folder = root.join(LIBRARIES);
        let there = |(name, path): &(String, PathBuf)| {
            if name == WORKER {
                return Some((name.clone(), path.clone()));
            }
            let path = folder.join(path.file_name()?);
            path.is_file().then(|| (name.clone(), path))
        };
        // One that isn't there may be none that the program needs: users can preload others (ld.so(8)).
        let files: Vec<_> = self.files.iter().filter_map(there).collect();
        let file = |wanted: &str| {
            let found = files.iter().find(|(name, _)| name == wanted);
            found.map(|(_, path)| path)
        };
        let mut command = Command::new(file(LOADER)?);
        command
            .arg("--library-path")
            .arg(&folder)
            .arg(file(WORKER)?);
        command.arg("--version").env_clear().stdin(Stdio::null());
        let ran = command.output().ok()?;
        ran.status.success().then_some(Self { files })
    }

    /// The digest of its files.
    pub(super) fn digest(&self) -> Result<Digest> {
        let mut all = Vec::new();
        for (name, path) in &self.files {
            all.push((name, Digest::of(&std::fs::read(path)?)));
        }
        Digest::of_value(&all).map_err(Error::other)
    }
}

/// Files of shared libraries in `/proc/PID/maps` (proc_pid_maps(5)).
fn libraries(maps: &str) -> BTreeSet<PathBuf> {
    let paths = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5));
    let paths = paths
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from);
    let is = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains(".so.") || name.ends_with(".so")
    };
    paths.filter(is).collect()
}

/// Appended to the initramfs: disks, program, and what the machine is told.
pub(super) fn archive(
    root: &Path,
    guest: &Path,
    program: &Program,
    request: &InsideRequest,
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("disks");
    archive.file("disks/root", &std::fs::read(root)?);
    archive.file("disks/guest", &std::fs::read(guest)?);
    archive.folder("vexp");
    archive.file("vexp/request.json", &serde_json::to_vec(request)?);
    archive.file("vexp/prepare", script("prepare").as_bytes());
    archive.file("vexp/agent", script("agent").as_bytes());
    for (name, path) in &program.files {
        archive.file(&format!("vexp/{name}"), &std::fs::read(path)?);
    }
    Ok(archive.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_is_mapped() {
        let maps = "\
5581-5582 r--p 00000000 fe:00 123 /usr/bin/vexp
7f01-7f02 r--p 00000000 fe:00 124 /usr/lib/x86_64-linux-gnu/libc.so.6
7f03-7f04 r-xp 00001000 fe:00 124 /usr/lib/x86_64-linux-gnu/libc.so.6
7f05-7f06 r--p 00000000 fe:00 125 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffc-7ffd rw-p 00000000 00:00 0 [stack]
7ffe-7fff rw-p 00000000 00:00 0
";
        let found: Vec<_> = libraries(maps).into_iter().collect();
        let names = ["ld-linux-x86-64.so.2", "libc.so.6"];
        let folder = Path::new("/usr/lib/x86_64-linux-gnu");
        assert_eq!(found, names.map(|name| folder.join(name)));
    }

    #[test]
    fn libraries_are_an_images_where_the_program_runs_with_them() {
        let own = Program::own(Path::new("/bin/true")).unwrap();
        let image = tempfile::tempdir().unwrap();
        let folder = image.path().join(LIBRARIES);
        std::fs::create_dir_all(&folder).unwrap();
        assert!(own.with_libraries_of(image.path()).is_none());
        for (name, path) in &own.files {
            if name != WORKER {
                let to = folder.join(path.file_name().unwrap());
                std::fs::copy(path, to).unwrap();
            }
        }
        let theirs = own.with_libraries_of(image.path()).unwrap();
        assert_eq!(theirs.files.len(), own.files.len());
        for (name, path) in &theirs.files {
            assert_eq!(path.starts_with(&folder), name != WORKER, "{name}");
        }
        // A library that the program needs is not one.
        std::fs::write(folder.join("libc.so.6"), "no library").unwrap();
        assert!(own.with_libraries_of(image.path()).is_none());
    }

    #[test]
    fn this_program_can_be_taken_along() {
        let own = Program::own(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.files.iter().any(|(name, _)| name == LOADER));
        assert!(script("agent").contains(
            "exec /run/vexp/ld.so --library-path /run/vexp /run/vexp/worker inside agent"
        ));
    }
}
