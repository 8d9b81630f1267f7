//! What a run's results were compared with, to the last bit: `RUN/compared.json`. It is evidence for what a report says
//! of them, so it has what was seen and no judgement.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::Name;

/// The version of `compared.json`. A reader refuses any other.
pub const FORMAT: u32 = 1;
/// Its name in a run's folder.
pub const FILE: &str = "compared.json";

/// `compared.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// [`FORMAT`].
    pub format: u32,
    /// In the order in which they were made.
    pub comparisons: Vec<Comparison>,
}

/// What was found when results were compared once. It is evidence only for results with the digest `results`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Version of the vexp that compared.
    pub vexp: String,
    /// The digest that the run's results had. With other results a comparison says nothing.
    pub results: Digest,
    /// What they were compared with.
    pub with: With,
    /// Trials that were the same, to the last bit.
    pub same: usize,
    /// Trials that were not.
    pub differ: usize,
    /// Trials of which the other side says nothing.
    pub unknown: usize,
    /// What both were given that was not the same, and from which other results follow: images, seed, study.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
    /// Where they part, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<String>,
}

/// What results were compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum With {
    /// The digest of all results, of an unknown run.
    Digest(Digest),
    /// A file with a digest a trial.
    File {
        /// Of the file.
        digest: Digest,
        /// The run that it was written of, if it says so.
        run: Option<Name>,
        /// That run's computer, if it says so.
        computer: Option<Digest>,
    },
    /// Another run.
    Run {
        /// Its name.
        id: Name,
        /// Version of the vexp that made it.
        vexp: String,
        /// Its results.
        results: Digest,
        /// Its computer, if that is recorded.
        computer: Option<Digest>,
        /// What other programs took of the computer's processor time in each of its blocks at least, 0 to 1.
        others: Option<f64>,
    },
}

/// `blocks/BLOCK/load.json`: how busy the computer was while a block ran.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// [`FORMAT`].
    pub format: u32,
    /// The load average of one minute (proc_loadavg(5)) when the block began; its own machines are in what follows.
    pub before: f64,
    /// When it had ended.
    pub after: f64,
    /// Processors of the computer.
    pub processors: usize,
    /// Seconds that the block took.
    pub seconds: f64,
    /// What programs other than vexp and its machines took of the computer's processor time meanwhile, 0 to 1; `None` if
    /// that can't be told.
    pub others: Option<f64>,
}

/// The name of a block's [`Load`] in its folder.
pub const LOAD: &str = "load.json";
