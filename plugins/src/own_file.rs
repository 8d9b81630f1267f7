//! Files of the user's own, in `~/.config/vexp`: they name programs, and the way to root, as no study may.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use vexp_api::modes::{Others, looks_ours, only_ours};

/// Bytes that such a file may have.
const MOST: u64 = 1 << 20;

/// Where the file of this name is: `$XDG_CONFIG_HOME/vexp`, or `~/.config/vexp`. `None` where there is no home.
pub fn usual(name: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let home = || crate::testbed::hosts::home().map(|home| home.join(".config"));
    let config = config.or_else(home)?;
    Some(config.join("vexp").join(name))
}

/// Reads such a file.
///
/// # Errors
/// It can't be read, is no file of at most 1 MiB, or somebody else can change it. With its path.
pub fn read(path: &Path) -> Result<String, String> {
    let wrong = |message: String| format!("{}: {message}", path.display());
    // A FIFO must not hold the open; the checks below are of what was opened.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| wrong(error.to_string()))?;
    let about = file.metadata().map_err(|error| wrong(error.to_string()))?;
    if !about.is_file() || about.len() > MOST {
        return Err(wrong(format!("is not a file of at most {MOST} bytes")));
    }
    if about.mode() & 0o022 != 0 {
        let text = "others can write it: it must be yours alone (chmod go-w)";
        return Err(wrong(text.to_owned()));
    }
    looks_ours(path, &about, Others::Nobody)
        .and_then(|()| only_ours(path, Others::Caller))
        .map_err(|error| wrong(format!("it must be yours alone: {error}")))?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST), &mut text)
        .map_err(|error| wrong(error.to_string()))?;
    Ok(text)
}
