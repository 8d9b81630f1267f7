//! `vexp parse`: raw tool output to tidy samples.

use std::path::Path;

use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plugin::{Measure, MeasureKind, Raw};
use vexp_api::record::{Artefact, Part, TrialRecord};
use vexp_api::registry::Registry;
use vexp_api::run_dir::{RAW_BYTES, RECORD_BYTES, RunDirError, read_named};
use vexp_api::sample::{NodeRole, Sample};
use vexp_report::raw::MOST_LINES;
use vexp_report::{Format, samples_to};

use crate::args::{FrameFormat, ParseArgs, Side};
use crate::error::{Failure, OrExit as _};

pub(super) fn run(args: &ParseArgs, registry: &Registry) -> Result<Exit, Failure> {
    let tool = &args.tool;
    let Some(plugin) = registry.measures().get(tool.as_str()) else {
        let known: Vec<&str> = registry.measures().keys().copied().collect();
        return Err(
            Failure::new(Exit::Usage, format!("there is no tool `{tool}`"))
                .hint(format!("known tools: {}", known.join(", "))),
        );
    };
    if args.side.is_some() && plugin.kind() == MeasureKind::Monitor {
        let message = format!("{tool} is a monitor, whose output has no side");
        return Err(Failure::new(Exit::Usage, message).hint("leave --side out"));
    }
    let mut parsed: Vec<(String, Vec<Sample>)> = Vec::new();
    for file in &args.files {
        let bytes = read_named(file, RAW_BYTES).map_err(|error| not_read(&error))?;
        if bytes.iter().filter(|byte| **byte == b'\n').count() > MOST_LINES {
            let message = format!("{} has more than {MOST_LINES} lines", file.display());
            return Err(Failure::new(Exit::Usage, message).hint("split it"));
        }
        let artefact = artefact(args, file, plugin.as_ref(), &bytes)?;
        let line_times = times(file)?;
        let raw = Raw {
            artefact: &artefact,
            bytes: &bytes,
            line_times: &line_times,
        };
        let samples = plugin.parse(&raw).or_exit(Exit::Usage)?;
        parsed.push((file.display().to_string(), samples));
    }
    let format = match args.format {
        FrameFormat::Jsonl => Format::Jsonl,
        FrameFormat::Csv => Format::Csv,
        FrameFormat::Parquet => Format::Parquet,
    };
    let bytes = samples_to(&parsed, format).or_exit(Exit::Usage)?;
    crate::render::out_bytes(&bytes);
    Ok(Exit::Fine)
}

/// A file that the user named is no run's: what it should be is said for itself.
fn not_read(error: &RunDirError) -> Failure {
    match error {
        RunDirError::Strange { path, what } => {
            let message = format!("{} is {what}", vexp_api::shown::path(path));
            Failure::new(Exit::Usage, message).hint("give files with a tool's output")
        }
        error => Failure::of(Exit::Usage, error),
    }
}

/// What a file is: by its run's record, or as the arguments say.
fn artefact(
    args: &ParseArgs,
    file: &Path,
    plugin: &dyn Measure,
    bytes: &[u8],
) -> Result<Artefact, Failure> {
    let mut artefact = match of_run(file, &args.tool, bytes) {
        Some(artefact) => artefact,
        None => stranger(args, file, plugin, bytes)?,
    };
    if let Some(options) = &args.options {
        artefact.options.clone_from(options);
    }
    if let Some(interval) = &args.interval {
        let options = &mut artefact.options;
        options.insert("interval".to_owned(), interval.to_string().into());
    }
    if let Some(side) = args.side {
        let stream = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        artefact.stream = Name::new(stream).or_exit(Exit::Usage)?;
    }
    if let Some(node) = &args.node {
        artefact.node = node.clone();
        artefact.flow = Some(node.clone());
    }
    Ok(artefact)
}

/// The description of a run's file in the record of its trial, if it is the file that is described.
fn of_run(file: &Path, tool: &Name, bytes: &[u8]) -> Option<Artefact> {
    let trial = file.canonicalize().ok()?;
    let trial = trial.parent()?.parent()?;
    let record = read_named(&trial.join("trial.json"), RECORD_BYTES).ok()?;
    let record: TrialRecord = serde_json::from_slice(&record).ok()?;
    let digest = Digest::of(bytes);
    let name = file.file_name()?;
    let mut found = record.artefacts.into_iter().find(|artefact| {
        let same = Path::new(&artefact.path).file_name() == Some(name);
        same && artefact.tool == *tool && artefact.digest == digest
    })?;
    found.path = file.display().to_string();
    Some(found)
}

/// A file outside a run, on the host unless the arguments say otherwise.
fn stranger(
    args: &ParseArgs,
    file: &Path,
    plugin: &dyn Measure,
    bytes: &[u8],
) -> Result<Artefact, Failure> {
    if plugin.programs().is_empty() && args.options.is_none() {
        let tool = &args.tool;
        let message = format!("{tool} reads what a study's options for it say, and there are none");
        let hint = "give them as JSON: --options '{\"argv\": [\"prog\"], \"extract\": [{\"regex\": \
                    \"(?<value>[0-9.]+) ms\", \"metric\": \"delay\", \"unit\": \"ms\"}]}'";
        return Err(Failure::new(Exit::Usage, message).hint(hint));
    }
    let host = Name::new("host").or_exit(Exit::Usage)?;
    let node = args.node.clone().unwrap_or_else(|| host.clone());
    let monitor = plugin.kind() == MeasureKind::Monitor;
    Ok(Artefact {
        path: file.display().to_string(),
        digest: Digest::of(bytes),
        part: if monitor {
            Part::Monitor
        } else {
            Part::Traffic
        },
        tool: args.tool.clone(),
        stream: Name::new("stdout").or_exit(Exit::Usage)?,
        role: if node == host {
            NodeRole::Host
        } else {
            NodeRole::Guest
        },
        flow: (!monitor).then(|| node.clone()),
        node,
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
