//! Holds a raw value against the [`schema`](super::schema), reports all that is wrong with its
//! shape, and repairs it, so that the cross-field rules can look at the rest.

use serde_json::{Map, Number, Value, json};
use vexp_api::ids::{Doi, Name};
use vexp_api::units::{BitRate, ByteSize, Frequency, TimeSpan};

use super::findings::{At, Findings};
use super::nearest::{help, nearest};
use super::schema::{Field, Kind, METRIC_REF, ROLES, TIMES};
use crate::load::FieldPath;

/// The value with everything replaced that is not as it must be.
pub(super) fn repair(
    kind: &Kind,
    value: &Value,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) -> Value {
    match kind {
        Kind::Record(_, fields) => record(fields, value, path, findings),
        Kind::Map(element) => map(element, None, value, path, findings),
        Kind::ByRole(element) => map(element, Some(ROLES), value, path, findings),
        Kind::List(element) => list(element, false, value, path, findings),
        Kind::Some(element) => list(element, true, value, path, findings),
        Kind::Operand => match value {
            Value::Number(_) => leaf(&Kind::Number, value, path, findings),
            Value::Object(_) => repair(&TIMES, value, path, findings),
            _ => wrong(kind, value, path, findings),
        },
        _ => leaf(kind, value, path, findings),
    }
}

fn wrong(kind: &Kind, value: &Value, path: &FieldPath, findings: &mut Findings<'_>) -> Value {
    let (expected, example) = expectation(kind);
    // A bare number where a unit is due is the mistake that units are there to prevent.
    let (code, message) = match (kind, value) {
        (
            Kind::Rate | Kind::Size | Kind::Time | Kind::Time0 | Kind::Frequency,
            Value::Number(number),
        ) => ("unit", format!("`{number}` has no unit")),
        _ => (
            "type",
            format!("expected {expected}, found {}", found(value)),
        ),
    };
    findings.shape(code, path, At::Value, message, Some(example));
    placeholder(kind)
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("the truth value `{value}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::String(text) => {
            let short: String = text.chars().take(40).collect();
            format!("the text \"{}\"", short.escape_debug())
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a record".to_owned(),
    }
}

/// What is expected, and what is allowed.
fn expectation(kind: &Kind) -> (&'static str, String) {
    match kind {
        Kind::Text => ("a text", "write some text".to_owned()),
        Kind::Name => (
            "a name",
            "a name is 1 to 63 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit"
                .to_owned(),
        ),
        Kind::Doi => (
            "a DOI",
            "write it without its resolver, such as \"10.5281/zenodo.3678171\"".to_owned(),
        ),
        Kind::Whole(min, max) if min == max => ("a whole number", format!("only {min} is known")),
        Kind::Whole(min, max) => ("a whole number", format!("allowed: {min} to {max}")),
        Kind::Number => ("a number", "write a number".to_owned()),
        Kind::Positive0 => ("a number", "allowed: 0 and more".to_owned()),
        Kind::Fraction => ("a number", "allowed: more than 0, at most 1".to_owned()),
        Kind::Rate => (
            "a rate",
            "write a rate with its unit, such as \"1Gb/s\", \"200Mb/s\" or \"64kb/s\"".to_owned(),
        ),
        Kind::Size => (
            "a size",
            "write a size with its unit, such as \"2GiB\", \"512MiB\" or \"1500B\"".to_owned(),
        ),
        Kind::Time | Kind::Time0 => (
            "a time",
            "write a time with its unit, such as \"30s\", \"500ms\" or \"2min\"".to_owned(),
        ),
        Kind::Frequency => (
            "a frequency",
            "write a frequency with its unit, such as \"2.33GHz\" or \"800MHz\"".to_owned(),
        ),
        Kind::OneOf(all) => ("one of some texts", format!("allowed: {}", all.join(", "))),
        Kind::List(_) | Kind::Some(_) => ("a list", "write [ … ]".to_owned()),
        Kind::Map(_) | Kind::ByRole(_) | Kind::Options => ("a record", "write { … }".to_owned()),
        Kind::Record(_, fields) => {
            let names: Vec<_> = fields.iter().map(|field| field.name).collect();
            ("a record", format!("its fields: {}", names.join(", ")))
        }
        Kind::Operand => (
            "a number or a metric",
            "write a number, or { of = { metric, experiment, platform, vms }, times = 1 }"
                .to_owned(),
        ),
    }
}

