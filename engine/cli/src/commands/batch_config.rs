//! Options of batch engines, as a study says them.

use vexp_api::ids::Name;
use vexp_api::spec::{Options, Study};

use crate::error::Failure;

/// The options of an engine.
pub(super) fn options(engine: &Name, study: &Study) -> Result<Options, Failure> {
    Ok(study.batch.get(engine).cloned().unwrap_or_default())
}
