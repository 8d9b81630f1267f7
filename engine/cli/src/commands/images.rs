//! Where the definitions of images come from.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use vexp_api::exit::Exit;

use crate::args::ImageArgs;
use crate::error::{Failure, OrExit as _};

/// The repository's `images/`: path, whether it is executable, contents.
const BUILT_IN: &[(&str, bool, &[u8])] = include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// A folder of definitions.
pub(super) enum Definitions {
    /// The user's.
    Given(PathBuf),
    /// Those that vexp was built with, in a folder that goes with this value.
    BuiltIn(tempfile::TempDir),
}

impl Definitions {
    /// Those of `--images`, else the built-in ones. Never those of the folder in which vexp is
    /// called, which may be that of a study from anyone: they have scripts that root executes.
    pub(super) fn of(args: &ImageArgs) -> Result<Self, Failure> {
        match &args.images {
            Some(folder) if folder.is_dir() => Ok(Self::Given(folder.clone())),
            Some(folder) => {
                let message = format!("there is no folder {}", folder.display());
                Err(Failure::new(Exit::Usage, message).hint(
                    "--images or VEXP_IMAGES names a folder with definitions of images; without \
                     them, those that vexp was built with are taken",
                ))
            }
            None => built_in().or_exit(Exit::Build).map(Self::BuiltIn),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Given(folder) => folder,
            Self::BuiltIn(folder) => folder.path(),
        }
    }
}

fn built_in() -> std::io::Result<tempfile::TempDir> {
    // Root runs these: nobody else changes them, whatever the umask is.
    let folder = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()?;
    for (name, executable, contents) in BUILT_IN {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, contents)?;
        let mode = if *executable { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Files below a folder: whether they are executable, and what is in them.
    fn files(folder: &Path, below: &str, found: &mut BTreeMap<String, (bool, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{below}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                files(&path, &name, found);
            } else {
                let executable = path.metadata().unwrap().permissions().mode() & 0o100 != 0;
                found.insert(name, (executable, std::fs::read(&path).unwrap()));
            }
        }
    }

    #[test]
    fn those_that_are_built_in_are_the_repositorys() {
        let unpacked = built_in().unwrap();
        let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
        files(unpacked.path(), "", &mut here);
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
        files(&repository, "", &mut there);
        assert!(here.len() > 20);
        assert!(here == there, "{:?} {:?}", here.keys(), there.keys());
    }
}
