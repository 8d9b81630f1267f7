//! Reading a plugin's options.

use serde::de::DeserializeOwned;
use serde_json::Value;
use vexp_api::plugin::{Intent, Measure, MeasureRequest, PluginError, Refusal};
use vexp_api::spec::Options;

/// Why options could not be read.
#[derive(Debug, thiserror::Error)]
#[error("option `{field}`")]
pub struct BadOption {
    field: String,
    #[source]
    source: serde_json::Error,
}

/// Reads options into `T`, which should refuse unknown fields. The contract has seen them before
/// where they come from a spec; a plan that was written by hand is checked here alone.
pub fn read<T: DeserializeOwned>(options: &Options) -> Result<T, BadOption> {
    serde_path_to_error::deserialize(Value::Object(options.clone())).map_err(|error| BadOption {
        field: error.path().to_string(),
        source: error.into_inner(),
    })
}

/// Reads the options of a measure, or says why they can't be read.
pub fn intended<T: DeserializeOwned>(intent: &Intent<'_>) -> Result<T, Refusal> {
    read(intent.options).map_err(|error| {
        let field = error.field.split(['.', '[']).next().unwrap_or_default();
        let field = if field == "?" { "" } else { field };
        Refusal::option(field, error.source.to_string())
    })
}

/// What a measure refuses, as an error of its start.
pub fn fit(plugin: &(impl Measure + ?Sized), request: &MeasureRequest) -> Result<(), PluginError> {
    let refused = plugin.refuses(&request.intent());
    match refused.into_iter().next() {
        None => Ok(()),
        Some(refusal) => {
            let step = format!("start {}", plugin.name());
            let node = request.host.name.as_str();
            Err(PluginError::new(step, node, refusal.message))
        }
    }
}

/// Reads the options of a measure that is about to start.
pub fn of_request<T: DeserializeOwned>(
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
