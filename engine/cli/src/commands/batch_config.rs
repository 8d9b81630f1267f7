//! Options of batch engines: what a study says, under what its user says.

use vexp_api::ids::Name;
use vexp_api::spec::{Options, Study};

use crate::error::Failure;

/// The options of an engine.
pub(super) fn options(_engine: &Name, _study: &Study) -> Result<Options, Failure> {
    Ok(Options::new())
}
