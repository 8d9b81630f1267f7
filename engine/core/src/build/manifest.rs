//! What a built image is: its key, its files, and everything that went into it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::{BootFiles, ImageFiles};

use super::BuildError;
use super::lockfile::Lock;
use crate::store::{Contents, StoreError, digest_file};

/// The version of the manifest's format and of the key's.
pub(super) const FORMAT: u32 = 1;

/// File of the manifest in an image's folder.
pub(super) const FILE: &str = "manifest.json";

/// `manifest.json`: what an image was made of and what came out. Two builds of one image have the
/// same manifest, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `1`; a reader refuses any other.
    pub format: u32,
    /// Image.
    pub name: Name,
    /// Digest of everything that decides the files.
    pub key: Digest,
    /// Files by name.
    pub files: Contents,
    /// Debian packages of the host whose versions decide bytes.
    pub tools: BTreeMap<String, String>,
    /// Digests of the scripts and files from `images/`, by path.
    pub scripts: BTreeMap<String, Script>,
    /// Definition and packages.
    pub lock: Lock,
}

/// A file from `images/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// SHA-256; of the target where it is a link.
    pub digest: Digest,
    /// Whether it can be executed.
    pub executable: bool,
}

/// Everything that decides an image's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    pub(super) lock: Lock,
    pub(super) scripts: BTreeMap<String, Script>,
    pub(super) tools: BTreeMap<String, String>,
}

impl Inputs {
    /// The digest over the canonical JSON of all of them.
    pub(super) fn key(&self) -> Result<Digest, BuildError> {
        let inputs = (FORMAT, self.lock.digest(), &self.scripts, &self.tools);
        Digest::of_value(&inputs).map_err(BuildError::Json)
    }
}

/// The scripts that build `name`: those in `common/`, and the image's own files.
pub(super) fn scripts(images: &Path, name: &Name) -> Result<BTreeMap<String, Script>, StoreError> {
    let mut scripts = BTreeMap::new();
    collect(images, "common", &mut scripts)?;
    let root = format!("{name}/root");
    if images.join(&root).is_dir() {
        collect(images, &root, &mut scripts)?;
    }
    Ok(scripts)
}

fn collect(
    images: &Path,
    folder: &str,
    scripts: &mut BTreeMap<String, Script>,
) -> Result<(), StoreError> {
    let path = images.join(folder);
    for entry in std::fs::read_dir(&path).map_err(StoreError::io("list", &path))? {
        let entry = entry.map_err(StoreError::io("list", &path))?;
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        let metadata = entry.metadata().map_err(StoreError::io("look at", &path))?;
        if metadata.is_dir() {
            collect(images, &name, scripts)?;
            continue;
        }
        // Definitions count by their value, and how packages are found only decides locks.
        let text = ["ncl", "md"]
            .iter()
            .any(|e| path.extension().is_some_and(|x| x == *e));
        let finds = ["resolve.sh", "mirror.sh"]
            .iter()
            .any(|f| path.ends_with(f));
        if text || finds {
            continue;
        }
        let digest = if metadata.is_symlink() {
            let target = std::fs::read_link(&path).map_err(StoreError::io("read", &path))?;
            Digest::of(target.as_os_str().as_encoded_bytes())
        } else {
            digest_file(&path)?
        };
        let executable = metadata.permissions().mode() & 0o100 != 0;
        scripts.insert(name, Script { digest, executable });
    }
    Ok(())
}

impl Manifest {
    /// Names of an image's files.
    pub(super) fn file_names(lock: &Lock) -> Vec<&'static str> {
        let boots = lock.definition.kernel.is_some();
        let xen = lock.definition.hypervisor.is_some();
        [
            ("root.squashfs", true),
            ("vmlinuz", boots),
            ("initramfs.img", boots),
            ("xen", xen),
        ]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect()
    }

    /// Reads the manifest of a stored image; `None` if it is not one that this vexp wrote whole.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read(folder.join(FILE)).ok()?;
        let manifest: Self = serde_json::from_slice(&text).ok()?;
        (manifest.format == FORMAT).then_some(manifest)
    }

    /// Whether its key is the digest of what it says that decided the files.
    pub fn key_is_right(&self) -> bool {
        let inputs = Inputs {
            lock: self.lock.clone(),
            scripts: self.scripts.clone(),
            tools: self.tools.clone(),
        };
        inputs.key().is_ok_and(|key| key == self.key)
    }

    /// Digest of the image: of the names and digests of its files.
    pub fn digest(&self) -> Digest {
        // A map of strings and integers always serialises.
        Digest::of_value(&self.files).unwrap_or_else(|_| Digest::of(b""))
    }

    /// Where the files are, in the image's folder.
    pub(super) fn image_files(&self, folder: &Path) -> ImageFiles {
        let has = |name: &str| self.files.0.contains_key(name);
        ImageFiles {
            root: folder.join("root.squashfs"),
            digest: self.digest(),
            boot: has("vmlinuz").then(|| BootFiles {
                kernel: folder.join("vmlinuz"),
                initramfs: folder.join("initramfs.img"),
                hypervisor: has("xen").then(|| folder.join("xen")),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::lockfile::tests::{lock, package};

    fn inputs() -> Inputs {
        let script = Script {
            digest: Digest::of(b"#!/bin/sh\n"),
            executable: true,
        };
        Inputs {
            lock: lock(vec![package("ab", b"1"), package("cd", b"2")]),
            scripts: [("common/build.sh".to_owned(), script)].into(),
            tools: [("dpkg".to_owned(), "1.21.22".to_owned())].into(),
        }
    }

    #[test]
    fn the_key_is_the_same_in_every_build_of_vexp() {
        // Changing this value makes every stored image useless: do it on purpose, with FORMAT.
        assert_eq!(
            inputs().key().unwrap().to_string(),
            "sha256:306d608376e05d8276a38fb4cf68ab9b1533fc5017fae530d0123a2aa5fc7538"
        );
    }

    #[test]
    fn every_input_changes_the_key() {
        let key = inputs().key().unwrap();
        let changes: [fn(&mut Inputs); 5] = [
            |i| i.lock.packages[0].digest = Digest::of(b"3"),
            |i| i.lock.definition.source_date_epoch += 1,
            |i| i.scripts.values_mut().for_each(|s| s.executable = false),
            |i| {
                i.scripts
                    .values_mut()
                    .for_each(|s| s.digest = Digest::of(b""))
            },
            |i| i.tools.values_mut().for_each(|v| v.push('1')),
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut other = inputs();
            change(&mut other);
            assert_ne!(other.key().unwrap(), key, "change {n}");
        }
        let mut same = inputs();
        same.lock.source = Digest::of(b"a comment was added to image.ncl");
        assert_eq!(same.key().unwrap(), key);
    }

    #[test]
    fn scripts_are_those_of_common_and_of_the_image() {
        let images = tempfile::tempdir().unwrap();
        let put = |name: &str, mode: u32| {
            let path = images.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, name).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("common/build.sh", 0o755);
        put("common/lib.ncl", 0o644);
        put("common/root/etc/inittab", 0o644);
        put("tiny/image.ncl", 0o644);
        put("tiny/root/etc/x", 0o644);
        put("other/root/etc/y", 0o644);
        let scripts = scripts(images.path(), &Name::new("tiny").unwrap()).unwrap();
        let found: Vec<_> = scripts
            .iter()
            .map(|(n, s)| (n.as_str(), s.executable))
            .collect();
        let expected = [
            ("common/build.sh", true),
            ("common/root/etc/inittab", false),
            ("tiny/root/etc/x", false),
        ];
        assert_eq!(found, expected);
    }
}
