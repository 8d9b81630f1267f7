//! What tests of parsers share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::{Flow, Measure, MeasureRequest, Node, ParseError, Raw};
use vexp_api::record::{Artefact, Part, read_line_times};
use vexp_api::sample::{NodeRole, Sample};
use vexp_api::shell::Shell as _;
use vexp_api::spec::Role;
use vexp_testkit::FakeShell;

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
        warm_up_s: 0.0,
        options: json!({}).as_object().unwrap().clone(),
        about: BTreeMap::new(),
    }
}

/// A description of a file that stands alone, as `vexp parse` makes it.
pub(crate) fn stranger(tool: &str) -> Artefact {
    Artefact {
        started_s: 0.0,
        ended_s: 0.0,
        ..artefact(tool, "stdout", ("host", NodeRole::Host))
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
    let cases = vexp_testkit::cases(300);
    proptest!(cases, |(place in 0..bytes.len(), byte in any::<u8>())| {
        let mut damaged = bytes.to_vec();
        damaged[place] = byte;
        if let Ok(samples) = parse(plugin, artefact, &damaged, times) {
            for sample in samples {
                // The time of a file that stands alone may be unknown.
                prop_assert!(sample.value.is_finite() && (sample.dt >= 0.0 || sample.dt.is_nan()));
            }
        }
    });
}

fn node(shell: &FakeShell, role: NodeRole) -> Node {
    Node {
        name: shell.node().clone(),
        role,
        shell: Arc::new(shell.clone()),
        data: Vec::new(),
    }
}

/// A flow that is accounted to its source and sends to 198.18.0.2.
pub(crate) fn flow(source: &FakeShell, sink: &FakeShell) -> Flow {
    Flow {
        source: node(source, NodeRole::Guest),
        sink: node(sink, NodeRole::Peer),
        to: "198.18.0.2".parse().unwrap(),
        subject: source.node().clone(),
    }
}

/// A request on `host` with the guest `vm1`, neither of which may be asked anything; 1 s each of
/// warm-up and window.
pub(crate) fn request(role: Role, flows: Vec<Flow>) -> MeasureRequest {
    let silent = |name_: &str| FakeShell::replay(name(name_), "");
    MeasureRequest {
        part: Part::Traffic,
        options: serde_json::Map::new(),
        role,
        flows,
        host: node(&silent("host"), NodeRole::Host),
        guests: vec![node(&silent("vm1"), NodeRole::Guest)],
        peers: Vec::new(),
        switch: None,
        link_rate: "100Mb/s".parse().unwrap(),
        warm_up: Duration::from_secs(1),
        window: Duration::from_secs(1),
        epoch: Instant::now(),
    }
}
