//! Reading a plugin's options.

use serde::de::DeserializeOwned;
use serde_json::Value;
use vexp_api::plugin::{MeasureRequest, PluginError};
use vexp_api::spec::Options;

/// Why options could not be read.
#[derive(Debug, thiserror::Error)]
#[error("option `{field}`")]
pub(crate) struct BadOption {
    field: String,
    #[source]
    source: serde_json::Error,
}

/// Reads options into `T`, which should refuse unknown fields. The contract has seen them before
/// where they come from a spec; a plan that was written by hand is checked here alone.
pub(crate) fn read<T: DeserializeOwned>(options: &Options) -> Result<T, BadOption> {
    serde_path_to_error::deserialize(Value::Object(options.clone())).map_err(|error| BadOption {
        field: error.path().to_string(),
        source: error.into_inner(),
    })
}

/// Reads the options of a measure that is about to start.
pub(crate) fn of_request<T: DeserializeOwned>(
    tool: &'static str,
    request: &MeasureRequest,
) -> Result<T, PluginError> {
    read(&request.options).map_err(|error| PluginError {
        source: Some(Box::new(error)),
        ..PluginError::new(
            format!("start {tool}"),
            request.host.name.as_str(),
            "its options can't be read",
        )
    })
}
