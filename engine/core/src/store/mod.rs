//! The content-addressed store of packages and built images.
//!
//! ```text
//! ROOT/debs-v1/KEY.deb      Debian packages, named by their own SHA-256
//! ROOT/images-v1/KEY/       built images, named by the digest of what went into them
//! ROOT/refreshed-v1/KEY.json  locks resolved anew, named by the digest of the lock they stand for
//! ROOT/releases-v1/SUITE    when the newest release of a Debian suite was, in seconds since 1970
//! ROOT/runs-v1/RUN.json     runs that were made with the store's images, and where they are
//! ROOT/snapshots-v1/KEY/    kept machines; testbed `emulated` looks after them
//! ROOT/quarantine/          what was found damaged, kept for a look; never read
//! ROOT/tmp/                 half-made things; collected by whoever takes the lock next
//! ROOT/logs/                output of build steps
//! ROOT/lock                 flock(2), held while anything is added
//! ```
//!
//! A bucket's version is part of its name: a vexp with another format uses another bucket and
//! leaves this one alone. Entries appear by rename(2) after fsync(2), so that what is visible is
//! whole, whenever the machine stops.
//!
//! A store that can be read and not written to serves all the same, as long as nothing is to be built:
//! one user builds, and others run. What an ordinary user's own store lacks is looked for in root's.
//!
//! On a cluster a store may be in a folder that all nodes share, or be a node's own that is filled from such a one
//! (`VEXP_STORE_FROM`).

mod contents;
mod fill;
pub mod gc;
mod lock;

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use vexp_api::digest::{Digest, Hasher};
use vexp_api::modes::{ModesError, Others, looks_ours, only_ours};

pub use contents::{Contents, Damage, FileEntry};
pub use fill::FROM;
pub use lock::StoreLock;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("could not {action} {}", .path.display())]
    Io {
        /// What was being done, e.g. `create`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The disk is full, or what this user may have of it.
    #[error(
        "could not {action} {}: there is no room ({source}). Make some (`vexp gc --keep 30d` removes what no newer run \
         needs), or name another store with --store or VEXP_STORE",
        .path.display()
    )]
    Full {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store from which this one is to be filled can't be used.
    #[error(
        "the store {} from which another one is to be filled ({FROM}) can't be used: {source}",
        .root.display()
    )]
    From {
        /// The store.
        root: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the store from which this one is filled is another one.
    #[error(
        "{} is damaged: it is {found} and not {expected}; `vexp build --store` with that store makes its image anew",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// As it must be.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// Something is to be added to a store that this user can't write to.
    #[error(
        "the store {} can be read and not written to: run as the user that it belongs to, or give \
         another one with --store or VEXP_STORE",
        .root.display()
    )]
    ReadOnly {
        /// The store.
        root: PathBuf,
    },
    /// No folder for the store is known.
    #[error("no folder for built images is known: set VEXP_STORE, XDG_CACHE_HOME or HOME")]
    NoRoot,
    /// Somebody else could change what is in it.
    #[error(
        "the store {} can't be used, because what is in it runs as root on machines; --store or VEXP_STORE \
         names another one, and root's own is {SYSTEM}",
        .root.display()
    )]
    Strange {
        /// The store.
        root: PathBuf,
        /// Who could.
        source: ModesError,
    },
    /// Another process did not give it back.
    #[error(
        "another vexp{holder} has held {} for {hours} h: end it, and try again",
        .path.display()
    )]
    Held {
        /// The lock.
        path: PathBuf,
        /// ` (process 12)`, or nothing if that is not known.
        holder: String,
        /// How long.
        hours: u64,
    },
}

impl StoreError {
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| match is_full(&source) {
            true => StoreError::Full {
                action,
                path,
                source,
            },
            false => StoreError::Io {
                action,
                path,
                source,
            },
        }
    }
}

/// Whether there is no room, on the disk or for this user.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    [StorageFull, QuotaExceeded].contains(&error.kind())
}

/// A kind of entry and the version of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Debian packages, files.
    Debs,
    /// Built images, folders.
    Images,
    /// Locks that were resolved anew, files.
    Refreshed,
}

impl Bucket {
    const ALL: [Self; 3] = [Self::Debs, Self::Images, Self::Refreshed];

    fn folder(self) -> &'static str {
        match self {
            Self::Debs => "debs-v1",
            Self::Images => "images-v1",
            Self::Refreshed => "refreshed-v1",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Debs => ".deb",
            Self::Images => "",
            Self::Refreshed => ".json",
        }
    }
}

/// A store. Reading needs no lock; see [`Store::lock`] for writing.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    writable: bool,
    /// Another store, in which built images are looked for that this one does not have.
    beneath: Option<PathBuf>,
    /// Another store, from which images are copied that this one does not have.
    from: Option<PathBuf>,
}

