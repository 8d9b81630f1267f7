//! Builds an image twice under different circumstances and compares.

use std::path::Path;

use vexp_api::digest::Digest;
use vexp_api::event::EventSink;
use vexp_api::ids::Name;

use super::assemble::{Circumstances, assemble};
use super::manifest::{Inputs, Manifest};
use super::{BuildError, Locked, prepare};
use crate::store::Store;

/// What two builds of an image gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Image.
    pub name: Name,
    /// Digest of the image in the store.
    pub stored: Digest,
    /// Digests of the new builds.
    pub built: [Digest; 2],
    /// Files whose digests are not the same in all three, sorted.
    pub different: Vec<String>,
}

impl Verification {
    /// Whether all three images are the same, byte for byte.
    pub fn same(&self) -> bool {
        self.different.is_empty()
    }
}

/// Builds each image twice, in different folders, at different times, with one processor and with
/// all, in different time zones and languages, the second time without root's rights, and compares every file with the image in the
/// store, which is built first if it is not there.
pub fn verify(
    names: &[Name],
    images: &Path,
    store: &Store,
    policy: Locked,
    events: &dyn EventSink,
) -> Result<Vec<Verification>, BuildError> {
    let stored = super::build(names, images, store, policy, events)?;
    let lock = store.lock(events)?;
    let mut verifications = Vec::new();
    for image in stored {
        let inputs = Inputs {
            lock: image.manifest.lock.clone(),
            scripts: image.manifest.scripts.clone(),
            tools: image.manifest.tools.clone(),
        };
        prepare(store, &lock, [&inputs.lock], events)?;
        let build = |circumstances: &Circumstances| {
            let scratch = store.scratch(&lock)?;
            let built = assemble(
                &inputs,
                images,
                store,
                scratch.path(),
                circumstances,
                events,
            );
            built.map(|(_, manifest)| manifest)
        };
        let first = build(&Circumstances {
            one_cpu: true,
            without_root: false,
            environment: vec![("TZ", "Asia/Tokyo"), ("LC_ALL", "C"), ("HOME", "/root")],
            path: "a-",
        })?;
        let second = build(&Circumstances {
            one_cpu: false,
            without_root: true,
            environment: vec![("TZ", "America/Los_Angeles")],
            path: "another-and-longer-path-",
        })?;
        verifications.push(compare(&image.manifest, &first, &second));
    }
    Ok(verifications)
}

fn compare(stored: &Manifest, first: &Manifest, second: &Manifest) -> Verification {
    let of = |manifest: &Manifest, name: &str| manifest.files.0.get(name).cloned();
    let different = (stored.files.0.keys())
        .filter(|name| {
            let file = of(stored, name);
            of(first, name) != file || of(second, name) != file
        })
        .cloned()
        .collect();
    Verification {
        name: stored.name.clone(),
        stored: stored.digest(),
        built: [first.digest(), second.digest()],
        different,
    }
}
