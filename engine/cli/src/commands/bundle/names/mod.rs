//! What names people and places in a run: names that this computer and the run itself know, and what has the form of
//! an address.
//!
//! `vexp export --check` shows such places, and `--anonymous` puts other names there.

mod form;
mod known;
mod replace;

use std::collections::BTreeMap;

use regex::bytes::{Regex, RegexBuilder};
use serde::Serialize;
use vexp_api::exit::Exit;

use crate::error::{Failure, OrExit as _};

pub(super) use known::{Secret, author, computer, in_run, machines, of_study, on_this_computer};
pub(super) use replace::{Replaced, Replacing};

/// What is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Who wrote paper or study.
    Author,
    /// A user's name on a computer.
    User,
    /// A computer.
    Host,
    /// A folder of somebody's own.
    Folder,
    /// An address of a network.
    Address,
    /// An e-mail address.
    Mail,
    /// A public key with its comment, or its fingerprint.
    Key,
    /// A time zone.
    Zone,
    /// A repository.
    Repository,
    /// A DOI.
    Identifier,
    /// What `--hide` names.
    Word,
}

impl Kind {
    /// One of it, for people.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Author => "author's name",
            Self::User => "user name",
            Self::Host => "host name",
            Self::Folder => "folder",
            Self::Address => "network address",
            Self::Mail => "e-mail address",
            Self::Key => "public key or fingerprint",
            Self::Zone => "time zone",
            Self::Repository => "repository",
            Self::Identifier => "DOI",
            Self::Word => "hidden word",
        }
    }
}

/// Where something is named in some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// All that is looked for.
pub(super) struct Names {
    /// The names that are known, longest first, whatever their case.
    exact: Option<Regex>,
    /// Their kinds by their text in small letters.
    kinds: BTreeMap<String, Kind>,
    forms: form::Forms,
}

impl Names {
    /// Names that are known, beside what has a form. `show` are names that mean nobody, though they look so.
    pub(super) fn new(secrets: &[Secret], show: &[String], run: &str) -> Result<Self, Failure> {
        let shown = |text: &str| show.iter().any(|show| show.eq_ignore_ascii_case(text));
        let mut secrets: Vec<&Secret> = secrets
            .iter()
            .filter(|secret| !shown(&secret.text))
            .collect();
        // The longest first, so that a name within a name is not taken out of it; of the same twice, the one that is looked
        // for within words, too.
        secrets.sort_by_key(|secret| {
            let text = secret.text.to_lowercase();
            (std::cmp::Reverse(secret.text.len()), text, secret.alone)
        });
        let mut kinds = BTreeMap::new();
        let mut parts = Vec::new();
        for secret in secrets {
            let folded = secret.text.to_lowercase();
            if kinds.contains_key(&folded) {
                continue;
            }
            parts.push(secret.pattern());
            kinds.insert(folded, secret.kind);
        }
        let exact = match parts.is_empty() {
            true => None,
            false => Some(pattern(&format!("(?i:{})", parts.join("|")))?),
        };
        let forms = form::Forms::new(run, show)?;
        Ok(Self {
            exact,
            kinds,
            forms,
        })
    }

    /// The kinds of the names that are known, by their text in small letters, sorted.
    pub(super) fn known(&self) -> impl Iterator<Item = (&str, Kind)> {
        self.kinds.iter().map(|(text, kind)| (text.as_str(), *kind))
    }

    /// Where known names are.
    pub(super) fn exact<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Hit> + 'a {
        let found = self.exact.iter().flat_map(|exact| exact.find_iter(bytes));
        found.map(|found| {
            let text = String::from_utf8_lossy(found.as_bytes()).to_lowercase();
            Hit {
                kind: self.kinds.get(&text).copied().unwrap_or(Kind::Word),
                start: found.start(),
                end: found.end(),
            }
        })
    }

    /// Everything that names somebody, in order, without overlaps: of two that overlap both are meant.
    pub(super) fn hits(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut all: Vec<Hit> = self.exact(bytes).collect();
        self.forms.find(bytes, &mut all);
        all.sort_by_key(|hit| (hit.start, std::cmp::Reverse(hit.end)));
        let mut hits: Vec<Hit> = Vec::new();
        for hit in all {
            match hits.last_mut() {
                Some(last) if hit.start < last.end => {
                    if hit.end > last.end {
                        if hit.end - hit.start > last.end - last.start {
                            last.kind = hit.kind;
                        }
                        last.end = hit.end;
                    }
                }
                _ => hits.push(hit),
            }
        }
        hits
    }
}

fn pattern(text: &str) -> Result<Regex, Failure> {
    let built = RegexBuilder::new(text).size_limit(64 << 20).build();
    built.or_exit(Exit::Usage)
}

#[cfg(test)]
mod tests;
