//! What can be told by its form alone: addresses, folders, keys, time zones, repositories.

use std::net::{Ipv4Addr, Ipv6Addr};

use regex::bytes::Regex;

use super::{Hit, Kind, pattern};
use crate::error::Failure;

/// Pseudonyms have these in them, and are never replaced again.
pub(super) const NOWHERE: &str = "anon.invalid";

/// Whether text of a form is somebody's.
type Meant = fn(&str) -> bool;

/// A form: what group 1 matches, if the function does not say that it is nobody's.
struct Form {
    kind: Kind,
    pattern: Regex,
    meant: Meant,
}

pub(super) struct Forms {
    forms: Vec<Form>,
    show: Vec<String>,
}

fn always(_: &str) -> bool {
    true
}

/// Units of systemd look like addresses: `getty@tty1.service`. So do algorithms of SSH: `…@openssh.com`.
fn is_mail(text: &str) -> bool {
    let not = [
        ".service",
        ".socket",
        ".target",
        ".slice",
        ".mount",
        ".timer",
        ".device",
        ".scope",
        ".path",
        "@openssh.com",
        "@libssh.org",
        "@lysator.liu.se",
        NOWHERE,
    ];
    !not.iter().any(|end| text.ends_with(end))
}

fn is_elsewhere(text: &str) -> bool {
    !text.contains(NOWHERE)
}

/// Whether an IPv4 address can be somebody's: not those that vexp gives to machines of its own, nor those of any
/// private network or for documents.
fn is_public(text: &str) -> bool {
    let Ok(address) = text.parse::<Ipv4Addr>() else {
        return false;
    };
    let benchmark = address.octets()[0] == 198 && (18..=19).contains(&address.octets()[1]);
    let first = address.octets()[0];
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || benchmark
        || first == 0
        || first >= 224)
}

/// Global addresses of IPv6, and those of a link that are made of a NIC's own.
fn is_global(text: &str) -> bool {
    let Ok(address) = text.parse::<Ipv6Addr>() else {
        return false;
    };
    let parts = address.segments();
    let documents = parts[0] == 0x2001 && parts[1] == 0xdb8;
    let global = parts[0] & 0xe000 == 0x2000 && !documents;
    let of_a_nic =
        parts[0] == 0xfe80 && address.octets()[11..13] == [0xff, 0xfe] && parts[4] & 0x0200 != 0;
    global || of_a_nic
}

/// Addresses that a maker gave; those of emulated NICs are administered locally, or Xen's.
fn is_makers(text: &str) -> bool {
    let first = text
        .get(..2)
        .and_then(|byte| u8::from_str_radix(byte, 16).ok());
    let made = first.is_some_and(|byte| byte & 0x03 == 0);
    made && !text.to_ascii_lowercase().starts_with("00:16:3e")
        && text.bytes().any(|b| !b"0:".contains(&b))
}

