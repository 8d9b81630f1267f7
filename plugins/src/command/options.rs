//! Options of `command` and `command-monitor`, and the command lines that they make.

use std::time::Duration;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use vexp_api::ids::Name;
use vexp_api::plugin::{Flow, MeasureKind};
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
    pub(super) fn check(&self, kind: MeasureKind) -> Result<(), String> {
        let monitor = kind == MeasureKind::Monitor;
        let argvs = [Some(&self.argv), self.server.as_ref()];
        for argv in argvs.into_iter().flatten() {
            if argv.first().is_none_or(String::is_empty) {
                return Err("`argv` and `server` must name a program".to_owned());
            }
        }
        if monitor && self.server.is_some() {
            return Err("`server` is for traffic: monitors have none".to_owned());
        }
        if monitor && self.covers == Some(Covers::Run) {
            return Err(
                "a monitor's whole run is longer than what is measured: let it print values as \
                 it goes on, with `covers = 'moment`"
                    .to_owned(),
            );
        }
        if !monitor && !matches!(self.place(kind), Place::Source | Place::Sink) {
            return Err("traffic runs on `source` or `sink`".to_owned());
        }
        if self.extract.is_empty() {
            return Err("`extract` must name at least one value".to_owned());
        }
        for extract in &self.extract {
            let ways = [
                extract.regex.is_some(),
                extract.csv.is_some(),
                extract.json.is_some(),
            ];
            if ways.iter().filter(|way| **way).count() != 1 {
                let metric = &extract.metric;
                return Err(format!("{metric} needs one of `regex`, `csv` and `json`"));
            }
            if !(extract.scale.is_finite() && extract.scale != 0.0) {
                return Err(format!("the scale of {} makes no sense", extract.metric));
            }
        }
        Ok(())
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
        self.argv.iter().any(|arg| arg.contains("{warm_up}"))
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
        let mut filled = argv.iter().map(|arg| {
            let mut arg = arg
                .replace("{duration}", &self.duration.as_secs_f64().to_string())
                .replace("{warm_up}", &self.warm_up.as_secs_f64().to_string());
            if let Some(flow) = self.flow {
                arg = arg.replace("{to}", &flow.to.to_string());
            }
            arg
        });
        let program = filled.next().unwrap_or_default();
        Cmd::new(program).args(filled)
    }
}
