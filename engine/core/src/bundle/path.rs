//! Names of files in a bundle.

use serde::{Deserialize, Serialize};

/// Longest path.
const MOST: usize = 200;
/// Longest part of a path: what a ustar header's name field holds.
const MOST_PART: usize = 100;

/// A path below a bundle's folder: parts of `A-Z`, `a-z`, `0-9` and `._-+@=,~`, separated by single
/// slashes, none of them `.` or `..`.
///
/// Such a path leads nowhere else on any system. Where file names fold case, [`super::Manifest`]
/// sees to it that no two of them are one.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct BundlePath(String);

/// The text can't be a [`BundlePath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` can't be a file's name in a bundle: {why}", .text.escape_debug())]
pub struct BadPath {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl BundlePath {
    /// Parses a path.
    pub fn new(text: impl Into<String>) -> Result<Self, BadPath> {
        let text = text.into();
        match wrong(&text) {
            None => Ok(Self(text)),
            Some(why) => Err(BadPath { text, why }),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path and all folders above it, longest first, without the bundle's own.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |path| {
            path.rsplit_once('/').map(|(folder, _)| folder)
        })
    }
}

/// The first thing that is wrong with a path.
fn wrong(text: &str) -> Option<&'static str> {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "/._-+@=,~".contains(c));
    if text.contains('\0') {
        return Some("it has a NUL in it");
    }
    if text.contains('\\') {
        return Some("it has a backslash in it");
    }
    if text.starts_with('/') {
        return Some("it is absolute");
    }
    if !text.is_ascii() {
        return Some("it has other than ASCII letters, which may be written in several ways");
    }
    if text.contains(odd) {
        return Some("it has other than letters, digits, `/` and `._-+@=,~`");
    }
    if text.len() > MOST {
        return Some("it is longer than 200 bytes");
    }
    text.split('/').find_map(|part| match part {
        "" => Some("a part of it is empty"),
        "." | ".." => Some("`.` and `..` lead elsewhere"),
        part if part.starts_with('-') => Some("a part of it begins with `-`, as options do"),
        part if part.len() > MOST_PART => Some("a part of it is longer than 100 bytes"),
        _ => None,
    })
}

impl TryFrom<String> for BundlePath {
    type Error = BadPath;

    fn try_from(text: String) -> Result<Self, BadPath> {
        Self::new(text)
    }
}

impl From<BundlePath> for String {
    fn from(path: BundlePath) -> Self {
        path.0
    }
}

impl std::fmt::Display for BundlePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_files_pass() {
        for good in [
            "manifest.json",
            "run/trials/send-tcp.xen-3.1a.v8.r1/raw/vm1.iperf3.client.json.times",
            "a/.hidden/x..y/...",
        ] {
            assert_eq!(BundlePath::new(good).unwrap().as_str(), good);
        }
        let path = BundlePath::new("a/b/c").unwrap();
        assert_eq!(path.ancestors().collect::<Vec<_>>(), ["a/b/c", "a/b", "a"]);
    }

    #[test]
    fn whatever_could_lead_elsewhere_is_refused_by_its_name() {
        let long = "a/".repeat(100) + "b";
        let long_part = "a".repeat(101);
        for (bad, why) in [
            ("", "empty"),
            ("/etc/passwd", "absolute"),
            ("//a", "absolute"),
            ("../a", "lead elsewhere"),
            ("a/../../b", "lead elsewhere"),
            ("a/./b", "lead elsewhere"),
            ("..", "lead elsewhere"),
            ("a//b", "empty"),
            ("a/", "empty"),
            ("a\0b", "NUL"),
            ("a\\..\\b", "backslash"),
            ("C:x", "other than letters"),
            ("-rf", "options"),
            ("a/-rf", "options"),
            ("a b", "other than letters"),
            ("a\nb", "other than letters"),
            ("caf\u{e9}", "ASCII"),
            ("cafe\u{301}", "ASCII"),
            (long.as_str(), "longer than 200"),
            (long_part.as_str(), "longer than 100"),
        ] {
            let error = BundlePath::new(bad).unwrap_err();
            assert!(error.why.contains(why), "{bad:?}: {error}");
        }
    }
}