fn leaf(kind: &Kind, value: &Value, path: &FieldPath, findings: &mut Findings<'_>) -> Value {
    let problem = match (kind, value) {
        (Kind::Text, Value::String(text)) => text
            .trim()
            .is_empty()
            .then(|| ("text", "the text is empty".to_owned())),
        (Kind::Name, Value::String(text)) => Name::new(text.as_str())
            .err()
            .map(|_| ("name", format!("\"{}\" is not a name", text.escape_debug()))),
        (Kind::Doi, Value::String(text)) => Doi::new(text.as_str())
            .err()
            .map(|_| ("doi", format!("\"{}\" is not a DOI", text.escape_debug()))),
        (Kind::OneOf(all), Value::String(text)) => {
            if !all.contains(&text.as_str()) {
                let message = format!("\"{}\" is not known here", text.escape_debug());
                let help = help(text, all, "allowed");
                findings.shape("choice", path, At::Value, message, Some(help));
                return placeholder(kind);
            }
            None
        }
        (Kind::Whole(min, max), Value::Number(number)) => {
            return whole(*min, *max, number, path, findings);
        }
        (Kind::Number, Value::Number(_)) => None,
        (Kind::Positive0, Value::Number(number)) => range(number, |n| n >= 0.0),
        (Kind::Fraction, Value::Number(number)) => range(number, |n| n > 0.0 && n <= 1.0),
        (Kind::Rate, Value::String(text)) => {
            quantity(text.parse().map(BitRate::bits_per_second), false)
        }
        (Kind::Size, Value::String(text)) => quantity(text.parse().map(ByteSize::bytes), false),
        (Kind::Time, Value::String(text)) => quantity(text.parse().map(TimeSpan::nanos), false),
        (Kind::Time0, Value::String(text)) => quantity(text.parse().map(TimeSpan::nanos), true),
        (Kind::Frequency, Value::String(text)) => {
            quantity(text.parse().map(Frequency::hertz), false)
        }
        (Kind::Options, Value::Object(_)) => None,
        _ => return wrong(kind, value, path, findings),
    };
    match problem {
        None => value.clone(),
        Some((code, message)) => {
            let help = expectation(kind).1;
            findings.shape(code, path, At::Value, message, Some(help));
            placeholder(kind)
        }
    }
}

fn whole(
    min: u64,
    max: u64,
    number: &Number,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) -> Value {
    match number.as_u64() {
        Some(n) if (min..=max).contains(&n) => json!(n),
        _ => {
            let kind = Kind::Whole(min, max);
            let message = if number.is_f64() && number.as_f64().is_some_and(|n| n.fract() != 0.0) {
                format!("`{number}` is not a whole number")
            } else {
                format!("`{number}` is out of range")
            };
            let help = expectation(&kind).1;
            findings.shape("range", path, At::Value, message, Some(help));
            placeholder(&kind)
        }
    }
}

