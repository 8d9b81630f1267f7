//! Values out of any program's output, as the options say.
//!
//! Each extraction must find something: what doesn't match is an error, never a 0.

use std::time::{Duration, Instant};

use serde_json::Value;
use vexp_api::plugin::{Blame, MeasureKind, ParseError, Raw, Refusal};
use vexp_api::sample::Sample;

use super::options::{CommandOptions, Covers, Extract, Pattern};
use crate::text::{Line, at, decimal, lines, subject, text, whole};

/// A value, its line, and when that had arrived.
struct Found {
    line: usize,
    time: Option<f64>,
    value: f64,
}

pub(super) fn parse(raw: &Raw<'_>, kind: MeasureKind) -> Result<Vec<Sample>, ParseError> {
    let options: CommandOptions = crate::options::read(&raw.artefact.options)
        .map_err(|error| whole(raw, format!("its options can't be read: {error}")))?;
    // What it was started with is no matter of its output.
    let about_output =
        |refusal: &Refusal| !matches!(&refusal.of, Blame::Option(option) if option == "argv");
    if let Some(refusal) = options.refusals(kind).into_iter().find(about_output) {
        return Err(whole(raw, refusal.message));
    }
    if raw.artefact.status != Some(0) {
        let message = format!("the program failed: {}", raw.artefact.stderr.trim());
        return Err(whole(raw, message));
    }
    let covers = options.covers(kind);
    let mut out = Vec::new();
    for extract in &options.extract {
        let found = match (&extract.regex, &extract.csv, &extract.json) {
            (Some(regex), _, _) => by_regex(raw, extract, regex)?,
            (_, Some(column), _) => by_csv(raw, extract, column)?,
            (_, _, Some(pointer)) => by_json(raw, pointer, covers)?,
            (None, None, None) => Vec::new(),
        };
        let (metric, n) = (&extract.metric, found.len());
        if n == 0 {
            let message = format!("nothing in the output is {metric}");
            return Err(whole(raw, message));
        }
        if covers == Covers::Run && n > 1 {
            let message = format!(
                "{n} values are {metric}, but the run has one: match only that, or let each be \
                 of its moment (`covers`)"
            );
            return Err(whole(raw, message));
        }
        let found = found.into_iter().filter(|one| measured(raw, covers, one));
        for one in found {
            out.push(sample(raw, extract, covers, &one)?);
        }
    }
    Ok(out)
}

/// Whether a value is not of the warm-up.
fn measured(raw: &Raw<'_>, covers: Covers, found: &Found) -> bool {
    let begins = raw.artefact.started_s + raw.artefact.warm_up_s;
    covers == Covers::Run || found.time.is_none_or(|time| time >= begins)
}

fn number(
    raw: &Raw<'_>,
    line: &Line<'_>,
    extract: &Extract,
    text: &str,
) -> Result<f64, ParseError> {
    decimal(text.trim()).ok_or_else(|| {
        let (text, metric) = (text.escape_debug(), &extract.metric);
        at(
            raw,
            line.number,
            format!("`{text}` is no value of {metric}"),
        )
    })
}

/// Bytes of a line that a pattern is held against.
const MOST_OF_LINE: usize = 64 << 10;
/// How long a pattern may take for one file: most take a second for the largest there are.
const PATIENCE: Duration = Duration::from_secs(20);

fn by_regex(raw: &Raw<'_>, extract: &Extract, regex: &Pattern) -> Result<Vec<Found>, ParseError> {
    let mut found = Vec::new();
    let began = Instant::now();
    for line in lines(raw)? {
        if line.text.len() > MOST_OF_LINE {
            let message = format!("the line has more than {MOST_OF_LINE} bytes");
            return Err(at(raw, line.number, message));
        }
        if began.elapsed() > PATIENCE {
            let message = format!(
                "`{}` took more than {} s so far: it is too slow for this output",
                regex.0.as_str().escape_debug(),
                PATIENCE.as_secs()
            );
            return Err(at(raw, line.number, message));
        }
        let captures = regex.0.captures(line.text);
        if let Some(text) = captures.as_ref().and_then(|c| c.name("value")) {
            found.push(Found {
                line: line.number,
                time: line.time,
                value: number(raw, &line, extract, text.as_str())?,
            });
        }
    }
    Ok(found)
}

/// Plain tables below the first line that has the column: no quotes, no commas within a field.
fn by_csv(raw: &Raw<'_>, extract: &Extract, column: &str) -> Result<Vec<Found>, ParseError> {
    let split = |line: &Line<'_>| -> Vec<String> {
        line.text
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect()
    };
    let mut lines = lines(raw)?.filter(|line| !line.text.trim().is_empty());
    // Programs say other things before the table.
    let names = lines
        .by_ref()
        .map(|line| split(&line))
        .find(|names| names.iter().any(|name| name == column))
        .ok_or_else(|| whole(raw, format!("there is no column `{column}`")))?;
    let index = names.iter().position(|name| name == column).unwrap_or(0);
    lines
        .map(|line| {
            let fields: Vec<&str> = line.text.split(',').collect();
            if fields.len() != names.len() {
                let (n, all) = (fields.len(), names.len());
                return Err(at(
                    raw,
                    line.number,
                    format!("{n} fields below {all} columns"),
                ));
            }
            Ok(Found {
                line: line.number,
                time: line.time,
                value: number(raw, &line, extract, fields[index])?,
            })
        })
        .collect()
}

/// One document; where values are of moments, one a line.
fn by_json(raw: &Raw<'_>, pointer: &str, covers: Covers) -> Result<Vec<Found>, ParseError> {
    let value = |line: usize, text: &str| {
        let document: Value = serde_json::from_str(text)
            .map_err(|error| at(raw, line, format!("not JSON: {error}")))?;
        let found = document.pointer(pointer).and_then(Value::as_f64);
        found.ok_or_else(|| at(raw, line, format!("there is no number at `{pointer}`")))
    };
    if covers == Covers::Run {
        let value = value(1, text(raw)?)?;
        return Ok(vec![Found {
            line: 1,
            time: None,
            value,
        }]);
    }
    lines(raw)?
        .filter(|line| !line.text.trim().is_empty())
        .map(|line| {
            Ok(Found {
                line: line.number,
                time: line.time,
                value: value(line.number, line.text)?,
            })
        })
        .collect()
}

fn sample(
    raw: &Raw<'_>,
    extract: &Extract,
    covers: Covers,
    found: &Found,
) -> Result<Sample, ParseError> {
    let (node, role) = subject(raw);
    let value = found.value * extract.scale;
    let begin = raw.artefact.started_s + raw.artefact.warm_up_s;
    let (t, dt) = match (covers, found.time) {
        (Covers::Run, _) => (begin, (raw.artefact.ended_s - begin).max(0.0)),
        (Covers::Moment, Some(time)) => (time, 0.0),
        (Covers::Moment, None) => {
            let message = "when this line was printed is not known";
            return Err(at(raw, found.line, message));
        }
    };
    if !(value.is_finite() && t.is_finite()) {
        return Err(at(raw, found.line, "not a finite number at a finite time"));
    }
    Ok(Sample {
        node,
        role,
        metric: extract.metric.clone(),
        unit: extract.unit,
        t,
        dt,
        value,
    })
}
