//! What a worker is handed: plain data in one file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vexp_api::plan::Block;
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
}

impl Manifest {
    /// How many guests are to run.
    pub fn guests(&self) -> u32 {
        self.grow.unwrap_or(self.block.vms)
    }
}
