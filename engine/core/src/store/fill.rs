//! Filling a store from another one: a node's own from the one that all nodes share, once per node.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use vexp_api::digest::{Digest, Hasher};
use vexp_api::event::{Event, EventSink};

use super::{Bucket, Contents, FileEntry, Store, StoreError, sync};

/// Names the store from which another one is filled.
pub const FROM: &str = "VEXP_STORE_FROM";

impl Store {
    /// The same store, filled from the one that `VEXP_STORE_FROM` names, if it names another one.
    pub(super) fn filled(self) -> Result<Self, StoreError> {
        match Self::default_from() {
            Some(from) => self.filled_from(&from),
            None => Ok(self),
        }
    }

    /// The store that `VEXP_STORE_FROM` names.
    pub fn default_from() -> Option<PathBuf> {
        let from = std::env::var_os(FROM).filter(|path| !path.is_empty());
        from.map(PathBuf::from)
    }

    /// The same store, filled from another one: what it lacks is copied from there when it is first used.
    ///
    /// # Errors
    /// There is none, or somebody else could change it.
    pub fn filled_from(mut self, from: &Path) -> Result<Self, StoreError> {
        let from = from.canonicalize().map_err(|source| StoreError::From {
            root: from.to_owned(),
            source,
        })?;
        if from != self.root {
            self.from = Some(Self::at(from, false).owned()?.root);
        }
        Ok(self)
    }

    /// Where an image is from which this store's own is to be filled; `None` where it has it already, or can't be
    /// written to: then the other store's is used in place.
    pub(crate) fn to_be_copied(&self, key: &Digest) -> Option<PathBuf> {
        if !self.writable || self.path(Bucket::Images, key).exists() {
            return None;
        }
        let there = self.below(self.from.as_ref()?, Bucket::Images, key);
        there.exists().then_some(there)
    }

    /// Copies an image from `there`: `files` with their digests, and `more` beside them. Others of this node wait, and
    /// find it.
    ///
    /// # Errors
    /// A file is not what its digest says, or there is no room for it: nothing is left then.
    pub(crate) fn copy_in(
        &self,
        key: &Digest,
        there: &Path,
        files: &Contents,
        more: &[&str],
        events: &dyn EventSink,
    ) -> Result<(), StoreError> {
        let lock = self.lock(events)?;
        if self.path(Bucket::Images, key).exists() {
            return Ok(());
        }
        let bytes: u64 = files.0.values().map(|file| file.size).sum();
        let text = format!(
            "copying {} MB from {} to {}",
            bytes / 1_000_000,
            there.display(),
            self.root.display()
        );
        events.event(&Event::Note { text });
        let scratch = self.scratch(&lock)?;
        let staged = scratch.path().join("image");
        std::fs::create_dir(&staged).map_err(StoreError::io("create", &staged))?;
        for (name, expected) in &files.0 {
            let found = copy(&there.join(name), &staged.join(name))?;
            if found != *expected {
                return Err(StoreError::Damaged {
                    path: there.join(name),
                    expected: expected.digest.clone(),
                    found: found.digest,
                });
            }
        }
        for name in more {
            copy(&there.join(name), &staged.join(name))?;
        }
        files.stamp(&staged)?;
        self.publish(&lock, Bucket::Images, key, &staged)?;
        Ok(())
    }
}

