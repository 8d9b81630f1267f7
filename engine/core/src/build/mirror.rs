//! Which Debian archives packages come from: those that the host's own apt uses. Their addresses are
//! never written into the lock, the image or the repository.
//!
//! What apt can fetch from, vexp can, since apt's own downloader gets the packages, with the proxies
//! and the credentials that apt is configured with. Only mirror lists (apt-transport-mirror(1)) are
//! read here: that method takes nothing but its own indexes.

use std::fmt;
use std::path::Path;

use super::command::{capture, mortal, run};
use super::{BuildError, definition::BadWord};

/// Overrides the host's archives: addresses between blanks, which are tried in order. One may also
/// be a snapshot of the archive.
pub(super) const VARIABLE: &str = "VEXP_DEBIAN_MIRROR";

/// Debian's own, behind a content network: where the host's apt knows none.
const BUILT_IN: &str = "http://deb.debian.org/debian/";
/// Archives that are tried at most: a mirror list may have hundreds.
const MOST: usize = 8;
/// Where apt has its methods, one program for each scheme.
const METHODS: &str = "/usr/lib/apt/methods";

/// Address of an archive, ending in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror(String);

impl Mirror {
    /// # Errors
    /// The text is no address, or apt has no method for its scheme.
    pub(super) fn new(text: &str) -> Result<Self, BadWord> {
        let plain = |c: char| c.is_ascii_graphic() && !"'\"\\|[]".contains(c);
        let known = text.split_once(":/").is_some_and(|(scheme, _)| {
            let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '+';
            let usual = ["http", "https", "file", "copy"].contains(&scheme);
            let fetches = !["store", "rred", "gpgv", "mirror", "cdrom"].contains(&scheme)
                && !scheme.starts_with("mirror+");
            let method = || Path::new(METHODS).join(scheme).exists();
            usual || (fetches && !scheme.is_empty() && scheme.chars().all(letters) && method())
        });
        if !known || !text.chars().all(plain) {
            return Err(BadWord {
                text: text.to_owned(),
                what: "the address of a Debian archive that apt can fetch from (http:, https:, \
                       file:, copy:, or a scheme in /usr/lib/apt/methods)",
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

/// `$VEXP_DEBIAN_MIRROR`, else what apt is configured with, else Debian's own archive: at least one,
/// in the order in which they are to be tried.
///
/// # Errors
/// The variable has something that is no address.
pub(super) fn find(logs: &Path) -> Result<Vec<Mirror>, BuildError> {
    let set = std::env::var(VARIABLE).unwrap_or_default();
    let set: Vec<&str> = set.split_whitespace().collect();
    if !set.is_empty() {
        let mirrors = set.into_iter().map(Mirror::new);
        return mirrors
            .collect::<Result<_, _>>()
            .map_err(BuildError::Mirror);
    }
    // An apt that does not even know its sources is as good as none: the downloader says more.
    let known = targets(&[], logs).unwrap_or_default();
    let unlabelled = || targets(&["--no-release-info"], logs).unwrap_or_default();
    let read = |address: &str| list(address, logs);
    let mut found = archives(&known, &read);
    if found.is_empty() {
        found = archives(&unlabelled(), &read);
    }
    if found.is_empty() {
        found.extend(Mirror::new(BUILT_IN));
    }
    Ok(found)
}

/// apt's index files, one a line. Without release information apt lists them before an update, too.
fn targets(options: &[&str], logs: &Path) -> Result<String, BuildError> {
    let mut command = mortal("apt-get");
    command
        .arg("indextargets")
        .args(options)
        .args(["--format", "$(LABEL)|$(CREATED_BY)|$(REPO_URI)|$(CODENAME)"]);
    let log = logs.join("mirror.log");
    Ok(capture("find the Debian archive", &mut command, &log)?)
}

/// A mirror list's text, or nothing: its archive is then one that can't be used.
fn list(address: &str, logs: &Path) -> Option<String> {
    let file = address
        .strip_prefix("file:")
        .or_else(|| address.strip_prefix("copy:"));
    if let Some(path) = file {
        let path = Path::new(path.trim_start_matches("//"));
        return std::fs::read_to_string(Path::new("/").join(path)).ok();
    }
    let folder = tempfile::tempdir().ok()?;
    let target = folder.path().join("list");
    let mut command = mortal("/usr/lib/apt/apt-helper");
    command
        .args(["-qq", "-o", "APT::Sandbox::User=root"])
        .arg("download-file")
        .args([address.as_ref(), target.as_os_str()]);
    let log = logs.join("mirror-list.log");
    run("fetch the list of mirrors", &mut command, &log).ok()?;
    std::fs::read_to_string(target).ok()
}

/// The archives that call themselves Debian, each once. apt knows that name from the archive's
/// Release file, so only after an `apt-get update`; before that, an address is as good as its last
/// part. `read` gives the text of the mirror list at an address.
fn archives(text: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Mirror> {
    let targets = text.lines().filter_map(|line| {
        let mut words = line.split('|');
        let (label, kind) = (words.next()?, words.next()?);
        let uri = words.next()?;
        (kind == "Packages").then_some((label, uri))
    });
    let mut seen: Vec<&str> = Vec::new();
    let mut found: Vec<Mirror> = Vec::new();
    for (label, uri) in targets {
        let unknown = label.is_empty() || label.starts_with("$(");
        if !(label == "Debian" || unknown) || seen.contains(&uri) {
            continue;
        }
        seen.push(uri);
        for address in addresses(uri, read) {
            let named = address.trim_end_matches('/').ends_with("/debian");
            match Mirror::new(&address) {
                Ok(mirror) if (!unknown || named) && !found.contains(&mirror) => found.push(mirror),
                _ => {}
            }
        }
    }
    found.truncate(MOST);
    found
}

/// What stands behind an address in apt's sources: itself, or the addresses of its mirror list, best
/// first.
fn addresses(uri: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let listed = match (uri.strip_prefix("mirror+"), uri.strip_prefix("mirror:")) {
        (Some(rest), _) => rest.to_owned(),
        (None, Some(rest)) => format!("http:{rest}"),
        (None, None) => return vec![uri.to_owned()],
    };
    let text = read(listed.trim_end_matches('/')).unwrap_or_default();
    let mut lines: Vec<(u32, &str)> = text.lines().filter_map(entry).collect();
    lines.sort_by_key(|(priority, _)| *priority);
    lines.into_iter().map(|(_, uri)| uri.to_owned()).collect()
}

/// A line of a mirror list, apt-transport-mirror(1): an address and its priority, the least being the
/// best. `None` for what is not meant for packages of amd64.
fn entry(line: &str) -> Option<(u32, &str)> {
    let mut words = line.split_whitespace();
    let uri = words.next().filter(|word| !word.starts_with('#'))?;
    let options: Vec<(&str, &str)> = words.filter_map(|word| word.split_once(':')).collect();
    let of = |name: &'static str| options.iter().filter(move |(key, _)| *key == name);
    let fits = |name: &'static str, wanted: &[&str]| {
        of(name).count() == 0 || of(name).any(|(_, value)| wanted.contains(value))
    };
    let priority = of("priority").find_map(|(_, value)| value.parse().ok());
    let fits = fits("arch", &["amd64", "all"]) && fits("type", &["deb"]);
    fits.then_some((priority.unwrap_or(u32::MAX), uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, lists: &[(&str, &str)]) -> Vec<String> {
        let read = |address: &str| {
            let list = lists.iter().find(|(known, _)| *known == address);
            list.map(|(_, text)| (*text).to_owned())
        };
        let mirrors = archives(text, &read);
        mirrors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_apt_index_targets() {
        let text = "\
Node|Packages|https://node.example/x/|nodistro
Debian-Security|Packages|http://a.example/debian-security/|bookworm-security
Debian|DEP-11|http://wrong.example/debian/|bookworm
Debian|Packages|http://a.example/debian/|bookworm
Debian|Packages|http://a.example/debian/|bookworm-updates
Debian|Packages|https://b.example/mirrors/d/|bookworm
Debian|Packages|cdrom:[Debian]/|bookworm
";
        let all = ["http://a.example/debian/", "https://b.example/mirrors/d/"];
        assert_eq!(found(text, &[]), all);
        let before_update = "$(LABEL)|Packages|http://a.example/debian/|$(CODENAME)\n\
                             $(LABEL)|Packages|http://a.example/other/|$(CODENAME)\n";
        assert_eq!(found(before_update, &[]), ["http://a.example/debian/"]);
        let other = "Ubuntu|Packages|http://u.example/debian/|n\n";
        assert!(found(other, &[]).is_empty() && found("", &[]).is_empty());
    }

    /// As apt 2.6.1 says it of `URIs: mirror+file:///etc/apt/mirrors/debian.list`, which is in Debian 12's
    /// cloud images, after and before an update.
    #[test]
    fn mirror_lists_are_read() {
        let lists = [
            (
                "file:/etc/apt/mirrors/debian.list",
                "# ours\nhttps://deb.debian.org/debian\n",
            ),
            (
                "https://m.example/list.txt",
                "http://last.example/debian\n\
                 http://second.example/debian/\tpriority:2\n\
                 http://arm.example/debian\tpriority:1 arch:arm64\n\
                 http://index.example/debian\tpriority:1\ttype:index\n\
                 https://first.example/debian/ priority:1 arch:amd64 arch:arm64 type:deb\n",
            ),
            (
                "http://old.example/list",
                "ftp:nonsense\nhttp://old.example/debian\n",
            ),
        ];
        for label in ["Debian", "$(LABEL)"] {
            let of = |uri: &str| found(&format!("{label}|Packages|{uri}|bookworm\n"), &lists);
            let cloud = of("mirror+file:/etc/apt/mirrors/debian.list/");
            assert_eq!(cloud, ["https://deb.debian.org/debian/"]);
            let all = ["https://first", "http://second", "http://last"];
            let all = all.map(|start| format!("{start}.example/debian/"));
            assert_eq!(of("mirror+https://m.example/list.txt/"), all);
            assert_eq!(
                of("mirror://old.example/list/"),
                ["http://old.example/debian/"]
            );
            assert!(of("mirror+file:/nowhere/").is_empty());
        }
    }

    #[test]
    fn lists_are_read_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("debian list");
        std::fs::write(&path, "http://a.example/debian\n").unwrap();
        for scheme in ["file:", "file://", "copy:"] {
            let text = list(&format!("{scheme}{}", path.display()), folder.path());
            assert_eq!(
                text.as_deref(),
                Some("http://a.example/debian\n"),
                "{scheme}"
            );
        }
        assert_eq!(list("file:/nowhere/at/all", folder.path()), None);
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
            "gopher://x/",
            "store:/x",
            "../x:/y",
            "mirror+file:/x",
            "http://x/ [trusted=yes]",
            "http://x/'",
        ] {
            assert!(Mirror::new(bad).is_err(), "{bad}");
        }
        assert!(Mirror::new(BUILT_IN).is_ok());
    }

    #[test]
    fn changed_answers_of_apt_are_read_or_refused() {
        use vexp_testkit::hostile::on_changed_text as on;
        let targets = "Debian|Packages|http://a.example/debian/|bookworm\n\
                       Debian|Packages|mirror+file:///etc/apt/mirrors/debian.list|bookworm\n";
        let list = "http://b.example/debian/ priority:1\nhttps://c.example/debian/\n";
        on(100, targets, |text| {
            drop(archives(text, &|_| Some(list.to_owned())))
        });
        on(100, list, |text| {
            drop(archives(targets, &|_| Some(text.to_owned())))
        });
    }
}