type Problem = Option<(&'static str, String)>;

fn range(number: &Number, ok: impl Fn(f64) -> bool) -> Problem {
    (!number.as_f64().is_some_and(ok)).then(|| ("range", format!("`{number}` is out of range")))
}

fn quantity(parsed: Result<u64, vexp_api::units::BadQuantity>, zero: bool) -> Problem {
    match parsed {
        Ok(0) if !zero => Some(("range", "it must be more than 0".to_owned())),
        Ok(_) => None,
        Err(error) => {
            // What is expected stands in the help.
            let text = error.to_string();
            let short = text.split(": expected").next().unwrap_or(&text);
            Some(("unit", short.to_owned()))
        }
    }
}

fn record(fields: &[Field], value: &Value, path: &FieldPath, findings: &mut Findings<'_>) -> Value {
    let Value::Object(given) = value else {
        let names: Vec<_> = fields.iter().map(|field| field.name).collect();
        let message = format!("expected a record, found {}", found(value));
        let help = format!("its fields: {}", names.join(", "));
        findings.shape("type", path, At::Value, message, Some(help));
        return fields_placeholder(fields);
    };
    // A misspelt field is one finding: the field that it stands for is not missing as well.
    let mut meant = Vec::new();
    for name in given.keys() {
        if fields.iter().all(|field| field.name != name) {
            let free: Vec<_> = fields
                .iter()
                .map(|field| field.name)
                .filter(|field| !given.contains_key(*field))
                .collect();
            let every = fields.iter().map(|field| field.name);
            let hint = nearest(name, free.iter().copied()).or_else(|| nearest(name, every));
            meant.extend(hint);
            let message = format!("there is no field `{}` here", name.escape_debug());
            let all: Vec<_> = fields.iter().map(|field| field.name).collect();
            let help = hint.map_or_else(
                || format!("fields: {}", all.join(", ")),
                |hint| format!("did you mean `{hint}`? fields: {}", all.join(", ")),
            );
            let at = path.key(name.as_str());
            findings.shape("unknown-field", &at, At::Key, message, Some(help));
        }
    }
    let mut repaired = Map::new();
    for field in fields {
        let at = path.key(field.name);
        let value = match given.get(field.name) {
            Some(Value::Null) if field.default() == Some(Value::Null) => Value::Null,
            Some(value) => repair(&field.kind, value, &at, findings),
            None => match field.default() {
                Some(value) => {
                    if meant.contains(&field.name) {
                        findings.taint(at);
                    }
                    value
                }
                None => {
                    if meant.contains(&field.name) {
                        findings.taint(at);
                    } else {
                        let message = format!("the field `{}` is missing", field.name);
                        let help = format!("{}: {}", field.name, expectation(&field.kind).1);
                        findings.shape("missing-field", &at, At::Key, message, Some(help));
                    }
                    placeholder(&field.kind)
                }
            },
        };
        repaired.insert(field.name.to_owned(), value);
    }
    Value::Object(repaired)
}

fn map(
    element: &Kind,
    known: Option<&[&str]>,
    value: &Value,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) -> Value {
    let Value::Object(given) = value else {
        return wrong(&Kind::Options, value, path, findings);
    };
    let mut repaired = Map::new();
    for (name, value) in given {
        let at = path.key(name.as_str());
        let shown = name.escape_debug();
        let problem = match known {
            Some(known) if !known.contains(&name.as_str()) => Some((
                "unknown-field",
                format!("there is no role `{shown}`"),
                help(name, known, "roles"),
            )),
            None if Name::new(name.as_str()).is_err() => Some((
                "name",
                format!("\"{shown}\" is not a name"),
                expectation(&Kind::Name).1,
            )),
            _ => None,
        };
        if let Some((code, message, help)) = problem {
            findings.shape(code, &at, At::Key, message, Some(help));
            continue;
        }
        repaired.insert(name.clone(), repair(element, value, &at, findings));
    }
    if repaired.is_empty() && known.is_some() && given.is_empty() {
        let message = "no role has a hardware profile".to_owned();
        let help = "name a profile for at least one of sender, receiver, router".to_owned();
        findings.shape("empty", path, At::Value, message, Some(help));
    }
    Value::Object(repaired)
}

fn list(
    element: &Kind,
    some: bool,
    value: &Value,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) -> Value {
    let Value::Array(given) = value else {
        return wrong(&Kind::List(&METRIC_REF), value, path, findings);
    };
    if some && given.is_empty() {
        let message = "the list is empty".to_owned();
        let help = "write at least one element".to_owned();
        findings.shape("empty", path, At::Value, message, Some(help));
    }
    let element = |(i, value)| repair(element, value, &path.index(i), findings);
    Value::Array(given.iter().enumerate().map(element).collect())
}

/// A value of the right shape that stands for a wrong one.
fn placeholder(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!("?"),
        Kind::Name => json!("unknown"),
        Kind::Doi => json!("10.0000/unknown"),
        Kind::Whole(min, _) => json!(min),
        Kind::Number | Kind::Operand => json!(1.0),
        Kind::Positive0 => json!(0.0),
        Kind::Fraction => json!(1.0),
        Kind::Rate => json!("1b/s"),
        Kind::Size => json!("1B"),
        Kind::Time | Kind::Time0 => json!("1s"),
        Kind::Frequency => json!("1Hz"),
        Kind::OneOf(all) => json!(all.first()),
        Kind::List(_) | Kind::Some(_) => json!([]),
        Kind::Map(_) | Kind::ByRole(_) | Kind::Options => json!({}),
        Kind::Record(_, fields) => fields_placeholder(fields),
    }
}

fn fields_placeholder(fields: &[Field]) -> Value {
    fields
        .iter()
        .map(|field| {
            let value = field.default().unwrap_or_else(|| placeholder(&field.kind));
            (field.name.to_owned(), value)
        })
        .collect::<Map<_, _>>()
        .into()
}
