//! What a stored folder must hold, and checking that it does.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;

use super::{StoreError, digest_file};

/// Remembers when files were last known to be whole; see [`Contents::looks_whole`].
const STAMP: &str = "stamp.json";

/// A file as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
}

/// The files of a stored folder by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Contents(pub BTreeMap<String, FileEntry>);

/// A file that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Name of the file.
    pub file: String,
    /// As it must be.
    pub expected: FileEntry,
    /// As it is; `None` if it is missing.
    pub found: Option<FileEntry>,
}

/// What changes when a file is written to, in whole nanoseconds and bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    modified_s: i64,
    modified_ns: i64,
}

/// Whether a name is one in its folder, and no path: a bundle's manifest of an image may come from anyone.
fn is_plain(name: &&str) -> bool {
    !["", ".", ".."].contains(name) && !name.contains(['/', '\0'])
}

impl Contents {
    /// Reads the files of a folder, by the names given.
    pub fn read<'a>(
        folder: &Path,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, StoreError> {
        let entry = |name: &str| {
            let path = folder.join(name);
            let metadata = path.metadata().map_err(StoreError::io("look at", &path))?;
            let digest = digest_file(&path)?;
            let size = metadata.len();
            Ok((name.to_owned(), FileEntry { size, digest }))
        };
        names
            .into_iter()
            .map(entry)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether sizes and times of modification are as when the files were last known to be
    /// whole. Reads no file's bytes: a changed byte under an unchanged time is found by
    /// [`Contents::damage`] only.
    pub fn looks_whole(&self, folder: &Path) -> bool {
        let known = std::fs::read(folder.join(STAMP))
            .ok()
            .and_then(|text| serde_json::from_slice::<BTreeMap<String, Stamp>>(&text).ok());
        let stamps = self.stamps(folder).ok();
        let right_sizes = |stamps: &BTreeMap<String, Stamp>| {
            (self.0.iter()).all(|(name, file)| stamps[name].size == file.size)
        };
        known.is_some() && known == stamps && stamps.as_ref().is_some_and(right_sizes)
    }

    /// Reads every byte and lists what is not as it must be.
    pub fn damage(&self, folder: &Path) -> Result<Vec<Damage>, StoreError> {
        let mut damages = Vec::new();
        for (name, expected) in &self.0 {
            let found = match Self::read(folder, [name.as_str()].into_iter().filter(is_plain)) {
                Ok(mut contents) => contents.0.remove(name),
                Err(StoreError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    None
                }
                Err(error) => return Err(error),
            };
            if found.as_ref() != Some(expected) {
                damages.push(Damage {
                    file: name.clone(),
                    expected: expected.clone(),
                    found,
                });
            }
        }
        Ok(damages)
    }

    /// Remembers that the files are whole now.
    pub fn stamp(&self, folder: &Path) -> Result<(), StoreError> {
        let path = folder.join(STAMP);
        let stamps = self.stamps(folder)?;
        // A map of integers always serialises.
        let text = serde_json::to_vec(&stamps).unwrap_or_default();
        // Several computers may find at the same time that a store was copied.
        let mut partial =
            tempfile::NamedTempFile::new_in(folder).map_err(StoreError::io("write", &path))?;
        let written = std::io::Write::write_all(&mut partial, &text)
            .and_then(|()| {
                partial
                    .as_file()
                    .set_permissions(PermissionsExt::from_mode(0o644))
            })
            .and_then(|()| partial.persist(&path).map_err(|error| error.error));
        written.map(drop).map_err(StoreError::io("write", &path))
    }

    fn stamps(&self, folder: &Path) -> Result<BTreeMap<String, Stamp>, StoreError> {
        let stamp = |name: &String| {
            let path = folder.join(name);
            if !is_plain(&name.as_str()) {
                let error = std::io::ErrorKind::InvalidFilename;
                return Err(StoreError::io("look at", &path)(error.into()));
            }
            let metadata = path.metadata().map_err(StoreError::io("look at", &path))?;
            let stamp = Stamp {
                size: metadata.len(),
                modified_s: metadata.mtime(),
                modified_ns: metadata.mtime_nsec(),
            };
            Ok((name.clone(), stamp))
        };
        self.0.keys().map(stamp).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn folder() -> (tempfile::TempDir, Contents) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kernel"), "kernel").unwrap();
        std::fs::write(folder.path().join("root"), "root").unwrap();
        let contents = Contents::read(folder.path(), ["kernel", "root"]).unwrap();
        contents.stamp(folder.path()).unwrap();
        (folder, contents)
    }

    #[test]
    fn a_name_that_is_a_path_is_damage_and_nothing_is_read() {
        let (folder, contents) = folder();
        let entry = contents.0["root"].clone();
        for name in ["../root", "/dev/zero", "..", "a/b", ""] {
            let strange = Contents(BTreeMap::from([(name.to_owned(), entry.clone())]));
            let damage = strange.damage(folder.path()).unwrap();
            assert_eq!((damage.len(), &damage[0].found), (1, &None), "{name}");
            assert!(!strange.looks_whole(folder.path()), "{name}");
        }
    }

    #[test]
    fn whole_files_pass_both_checks() {
        let (folder, contents) = folder();
        assert!(contents.looks_whole(folder.path()));
        assert_eq!(contents.damage(folder.path()).unwrap(), []);
    }

    #[test]
    fn a_written_file_fails_both_checks() {
        let (folder, contents) = folder();
        std::fs::write(folder.path().join("root"), "rooT").unwrap();
        // Another moment, however coarse the clock of the file system is.
        let path = folder.path().join("root");
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!contents.looks_whole(folder.path()));
        let damages = contents.damage(folder.path()).unwrap();
        assert_eq!(damages.len(), 1);
        assert_eq!(damages[0].file, "root");
    }

    #[test]
    fn a_flipped_byte_under_an_old_time_is_found_by_reading() {
        let (folder, contents) = folder();
        let path = folder.path().join("kernel");
        let before = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, "kernem").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before).unwrap();
        assert!(contents.looks_whole(folder.path()));
        assert_eq!(contents.damage(folder.path()).unwrap()[0].file, "kernel");
    }

    #[test]
    fn a_missing_file_and_a_missing_stamp_are_found() {
        let (folder, contents) = folder();
        std::fs::remove_file(folder.path().join("root")).unwrap();
        assert!(!contents.looks_whole(folder.path()));
        assert_eq!(contents.damage(folder.path()).unwrap()[0].found, None);
        std::fs::write(folder.path().join("root"), "root").unwrap();
        std::fs::remove_file(folder.path().join(STAMP)).unwrap();
        assert!(!contents.looks_whole(folder.path()));
        assert_eq!(contents.damage(folder.path()).unwrap(), []);
    }
}
