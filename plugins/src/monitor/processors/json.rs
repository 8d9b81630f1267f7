//! `mpstat -o JSON` and `sadf -j`.

use serde_json::Value;
use vexp_api::plugin::{ParseError, Raw};

use super::{File, Group, Values, add, clock, end};
use crate::text::{Words, at, whole};

/// What each column is called in text.
const COLUMNS: [(&str, &str); 12] = [
    ("usr", "%usr"),
    ("user", "%user"),
    ("nice", "%nice"),
    ("sys", "%sys"),
    ("system", "%system"),
    ("iowait", "%iowait"),
    ("irq", "%irq"),
    ("soft", "%soft"),
    ("steal", "%steal"),
    ("guest", "%guest"),
    ("gnice", "%gnice"),
    ("idle", "%idle"),
];

pub(super) fn read(raw: &Raw<'_>, text: &str) -> Result<File, ParseError> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        let hint = match error.classify() {
            serde_json::error::Category::Eof => {
                ": the output is cut; mpstat ends it only at SIGINT"
            }
            _ => "",
        };
        at(
            raw,
            error.line().max(1),
            format!("not sysstat's JSON: {error}{hint}"),
        )
    })?;
    let hosts = document["sysstat"]["hosts"].as_array();
    let host = match hosts.map(Vec::as_slice) {
        Some([host]) => host,
        Some([_, _, ..]) => return Err(whole(raw, "several hosts in one file: split it")),
        _ => return Err(whole(raw, "not sysstat's JSON: it has no sysstat.hosts")),
    };
    let processors = host["number-of-cpus"].as_u64();
    let processors = processors
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0);
    let mut file = File {
        processors: processors.ok_or_else(|| whole(raw, "number-of-cpus is not said"))?,
        began: None,
        groups: Vec::new(),
    };
    let statistics = host["statistics"].as_array().map(Vec::as_slice);
    for (index, moment) in statistics.unwrap_or_default().iter().enumerate() {
        let bad = |what: &str| whole(raw, format!("statistics {index}: {what}"));
        let Some(loads) = moment["cpu-load"].as_array() else {
            return Err(bad("no cpu-load: `-u ALL -P ALL` prints it"));
        };
        let (clock, length) = time(&moment["timestamp"]).ok_or_else(|| bad("no timestamp"))?;
        for load in loads {
            let processor = match &load["cpu"] {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return Err(bad("no cpu")),
            };
            let mut values = Values::default();
            for (key, column) in COLUMNS {
                let Some(value) = load.get(key) else { continue };
                let value = value.as_f64().filter(|value| (0.0..=100.0).contains(value));
                let value = value.ok_or_else(|| bad(&format!("{key} is not 0 to 100")))?;
                values.put_named(column, value);
            }
            let group = Group {
                length,
                ..Group::new(clock, index + 1, None)
            };
            add(raw, &mut file.groups, group, (&processor, &values)).map_err(|error| {
                ParseError {
                    line: None,
                    message: format!("statistics {index}: {}", error.message),
                    ..error
                }
            })?;
        }
        end(&mut file.groups);
    }
    Ok(file)
}

/// A moment's time in seconds and, by sadf, its length.
fn time(stamp: &Value) -> Option<(i64, Option<f64>)> {
    let text = match stamp {
        Value::String(text) => text.as_str(),
        Value::Number(seconds) => return Some((seconds.as_i64()?, None)),
        _ => stamp["time"].as_str()?,
    };
    let mut words = Words::of(text);
    let clock = clock(words.next()?, &mut words)?;
    let length = stamp.get("interval").and_then(Value::as_f64);
    Some((clock, length.filter(|length| *length > 0.0)))
}
