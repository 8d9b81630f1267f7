//! Definition and lock in the plain form that the build scripts in `images/common` read.

use std::fmt::Write as _;
use std::path::Path;

use super::BuildError;
use super::definition::ImageDef;
use super::lockfile::Lock;
use crate::store::StoreError;

/// Writes a definition as the folder `to`: `suite`, `packages`, `extract`, `modules`, one word a
/// line, and the image's own files below `root/`.
pub(super) fn definition(def: &ImageDef, images: &Path, to: &Path) -> Result<(), BuildError> {
    std::fs::create_dir_all(to).map_err(StoreError::io("create", to))?;
    let write = |name: &str, words: Vec<&str>| {
        let path = to.join(name);
        let text: String = words.iter().flat_map(|word| [*word, "\n"]).collect();
        std::fs::write(&path, text).map_err(StoreError::io("write", &path))
    };
    write("suite", vec![def.suite.as_str()])?;
    write(
        "packages",
        def.packages.iter().map(|p| p.as_str()).collect(),
    )?;
    write("modules", def.modules.iter().map(|m| m.as_str()).collect())?;
    let extract = def.kernel.iter().chain(&def.hypervisor);
    write("extract", extract.map(|p| p.as_str()).collect())?;
    let root = images.join(def.name.as_str()).join("root");
    if root.is_dir() {
        copy_tree(&root, &to.join("root"))?;
    }
    Ok(())
}

/// Writes a lock's packages as lines of `USE PACKAGE VERSION ARCHITECTURE SHA256 SIZE FILENAME`.
pub(super) fn lock(lock: &Lock, to: &Path) -> Result<(), BuildError> {
    let mut text = String::new();
    for p in &lock.packages {
        let (usage, architecture, sha256) =
            (p.usage.as_str(), p.architecture.as_str(), p.digest.hex());
        let _ = writeln!(
            text,
            "{usage} {} {} {architecture} {sha256} {} {}",
            p.package, p.version, p.size, p.filename
        );
    }
    Ok(std::fs::write(to, text).map_err(StoreError::io("write", to))?)
}

/// Copies a folder with its links and modes.
fn copy_tree(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(to).map_err(StoreError::io("create", to))?;
    for entry in std::fs::read_dir(from).map_err(StoreError::io("list", from))? {
        let entry = entry.map_err(StoreError::io("list", from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry
            .file_type()
            .map_err(StoreError::io("look at", &path))?;
        if kind.is_dir() {
            copy_tree(&path, &target)?;
        } else if kind.is_symlink() {
            let link = std::fs::read_link(&path).map_err(StoreError::io("read", &path))?;
            std::os::unix::fs::symlink(link, &target).map_err(StoreError::io("create", &target))?;
        } else {
            std::fs::copy(&path, &target).map_err(StoreError::io("copy", &path))?;
        }
    }
    Ok(())
}
