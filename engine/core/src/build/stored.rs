//! Images that a store has, or that it can have from another one, without building any.

use std::collections::BTreeMap;
use std::path::PathBuf;

use vexp_api::digest::Digest;
use vexp_api::event::EventSink;
use vexp_api::ids::Name;
use vexp_api::plugin::ImageFiles;

use super::BuildError;
use super::manifest::{self, Manifest};
use crate::store::{Bucket, Store};

/// Copies an image from the store from which this one is filled, if it is there and not here.
pub(super) fn copy_in(
    key: &Digest,
    store: &Store,
    events: &dyn EventSink,
) -> Result<(), BuildError> {
    let manifest = |there: &PathBuf| Manifest::read(there).filter(|found| found.key == *key);
    if let Some(there) = store.to_be_copied(key)
        && let Some(manifest) = manifest(&there)
    {
        store.copy_in(key, &there, &manifest.files, &[manifest::FILE], events)?;
    }
    Ok(())
}

/// Where the images are that a run was begun with, by its `images.json`: on a node, which builds none and need not have
/// the tools. They are copied from the store from which this one is filled.
///
/// # Errors
/// One is neither here nor there, or is damaged.
pub fn stored(
    images: &BTreeMap<Name, Manifest>,
    store: &Store,
    events: &dyn EventSink,
) -> Result<BTreeMap<Name, ImageFiles>, BuildError> {
    let find = |name: &Name, wanted: &Manifest| -> Result<ImageFiles, BuildError> {
        copy_in(&wanted.key, store, events)?;
        let folder = store.find(Bucket::Images, &wanted.key);
        let found = folder.and_then(|folder| Some((Manifest::read(&folder)?, folder)));
        let Some((manifest, folder)) = found.filter(|(m, _)| m.digest() == wanted.digest()) else {
            return Err(BuildError::NotStored {
                image: name.clone(),
                root: store.root().to_owned(),
            });
        };
        if !manifest.files.looks_whole(&folder) {
            if let Some(damage) = manifest.files.damage(&folder)?.into_iter().next() {
                let path = folder.join(damage.file);
                return Err(BuildError::DamagedHere(path));
            }
            // If it can't be written to, it is read again.
            let _ = manifest.files.stamp(&folder);
        }
        Ok(manifest.image_files(&folder))
    };
    let all = images.iter();
    all.map(|(name, wanted)| Ok((name.clone(), find(name, wanted)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::lockfile::tests::{lock, package};
    use super::super::manifest::Inputs;
    use super::*;
    use crate::store::Contents;
    use vexp_testkit::Notes;

    /// Puts an image into a store that is whole, as far as digests say.
    fn put(store: &Store) -> Manifest {
        let inputs = Inputs {
            lock: lock(vec![package("ab", b"1")]),
            scripts: BTreeMap::new(),
            tools: BTreeMap::new(),
        };
        let key = inputs.key().unwrap();
        let folder = store.path(Bucket::Images, &key);
        std::fs::create_dir(&folder).unwrap();
        let names = Manifest::file_names(&inputs.lock);
        for name in &names {
            std::fs::write(folder.join(name), name).unwrap();
        }
        let manifest = Manifest {
            format: 1,
            name: Name::new("tiny").unwrap(),
            key,
            files: Contents::read(&folder, names).unwrap(),
            tools: inputs.tools,
            scripts: inputs.scripts,
            lock: inputs.lock,
        };
        let text = serde_json::to_vec(&manifest).unwrap();
        std::fs::write(folder.join(manifest::FILE), text).unwrap();
        manifest
    }

    #[test]
    fn a_node_has_the_images_of_its_run_from_the_shared_store_and_says_which_it_lacks() {
        let [shared, own] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let shared = Store::open(shared.path()).unwrap();
        let manifest = put(&shared);
        let images = BTreeMap::from([(manifest.name.clone(), manifest.clone())]);
        let plain = Store::open(own.path()).unwrap();
        let notes = Notes::default();
        let lacks = stored(&images, &plain, &notes).unwrap_err().to_string();
        assert!(lacks.contains("image tiny of the run"), "{lacks}");
        let own = plain.filled_from(shared.root()).unwrap();
        for _ in 0..2 {
            let found = stored(&images, &own, &notes).unwrap();
            let files = &found[&manifest.name];
            assert!(files.root.starts_with(own.root()));
            assert_eq!(files.digest, manifest.digest());
        }
        assert_eq!(notes.0.lock().unwrap().len(), 1, "it is copied once");
        // What is damaged on the node is not run.
        let folder = own.path(Bucket::Images, &manifest.key);
        std::fs::write(folder.join("root.squashfs"), "other").unwrap();
        let damaged = stored(&images, &own, &notes).unwrap_err().to_string();
        assert!(damaged.contains("root.squashfs is damaged"), "{damaged}");
    }
}
