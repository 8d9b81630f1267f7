//! What a bundle holds, by its own account.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vexp_api::digest::{Digest, canonical_json};
use vexp_api::ids::Name;

use super::{BundleError, BundlePath};
use crate::store::FileEntry;

/// The version of a bundle's format. A reader refuses any other.
pub const FORMAT: u32 = 1;

/// Name of the manifest in the bundle's folder.
pub const MANIFEST: &str = "manifest.json";

/// `manifest.json`: canonical JSON (see [`canonical_json`]) and a newline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The run: also the name of the bundle's folder.
    pub run: Name,
    /// The version of vexp that made the bundle.
    pub vexp: String,
    /// Every file but this one.
    pub files: BTreeMap<BundlePath, FileEntry>,
}

impl Manifest {
    /// Its bytes.
    pub fn bytes(&self) -> Result<Vec<u8>, BundleError> {
        let mut text = canonical_json(self)?;
        text.push('\n');
        Ok(text.into_bytes())
    }

    /// Digest of its bytes: of everything in the bundle, however it is compressed.
    pub fn digest(&self) -> Result<Digest, BundleError> {
        Ok(Digest::of(&self.bytes()?))
    }

    /// Reads what [`Manifest::bytes`] gave, and nothing else.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        // The format first: with another one, anything may be right.
        let value: serde_json::Value = serde_json::from_slice(bytes)?;
        let format = value.get("format");
        if format.and_then(serde_json::Value::as_u64) != Some(u64::from(FORMAT)) {
            let found = format.map_or_else(|| "none".to_owned(), ToString::to_string);
            return Err(BundleError::Format { found });
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        if manifest.bytes()? != bytes {
            return Err(BundleError::NotCanonical);
        }
        manifest.sound()?;
        Ok(manifest)
    }

    /// Whether its files can lie in one folder, wherever that is.
    pub(super) fn sound(&self) -> Result<(), BundleError> {
        // What each path is called where case does not count, and whether it is a folder.
        let mut known: BTreeMap<String, (&str, bool)> = BTreeMap::new();
        for path in self.files.keys() {
            if path.as_str().eq_ignore_ascii_case(MANIFEST) {
                return Err(BundleError::ListsItself);
            }
            for (above, place) in path.ancestors().enumerate() {
                let this = (place, above > 0);
                let before = known.insert(place.to_ascii_lowercase(), this);
                if let Some(before) = before.filter(|before| *before != this) {
                    return Err(BundleError::Clash(before.0.to_owned(), place.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Bytes of all files together; as many as can be counted if there are more.
    pub fn size(&self) -> u64 {
        let sizes = self.files.values().map(|file| file.size);
        sizes.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_manifests_are_read_or_refused() {
        use proptest::prelude::*;
        use vexp_testkit::hostile::{changed, changed_json};
        let entry = serde_json::json!({"size": 1, "digest": Digest::of(b"x")});
        let whole = serde_json::json!({
            "format": FORMAT, "run": "a-run", "vexp": "0.1.0",
            "files": {"run/run.json": entry, "run/trials/a/trial.json": entry, "export.json": entry},
        });
        let manifest: Manifest = serde_json::from_value(whole.clone()).unwrap();
        let bytes = manifest.bytes().unwrap();
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        let check = |bytes: &[u8]| {
            let Ok(manifest) = Manifest::parse(bytes) else {
                return;
            };
            for path in manifest.files.keys().map(BundlePath::as_str) {
                let odd = |part: &str| part.starts_with('-') || ["", ".", ".."].contains(&part);
                assert!(!path.split('/').any(odd), "{path}");
                assert!(path.chars().all(|c| c.is_ascii_graphic()), "{path}");
            }
        };
        let cases = vexp_testkit::cases(400);
        proptest!(cases.clone(), |(bytes in changed(&bytes))| check(&bytes));
        proptest!(cases, |(value in changed_json(&whole))| {
            check(format!("{value}\n").as_bytes());
            // A worker's manifest and an image's are read by the same means.
            let text = value.to_string();
            let _ = serde_json::from_str::<crate::run::manifest::Manifest>(&text);
            let _ = serde_json::from_str::<crate::build::Manifest>(&text);
        });
    }
}