/// Releases of suites that were seen.
const RELEASES: &str = "releases-v1";
/// Root's store, where none is named.
const SYSTEM: &str = "/var/cache/vexp";

impl Store {
    /// Opens the store below `root`, which is created if it is missing. A store that is there and
    /// can't be written to is opened for reading.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let mut writable = true;
        let buckets = Bucket::ALL.iter().map(|bucket| bucket.folder());
        let folders = buckets.chain([RELEASES]).map(|folder| (folder, 0o755));
        // apt reads packages below `tmp` as the unprivileged user _apt.
        let others = [("tmp", 0o755), ("quarantine", 0o700), ("logs", 0o700)];
        for (folder, mode) in folders.chain(others) {
            let path = root.join(folder);
            // Whatever the umask is, nobody else can write there.
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&path);
            match made {
                Err(error) if forbidden(&error) && root.is_dir() => writable = false,
                made => made.map_err(StoreError::io("create", &path))?,
            }
        }
        let root = std::fs::canonicalize(&root).map_err(StoreError::io("find", &root))?;
        writable &= rustix::fs::access(&root, rustix::fs::Access::WRITE_OK).is_ok();
        Self::at(root, writable).owned()?.filled()
    }

    fn at(root: PathBuf, writable: bool) -> Self {
        Self {
            root,
            writable,
            beneath: None,
            from: None,
        }
    }

    /// Refuses a store that somebody else could change: what is in it runs as root on machines.
    fn owned(self) -> Result<Self, StoreError> {
        let about = self.root.metadata();
        let about = about.map_err(StoreError::io("look at", &self.root))?;
        // The caller of sudo may own the folder that it is in, and not the store: they could change what
        // others get as well.
        let ours = not_sticky(&self.root, &about)
            .and_then(|()| looks_ours(&self.root, &about, Others::Nobody))
            .and_then(|()| only_ours(self.root.parent().unwrap_or(&self.root), Others::Caller));
        match ours {
            Ok(()) => Ok(self),
            Err(source) => Err(StoreError::Strange {
                root: self.root,
                source,
            }),
        }
    }

    /// Opens the store below `root` to look at it: nothing is created, and a store that is not there is
    /// empty.
    pub fn look(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root: PathBuf = root.into();
        match root.canonicalize() {
            Ok(root) => Self::at(root, false).owned()?.filled(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::at(root, false)),
            Err(error) => Err(StoreError::io("find", &root)(error)),
        }
    }

    /// Opens the store at [`Store::default_root`]. What an ordinary user's own store lacks is looked
    /// for in root's.
    pub fn open_default() -> Result<Self, StoreError> {
        Ok(Self::open(Self::default_root()?)?.over_the_systems())
    }

    /// The same to look at it, as [`Store::look`].
    pub fn look_default() -> Result<Self, StoreError> {
        Ok(Self::look(Self::default_root()?)?.over_the_systems())
    }

    /// Looks in root's store for what this one lacks, unless this one was named.
    fn over_the_systems(mut self) -> Self {
        let named = std::env::var_os("VEXP_STORE").is_some_and(|path| !path.is_empty());
        if !named && self.root != Path::new(SYSTEM) {
            // A store that somebody else could change is none to look into.
            let beneath = Self::at(SYSTEM.into(), false).owned();
            self.beneath = beneath.ok().map(|store| store.root);
        }
        self
    }

    /// Whether anything can be added to it.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Where the store is: `$VEXP_STORE`; else for root `/var/cache/vexp`, so that `sudo` leaves
    /// nothing of root's in a user's home; else `$XDG_CACHE_HOME/vexp`; else `~/.cache/vexp`.
    pub fn default_root() -> Result<PathBuf, StoreError> {
        default_root(
            |name| std::env::var_os(name).map(PathBuf::from),
            rustix::process::geteuid().is_root(),
        )
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder for the output of build steps.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Where an entry is or would be.
    pub fn path(&self, bucket: Bucket, key: &Digest) -> PathBuf {
        self.below(&self.root, bucket, key)
    }

    /// Where an entry would be in another store.
    fn below(&self, root: &Path, bucket: Bucket, key: &Digest) -> PathBuf {
        let name = format!("{}{}", key.hex(), bucket.suffix());
        root.join(bucket.folder()).join(name)
    }

    /// Where an entry is, if it is there; an image may be in the store from which this one is filled, or beneath.
    pub fn find(&self, bucket: Bucket, key: &Digest) -> Option<PathBuf> {
        let others = self.from.iter().chain(&self.beneath);
        let others = others.filter(|_| bucket != Bucket::Debs);
        let mut all = std::iter::once(&self.root).chain(others);
        all.find_map(|root| {
            let path = self.below(root, bucket, key);
            path.exists().then_some(path)
        })
    }

    /// A folder of one's own below `tmp/`, removed when it is dropped or, after a crash, by the
    /// next [`Store::lock`].
    pub fn scratch(&self, _lock: &StoreLock) -> Result<tempfile::TempDir, StoreError> {
        let parent = self.root.join("tmp");
        tempfile::Builder::new()
            .prefix(&lock::prefix())
            // apt reads packages below it as the unprivileged user _apt.
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(&parent)
            .map_err(StoreError::io("create a folder in", &parent))
    }

    /// Where it is remembered of when the newest release of a suite was, in seconds since 1970.
    pub(crate) fn release(&self, suite: &str) -> PathBuf {
        self.root.join(RELEASES).join(suite)
    }

    /// Remembers that.
    pub(crate) fn remember_release(
        &self,
        lock: &StoreLock,
        path: &Path,
        text: &str,
    ) -> Result<(), StoreError> {
        let scratch = self.scratch(lock)?;
        let staged = scratch.path().join("release");
        std::fs::write(&staged, text).map_err(StoreError::io("write", &staged))?;
        sync(&staged)?;
        std::fs::rename(&staged, path).map_err(StoreError::io("move into place", path))
    }

    /// Makes `staged`, a file or folder below [`Store::scratch`], an entry: all of it or nothing.
    /// An entry that is there already is kept if it is a folder, and replaced if it is a file,
    /// which has the same bytes by its key.
    pub fn publish(
        &self,
        _lock: &StoreLock,
        bucket: Bucket,
        key: &Digest,
        staged: &Path,
    ) -> Result<PathBuf, StoreError> {
        let target = self.path(bucket, key);
        sync_tree(staged)?;
        let folder = staged.is_dir();
        if !(folder && target.exists()) {
            match std::fs::rename(staged, &target) {
                // Another computer was faster.
                Err(_) if folder && target.exists() => {}
                renamed => renamed.map_err(StoreError::io("move into place", &target))?,
            }
        }
        sync(&self.root.join(bucket.folder()))?;
        Ok(target)
    }

    /// Moves a damaged entry out of the way; it is kept for a look, in the folder that is returned.
    pub fn quarantine(
        &self,
        _lock: &StoreLock,
        bucket: Bucket,
        key: &Digest,
    ) -> Result<PathBuf, StoreError> {
        let parent = self.root.join("quarantine");
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", bucket.folder()))
            .tempdir_in(&parent)
            .map_err(StoreError::io("create a folder in", &parent))?
            .keep();
        let from = self.path(bucket, key);
        let to = folder.join(format!("{}{}", key.hex(), bucket.suffix()));
        std::fs::rename(&from, &to).map_err(StoreError::io("quarantine", &from))?;
        Ok(to)
    }
}

