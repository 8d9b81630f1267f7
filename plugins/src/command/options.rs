//! Options of `command` and `command-monitor`, and the command lines that they make.

use std::time::Duration;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use vexp_api::ids::Name;
use vexp_api::plugin::{Flow, MeasureKind, Refusal};
use vexp_api::sample::Unit;
use vexp_api::shell::Cmd;

/// See `contract.ncl`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandOptions {
    pub(super) argv: Vec<String>,
    pub(super) server: Option<Vec<String>>,
    pub(super) on: Option<Place>,
    pub(super) covers: Option<Covers>,
    pub(super) extract: Vec<Extract>,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    Source,
    Sink,
    Host,
    Guests,
    Peers,
}

/// What a value is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Covers {
    Run,
    Moment,
}

/// A value in the output.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extract {
    pub(super) metric: Name,
    pub(super) unit: Unit,
    #[serde(default = "one")]
    pub(super) scale: f64,
    pub(super) regex: Option<Pattern>,
    pub(super) csv: Option<String>,
    pub(super) json: Option<String>,
}

fn one() -> f64 {
    1.0
}

/// A regular expression with a group `value`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(pub(super) Regex);

/// Bytes of a compiled pattern. The time that a match takes grows with them.
const MOST_REGEX: usize = 512 << 10;

/// Why a text is no [`Pattern`].
#[derive(Debug, thiserror::Error)]
pub(super) enum BadPattern {
    #[error(transparent)]
    Regex(#[from] regex::Error),
    #[error("it has no group `(?<value>…)`")]
    NoValue,
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        let mut builder = RegexBuilder::new(&text);
        let regex = builder.size_limit(MOST_REGEX).build()?;
        match regex.capture_names().flatten().any(|name| name == "value") {
            true => Ok(Self(regex)),
            false => Err(BadPattern::NoValue),
        }
    }
}

impl CommandOptions {
    /// What the contract says, for options that never met it, and what is between two of them.
    pub(super) fn refusals(&self, kind: MeasureKind) -> Vec<Refusal> {
        let mut refused = Vec::new();
        let mut refuse = |option: &str, message: String| {
            refused.push(Refusal::option(option, message));
        };
        let argvs = [("argv", Some(&self.argv)), ("server", self.server.as_ref())];
        for (option, argv) in argvs {
            let Some(argv) = argv else { continue };
            if argv.first().is_none_or(String::is_empty) {
                refuse(option, format!("`{option}` must name a program"));
            }
            if argv.iter().any(|arg| arg.contains('\0')) {
                refuse(
                    option,
                    "no program can be given a NUL in an argument".to_owned(),
                );
            }
            for message in argv.iter().filter_map(|arg| strange(arg, kind)) {
                refuse(option, message);
            }
        }
        let monitor = kind == MeasureKind::Monitor;
        if monitor && self.server.is_some() {
            refuse(
                "server",
                "`server` is for traffic: monitors have none".to_owned(),
            );
        }
        if monitor && self.covers == Some(Covers::Run) {
            let message = "a monitor's whole run is longer than what is measured: let it print values \
                           as it goes on, with `covers = 'moment`";
            refuse("covers", message.to_owned());
        }
        if !monitor && !matches!(self.place(kind), Place::Source | Place::Sink) {
            refuse("on", "traffic runs on `source` or `sink`".to_owned());
        }
        if self.extract.is_empty() {
            refuse(
                "extract",
                "`extract` must name at least one value".to_owned(),
            );
        }
        for message in self.extract.iter().filter_map(Extract::wrong) {
            refuse("extract", message);
        }
        refused
    }

    pub(super) fn place(&self, kind: MeasureKind) -> Place {
        self.on.unwrap_or(match kind {
            MeasureKind::Traffic => Place::Source,
            MeasureKind::Monitor => Place::Host,
        })
    }

    pub(super) fn covers(&self, kind: MeasureKind) -> Covers {
        self.covers.unwrap_or(match kind {
            MeasureKind::Traffic => Covers::Run,
            MeasureKind::Monitor => Covers::Moment,
        })
    }

