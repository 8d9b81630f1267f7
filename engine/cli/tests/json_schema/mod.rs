//! Holds a value against a JSON Schema, as far as the project's own schemas go: a keyword that is
//! not known here is an error. Libraries for it change features of what vexp stands on
//! (`serde_json/float_roundtrip`), so that tests would be of another program than users have.

use regex::Regex;
use serde_json::{Map, Value};

/// Words about a value, not rules for it.
const WORDS: [&str; 6] = [
    "$schema",
    "$defs",
    "title",
    "description",
    "default",
    "format",
];

/// Everything in which a value is not as a schema says: where, and which rule.
pub(crate) fn errors(root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(root, root, value, "", &mut found);
    found
}

fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut found = Vec::new();
    check(root, schema, value, "", &mut found);
    found.is_empty()
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let rules = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return found.push(format!("{at}: nothing may be here")),
        rules => rules.as_object().unwrap(),
    };
    for (rule, says) in rules {
        if rule == "if" {
            if fits(root, says, value) {
                check(root, &rules["then"], value, at, found);
            }
        } else if rule == "then" {
            assert!(rules.contains_key("if"), "`then` without `if`");
        } else if let Some(element) = within(rule, rules, value) {
            for (name, value) in element {
                check(
                    root,
                    says_of(says, &name),
                    value,
                    &format!("{at}/{name}"),
                    found,
                );
            }
        } else if !holds(root, rule, says, value) {
            found.push(format!("{at}: {rule} {says}"));
        }
    }
}

/// The schema that a rule has for an element: rules are for one, for each by name, or for each by
/// its place.
fn says_of<'a>(says: &'a Value, name: &str) -> &'a Value {
    match says {
        Value::Array(places) => &places[name.parse::<usize>().unwrap()],
        Value::Object(names) if names.get(name).is_some_and(Value::is_object) => &names[name],
        all => all,
    }
}

/// The elements that a rule is about; `None` where it is about the value itself.
fn within<'a>(
    rule: &str,
    rules: &Map<String, Value>,
    value: &'a Value,
) -> Option<Vec<(String, &'a Value)>> {
    let list = || value.as_array().into_iter().flatten().enumerate();
    let list = || list().map(|(i, element)| (i.to_string(), element));
    let fields = || value.as_object().into_iter().flatten();
    let named = |name: &str| {
        let properties = rules.get("properties").and_then(Value::as_object);
        properties.is_some_and(|properties| properties.contains_key(name))
    };
    let fields = |own: bool| {
        let fields = fields().filter(move |(name, _)| named(name) == own);
        fields.map(|(name, value)| (name.clone(), value)).collect()
    };
    let places = rules.get("prefixItems").and_then(Value::as_array);
    let places = places.map_or(0, Vec::len);
    match rule {
        "properties" => Some(fields(true)),
        "additionalProperties" => Some(fields(false)),
        "prefixItems" => Some(list().take(places).collect()),
        "items" => Some(list().skip(places).collect()),
        _ => None,
    }
}

fn holds(root: &Value, rule: &str, says: &Value, value: &Value) -> bool {
    let any = || says.as_array().unwrap().iter();
    // A rule for another type than the value's is no rule for it.
    let length = |fits: &dyn Fn(u64, u64) -> bool| {
        let list = value.as_array();
        list.is_none_or(|list| fits(list.len() as u64, says.as_u64().unwrap()))
    };
    let number = |fits: &dyn Fn(f64, f64) -> bool| {
        let number = value.as_f64();
        number.is_none_or(|number| fits(number, says.as_f64().unwrap()))
    };
    let object = value.as_object();
    match rule {
        "type" if says.is_array() => any().any(|kind| is(kind, value)),
        "type" => is(says, value),
        "$ref" => {
            let name = says.as_str().unwrap().strip_prefix('#').unwrap();
            fits(root, root.pointer(name).unwrap(), value)
        }
        "allOf" => any().all(|one| fits(root, one, value)),
        "anyOf" => any().any(|one| fits(root, one, value)),
        "oneOf" => any().filter(|one| fits(root, one, value)).count() == 1,
        "const" => says == value,
        "enum" => any().any(|one| one == value),
        "required" => object
            .is_none_or(|object| any().all(|name| object.contains_key(name.as_str().unwrap()))),
        "propertyNames" => object.is_none_or(|object| {
            let mut names = object.keys();
            names.all(|name| fits(root, says, &Value::from(name.as_str())))
        }),
        "pattern" => (value.as_str())
            .is_none_or(|text| Regex::new(says.as_str().unwrap()).unwrap().is_match(text)),
        "minItems" => length(&|length, least| length >= least),
        "maxItems" => length(&|length, most| length <= most),
        "minimum" => number(&|number, least| number >= least),
        "maximum" => number(&|number, most| number <= most),
        "exclusiveMinimum" => number(&|number, least| number > least),
        word => WORDS.contains(&word) || panic!("`{word}` is not known here"),
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        kind => panic!("`{kind}` is no type"),
    }
}
