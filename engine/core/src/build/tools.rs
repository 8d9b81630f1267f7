//! Host programs that builds need, and the versions of those that decide an image's bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::{BuildError, command};

/// Programs and files that builds need, each with its Debian package. `apt-helper` has no place on
/// the path.
pub const NEEDED: [(&str, &str); 14] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mksquashfs", "squashfs-tools"),
    ("apt-get", "apt"),
    ("/usr/lib/apt/apt-helper", "apt"),
    ("dpkg-deb", "dpkg"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("taskset", "util-linux"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("awk", "mawk"),
    ("gunzip", "gzip"),
    (
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
];

/// Packages whose version goes into an image's key: mmdebstrap, apt and dpkg order and place the
/// files, cpio and squashfs-tools write the archives, libzstd decides the compressed bytes.
const DECISIVE: [&str; 6] = [
    "apt",
    "cpio",
    "dpkg",
    "libzstd1",
    "mmdebstrap",
    "squashfs-tools",
];

/// A program that is not there, and the package that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Program, or file.
    pub tool: &'static str,
    /// Debian package.
    pub package: &'static str,
}

/// Which of the programs that builds need are missing on this host.
fn missing() -> Vec<Missing> {
    let folders = command::PATH.map(Path::new);
    let there = |tool: &str| folders.iter().any(|folder| folder.join(tool).exists());
    (NEEDED.iter())
        .filter(|(tool, _)| !there(tool))
        .map(|&(tool, package)| Missing { tool, package })
        .collect()
}

/// Fails, naming the packages, if a program is missing.
pub(super) fn check() -> Result<(), BuildError> {
    let missing = missing();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(BuildError::Tools(missing)),
    }
}

/// Versions of the packages that decide an image's bytes; `none` for one that is not installed.
pub(super) fn versions() -> Result<BTreeMap<String, String>, BuildError> {
    let output = Command::new("dpkg-query")
        .envs([vexp_api::shell::LOCALE])
        .args(["--show", "--showformat", "${Package} ${Version}\n"])
        .args(DECISIVE)
        .env_clear()
        .env("PATH", command::PATH.join(":"))
        .output()
        .map_err(|_| {
            BuildError::Tools(vec![Missing {
                tool: "dpkg-query",
                package: "dpkg",
            }])
        })?;
    Ok(parse_versions(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_versions(text: &str) -> BTreeMap<String, String> {
    let mut versions: BTreeMap<_, _> = DECISIVE
        .iter()
        .map(|package| ((*package).to_owned(), "none".to_owned()))
        .collect();
    for (package, version) in text.lines().filter_map(|line| line.split_once(' ')) {
        versions.insert(package.to_owned(), version.to_owned());
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_what_is_installed_and_of_what_is_not() {
        let versions = parse_versions("cpio 2.13+dfsg-7.1\nlibzstd1 1.5.4+dfsg2-5\n");
        assert_eq!(versions["cpio"], "2.13+dfsg-7.1");
        assert_eq!(versions["mmdebstrap"], "none");
        assert_eq!(versions.len(), DECISIVE.len());
    }
}
