//! The JSON Schema of a study: [`schema`](super::schema) in others' words, with what the contracts
//! say of each field.

use serde_json::{Map, Value, json};
use vexp_api::registry::Registry;

use super::schema::{Field, Kind, Need, ROLES, STUDY, TIMES};
use crate::load::docs::{Documented, documented, fields, library};

/// The JSON Schema (draft 2020-12) of a study as it is written and as `study.json` has it.
pub fn json_schema(registry: &Registry) -> Value {
    let contracts = library(registry).into_iter();
    let contracts = contracts.filter(|(name, _)| *name == "contracts.ncl");
    let mut writer = Writer {
        docs: contracts.flat_map(|(_, text)| documented(&text)).collect(),
        definitions: Map::new(),
    };
    writer.kind(&STUDY);
    let mut definitions = writer.definitions;
    let measures = registry.measures().iter();
    let measures = measures.map(|(name, plugin)| (*name, plugin.contract()));
    by_name(&mut definitions, "Measure", "tool", measures);
    let hypervisors = registry.hypervisors().iter();
    let hypervisors = hypervisors.map(|(name, plugin)| (*name, plugin.contract()));
    by_name(&mut definitions, "Platform", "hypervisor", hypervisors);
    let mut schema = definitions.remove("Study").unwrap_or_default();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Study");
    schema["$defs"] = definitions.into();
    schema
}

/// Says of a record what its `options` are where its field `key` names a plugin: those of the plugin's
/// contract, each with its words. What values they take is the contract's to say.
fn by_name<'a>(
    definitions: &mut Map<String, Value>,
    record: &str,
    key: &str,
    plugins: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let mut cases = Vec::new();
    for (name, contract) in plugins {
        let options = fields(contract).into_iter();
        let options: Map<String, Value> = options
            .map(|one| {
                (
                    one.field,
                    json!({ "description": one.doc.unwrap_or_default() }),
                )
            })
            .collect();
        let definition = format!("{record}.{name}");
        // A contract that is more than a record says by itself what it takes.
        let whole = !options.is_empty() || contract.trim() == "{}";
        definitions.insert(
            definition.clone(),
            json!({
                "type": "object",
                "description": format!("Options of {name}: `vexp help {name}`."),
                "properties": options,
                "additionalProperties": !whole,
            }),
        );
        cases.push(json!({
            "if": { "properties": { key: { "const": name } }, "required": [key] },
            "then": {
                "properties": { "options": { "$ref": format!("#/$defs/{definition}") } },
            },
        }));
    }
    if let Some(Value::Object(schema)) = definitions.get_mut(record).filter(|_| !cases.is_empty()) {
        schema.insert("allOf".to_owned(), cases.into());
    }
}

struct Writer {
    docs: Vec<Documented>,
    definitions: Map<String, Value>,
}

impl Writer {
    fn kind(&mut self, kind: &Kind) -> Value {
        let quantity = |what: &str, units: &str| {
            let pattern = format!("^[0-9]+([.][0-9]+)? *({units})$");
            json!({ "type": "string", "description": what, "pattern": pattern })
        };
        match kind {
            Kind::Text => json!({ "type": "string", "pattern": "\\S" }),
            Kind::Name => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$" }),
            Kind::Doi => json!({
                "type": "string",
                "pattern": "^10[.][0-9]{4,9}([.][0-9]+)*/[A-Za-z0-9:/_;().-]+$",
            }),
            Kind::Whole(low, high) => {
                json!({ "type": "integer", "minimum": low, "maximum": high })
            }
            Kind::Number => json!({ "type": "number" }),
            Kind::Positive0 => json!({ "type": "number", "minimum": 0 }),
            Kind::Fraction => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
            Kind::Rate => quantity("Such as 200Mb/s.", "b/s|kb/s|Mb/s|Gb/s|Tb/s"),
            Kind::Size => quantity("Such as 2GiB.", "B|kB|MB|GB|TB|KiB|MiB|GiB|TiB"),
            Kind::Time | Kind::Time0 => quantity("Such as 30s.", "ns|us|ms|s|min|h"),
            Kind::Frequency => quantity("Such as 2.33GHz.", "Hz|kHz|MHz|GHz"),
            Kind::OneOf(all) => json!({ "enum": all }),
            Kind::List(element) => json!({ "type": "array", "items": self.kind(element) }),
            Kind::Some(element) => {
                json!({ "type": "array", "items": self.kind(element), "minItems": 1 })
            }
            Kind::Map(element) => json!({
                "type": "object",
                "propertyNames": self.kind(&Kind::Name),
                "additionalProperties": self.kind(element),
            }),
            Kind::ByRole(element) => json!({
                "type": "object",
                "propertyNames": { "enum": ROLES },
                "additionalProperties": self.kind(element),
            }),
            Kind::Options => json!({ "type": "object" }),
            Kind::Operand => {
                json!({ "anyOf": [{ "type": "number" }, self.kind(&TIMES)] })
            }
            Kind::Record(name, fields) => self.record(name, fields),
        }
    }

    /// A reference to a record's definition, which is written where it is not there yet.
    fn record(&mut self, name: &str, fields: &[Field]) -> Value {
        if !self.definitions.contains_key(name) {
            // No record has itself among its fields; the place only keeps the order.
            self.definitions.insert(name.to_owned(), Value::Null);
            let properties: Map<String, Value> = fields
                .iter()
                .map(|field| (field.name.to_owned(), self.field(name, field)))
                .collect();
            let required = fields.iter().filter(|field| field.need == Need::Required);
            let required: Vec<&str> = required.map(|field| field.name).collect();
            let definition = json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            });
            self.definitions.insert(name.to_owned(), definition);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn field(&mut self, record: &str, field: &Field) -> Value {
        let mut schema = self.kind(&field.kind);
        if field.need == Need::Optional {
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        }
        if let Some(default) = field.default() {
            schema["default"] = default;
        }
        let said = self.docs.iter();
        let mut said =
            said.filter(|one| (one.record.as_str(), one.field.as_str()) == (record, field.name));
        if let Some(doc) = said.find_map(|one| one.doc.as_deref()) {
            schema["description"] = json!(doc);
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every object schema below a value.
    fn objects<'a>(value: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("properties").and_then(Value::as_object));
                object.values().for_each(|value| objects(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| objects(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_field_is_described_by_the_contract_of_its_name() {
        let schema = json_schema(&Registry::default());
        let mut found = Vec::new();
        objects(&schema, &mut found);
        let fields: Vec<_> = found.into_iter().flatten().collect();
        assert!(fields.len() > 100, "{}", fields.len());
        for (name, field) in fields {
            let said = field["description"].as_str().unwrap_or_default();
            assert!(
                !said.is_empty() && !said.starts_with("Such as"),
                "{name}: {field}"
            );
        }
        assert_eq!(
            schema["properties"]["paper"]["description"],
            "The publication that is rerun."
        );
        assert_eq!(schema["properties"]["paper"]["default"], Value::Null);
        assert_eq!(schema["properties"]["seed"]["default"], 1);
    }

    #[test]
    fn the_contracts_have_no_field_that_the_schema_has_not() {
        let schema = json_schema(&Registry::default());
        for (name, text) in library(&Registry::default()) {
            let records = documented(&text)
                .into_iter()
                .filter(|one| !one.record.is_empty());
            for one in records.filter(|_| name == "contracts.ncl") {
                let record = match one.record.as_str() {
                    "Study" => &schema,
                    other => &schema["$defs"][other],
                };
                let field = &record["properties"][&one.field];
                assert!(field.is_object(), "{}.{}", one.record, one.field);
            }
        }
    }
}
