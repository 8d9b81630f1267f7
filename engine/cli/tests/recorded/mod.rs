//! Runs made of a recorded one, `data/recorded-run`: classical Linux sending by iperf3 3.18 on
//! testbed `emulated`, cut out of a run of `experiments/paper.ncl`. Its trial is repeated with what
//! iperf3 counted scaled, so that what is true is known.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vexp_api::digest::{Digest, canonical_json};

use super::support::root;

/// A run that will be written.
pub(crate) struct Recorded<'a> {
    /// Its id, and its folder's name.
    pub(crate) id: &'a str,
    /// When it was started: the day in November.
    pub(crate) day: u32,
    /// What throughput is scaled by, in each repetition.
    pub(crate) factors: &'a [f64],
    /// Link rate.
    pub(crate) rate: &'a str,
}

/// A run of that many repetitions, with the link that was recorded.
pub(crate) fn recorded<'a>(id: &'a str, factors: &'a [f64]) -> Recorded<'a> {
    Recorded {
        id,
        day: 1,
        factors,
        rate: "130Mb/s",
    }
}

impl Recorded<'_> {
    /// Writes it into a folder of runs.
    pub(crate) fn write(&self, runs: &Path) -> PathBuf {
        let from = root().join("engine/cli/tests/data/recorded-run");
        let to = runs.join(self.id);
        for same in ["study.json", "images.json"] {
            put(&to.join(same), &std::fs::read(from.join(same)).unwrap());
        }
        let mut run = read(&from.join("run.json"));
        run["id"] = json!(self.id);
        run["started"] = json!(format!("2026-11-{:02}T01:00:00.000Z", self.day));
        put(
            &to.join("run.json"),
            canonical_json(&run).unwrap().as_bytes(),
        );
        let mut plan = read(&from.join("plan.json"));
        let block = plan["blocks"][0].clone();
        let blocks = self.factors.iter().zip(1..).map(|(factor, i)| {
            let mut block = block.clone();
            let id = format!("linux.eserver-325.v0.r{i}");
            let trial = format!("send-tcp.linux.v0.r{i}");
            block["id"] = json!(id);
            block["machine"]["nics"][0]["rate"] = json!(self.rate);
            for place in [
                "/boot",
                "/repetition",
                "/trials/0/boot",
                "/trials/0/repetition",
            ] {
                *block.pointer_mut(place).unwrap() = json!(i);
            }
            block["trials"][0]["id"] = json!(trial);
            let mut record = read(&from.join("blocks/linux.eserver-325.v0.r1/block.json"));
            record["block"] = json!(id);
            let path = to.join("blocks").join(&id).join("block.json");
            put(&path, canonical_json(&record).unwrap().as_bytes());
            write_trial(&from, &to, (&id, &trial), *factor);
            block
        });
        let blocks: Vec<Value> = blocks.collect();
        plan["blocks"] = json!(blocks);
        put(
            &to.join("plan.json"),
            canonical_json(&plan).unwrap().as_bytes(),
        );
        to
    }
}

fn write_trial(from: &Path, to: &Path, (block, trial): (&str, &str), factor: f64) {
    let from = from.join("trials/send-tcp.linux.v0.r1");
    let to = to.join("trials").join(trial);
    let mut record = read(&from.join("trial.json"));
    record["block"] = json!(block);
    record["trial"] = json!(trial);
    for artefact in record["artefacts"].as_array_mut().unwrap() {
        let path = artefact["path"].as_str().unwrap().to_owned();
        let times = format!("{path}.times");
        put(&to.join(&times), &std::fs::read(from.join(&times)).unwrap());
        let mut bytes = std::fs::read(from.join(&path)).unwrap();
        if artefact["tool"] == "iperf3" {
            bytes = scaled(std::str::from_utf8(&bytes).unwrap(), factor).into_bytes();
        }
        artefact["digest"] = json!(Digest::of(&bytes));
        put(&to.join(&path), &bytes);
    }
    put(
        &to.join("trial.json"),
        canonical_json(&record).unwrap().as_bytes(),
    );
}

/// Lines of iperf3 with other counts.
fn scaled(lines: &str, factor: f64) -> String {
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        scale(&mut value, factor);
        // iperf3 names the event first.
        let (event, data) = (&value["event"], &value["data"]);
        format!("{{\"event\":{event},\"data\":{data}}}\n")
    };
    lines.lines().map(line).collect()
}

fn scale(value: &mut Value, factor: f64) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| scale(value, factor)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_f64()) {
                    ("bytes", Some(bytes)) => *value = json!((bytes * factor).round() as u64),
                    ("bits_per_second", Some(rate)) => *value = json!(rate * factor),
                    _ => scale(value, factor),
                }
            }
        }
        _ => {}
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}