fn is_offset(text: &str) -> bool {
    text.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

fn is_zone(text: &str) -> bool {
    !["GMT", "UTC"].contains(&text)
}

/// Folders below `/` that people have things in. Those of the system are the same on every computer.
const PLACES: &str = "home|Users|export|srv|mnt|media|data|scratch|nfs|work|projects?|users";

impl Forms {
    pub(super) fn new(run: &str, show: &[String]) -> Result<Self, Failure> {
        // A sentence may end behind a path.
        let (part, last) = ("[A-Za-z0-9_.@+,=~-]+", "[A-Za-z0-9_@+=~-]");
        let path = "(?:/[A-Za-z0-9_.@+,=~-]+)+";
        let before = r#"(?:^|[^A-Za-z0-9_./~-])"#;
        let zones =
            "Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific";
        let time = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?";
        let git =
            r"[A-Za-z0-9.-]*(?:github|gitlab|bitbucket|codeberg|gitea|git|sr\.ht)[A-Za-z0-9.-]*";
        let run = regex::escape(run);
        let forms: Vec<(Kind, String, Meant)> = vec![
            // In quotes a folder's name may have anything in it.
            (
                Kind::Folder,
                format!("(?-u)\"(/[^\"\\n]*)/{run}"),
                not_of_vexp,
            ),
            (Kind::Folder, format!("(?m-u){before}({path})/{run}"), not_of_vexp),
            (Kind::Folder, format!("(?m-u){before}(/(?:{PLACES})(?:/{part})*/(?:{part})?{last})"), always),
            (
                Kind::Mail,
                r"(?-u)([A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})".to_owned(),
                is_mail,
            ),
            (
                Kind::Key,
                "(?-u)(?:ssh-[a-z0-9]+|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) \
                 (AAAA[A-Za-z0-9+/=]{8,}(?: [^ \\s\"'\\\\<]+)?)"
                    .to_owned(),
                always,
            ),
            (Kind::Key, "(?-u)(SHA256:[A-Za-z0-9+/]{43})".to_owned(), always),
            (Kind::Zone, format!(r"(?-u)\b((?:{zones})/[A-Z][A-Za-z_+-]+(?:/[A-Z][A-Za-z_]+)?)\b"), always),
            (Kind::Zone, format!(r"(?-u)\b{time} ?([+-][0-9]{{2}}:?[0-9]{{2}})\b"), is_offset),
            (Kind::Zone, format!(r"(?-u)\b{time}(?: [AP]M)? ([A-Z]{{2,4}}T)\b"), is_zone),
            (
                Kind::Repository,
                format!("(?-u)((?:ssh|git|https?)://(?:[^\\s\"'@/<>]+@)?{git}(?::[0-9]+)?/[^\\s\"'<>)\\],;\\\\]+)"),
                is_elsewhere,
            ),
            (Kind::Repository, r"(?-u)\b(git@[A-Za-z0-9.-]+:[A-Za-z0-9_~./-]+)".to_owned(), is_elsewhere),
            (
                Kind::Address,
                r"(?m-u)(?:^|[^A-Za-z0-9.:=~+-])([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?:$|[^A-Za-z0-9.~+-]|\.$|\.[^0-9])".to_owned(),
                is_public,
            ),
            (
                Kind::Address,
                r"(?m-u)(?:^|[^A-Za-z0-9.:])([0-9A-Fa-f]{1,4}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{1,4})(?:$|[^A-Za-z0-9.:])".to_owned(),
                is_global,
            ),
            (
                Kind::Address,
                r"(?m-u)(?:^|[^0-9A-Fa-f:])((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2})(?:$|[^0-9A-Fa-f:])".to_owned(),
                is_makers,
            ),
        ];
        let forms = forms.into_iter().map(|(kind, text, meant)| {
            let pattern = pattern(&text)?;
            Ok(Form {
                kind,
                pattern,
                meant,
            })
        });
        Ok(Self {
            forms: forms.collect::<Result<_, Failure>>()?,
            show: show.to_vec(),
        })
    }

    /// Adds what is found.
    pub(super) fn find(&self, bytes: &[u8], hits: &mut Vec<Hit>) {
        for Form {
            kind,
            pattern,
            meant,
        } in &self.forms
        {
            let mut from = 0;
            // What ends a hit may begin the next: `a, b`.
            while let Some(found) = pattern.captures_at(bytes, from).and_then(|all| all.get(1)) {
                from = found.end();
                let text = String::from_utf8_lossy(found.as_bytes());
                let shown = self
                    .show
                    .iter()
                    .any(|show| show.eq_ignore_ascii_case(&text));
                if meant(&text) && !shown {
                    hits.push(Hit {
                        kind: *kind,
                        start: found.start(),
                        end: found.end(),
                    });
                }
            }
        }
    }
}

/// Folders that `--anonymous` made.
fn not_of_vexp(text: &str) -> bool {
    !text.starts_with("/anon/")
}
