//! Names that are known: this computer's users and name, what the study says of its authors and machines, and what
//! programs say of the computers that they ran on.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;
use vexp_api::record::Computer;
use vexp_api::run_dir::{RECORD_BYTES, read_named};
use vexp_api::spec::Study;

use super::{Kind, pattern};
use crate::error::Failure;

/// A name that must not be seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::commands::bundle) struct Secret {
    pub(super) kind: Kind,
    pub(super) text: String,
    /// Whether it must stand alone: short names are parts of other words.
    pub(super) alone: bool,
}

/// Letters from which on a name is looked for within words, too.
const WITHIN: usize = 5;
/// Shortest name that is looked for.
const LEAST: usize = 3;

impl Secret {
    /// A name, unless it is too short to name anybody, or everybody's.
    pub(in crate::commands::bundle) fn new(kind: Kind, text: &str) -> Option<Self> {
        let text = text.trim();
        let letters = text.chars().count();
        if letters < LEAST || kind != Kind::Word && is_everybodys(text) {
            return None;
        }
        Some(Self {
            kind,
            text: text.to_owned(),
            alone: letters < WITHIN,
        })
    }

    pub(in crate::commands::bundle) fn kind(&self) -> Kind {
        self.kind
    }

    /// A family name, which may be another word's part.
    fn alone(kind: Kind, text: &str) -> Option<Self> {
        Some(Self {
            alone: true,
            ..Self::new(kind, text)?
        })
    }

    pub(super) fn pattern(&self) -> String {
        let text = regex::escape(&self.text);
        if self.alone {
            format!(r"\b{text}\b")
        } else {
            text
        }
    }
}

/// Names that computers and users have everywhere, and that vexp gives.
const EVERYBODYS: &[&str] = &[
    "root",
    "admin",
    "user",
    "users",
    "test",
    "debian",
    "ubuntu",
    "fedora",
    "centos",
    "linux",
    "localhost",
    "localhost.localdomain",
    "host",
    "guest",
    "node",
    "peer",
    "server",
    "client",
    "router",
    "machine",
    "computer",
    "vexp",
    "xen",
    "kvm",
    "qemu",
    "build",
    "runner",
    "docker",
    "nobody",
    "daemon",
    "none",
    "unknown",
    "any",
];

fn is_everybodys(text: &str) -> bool {
    let folded = text.to_lowercase();
    let stem = folded.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = ["host", "vm", "peer", "guest", "dom", "node", ""].contains(&stem);
    EVERYBODYS.contains(&folded.as_str()) || numbered
}

/// Users of this computer who are about the run, and its name.
pub(in crate::commands::bundle) fn on_this_computer(run: &Path) -> Vec<Secret> {
    let mut found = BTreeSet::new();
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    for name in ["USER", "LOGNAME", "SUDO_USER"] {
        found.extend(Secret::new(Kind::User, &env(name)));
    }
    let mut owners = BTreeSet::from([rustix::process::getuid().as_raw()]);
    owners.extend(env("SUDO_UID").parse::<u32>());
    owners.extend(run.metadata().map(|of| of.uid()));
    for line in text("/etc/passwd").lines() {
        // passwd(5): name, password, user, group, whose it is, home, shell.
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, _, about, home, ..] = fields[..] else {
            continue;
        };
        if id
            .parse()
            .is_ok_and(|id: u32| id != 0 && owners.contains(&id))
        {
            found.extend(Secret::new(Kind::User, name));
            found.extend(Secret::new(
                Kind::Author,
                about.split(',').next().unwrap_or_default(),
            ));
            found.extend(
                Some(home)
                    .filter(|home| home.len() > 4)
                    .and_then(|home| Secret::new(Kind::Folder, home)),
            );
        }
    }
    let host = vexp_api::host::name();
    found.extend(Secret::new(Kind::Host, &host));
    found.extend(
        host.split('.')
            .next()
            .and_then(|short| Secret::new(Kind::Host, short)),
    );
    let configured = run
        .canonicalize()
        .into_iter()
        .chain(std::env::current_dir());
    for folder in configured {
        for above in folder.ancestors() {
            git(&above.join(".git/config"), &mut found);
        }
    }
    let home = env("HOME");
    if !home.is_empty() {
        git(&Path::new(&home).join(".gitconfig"), &mut found);
        git(&Path::new(&home).join(".config/git/config"), &mut found);
    }
    found.into_iter().collect()
}

