//! The recorded bundle, unpacked.

use std::path::{Path, PathBuf};

use super::support::{root, vexp};

/// Unpacks it into a folder that is made: the bundle's own folder there, with `run` in it.
pub(crate) fn unpacked(into: &Path) -> PathBuf {
    let bundle = root().join("engine/cli/tests/data/run.vexp.tar.zst");
    let (bundle, to) = (bundle.to_str().unwrap(), into.to_str().unwrap());
    // How it is judged is of no concern here: without it there is no folder.
    let _ = vexp(&["verify", bundle, "--into", to]);
    std::fs::read_dir(into)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
}
