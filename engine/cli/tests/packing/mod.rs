//! Bundles that somebody has changed and packed again.

use std::path::Path;

use serde_json::Value;
use vexp_engine::bundle::{BundlePath, Contents, Source, pack};

/// Packs an unpacked bundle again, with digests that are right: what somebody would do who changes
/// a result and covers the traces.
pub(crate) fn packed_again(there: &Path, bundle: &Path) {
    fn collect(folder: &Path, below: &str, contents: &mut Contents) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                collect(&entry.path(), &format!("{name}/"), contents);
            } else if name != "manifest.json" {
                contents.insert(BundlePath::new(name).unwrap(), Source::File(entry.path()));
            }
        }
    }
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(there.join("manifest.json")).unwrap()).unwrap();
    let mut contents = Contents::new();
    collect(there, "", &mut contents);
    let run = there
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    pack(&run, manifest["vexp"].as_str().unwrap(), &contents, bundle).unwrap();
}
