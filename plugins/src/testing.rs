//! What tests of parsers share.

use std::collections::BTreeMap;

use serde_json::json;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::{Measure, ParseError, Raw};
use vexp_api::record::{Artefact, Part, read_line_times};
use vexp_api::sample::{NodeRole, Sample};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A description of a file of `tool`, from 10 s to 20 s after the epoch.
pub(crate) fn artefact(tool: &str, stream: &str, node: (&str, NodeRole)) -> Artefact {
    Artefact {
        path: format!("raw/{}.{tool}.{stream}", node.0),
        digest: Digest::of(b""),
        part: Part::Traffic,
        tool: name(tool),
        stream: name(stream),
        node: name(node.0),
        role: node.1,
        flow: None,
        command: String::new(),
        status: Some(0),
        stderr: String::new(),
        truncated: false,
        started_s: 10.0,
        ended_s: 20.0,
        options: json!({}).as_object().unwrap().clone(),
        about: BTreeMap::new(),
    }
}

pub(crate) fn parse(
    plugin: &dyn Measure,
    artefact: &Artefact,
    bytes: &[u8],
    times: &str,
) -> Result<Vec<Sample>, ParseError> {
    plugin.parse(&Raw {
        artefact,
        bytes,
        line_times: &read_line_times(times).unwrap(),
    })
}

/// Samples of one metric as (t, dt, value).
pub(crate) fn of(samples: &[Sample], metric: &str) -> Vec<(f64, f64, f64)> {
    samples
        .iter()
        .filter(|sample| sample.metric == *metric)
        .map(|sample| (sample.t, sample.dt, sample.value))
        .collect()
}

/// A file that was cut anywhere gives an error, or a beginning of the whole file's samples: never
/// a value that the whole file does not have.
pub(crate) fn check_every_cut(
    plugin: &dyn Measure,
    artefact: &Artefact,
    bytes: &[u8],
    times: &str,
) {
    let whole = parse(plugin, artefact, bytes, times).unwrap();
    for end in 0..bytes.len() {
        if let Ok(samples) = parse(plugin, artefact, &bytes[..end], times) {
            assert!(
                whole.starts_with(&samples),
                "cut at byte {end}: {:?} is not a beginning of the whole",
                samples.last()
            );
        }
    }
}

/// A file in which any one byte was changed is refused or read, without a panic and without a
/// value that is not finite.
pub(crate) fn check_damage(plugin: &dyn Measure, artefact: &Artefact, bytes: &[u8], times: &str) {
    use proptest::prelude::*;
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    };
    proptest!(cases, |(place in 0..bytes.len(), byte in any::<u8>())| {
        let mut damaged = bytes.to_vec();
        damaged[place] = byte;
        if let Ok(samples) = parse(plugin, artefact, &damaged, times) {
            for sample in samples {
                prop_assert!(sample.value.is_finite() && sample.dt >= 0.0);
            }
        }
    });
}