fn text(path: impl AsRef<Path>) -> String {
    let bytes = read_named(path.as_ref(), RECORD_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Who somebody is to git, and where they push to.
fn git(config: &Path, found: &mut BTreeSet<Secret>) {
    for line in text(config).lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let kind = match name.trim() {
            "name" => Kind::Author,
            "email" => Kind::Mail,
            "url" | "pushurl" => Kind::Repository,
            _ => continue,
        };
        found.extend(Secret::new(kind, value.trim().trim_matches('"')));
    }
}

/// An author's name, in both orders if it is `FAMILY, GIVEN`, and the family's alone.
pub(in crate::commands::bundle) fn author(name: &str) -> Vec<Secret> {
    let mut found = Vec::from_iter(Secret::new(Kind::Author, name));
    let family = match name.split_once(',') {
        Some((family, given)) => {
            let (family, given) = (family.trim(), given.trim());
            found.extend(Secret::new(Kind::Author, &format!("{given} {family}")));
            Some(family)
        }
        None => name.split_whitespace().next_back(),
    };
    found.extend(family.and_then(|family| Secret::alone(Kind::Author, family)));
    found
}

/// What the study says of its authors, and of machines that are somebody's own.
pub(in crate::commands::bundle) fn of_study(study: &Study) -> Vec<Secret> {
    let mut found = Vec::new();
    if let Some(paper) = &study.paper {
        found.extend(paper.authors.iter().flat_map(|name| author(name)));
        let contact = paper.contact.as_deref();
        found.extend(contact.and_then(|contact| Secret::new(Kind::Mail, contact)));
        let code = paper.code.as_deref();
        found.extend(code.and_then(|code| Secret::new(Kind::Repository, code)));
        let identifiers = paper.doi.iter().chain(&paper.archive);
        found.extend(identifiers.filter_map(|doi| Secret::new(Kind::Identifier, doi.as_str())));
    }
    // Numbers and names can always be written.
    let value = serde_json::to_value(study).unwrap_or_default();
    let overlays = value["testbeds"].as_object().into_iter().flatten();
    for (_, overlay) in overlays {
        machines(&overlay["options"], &mut found);
    }
    found
}

/// Machines of an inventory, or of a worker's manifest: what reaches them, by the names of its fields.
pub(in crate::commands::bundle) fn machines(value: &Value, found: &mut Vec<Secret>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("inventory", Value::Object(machines)) => {
                        found.extend(
                            machines
                                .keys()
                                .filter_map(|name| Secret::new(Kind::Host, name)),
                        );
                    }
                    ("ssh" | "address" | "control", Value::String(text)) => reached(text, found),
                    ("jump", Value::Array(jumps)) => {
                        jumps
                            .iter()
                            .filter_map(Value::as_str)
                            .for_each(|text| reached(text, found));
                    }
                    ("user", Value::String(text)) => found.extend(Secret::new(Kind::User, text)),
                    ("identity" | "known_hosts" | "config" | "ssh_config", Value::String(path)) => {
                        let own = !path.starts_with("/run/vexp/");
                        found.extend(Secret::new(Kind::Folder, path).filter(|_| own));
                    }
                    _ => {}
                }
                machines(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| machines(value, found)),
        _ => {}
    }
}

/// A node of a batch engine that measured trials.
pub(in crate::commands::bundle) fn computer(computer: &Computer) -> Vec<Secret> {
    let mut found = Vec::new();
    reached(&computer.node, &mut found);
    found
}

/// `[user@]host[:port]`, or an address with its prefix.
fn reached(text: &str, found: &mut Vec<Secret>) {
    let (user, host) = text
        .rsplit_once('@')
        .map_or((None, text), |(user, host)| (Some(user), host));
    found.extend(user.and_then(|user| Secret::new(Kind::User, user)));
    let host = host.split('/').next().unwrap_or(host);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() && !name.contains(':') => name,
        _ => host,
    };
    match host.parse::<std::net::IpAddr>() {
        Err(_) => {
            found.extend(Secret::new(Kind::Host, host));
            found.extend(
                host.split('.')
                    .next()
                    .and_then(|short| Secret::new(Kind::Host, short)),
            );
        }
        // Those that vexp gives to its own machines are the same everywhere.
        Ok(std::net::IpAddr::V4(v4))
            if v4.octets()[0] == 198 && matches!(v4.octets()[1], 18 | 19) => {}
        Ok(address) => found.extend(Secret::new(Kind::Address, &address.to_string())),
    }
}

/// Computers' names and keys' comments in what programs printed.
pub(in crate::commands::bundle) fn in_run(bytes: &[u8]) -> Result<Vec<Secret>, Failure> {
    // sysstat's first line; iperf3; sysstat's JSON; `xl info`; a console.
    let hosts = pattern(
        r#"(?m-u)^Linux [^ \n]+ \(([^)\s]+)\)|"system_info":\s*"Linux ([^ "]+) |"nodename":\s*"([^"]+)"|^host +: ([^\s]+)$|^([^\s]+) login:"#,
    )?;
    let keys = pattern(
        "(?-u)(?:ssh-[a-z0-9]+|ecdsa-sha2-[a-z0-9-]+) AAAA[A-Za-z0-9+/=]{8,} ([^\\s\"'\\\\<]+)",
    )?;
    let mut found = BTreeSet::new();
    for (pattern, kind) in [(&hosts, Kind::Host), (&keys, Kind::Key)] {
        for all in pattern.captures_iter(bytes) {
            let text = all.iter().skip(1).flatten().next();
            let text = text.map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
            found.extend(text.and_then(|text| Secret::new(kind, &text)));
        }
    }
    Ok(found.into_iter().collect())
}
