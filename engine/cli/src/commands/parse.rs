//! `vexp parse`: raw tool output to tidy samples.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plugin::{MeasureKind, Raw};
use vexp_api::record::{Artefact, Part};
use vexp_api::registry::Registry;
use vexp_api::run_dir::{RAW_BYTES, read_named};
use vexp_api::sample::{NodeRole, Sample};
use vexp_report::raw::MOST_LINES;
use vexp_report::{Format, samples_to};

use crate::args::FrameFormat;
use crate::error::{Failure, OrExit as _};

pub(super) fn run(
    tool: &Name,
    files: &[PathBuf],
    format: FrameFormat,
    registry: &Registry,
) -> Result<Exit, Failure> {
    let Some(plugin) = registry.measures().get(tool.as_str()) else {
        let known: Vec<&str> = registry.measures().keys().copied().collect();
        return Err(
            Failure::new(Exit::Usage, format!("there is no tool `{tool}`"))
                .hint(format!("known tools: {}", known.join(", "))),
        );
    };
    let mut parsed: Vec<(String, Vec<Sample>)> = Vec::new();
    for file in files {
        let bytes = read_named(file, RAW_BYTES).or_exit(Exit::Usage)?;
        if bytes.iter().filter(|byte| **byte == b'\n').count() > MOST_LINES {
            let message = format!("{} has more than {MOST_LINES} lines", file.display());
            return Err(Failure::new(Exit::Usage, message).hint("split it"));
        }
        let artefact = artefact(tool, file, plugin.kind(), &bytes)?;
        let line_times = times(file)?;
        let raw = Raw {
            artefact: &artefact,
            bytes: &bytes,
            line_times: &line_times,
        };
        let samples = plugin.parse(&raw).or_exit(Exit::Usage)?;
        parsed.push((file.display().to_string(), samples));
    }
    let format = match format {
        FrameFormat::Jsonl => Format::Jsonl,
        FrameFormat::Csv => Format::Csv,
        FrameFormat::Parquet => Format::Parquet,
    };
    let bytes = samples_to(&parsed, format).or_exit(Exit::Usage)?;
    // A reader that has gone away is no error of ours.
    let _ = std::io::stdout().write_all(&bytes);
    Ok(Exit::Fine)
}

/// A file outside a run: what it is called tells its node and stream, as in a run's folder
/// (`vm1.iperf3.client.json`); otherwise it is taken for a client's output on the host.
fn artefact(
    tool: &Name,
    file: &Path,
    kind: MeasureKind,
    bytes: &[u8],
) -> Result<Artefact, Failure> {
    let name = file
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    let words: Vec<&str> = name.split('.').collect();
    let of_run = words.get(1).is_some_and(|word| *tool == **word);
    let node = words.first().copied().filter(|_| of_run).unwrap_or("host");
    let stream = match (of_run, words.get(2)) {
        (true, Some(stream)) if words.len() > 3 => stream,
        _ if kind == MeasureKind::Monitor => "stdout",
        _ => "client",
    };
    let name = |text: &str| Name::new(text).or_exit(Exit::Usage);
    Ok(Artefact {
        path: file.display().to_string(),
        digest: Digest::of(bytes),
        part: if kind == MeasureKind::Monitor {
            Part::Monitor
        } else {
            Part::Traffic
        },
        tool: tool.clone(),
        stream: name(stream)?,
        node: name(node)?,
        role: if node == "host" {
            NodeRole::Host
        } else {
            NodeRole::Guest
        },
        flow: Some(name(node)?),
        command: String::new(),
        status: Some(0),
        stderr: String::new(),
        truncated: false,
        started_s: 0.0,
        ended_s: 0.0,
        warm_up_s: 0.0,
        options: serde_json::Map::new(),
        about: std::collections::BTreeMap::new(),
    })
}

fn times(file: &Path) -> Result<Vec<f64>, Failure> {
    let mut path = file.as_os_str().to_owned();
    path.push(".times");
    let bytes = match read_named(path.as_ref(), RAW_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(Failure::of(Exit::Usage, &error)),
    };
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(|line| {
            line.parse::<f64>().map_err(|_| {
                let path = path.display();
                Failure::new(
                    Exit::Usage,
                    format!("{path}: `{line}` is not a number of seconds"),
                )
            })
        })
        .collect()
}