/// In a sticky folder others can't change entries, but add those that are missing.
fn not_sticky(path: &Path, about: &std::fs::Metadata) -> Result<(), ModesError> {
    if about.permissions().mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(ModesError::Writable {
        path: path.to_owned(),
        who: "everybody".to_owned(),
    })
}

/// Whether the operating system forbids to write.
fn forbidden(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    [PermissionDenied, ReadOnlyFilesystem].contains(&error.kind())
}

fn default_root(
    var: impl Fn(&str) -> Option<PathBuf>,
    is_root: bool,
) -> Result<PathBuf, StoreError> {
    let set = |name| var(name).filter(|path: &PathBuf| !path.as_os_str().is_empty());
    if let Some(root) = set("VEXP_STORE") {
        return Ok(root);
    }
    if is_root {
        return Ok(PathBuf::from(SYSTEM));
    }
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("vexp"))
        .ok_or(StoreError::NoRoot)
}

/// The digest of a regular file's bytes.
pub fn digest_file(path: &Path) -> Result<Digest, StoreError> {
    let mut file = vexp_api::run_dir::open_named(path).map_err(StoreError::io("open", path))?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file
            .read(&mut buffer)
            .map_err(StoreError::io("read", path))?
        {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("write to disk", path))
}

fn sync_tree(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(StoreError::io("list", path))?;
        for entry in entries {
            sync_tree(&entry.map_err(StoreError::io("list", path))?.path())?;
        }
    }
    sync(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vexp_api::event::NoEvents;

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        (root, store)
    }

    #[test]
    fn root_is_chosen_in_order() {
        let vars = |pairs: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| PathBuf::from(value))
            }
        };
        let all = &[
            ("VEXP_STORE", "/s"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(default_root(vars(all), true).unwrap(), Path::new("/s"));
        let home = &[("VEXP_STORE", ""), ("XDG_CACHE_HOME", ""), ("HOME", "/h")];
        let root = default_root(vars(home), false).unwrap();
        assert_eq!(root, Path::new("/h/.cache/vexp"));
        let root = default_root(vars(home), true).unwrap();
        assert_eq!(root, Path::new("/var/cache/vexp"));
        let xdg = &[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        let root = default_root(vars(xdg), false).unwrap();
        assert_eq!(root, Path::new("/x/vexp"));
        assert!(default_root(vars(&[]), false).is_err());
    }

    #[test]
    fn a_store_that_somebody_else_could_change_is_refused_and_named() {
        let (root, store) = store();
        let mode = |name: &str| {
            let about = store.root().join(name).metadata().unwrap();
            about.permissions().mode() & 0o777
        };
        assert_eq!((mode("logs"), mode("quarantine")), (0o700, 0o700));
        let _held = store.lock(&NoEvents).unwrap();
        assert_eq!(mode("lock"), 0o600);
        let refused = |mode: u32, owner: Option<u32>| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(root.path(), mode).unwrap();
            std::os::unix::fs::chown(root.path(), owner, None).unwrap();
            let refused = [Store::open(root.path()), Store::look(root.path())];
            let [open, look] = refused.map(|store| match store {
                Err(StoreError::Strange { source, .. }) => Some(source.to_string()),
                other => other.map(|_| None).unwrap(),
            });
            assert_eq!(open, look);
            open
        };
        assert_eq!(refused(0o755, None), None);
        for mode in [0o757, 0o1777] {
            let why = refused(mode, None).unwrap();
            assert!(why.starts_with("everybody can write to"), "{why}");
        }
        if rustix::process::geteuid().is_root() {
            let why = refused(0o700, Some(65_534)).unwrap();
            assert!(why.contains("belongs to user 65534"), "{why}");
        }
    }

    #[test]
    fn images_are_found_in_the_store_beneath_and_packages_are_not() {
        let ((_first, mut own), (_second, other)) = (store(), store());
        let key = Digest::of(b"image");
        std::fs::create_dir(other.path(Bucket::Images, &key)).unwrap();
        std::fs::write(other.path(Bucket::Debs, &key), b"").unwrap();
        assert_eq!(own.find(Bucket::Images, &key), None);
        own.beneath = Some(other.root.clone());
        let found = own.find(Bucket::Images, &key);
        assert_eq!(found, Some(other.path(Bucket::Images, &key)));
        assert_eq!(own.find(Bucket::Debs, &key), None);
        std::fs::create_dir(own.path(Bucket::Images, &key)).unwrap();
        assert_eq!(
            own.find(Bucket::Images, &key),
            Some(own.path(Bucket::Images, &key))
        );
    }

    #[test]
    fn a_crash_before_the_rename_leaves_nothing_visible() {
        let (_root, store) = store();
        let key = Digest::of(b"package");
        let lock = store.lock(&NoEvents).unwrap();
        let scratch = store.scratch(&lock).unwrap().keep();
        std::fs::write(scratch.join("half"), b"pack").unwrap();
        // The process dies here: the scratch folder stays and the lock goes.
        drop(lock);
        assert_eq!(store.find(Bucket::Debs, &key), None);

        let lock = store.lock(&NoEvents).unwrap();
        assert!(!scratch.exists(), "the next lock collects leftovers");
        let scratch = store.scratch(&lock).unwrap();
        let staged = scratch.path().join("whole");
        std::fs::write(&staged, b"package").unwrap();
        let path = store.publish(&lock, Bucket::Debs, &key, &staged).unwrap();
        assert_eq!(store.find(Bucket::Debs, &key), Some(path.clone()));
        assert_eq!(digest_file(&path).unwrap(), key);
    }

    #[test]
    fn a_quota_is_no_room_like_a_full_disk_and_nothing_else_is() {
        let said = |errno: rustix::io::Errno| {
            let error: std::io::Error = errno.into();
            StoreError::io("write", Path::new("/store/x"))(error).to_string()
        };
        for full in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            let said = said(full);
            assert!(
                said.starts_with("could not write /store/x: there is no room"),
                "{said}"
            );
        }
        assert_eq!(said(rustix::io::Errno::IO), "could not write /store/x");
    }

    #[test]
    fn a_folder_is_published_once_and_quarantined_as_a_whole() {
        let (_root, store) = store();
        let key = Digest::of(b"image");
        let lock = store.lock(&NoEvents).unwrap();
        let scratch = store.scratch(&lock).unwrap();
        for text in ["first", "second"] {
            let staged = scratch.path().join(text);
            std::fs::create_dir(&staged).unwrap();
            std::fs::write(staged.join("root"), text).unwrap();
            let path = store.publish(&lock, Bucket::Images, &key, &staged).unwrap();
            assert_eq!(std::fs::read_to_string(path.join("root")).unwrap(), "first");
        }
        let kept = store.quarantine(&lock, Bucket::Images, &key).unwrap();
        assert_eq!(store.find(Bucket::Images, &key), None);
        assert_eq!(std::fs::read_to_string(kept.join("root")).unwrap(), "first");
    }
}
