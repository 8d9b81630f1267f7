//! `make bench`, the third table: a dispatcher with 10,000 short blocks, and 64 tasks that measure them.
//!
//! The dispatcher and the tasks are those of a run on Slurm, with its usual pauses. Only the engine, the testbed and the
//! worker are pretended ([`pretended`]): a submission is accepted at once, a task is a process of this computer, and a
//! block takes as long as it takes to start a worker and to write its record. So what is left is what vexp adds.
//!
//! `VEXP_BENCH_BLOCKS` is the number of blocks, `VEXP_BENCH_TASKS` that of tasks.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints what it measures"
)]

mod plan;
mod pretended;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pretended::{Engine, Pretended};
use tokio::sync::watch;
use vexp_api::batch::{BatchEngine as _, Pace};
use vexp_api::event::NoEvents;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::registry::Registry;
use vexp_api::spec::Options;
use vexp_engine::run::batch::Batch;
use vexp_engine::run::batch::task::{self, Assigned};
use vexp_engine::run::dispatch::{self, RunRequest, RunSummary};
use vexp_engine::run::files;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match part() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

/// This program is the bench, a task, and a task's worker.
fn part() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["worker"] => pretended::worker(),
        [
            "task",
            run,
            "--array",
            array,
            "--stage",
            stage,
            "--limit",
            limit,
        ] => one_task(Path::new(run), array, stage.parse()?, limit.parse()?),
        // cargo's own arguments, such as `--bench`.
        _ => bench(),
    }
}

fn request<'a>(
    plan: &'a Plan,
    run: &'a Path,
    (id, none): (&'a Name, &'a BTreeMap<Name, vexp_api::plugin::ImageFiles>),
    batch: Option<&'a Batch>,
    cancel: watch::Receiver<bool>,
) -> Result<RunRequest<'a>, Failed> {
    Ok(RunRequest {
        plan,
        images: none,
        run,
        id,
        testbed: Arc::new(Pretended),
        executable: std::env::current_exe()?,
        jobs: 1,
        registry: Registry::new(),
        events: Arc::new(NoEvents),
        stages: None,
        batch,
        computer: None,
        cancel,
    })
}

fn one_task(run: &Path, array: &str, stage: u32, limit: u64) -> Result<(), Failed> {
    let plan: Plan = files::read_json(&run.join("plan.json"))?;
    let here = Engine::default().here().ok_or("this is no task")?;
    let assigned = Assigned {
        array: Name::new(array)?,
        stage,
        limit: Duration::from_secs(limit),
        here,
        pace: Pace::default(),
        began: Instant::now(),
    };
    let (_stop, cancel) = watch::channel(false);
    let (id, none) = (Name::new("bench")?, BTreeMap::new());
    let request = request(&plan, run, (&id, &none), None, cancel)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    Ok(runtime.block_on(task::run(&request, &assigned))?)
}

fn setting(name: &str, usual: usize) -> Result<usize, Failed> {
    match std::env::var(name) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(usual),
    }
}

fn bench() -> Result<(), Failed> {
    let blocks = setting("VEXP_BENCH_BLOCKS", 10_000)?;
    let tasks = setting("VEXP_BENCH_TASKS", 64)?;
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run");
    files::create_dir(&run)?;
    let plan = plan::of(blocks)?;
    files::write_plan(&run.join("plan.json"), &plan)?;
    let engine = Arc::new(Engine::default());
    let batch = Batch {
        name: Name::new("pretended")?,
        engine: Arc::clone(&engine) as _,
        options: Options::new(),
        tasks: NonZeroUsize::new(tasks),
        program: vec![std::env::current_exe()?.display().to_string()],
        store: folder.path().join("store"),
        local: None,
        detach: false,
        host: "bench".to_owned(),
    };
    let before = memory();
    let first = Took::of(|| attend(&plan, &run, &batch))?;
    if first.summary.measured != blocks {
        return Err(format!(
            "{} of {blocks} blocks were measured",
            first.summary.measured
        )
        .into());
    }
    let grown = memory().saturating_sub(before);
    let again = Took::of(|| attend(&plan, &run, &batch))?;
    let calls = engine.calls();
    print(blocks, tasks, (&first, grown, &again), &calls);
    Ok(())
}

/// Runs the dispatcher to its end.
fn attend(plan: &Plan, run: &Path, batch: &Batch) -> Result<RunSummary, Failed> {
    let (_stop, cancel) = watch::channel(false);
    let (id, none) = (Name::new("bench")?, BTreeMap::new());
    let request = request(plan, run, (&id, &none), Some(batch), cancel)?;
    let runtime = tokio::runtime::Runtime::new()?;
    Ok(runtime.block_on(dispatch::run(&request))?)
}

/// What the dispatcher took.
struct Took {
    summary: RunSummary,
    wall: Duration,
    /// Processor time of this process alone, without its tasks.
    busy: Duration,
}

impl Took {
    fn of(what: impl FnOnce() -> Result<RunSummary, Failed>) -> Result<Self, Failed> {
        let (began, before) = (Instant::now(), busy());
        let summary = what()?;
        Ok(Self {
            summary,
            wall: began.elapsed(),
            busy: busy().saturating_sub(before),
        })
    }
}

/// Processor time of this process.
fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Most memory that this process had, bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn print(
    blocks: usize,
    tasks: usize,
    (first, grown, again): (&Took, u64, &Took),
    calls: &pretended::Calls,
) {
    let profile = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    let per_block = |seconds: f64| format!("{:.3}", 1000.0 * seconds / blocks as f64);
    println!(
        "\n{blocks} blocks of one trial, {tasks} tasks as processes of this computer, over a pretended engine; vexp is a \
         {profile} build.\n"
    );
    println!("| cluster | value | unit |");
    println!("|---|---:|---|");
    let row = |what: &str, value: String, unit: &str| println!("| {what} | {value} | {unit} |");
    row(
        "until all is in",
        format!("{:.1}", first.wall.as_secs_f64()),
        "s",
    );
    row(
        "dispatcher, processor time",
        per_block(first.busy.as_secs_f64()),
        "ms/block",
    );
    row(
        "dispatcher, memory",
        format!("{:.1}", grown as f64 / 1024.0 / blocks as f64),
        "KiB/block",
    );
    row("submissions", calls.submit.to_string(), "");
    let [status, all] = calls.most();
    row("status calls in a minute, at most", status.to_string(), "");
    row(
        "calls in a minute, submissions apart, at most",
        all.to_string(),
        "",
    );
    row(
        "the same run again, all being in",
        format!("{:.2}", again.wall.as_secs_f64()),
        "s",
    );
}