/// Copies a regular file. What was read.
fn copy(from: &Path, to: &Path) -> Result<FileEntry, StoreError> {
    let mut source = vexp_api::run_dir::open_named(from).map_err(StoreError::io("open", from))?;
    let mut target = File::create_new(to).map_err(StoreError::io("create", to))?;
    let mut hasher = Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = source.read(&mut buffer);
        let n = match read.map_err(StoreError::io("read", from))? {
            0 => break,
            n => n,
        };
        hasher.update(&buffer[..n]);
        size += n as u64;
        let written = target.write_all(&buffer[..n]);
        written.map_err(StoreError::io("write", to))?;
    }
    sync(to)?;
    Ok(FileEntry {
        size,
        digest: hasher.finish(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use vexp_api::event::NoEvents;

    /// A shared store with an image, and a node's own.
    struct World {
        _roots: [tempfile::TempDir; 2],
        shared: Store,
        own: Store,
        key: Digest,
        files: Contents,
    }

    fn world() -> World {
        let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let shared = Store::open(roots[0].path()).unwrap();
        let own = Store::open(roots[1].path()).unwrap();
        let own = own.filled_from(shared.root()).unwrap();
        let key = Digest::of(b"image");
        let image = shared.path(Bucket::Images, &key);
        std::fs::create_dir(&image).unwrap();
        std::fs::write(image.join("root.squashfs"), vec![7; 400_000]).unwrap();
        std::fs::write(image.join("manifest.json"), "{}").unwrap();
        let files = Contents::read(&image, ["root.squashfs"]).unwrap();
        World {
            _roots: roots,
            shared,
            own,
            key,
            files,
        }
    }

    /// How much is half-made. Another test may just be starting a program, which has our files until it is one.
    fn left(store: &Store) -> usize {
        loop {
            if let Some(left) = store.left(false).unwrap() {
                return left.len();
            }
        }
    }

    /// Counts what is told of copies.
    #[derive(Default)]
    struct Copies(AtomicUsize);

    impl EventSink for Copies {
        fn event(&self, event: &Event) {
            if matches!(event, Event::Note { text } if text.starts_with("copying")) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    #[test]
    fn an_image_is_copied_once_however_many_tasks_start_at_once() {
        let world = world();
        let World { own, key, .. } = &world;
        // Found before it is copied, so that nothing is built.
        let there = own.find(Bucket::Images, key).unwrap();
        assert!(there.starts_with(world.shared.root()));
        let copies = Copies::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    own.copy_in(key, &there, &world.files, &["manifest.json"], &copies)
                        .unwrap();
                });
            }
        });
        assert_eq!(copies.0.into_inner(), 1);
        let found = own.find(Bucket::Images, key).unwrap();
        assert_eq!(found, own.path(Bucket::Images, key));
        assert!(world.files.looks_whole(&found));
        assert!(found.join("manifest.json").exists());
        assert_eq!(own.to_be_copied(key), None);
        assert_eq!(left(own), 0);
    }

    #[test]
    fn a_damaged_image_is_not_copied_and_leaves_nothing() {
        let world = world();
        let there = world.own.to_be_copied(&world.key).unwrap();
        std::fs::write(there.join("root.squashfs"), vec![8; 400_000]).unwrap();
        let copied = world
            .own
            .copy_in(&world.key, &there, &world.files, &[], &NoEvents);
        let said = copied.unwrap_err().to_string();
        assert!(
            said.contains("root.squashfs") && said.contains("is damaged"),
            "{said}"
        );
        assert!(!world.own.path(Bucket::Images, &world.key).exists());
        assert_eq!(left(&world.own), 0);
    }

    #[test]
    fn a_store_that_is_not_there_or_is_the_same_one() {
        let world = world();
        let root = world.own.root().to_owned();
        let same = world.own.clone().filled_from(&root).unwrap();
        assert!(same.to_be_copied(&world.key).is_some(), "as before");
        let nowhere = world.own.filled_from(&root.join("none")).unwrap_err();
        assert!(nowhere.to_string().contains(FROM), "{nowhere}");
        let open = world.shared.root().to_owned();
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o757))
            .unwrap();
        let strange = Store::open(root).unwrap().filled_from(&open).unwrap_err();
        assert!(matches!(strange, StoreError::Strange { .. }), "{strange}");
    }

    /// Copies into a store with no room, and says what came of it.
    #[test]
    fn copies_where_it_is_started_for_it() {
        let Some(root) = std::env::var_os("VEXP_TEST_SMALL_STORE").map(PathBuf::from) else {
            return;
        };
        let world = world();
        let own = Store::open(&root)
            .unwrap()
            .filled_from(world.shared.root())
            .unwrap();
        let there = own.to_be_copied(&world.key).unwrap();
        let copy = || {
            own.copy_in(
                &world.key,
                &there,
                &world.files,
                &["manifest.json"],
                &NoEvents,
            )
        };
        let filler = root.parent().unwrap().join("filler");
        let said = copy().unwrap_err().to_string();
        assert!(said.contains("there is no room"), "{said}");
        assert!(said.contains("vexp gc"), "{said}");
        assert!(own.to_be_copied(&world.key).is_some(), "nothing is there");
        assert_eq!(left(&own), 0);
        // Room is made: it goes on.
        std::fs::remove_file(filler).unwrap();
        copy().unwrap();
        assert!(
            world
                .files
                .damage(&own.path(Bucket::Images, &world.key))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_full_disk_is_told_with_the_way_out_and_leaves_nothing_torn() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        // 600 kB, of which 400 are taken.
        let script = "mount -t tmpfs -o size=600k none $0 && mkdir $0/store && \
                      head -c 400000 /dev/zero > $0/filler && exec \"$@\"";
        let status = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(folder.path())
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::fill::tests::copies_where_it_is_started_for_it",
            ])
            .env("VEXP_TEST_SMALL_STORE", folder.path().join("store"))
            .status()
            .unwrap();
        assert!(status.success());
    }
}
