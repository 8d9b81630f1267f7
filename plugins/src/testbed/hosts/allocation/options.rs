//! What a study, and the user, say of an allocation: typed words that no command takes for anything else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vexp_api::units::TimeSpan;

/// Most nodes of an allocation.
const MOST_NODES: u32 = 4096;
/// Longest allocation, seconds: a month.
const LONGEST: u64 = 31 * 24 * 3600;

/// Whose allocation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum Engine {
    Slurm,
    Oar,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Slurm => "Slurm",
            Self::Oar => "OAR",
        })
    }
}

/// A name of the engine's: a partition, an account, a property.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in super::super) struct Word(String);

/// Features of nodes, joined by Slurm's operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in super::super) struct Constraint(String);

/// What is wrong with a text.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not {what}", .text.escape_debug())]
pub(in super::super) struct BadWord {
    text: String,
    what: &'static str,
}

impl TryFrom<String> for Word {
    type Error = BadWord;

    fn try_from(text: String) -> Result<Self, BadWord> {
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let all = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
        let what =
            "a name: letters, digits, `.`, `_`, `@`, `+`, `-`, beginning with a letter or digit";
        match first && text.len() <= 255 && text.chars().all(all) {
            true => Ok(Self(text)),
            false => Err(BadWord { text, what }),
        }
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        word.0
    }
}

impl Word {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Constraint {
    type Error = BadWord;

    fn try_from(text: String) -> Result<Self, BadWord> {
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "([".contains(c));
        let all = |c: char| c.is_ascii_alphanumeric() || "._@+:&|*,()[]-".contains(c);
        let what = "features of nodes, as `salloc --constraint` takes them";
        match first && text.len() <= 255 && text.chars().all(all) {
            true => Ok(Self(text)),
            false => Err(BadWord { text, what }),
        }
    }
}

impl From<Constraint> for String {
    fn from(constraint: Constraint) -> Self {
        constraint.0
    }
}

/// Machines that a batch engine lends; see `contract.ncl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Allocation {
    pub(super) engine: Engine,
    pub(in super::super) nodes: u32,
    pub(super) time: TimeSpan,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<Word>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<Word>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) qos: Option<Word>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) constraint: Option<Constraint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) queue: Option<Word>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) types: Vec<Word>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) properties: BTreeMap<Word, Word>,
}

/// What the user says, which goes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct OwnAllocation {
    #[serde(default)]
    partition: Option<Word>,
    #[serde(default)]
    account: Option<Word>,
    #[serde(default)]
    qos: Option<Word>,
    #[serde(default)]
    queue: Option<Word>,
}

impl Allocation {
    /// With what the user says of such allocations.
    pub(in super::super) fn of_user(mut self, own: &OwnAllocation) -> Self {
        let first = |own: &Option<Word>, study: Option<Word>| own.clone().or(study);
        self.account = first(&own.account, self.account);
        match self.engine {
            Engine::Slurm => {
                self.partition = first(&own.partition, self.partition);
                self.qos = first(&own.qos, self.qos);
            }
            Engine::Oar => self.queue = first(&own.queue, self.queue),
        }
        self
    }

    /// Holds the options against each other.
    ///
    /// # Errors
    /// What is wrong.
    pub(in super::super) fn check(&self) -> Result<(), String> {
        if self.nodes == 0 || self.nodes > MOST_NODES {
            return Err(format!("allocation.nodes: 1 to {MOST_NODES} are possible"));
        }
        let seconds = self.seconds();
        if self.time.nanos() == 0 || seconds > LONGEST {
            return Err("allocation.time: more than none, and a month at most".to_owned());
        }
        let others: Vec<_> = match self.engine {
            Engine::Slurm => vec![
                ("queue", self.queue.is_some()),
                ("types", !self.types.is_empty()),
                ("properties", !self.properties.is_empty()),
            ],
            Engine::Oar => vec![
                ("partition", self.partition.is_some()),
                ("qos", self.qos.is_some()),
                ("constraint", self.constraint.is_some()),
            ],
        };
        match others.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((field, _)) => Err(format!("allocation.{field}: {} has none", self.engine)),
        }
    }

    /// How long, in seconds, rounded up.
    pub(super) fn seconds(&self) -> u64 {
        self.time.nanos().div_ceil(1_000_000_000)
    }

    /// It, for people.
    pub(super) fn in_words(&self) -> String {
        let mut text = format!("{} nodes of {} for {}", self.nodes, self.engine, self.time);
        let words = [
            ("partition", &self.partition),
            ("queue", &self.queue),
            ("account", &self.account),
            ("qos", &self.qos),
        ];
        for (what, word) in words {
            if let Some(word) = word {
                text.push_str(&format!(", {what} {}", word.0));
            }
        }
        text
    }

    pub(super) fn constraint(&self) -> Option<&str> {
        self.constraint.as_ref().map(|text| text.0.as_str())
    }
}
