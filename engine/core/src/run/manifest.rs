//! What a worker is handed: one line of JSON on its standard input.

use std::io::{BufRead, Error, Read as _, Result};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vexp_api::digest::canonical_json;
use vexp_api::plan::Block;
use vexp_api::record::Computer;
use vexp_api::site::Site;

/// The version of the manifest's format.
pub const FORMAT: u32 = 1;

/// A block of trials and the machines to run it on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The trials that are to be run, in order.
    pub block: Block,
    /// Only boot guests until so many run, so that the machine can be kept: no trial is run.
    pub grow: Option<u32>,
    /// The machines.
    pub site: Site,
    /// The run's folder, as the worker sees it.
    pub run: PathBuf,
    /// Seconds from the acquisition to a host that answered.
    pub boot_s: f64,
    /// The computer, where it is a node of a batch engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computer: Option<Computer>,
}

/// Bytes of a manifest: a block has one platform's trials of one repetition.
const MOST: u64 = 256 << 20;

impl Manifest {
    /// Its line, with the newline.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub fn to_line(&self) -> serde_json::Result<String> {
        Ok(canonical_json(self)? + "\n")
    }

    /// Reads the line, and nothing after it.
    ///
    /// # Errors
    /// The input ends before, or is no manifest.
    pub fn read(input: &mut impl BufRead) -> Result<Self> {
        let mut line = Vec::new();
        input.take(MOST).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(Error::other("standard input has no line with a manifest"));
        }
        Ok(serde_json::from_slice(&line)?)
    }

    /// How many guests are to run.
    pub fn guests(&self) -> u32 {
        self.grow.unwrap_or(self.block.vms)
    }
}
