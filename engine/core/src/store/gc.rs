//! Taking out of a store what nothing needs any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::ids::Name;

use super::{Bucket, Store, StoreError, StoreLock};
use crate::remove::remove;

/// Folder of [`Registered`] runs.
const RUNS: &str = "runs-v1";

/// A run that was made with the store's images, wherever it is: `runs-v1/RUN.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// `1`; a reader refuses any other.
    format: u32,
    /// Its folder.
    pub folder: PathBuf,
}

/// What must stay.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Keys of images.
    pub images: BTreeSet<Digest>,
    /// Digests of packages.
    pub packages: BTreeSet<Digest>,
}

/// Something that can go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub struct Surplus {
    /// What it is: `image`, `package`, `damaged`.
    pub kind: &'static str,
    /// File or folder.
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Store {
    /// Writes down that a run uses this store, so that [`Store::registered`] finds it; nothing in a
    /// store that can't be written to.
    pub fn register(&self, run: &Name, folder: &Path) -> Result<(), StoreError> {
        if !self.writable {
            return Ok(());
        }
        let parent = self.root.join(RUNS);
        std::fs::create_dir_all(&parent).map_err(StoreError::io("create", &parent))?;
        let registered = Registered {
            format: 1,
            folder: folder.to_owned(),
        };
        let path = parent.join(format!("{run}.json"));
        // A number and a path always serialise, unless the path is not UTF-8: then it is not found.
        let text = serde_json::to_vec(&registered).unwrap_or_default();
        std::fs::write(&path, text).map_err(StoreError::io("write", &path))
    }

    /// Folders of the runs that were made with this store, whether they are still there or not.
    pub fn registered(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.join(RUNS));
        let read = |path: PathBuf| -> Option<PathBuf> {
            let text = std::fs::read(path).ok()?;
            let found: Registered = serde_json::from_slice(&text).ok()?;
            (found.format == 1).then_some(found.folder)
        };
        let entries = entries.into_iter().flatten().flatten();
        entries.filter_map(|entry| read(entry.path())).collect()
    }

    /// Remembers that an image is in use now: see [`Store::surplus`]. That it can't be remembered
    /// fails nothing.
    pub fn used(&self, key: &Digest) {
        let folder = std::fs::File::open(self.path(Bucket::Images, key));
        drop(folder.and_then(|folder| folder.set_modified(SystemTime::now())));
    }

    /// Images and packages that nothing needs and that were not used or fetched since a moment, and
    /// what was put aside before it. Whatever is not named like an entry of this store is not ours
    /// and not listed.
    pub fn surplus(&self, needed: &Needed, since: SystemTime) -> Result<Vec<Surplus>, StoreError> {
        let mut surplus = Vec::new();
        for (kind, folder, suffix, keep) in [
            ("image", "images-v1", "", Some(&needed.images)),
            ("package", "debs-v1", ".deb", Some(&needed.packages)),
            ("damaged", "quarantine", "", None),
        ] {
            let folder = self.root.join(folder);
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.map_err(StoreError::io("list", &folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(StoreError::io("list", &folder))?;
                let path = entry.path();
                let metadata = entry.metadata().map_err(StoreError::io("look at", &path))?;
                let name = entry.file_name().into_string().unwrap_or_default();
                let goes = match keep {
                    None => true,
                    Some(keep) => key(&name, suffix).is_some_and(|key| !keep.contains(&key)),
                };
                let used = metadata
                    .modified()
                    .map_err(StoreError::io("look at", &path))?;
                if goes && !metadata.is_symlink() && used < since {
                    let bytes = bytes(&path);
                    surplus.push(Surplus { kind, path, bytes });
                }
            }
        }
        surplus.sort();
        Ok(surplus)
    }

    /// Removes what [`Store::surplus`] listed. An image goes out of sight first, so that a half
    /// removed one is never found.
    pub fn remove(&self, _lock: &StoreLock, surplus: &[Surplus]) -> Result<(), StoreError> {
        for going in surplus {
            let away = self
                .root
                .join("tmp")
                .join(going.path.file_name().unwrap_or_default());
            std::fs::rename(&going.path, &away).map_err(StoreError::io("remove", &going.path))?;
            remove(&away).map_err(StoreError::io("remove", &away))?;
        }
        Ok(())
    }
}

/// The digest that an entry is named by; `None` if it is not one of ours.
fn key(name: &str, suffix: &str) -> Option<Digest> {
    let hex = name.strip_suffix(suffix)?;
    Digest::try_from(format!("sha256:{hex}")).ok()
}

/// Bytes of a file or of all files below a folder; links are not followed, and what can't be looked
/// at counts nothing.
pub fn bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    if !metadata.is_dir() {
        // Holes take no place.
        return metadata.blocks() * 512;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| bytes(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use vexp_api::event::NoEvents;

    fn old(path: &Path) {
        let file = std::fs::File::open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    fn names(surplus: &[Surplus]) -> Vec<String> {
        let name = |s: &Surplus| s.path.file_name().unwrap().to_string_lossy().into_owned();
        surplus.iter().map(name).collect()
    }

    #[test]
    fn what_is_needed_new_or_not_ours_stays() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let [needed, unneeded, young] = [b"1", b"2", b"3"].map(|text| Digest::of(text));
        for key in [&needed, &unneeded, &young] {
            let image = store.path(Bucket::Images, key);
            std::fs::create_dir(&image).unwrap();
            std::fs::write(image.join("root.squashfs"), "root").unwrap();
            let package = store.path(Bucket::Debs, key);
            std::fs::write(&package, "deb").unwrap();
            if key != &young {
                old(&image);
                old(&package);
            }
        }
        let images = store.root().join("images-v1");
        for other in ["notes", "deadbeef"] {
            std::fs::create_dir(images.join(other)).unwrap();
            old(&images.join(other));
        }
        let elsewhere = root.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let linked = images.join(Digest::of(b"link").hex());
        std::os::unix::fs::symlink(&elsewhere, linked).unwrap();

        let keep = Needed {
            images: [needed.clone()].into(),
            packages: [needed.clone()].into(),
        };
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let surplus = store.surplus(&keep, since).unwrap();
        assert_eq!(
            names(&surplus),
            [unneeded.hex().to_owned(), format!("{}.deb", unneeded.hex())]
        );
        // An image that is in use again stays.
        store.used(&unneeded);
        let surplus = store.surplus(&keep, since).unwrap();
        assert_eq!(names(&surplus), [format!("{}.deb", unneeded.hex())]);

        let lock = store.lock(&NoEvents).unwrap();
        old(&store.path(Bucket::Images, &unneeded));
        let surplus = store.surplus(&keep, since).unwrap();
        store.remove(&lock, &surplus).unwrap();
        assert_eq!(store.find(Bucket::Images, &unneeded), None);
        assert_eq!(store.find(Bucket::Debs, &unneeded), None);
        for key in [&needed, &young] {
            assert!(store.find(Bucket::Images, key).is_some());
            assert!(store.find(Bucket::Debs, key).is_some());
        }
        assert!(images.join("notes").exists() && images.join("deadbeef").exists());
        assert!(elsewhere.exists());
    }

    #[test]
    fn runs_are_found_wherever_they_are() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        assert!(store.registered().is_empty());
        store
            .register(&Name::new("a-1").unwrap(), Path::new("/data/a-1"))
            .unwrap();
        std::fs::write(root.path().join("runs-v1/b.json"), "{}").unwrap();
        assert_eq!(store.registered(), [PathBuf::from("/data/a-1")]);
    }
}
