//! Finds where a study uses plugins and gives them options.

use serde_json::Value;

use super::path::FieldPath;

/// One use of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PluginUse {
    /// `hypervisors`, `measures`, `testbeds` or `batch`.
    pub(crate) kind: &'static str,
    /// The plugin.
    pub(crate) plugin: String,
    /// Where its options are, or would be.
    pub(crate) path: FieldPath,
    /// Whether the options are written down.
    pub(crate) given: bool,
}

/// All uses in a study's raw value, which may be wrong in any other way.
pub(crate) fn of(study: &Value) -> Vec<PluginUse> {
    let mut found = Vec::new();
    for (name, platform) in records(study.get("platforms")) {
        let path = FieldPath::of(&["platforms", name]);
        push(&mut found, "hypervisors", "hypervisor", platform, &path);
    }
    for (name, experiment) in records(study.get("experiments")) {
        let path = FieldPath::of(&["experiments", name]);
        for field in ["traffic", "load"] {
            if let Some(value) = experiment.get(field) {
                push(&mut found, "measures", "tool", value, &path.key(field));
            }
        }
        let monitors = experiment.get("monitors").and_then(Value::as_array);
        for (i, value) in monitors.into_iter().flatten().enumerate() {
            let path = path.key("monitors").index(i);
            push(&mut found, "measures", "tool", value, &path);
        }
    }
    for (name, overlay) in records(study.get("testbeds")) {
        found.push(PluginUse {
            kind: "testbeds",
            plugin: name.to_owned(),
            path: FieldPath::of(&["testbeds", name]).key("options"),
            given: overlay.get("options").is_some(),
        });
    }
    for (name, _) in records(study.get("batch")) {
        found.push(PluginUse {
            kind: "batch",
            plugin: name.to_owned(),
            path: FieldPath::of(&["batch", name]),
            given: true,
        });
    }
    found
}

fn records(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

fn push(
    found: &mut Vec<PluginUse>,
    kind: &'static str,
    field: &str,
    value: &Value,
    path: &FieldPath,
) {
    if let Some(plugin) = value.get(field).and_then(Value::as_str) {
        found.push(PluginUse {
            kind,
            plugin: plugin.to_owned(),
            path: path.key("options"),
            given: value.get("options").is_some(),
        });
    }
}
