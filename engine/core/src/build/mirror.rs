//! Which Debian archive packages come from: the one that the host's own apt uses. Its address is
//! never written into the lock, the image or the repository.

use std::fmt;
use std::path::Path;

use super::command::{capture, mortal};
use super::{BuildError, definition::BadWord};

/// Overrides the mirror; may also name a snapshot of the archive.
pub(super) const VARIABLE: &str = "VEXP_DEBIAN_MIRROR";

/// Address of an archive, ending in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror(String);

impl Mirror {
    pub(super) fn new(text: &str) -> Result<Self, BadWord> {
        let schemes = ["http://", "https://", "copy:/", "file:/"];
        let plain = |c: char| c.is_ascii_graphic() && !"'\"\\|[]".contains(c);
        if !schemes.iter().any(|scheme| text.starts_with(scheme)) || !text.chars().all(plain) {
            return Err(BadWord {
                text: text.to_owned(),
                what: "the address of a Debian archive (http:, https:, file: or copy:)",
            });
        }
        // apt's `file` method gives a path and no file; `copy` takes the same addresses.
        let text = match text.strip_prefix("file:") {
            Some(path) => format!("copy:{path}"),
            None => text.to_owned(),
        };
        Ok(Self(format!("{}/", text.trim_end_matches('/'))))
    }

    /// Address of a file.
    pub(super) fn join(&self, filename: &super::lockfile::PoolPath) -> String {
        format!("{}{filename}", self.0)
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `$VEXP_DEBIAN_MIRROR`, else what apt is configured with.
pub(super) fn find(logs: &Path) -> Result<Mirror, BuildError> {
    if let Ok(text) = std::env::var(VARIABLE)
        && !text.is_empty()
    {
        return Mirror::new(&text).map_err(BuildError::Mirror);
    }
    let mut command = mortal("apt-get");
    command
        .arg("indextargets")
        .args(["--format", "$(LABEL)|$(CREATED_BY)|$(REPO_URI)|$(CODENAME)"]);
    let text = capture(
        "find the Debian mirror",
        &mut command,
        &logs.join("mirror.log"),
    )?;
    from_index_targets(&text).ok_or(BuildError::NoMirror)
}

/// The first archive that calls itself Debian. apt knows that name from the archive's Release
/// file, so only after an `apt-get update`; before that, an address is as good as its last part.
fn from_index_targets(text: &str) -> Option<Mirror> {
    let targets: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split('|');
            let (label, kind) = (words.next()?, words.next()?);
            let uri = words.next()?;
            (kind == "Packages").then_some((label, uri))
        })
        .collect();
    let labelled = targets.iter().find(|(label, _)| *label == "Debian");
    let named = || {
        let unknown = |label: &str| label.is_empty() || label.starts_with("$(");
        let last = |uri: &str| uri.trim_end_matches('/').ends_with("/debian");
        targets
            .iter()
            .find(|(label, uri)| unknown(label) && last(uri))
    };
    let (_, uri) = labelled.or_else(named)?;
    Mirror::new(uri).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_apt_index_targets() {
        let text = "\
Node|Packages|https://node.example/x/|nodistro
Debian-Security|Packages|http://a.example/debian-security/|bookworm-security
Debian|DEP-11|http://wrong.example/debian/|bookworm
Debian|Packages|http://a.example/debian/|bookworm
Debian|Packages|http://b.example/debian/|bookworm-updates
";
        let mirror = from_index_targets(text).unwrap();
        assert_eq!(mirror.to_string(), "http://a.example/debian/");
        let before_update = "$(LABEL)|Packages|http://a.example/debian/|$(CODENAME)\n";
        assert!(from_index_targets(before_update).is_some());
        assert_eq!(
            from_index_targets("Ubuntu|Packages|http://u.example/debian/|n\n"),
            None
        );
        assert_eq!(from_index_targets(""), None);
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(
            Mirror::new("file:///srv/d").unwrap().to_string(),
            "copy:///srv/d/"
        );
        for bad in [
            "",
            "-o",
            "ftp://x/",
            "http://x/ [trusted=yes]",
            "http://x/'",
        ] {
            assert!(Mirror::new(bad).is_err(), "{bad}");
        }
    }
}
