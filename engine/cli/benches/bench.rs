//! `make bench`: what vexp costs beside measuring, as a table on standard output.
//!
//! Commands are timed by running the binary. The rest is read from the events of the newest complete
//! runs of effort quick below `runs`, on `emulated` and on `virtual`; with `VEXP_BENCH_RUN=1`, and as
//! root, one is made on `emulated`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints what it measures"
)]

mod newest;
mod parsers;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use newest::Costs;

type Failed = Box<dyn std::error::Error>;

/// How often a command is timed.
const RUNS: usize = 5;
const STUDY: &str = "experiments/paper.ncl";

fn main() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let cores = std::thread::available_parallelism()?;
    println!("{profile} build, {cores} processors; medians of {RUNS} runs (fastest–slowest)\n");
    row("what", "measured", "aim");
    row("---", "---:", "---:");

    let scratch = tempfile::tempdir()?;
    let matrix = scratch.path().join("matrix.ncl");
    std::fs::write(&matrix, matrix_study())?;
    let matrix = matrix.to_string_lossy();
    let full = ["plan", &matrix, "--effort", "full", "--format", "json"];
    let trials = trials(&root, &full).map_or_else(|e| e.to_string(), |n| format!("{n} trials"));
    let timed = [
        (format!("check {STUDY}"), vec!["check", STUDY], "< 1 s"),
        (
            format!("check and plan {STUDY}"),
            vec!["plan", STUDY],
            "< 1 s",
        ),
        (
            "check a large matrix".to_owned(),
            vec!["check", &matrix],
            "< 1 s",
        ),
        (
            format!("check and plan it, {trials}"),
            full.to_vec(),
            "< 1 s",
        ),
        (
            "build, all images being there".to_owned(),
            vec!["build", STUDY],
            "< 0.2 s",
        ),
    ];
    for (what, args, aim) in timed {
        row(
            &what,
            &median_time(&root, &args).unwrap_or_else(|e| e.to_string()),
            aim,
        );
    }
    parsers::compare(&root, scratch.path())?;
    match run_folder(&root, scratch.path()) {
        Ok(run) => costs(&run)?,
        Err(why) => row("a run", &format!("not measured: {why}"), ""),
    }
    match newest::complete(&runs(&root), "virtual") {
        Ok(run) => speeds(&run)?,
        Err(why) => row("virtual time", &format!("not measured: {why}"), ""),
    }
    Ok(())
}

fn row(what: &str, measured: &str, aim: &str) {
    println!("| {what} | {measured} | {aim} |");
}

/// `vexp` in the repository, as a user of a pipe has it.
fn vexp(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vexp"));
    command.args(args).current_dir(root).stdin(Stdio::null());
    command
}

/// Runs it to its end and returns what it printed.
fn run(root: &Path, args: &[&str]) -> Result<Vec<u8>, Failed> {
    let output = vexp(root, args).output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(format!(
        "not measured: {}: {}",
        output.status,
        last.unwrap_or_default()
    )
    .into())
}

/// Times a command. The first time isn't counted: it warms caches, and builds what is missing.
fn median_time(root: &Path, args: &[&str]) -> Result<String, Failed> {
    run(root, args)?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        run(root, args)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let (first, last) = (times[0], times[RUNS - 1]);
    Ok(format!(
        "{:.3} s ({first:.3}–{last:.3})",
        newest::median(&times)
    ))
}

/// 25 experiments, 2 platforms, 4 VM counts and 50 repetitions.
fn matrix_study() -> String {
    let mut text =
        "let vexp = import \"vexp.ncl\" in\n{ name = \"matrix\", title = \"Matrix\",\n  \
         hardware.laptop = vexp.laptop, platforms = vexp.platform \"laptop\",\n  \
         efforts.full = { repetitions = 50, warm_up = \"1s\", window = \"3s\" },\n  \
         testbeds.emulated = vexp.stock,\n"
            .to_owned();
    for i in 0..25 {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  experiments.e{i} = {{ title = \"E\", role = \"sender\", traffic.tool = \"iperf3\", \
             platforms = [\"xen\", \"kvm\"], vms = [1, 2, 4, 8] }},"
        );
    }
    text + "}\n"
}

/// How many trials a plan has.
fn trials(root: &Path, args: &[&str]) -> Result<usize, Failed> {
    let plan: vexp_api::plan::Plan = serde_json::from_slice(&run(root, args)?)?;
    Ok(plan.trials().count())
}

/// The run to be looked at: the newest that there is, or one that is made now.
fn run_folder(root: &Path, scratch: &Path) -> Result<PathBuf, Failed> {
    let wanted = std::env::var_os("VEXP_BENCH_RUN").is_some_and(|value| value == "1");
    if wanted && rustix::process::geteuid().is_root() {
        let runs = scratch.join("runs");
        eprintln!("running {STUDY} at effort quick: this takes minutes");
        let args = ["run", STUDY, "--effort", "quick", "--runs"];
        let status = vexp(root, &args)
            .arg(&runs)
            .stdout(Stdio::null())
            .status()?;
        // A trial that failed makes the run incomplete, which has a status of its own.
        return newest::complete(&runs, "emulated")
            .map_err(|why| format!("{why} ({status})").into());
    }
    newest::complete(&runs(root), "emulated")
}

fn runs(root: &Path) -> PathBuf {
    std::env::var_os("VEXP_RUNS").map_or_else(|| root.join("runs"), PathBuf::from)
}

/// Rows about a run in virtual time: how fast its machines were.
fn speeds(run: &Path) -> Result<(), Failed> {
    let costs = Costs::read(run)?;
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    row(
        &format!("run {name}"),
        &format!("{} trials in {:.0} s", costs.measured, costs.wall),
        "15 min",
    );
    for (platform, (own, took)) in &costs.trials {
        let what = format!("{platform}: virtual seconds in a second of its trials");
        row(&what, &format!("{:.2}", own / took), "");
    }
    Ok(())
}

/// Rows about a run.
fn costs(run: &Path) -> Result<(), Failed> {
    let costs = Costs::read(run)?;
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    row(
        &format!("run {name}"),
        &format!("{} trials measured", costs.measured),
        "",
    );
    row(
        "run's start to the first measured packet",
        &seconds(costs.first),
        "",
    );
    for (platform, times) in &costs.platforms {
        let what = format!("{platform}: machine's start to the first measured packet");
        row(&what, &seconds(newest::median(times)), "");
    }
    let share = format!(
        "{:.0} % of {:.0} s",
        100.0 * (1.0 - costs.windows / costs.wall),
        costs.wall
    );
    row("wall time outside measuring windows", &share, "");
    Ok(())
}

fn seconds(value: f64) -> String {
    format!("{value:.1} s")
}