    /// Whether the program is told of the warm-up, so that it keeps it itself.
    pub(super) fn knows_warm_up(&self) -> bool {
        let words = self.argv.iter().flat_map(|arg| pieces(arg));
        words
            .into_iter()
            .any(|piece| piece == Piece::Word("warm_up"))
    }
}

/// A part of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// As it stands.
    Text(&'a str),
    /// `{word}`: a placeholder.
    Word(&'a str),
    /// `{{word}}`: what would be a placeholder, but is meant.
    Literal(&'a str),
}

/// An argument in parts.
fn pieces(arg: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = arg;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        let double = from.starts_with("{{");
        let inner = &from[if double { 2 } else { 1 }..];
        let word = inner
            .find(|c: char| !(c.is_ascii_lowercase() || c == '_'))
            .unwrap_or(inner.len());
        let (word, after) = inner.split_at(word);
        let close = if double { "}}" } else { "}" };
        let (piece, next) = match after.strip_prefix(close).filter(|_| !word.is_empty()) {
            Some(next) if double => (Piece::Literal(word), next),
            Some(next) => (Piece::Word(word), next),
            None => (Piece::Text("{"), &from[1..]),
        };
        pieces.extend([Piece::Text(before), piece]);
        rest = next;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// What is wrong with an argument's placeholders.
fn strange(arg: &str, kind: MeasureKind) -> Option<String> {
    let known: &[&str] = match kind {
        MeasureKind::Traffic => &["to", "duration", "warm_up"],
        // No flow is a monitor's.
        MeasureKind::Monitor => &["duration", "warm_up"],
    };
    let word = pieces(arg).into_iter().find_map(|piece| match piece {
        Piece::Word(word) if !known.contains(&word) => Some(word),
        _ => None,
    })?;
    let all: Vec<String> = known.iter().map(|word| format!("`{{{word}}}`")).collect();
    Some(format!(
        "nothing stands for `{{{word}}}`: there are {}; for the word itself write `{{{{{word}}}}}`",
        all.join(", ")
    ))
}

/// Samples that vexp makes metrics of, and their units.
const KNOWN: [(&str, Unit); 6] = [
    ("rtt", Unit::Ms),
    ("throughput", Unit::MbPerS),
    ("throughput_sent", Unit::MbPerS),
    ("packets_per_second", Unit::PacketsPerS),
    ("loss", Unit::Percent),
    ("cpu", Unit::CpuPercent),
];

impl Extract {
    /// What is wrong with it.
    fn wrong(&self) -> Option<String> {
        let metric = &self.metric;
        let ways = [
            self.regex.is_some(),
            self.csv.is_some(),
            self.json.is_some(),
        ];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Some(format!("{metric} needs one of `regex`, `csv` and `json`"));
        }
        if !(self.scale.is_finite() && self.scale != 0.0) {
            return Some(format!("the scale of {metric} makes no sense"));
        }
        // RFC 6901.
        let pointer = |json: &String| !json.is_empty() && !json.starts_with('/');
        if self.json.as_ref().is_some_and(pointer) {
            return Some(format!("the JSON pointer of {metric} must begin with `/`"));
        }
        let known = KNOWN.iter().find(|(name, _)| *metric == **name);
        let (_, unit) = known.filter(|(_, unit)| *unit != self.unit)?;
        Some(format!(
            "{metric} is in {unit}: `scale` turns {} into it",
            self.unit
        ))
    }
}

/// What stands for placeholders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) flow: Option<&'a Flow>,
    pub(super) duration: Duration,
    pub(super) warm_up: Duration,
}

impl Values<'_> {
    /// The command with its placeholders filled. Each stays within its argument.
    pub(super) fn fill(&self, argv: &[String]) -> Cmd {
        let mut filled = argv.iter().map(|arg| -> String {
            let filled = pieces(arg).into_iter().map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Word("duration") => self.duration.as_secs_f64().to_string(),
                Piece::Word("warm_up") => self.warm_up.as_secs_f64().to_string(),
                Piece::Word("to") if self.flow.is_some() => self
                    .flow
                    .map(|flow| flow.to.to_string())
                    .unwrap_or_default(),
                Piece::Word(word) | Piece::Literal(word) => format!("{{{word}}}"),
            });
            filled.collect()
        });
        let program = filled.next().unwrap_or_default();
        Cmd::new(program).args(filled)
    }
}
