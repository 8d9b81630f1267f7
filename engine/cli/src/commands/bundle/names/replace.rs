//! Other names: the same for the same, everywhere.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Kind, Names};

/// What was replaced, of one kind.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(in crate::commands) struct Replaced {
    pub(super) what: Kind,
    /// Different ones.
    names: usize,
    /// Places at which they stood.
    places: usize,
}

impl Replaced {
    /// For people.
    pub(in crate::commands) fn words(&self) -> String {
        let Self {
            names,
            places,
            what,
        } = self;
        format!(
            "replaced: {}, {names} different, {places} in all",
            what.as_str()
        )
    }
}

/// Puts other names into bytes.
pub(in crate::commands::bundle) struct Replacing<'a> {
    names: &'a Names,
    /// By kind and text in small letters.
    given: BTreeMap<(Kind, String), String>,
    count: BTreeMap<Kind, usize>,
    places: BTreeMap<Kind, usize>,
    used: BTreeSet<(Kind, String)>,
}

impl<'a> Replacing<'a> {
    pub(in crate::commands::bundle) fn new(names: &'a Names) -> Self {
        let mut replacing = Self {
            names,
            given: BTreeMap::new(),
            count: BTreeMap::new(),
            places: BTreeMap::new(),
            used: BTreeSet::new(),
        };
        for (text, kind) in names.known() {
            replacing.pseudonym(kind, text);
        }
        replacing
    }

    fn pseudonym(&mut self, kind: Kind, text: &str) -> String {
        let key = (kind, text.to_lowercase());
        if let Some(given) = self.given.get(&key) {
            return given.clone();
        }
        let number = self.count.entry(kind).or_default();
        *number += 1;
        let given = pseudonym(kind, text, *number);
        self.given.insert(key, given.clone());
        given
    }

    /// The bytes with other names; borrowed where there is none.
    pub(in crate::commands::bundle) fn replaced<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let hits = self.names.hits(bytes);
        if hits.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut again = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for hit in hits {
            let text = String::from_utf8_lossy(&bytes[hit.start..hit.end]).into_owned();
            again.extend(&bytes[from..hit.start]);
            again.extend(self.pseudonym(hit.kind, &text).bytes());
            from = hit.end;
            *self.places.entry(hit.kind).or_default() += 1;
            self.used.insert((hit.kind, text.to_lowercase()));
        }
        again.extend(&bytes[from..]);
        Cow::Owned(again)
    }

    /// What was replaced so far.
    pub(in crate::commands::bundle) fn summary(&self) -> Vec<Replaced> {
        let kinds = self.places.iter();
        kinds
            .map(|(what, places)| Replaced {
                what: *what,
                names: self.used.iter().filter(|(kind, _)| kind == what).count(),
                places: *places,
            })
            .collect()
    }
}

/// A name that has the form of what it stands for, so that a study stays a study.
fn pseudonym(kind: Kind, text: &str, number: usize) -> String {
    match kind {
        Kind::Author => format!("Anonymous Author {number}"),
        Kind::User => format!("anon-user{number}"),
        Kind::Host => format!("anon-host{number}"),
        Kind::Folder => format!("/anon/folder{number}"),
        Kind::Mail => format!("person{number}@{}", super::form::NOWHERE),
        Kind::Key => format!("anon-key{number}"),
        Kind::Repository => format!("https://{}/repository{number}", super::form::NOWHERE),
        Kind::Identifier => format!("10.0000/anon{number}"),
        Kind::Word => format!("anon-word{number}"),
        Kind::Zone if text.contains('/') => "Etc/UTC".to_owned(),
        Kind::Zone if text.contains(':') => "+00:00".to_owned(),
        Kind::Zone if text.starts_with(['+', '-']) => "+0000".to_owned(),
        Kind::Zone => "UTC".to_owned(),
        Kind::Address if text.contains('.') => {
            // Networks for documents (RFC 5737), each with 254 addresses.
            let networks = ["192.0.2", "198.51.100", "203.0.113"];
            let network = networks[(number - 1) / 254 % networks.len()];
            format!("{network}.{}", (number - 1) % 254 + 1)
        }
        Kind::Address if text.len() == 17 && text.matches(':').count() == 5 => {
            format!(
                "02:00:00:00:{:02x}:{:02x}",
                number / 256 % 256,
                number % 256
            )
        }
        Kind::Address => format!("2001:db8::{number:x}"),
    }
}
