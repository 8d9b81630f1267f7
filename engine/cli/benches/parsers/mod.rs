//! How long parsers take beside jc's, which are Python: the aim is a fiftieth.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::Raw;
use vexp_api::record::{Artefact, Part};
use vexp_api::sample::NodeRole;

use super::{Failed, row};

/// Samples of each file.
const LINES: u32 = 20_000;
/// How many times as fast as jc.
const AIM: f64 = 50.0;

/// The tools that both read, and files of theirs.
fn files() -> [(&'static str, String); 3] {
    [
        ("ping", ping()),
        ("mpstat", mpstat()),
        ("pidstat", pidstat()),
    ]
}

fn ping() -> String {
    let mut text = "PING 198.18.0.2 (198.18.0.2) 56(84) bytes of data.\n".to_owned();
    for i in 1..=LINES {
        let at = 1_795_381_321.0 + f64::from(i) / 100.0;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "[{at:.6}] 64 bytes from 198.18.0.2: icmp_seq={i} ttl=64 time=0.{:03} ms",
            50 + i % 900
        );
    }
    let _ = writeln!(
        text,
        "\n--- 198.18.0.2 ping statistics ---\n{LINES} packets transmitted, {LINES} received, \
         0% packet loss, time {}ms\nrtt min/avg/max/mdev = 0.050/0.499/0.949/0.260 ms",
        LINES * 10
    );
    text
}

fn mpstat() -> String {
    let mut text = "Linux 6.12.0 (host) \t2026-11-23 \t_x86_64_\t(2 CPU)\n".to_owned();
    for i in 0..LINES / 3 {
        let time = |second: u32| {
            format!(
                "{:02}:{:02}:{:02}",
                second / 3600 % 24,
                second / 60 % 60,
                second % 60
            )
        };
        let _ = writeln!(
            text,
            "\n{}     CPU    %usr   %nice    %sys %iowait    %irq   %soft  %steal  %guest  %gnice   %idle",
            time(i)
        );
        for cpu in ["all", "  0", "  1"] {
            let _ = writeln!(
                text,
                "{}     {cpu}   20.00    0.00   30.00    0.00    0.00    0.00    0.00    0.00    0.00   50.00",
                time(i + 1)
            );
        }
    }
    text
}

fn pidstat() -> String {
    let mut text = "Linux 6.12.0 (host) \t2026-11-23 \t_x86_64_\t(2 CPU)\n".to_owned();
    for i in 0..LINES / 2 {
        text.push_str(
            "\n# Time        UID       PID    %usr %system  %guest   %wait    %CPU   CPU  Command\n",
        );
        for vm in 1..=2 {
            let _ = writeln!(
                text,
                "{}      0       {}    0.00    0.98   10.78   14.71   11.76     0  \
                 qemu-system-x86_64 -name vm{vm} -accel kvm -smp 1 -m 256M",
                1_795_400_263 + i,
                300 + vm
            );
        }
    }
    text
}

/// Prints a line for each tool.
pub(super) fn compare(root: &Path, scratch: &Path) -> Result<(), Failed> {
    let mut files_of_jc = Vec::new();
    let files = files();
    for (tool, text) in &files {
        let file = scratch.join(format!("{tool}.txt"));
        std::fs::write(&file, text)?;
        files_of_jc.extend([(*tool).to_owned(), file.display().to_string()]);
    }
    let theirs = jc(root, &files_of_jc);
    for (tool, text) in &files {
        let what = format!("parse {} lines of {tool}", text.lines().count());
        let ours = ours(tool, text)?;
        let beside = match theirs.as_ref().map(|times| times.get(*tool)) {
            Ok(Some(theirs)) => format!(
                "{:.1} ms; jc {:.0} ms: {:.0} times as fast",
                ours * 1e3,
                theirs * 1e3,
                theirs / ours
            ),
            Ok(None) => format!("{:.1} ms; jc printed no time", ours * 1e3),
            Err(why) => format!("{:.1} ms; jc was not timed: {why}", ours * 1e3),
        };
        row(&what, &beside, &format!("≥ {AIM} times jc"));
    }
    Ok(())
}

/// Seconds that vexp takes, the best of three.
fn ours(tool: &str, text: &str) -> Result<f64, Failed> {
    let registry = vexp::registry();
    let plugin = registry.measures().get(tool).ok_or("no such parser")?;
    let artefact = Artefact {
        path: format!("{tool}.txt"),
        digest: Digest::of(text.as_bytes()),
        part: Part::Monitor,
        tool: Name::new(tool)?,
        stream: Name::new("stdout")?,
        node: Name::new("host")?,
        role: NodeRole::Host,
        flow: None,
        command: String::new(),
        status: Some(0),
        stderr: String::new(),
        truncated: false,
        started_s: 0.0,
        ended_s: 0.0,
        warm_up_s: 0.0,
        options: serde_json::Map::new(),
        about: BTreeMap::new(),
    };
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let started = Instant::now();
        let samples = plugin.parse(&Raw {
            artefact: &artefact,
            bytes: text.as_bytes(),
            line_times: &[],
        })?;
        best = best.min(started.elapsed().as_secs_f64());
        if samples.is_empty() {
            return Err(format!("{tool}: no samples").into());
        }
    }
    Ok(best)
}

/// Seconds that jc takes, by parser: what `scripts/parser-tools` has installed.
fn jc(root: &Path, files: &[String]) -> Result<BTreeMap<String, f64>, String> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let python = target.join("parser-tools/bin/python");
    if !python.exists() {
        return Err("scripts/parser-tools has not installed it".to_owned());
    }
    let output = Command::new(python)
        .arg(root.join("scripts/parser-tools.d/times.py"))
        .args(files)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let times = text.lines().filter_map(|line| {
        let (tool, seconds) = line.split_once(' ')?;
        Some((tool.to_owned(), seconds.parse().ok()?))
    });
    Ok(times.collect())
}
