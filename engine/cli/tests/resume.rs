//! A run that was killed, at any moment, is finished by `--resume`: every trial once.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "other tests use the rest")]
mod pretended;
#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use pretended::{World, events, json, records, until};
use support::{Said, said};

/// Kills in all, and the chains that they are in, which go on at the same time.
const KILLS: usize = 240;
const CHAINS: usize = 4;
/// Trials of the study.
const TRIALS: usize = 48;

/// Numbers that look random (Marsaglia's xorshift64), the same from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What is read of a run in the end: metrics, verdicts, raw data; not when they were measured.
#[derive(Debug, PartialEq)]
struct Result {
    metrics: Value,
    claims: Value,
    raw: BTreeMap<String, String>,
}

fn result(world: &World, run: &Path) -> Result {
    let reported = said(&mut world.vexp(&["report", run.to_str().unwrap(), "--format", "json"]));
    // One boot decides no claim.
    assert_eq!(reported.code, 5, "{}", reported.err);
    let raw = |id: &String| {
        let file = run
            .join("trials")
            .join(id)
            .join("raw/host.steady.client.txt");
        (id.clone(), std::fs::read_to_string(file).unwrap())
    };
    Result {
        metrics: json(&run.join("frames/metrics.json")),
        claims: serde_json::from_str(&reported.out).unwrap(),
        raw: records(run).keys().map(raw).collect(),
    }
}

const OFTEN: [&str; 2] = ["--effort", "often"];

fn unbroken() -> Result {
    let world = World::new();
    let ran = said(&mut world.run(&OFTEN));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let run = world.only_run();
    assert_eq!(records(&run).len(), TRIALS);
    result(&world, &run)
}

/// The run in a world, if it was begun.
fn begun(world: &World) -> Option<PathBuf> {
    let mut runs = std::fs::read_dir(world.path("runs")).ok()?;
    runs.find_map(|run| {
        let run = run.unwrap().path();
        run.join("run.json").exists().then_some(run)
    })
}

fn start(world: &World) -> Child {
    let run = begun(world);
    // A run that was begun knows its effort.
    let mut run = match &run {
        Some(run) => world.run(&["--resume", run.to_str().unwrap()]),
        None => world.run(&OFTEN),
    };
    run.stdout(Stdio::null()).stderr(Stdio::piped());
    run.spawn().unwrap()
}

/// Kills a run again and again until it has been killed so often or has ended by itself; what was measured
/// must never change and never be measured again. Gives the number of kills.
fn chain(seed: u64, kills: usize) -> (World, usize) {
    let mut random = Random(seed);
    let world = World::new();
    let mut killed = 0;
    loop {
        let before = begun(&world).map(|run| (records(&run), events(&run).len()));
        let mut child = start(&world);
        // Half of them are killed from their first moment on, the others once they run trials.
        if random.below(2) == 0 {
            let known = before.as_ref().map_or(0, |(_, events)| *events);
            let began = Instant::now();
            while child.try_wait().unwrap().is_none() && began.elapsed().as_secs() < 60 {
                if begun(&world).is_some_and(|run| events(&run).len() > known) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(random.below(60_000)));
        } else {
            std::thread::sleep(Duration::from_micros(random.below(400_000)));
        }
        if killed == kills || child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            let words = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(0), "seed {seed}: {words}");
            assert_every_trial_once(&world, before, seed);
            return (world, killed);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        assert_every_trial_once(&world, before, seed);
    }
}

type Before = Option<(BTreeMap<String, Vec<u8>>, usize)>;

/// What had a record before has the same one now, and was not even begun again.
fn assert_every_trial_once(world: &World, before: Before, seed: u64) {
    let (Some(run), Some((records, known))) = (begun(world), before) else {
        return;
    };
    let now = pretended::records(&run);
    for (id, record) in &records {
        assert_eq!(now.get(id), Some(record), "seed {seed}: {id}");
    }
    // A torn line may have been cut off.
    for event in events(&run).iter().skip(known.saturating_sub(1)) {
        let again = event["event"] == "trial_started"
            && event["trial"]
                .as_str()
                .is_some_and(|id| records.contains_key(id));
        assert!(!again, "seed {seed}: {event}");
    }
}

#[test]
fn a_run_that_is_killed_at_any_moment_is_finished_with_every_trial_once() {
    let whole = unbroken();
    // Other moments each time; a failure names its seed.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let first = match std::env::var("VEXP_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => now.as_nanos() as u64 | 1,
    };
    let one = |number: usize| {
        let seed = first.wrapping_add(2 * number as u64);
        let (mut killed, mut measured, mut runs) = (0, 0, 0);
        while killed < KILLS / CHAINS {
            let (world, kills) = chain(seed.wrapping_add(killed as u64), KILLS / CHAINS - killed);
            let run = begun(&world).unwrap();
            assert_eq!(records(&run).len(), TRIALS, "seed {seed}");
            assert!(result(&world, &run) == whole, "seed {seed}: another report");
            assert!(json(&run.join("run.json"))["ended"].is_string());
            let begun = world.journal();
            let begun = begun.iter().filter(|line| *line == "measuring").count();
            // Each kill can undo what was being done, and no more.
            assert!(
                begun <= TRIALS + kills,
                "seed {seed}: {begun} after {kills} kills"
            );
            (killed, measured, runs) = (killed + kills.max(1), measured + begun, runs + 1);
        }
        (killed, measured, runs)
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let chains: Vec<_> = (0..CHAINS)
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        chains
            .into_iter()
            .map(|chain| chain.join().unwrap())
            .collect()
    });
    let sum = |pick: fn(&(usize, usize, usize)) -> usize| all.iter().map(pick).sum::<usize>();
    println!(
        "seed {first}: {} kills in {} runs, {} measurements begun for {} trials",
        sum(|one| one.0),
        sum(|one| one.2),
        sum(|one| one.1),
        sum(|one| one.2) * TRIALS
    );
}

/// Resumes the only run.
fn resumed(world: &World) -> Said {
    let run = world.only_run();
    said(&mut world.run(&["--resume", run.to_str().unwrap()]))
}

/// A run of a few trials that was killed while it measured.
fn killed(fault: &str) -> World {
    let world = World::new();
    let mut run = world.run(&[]);
    run.env("FAKE_FAULTS", fault)
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    let mut run = run.spawn().unwrap();
    world.wait_for("measuring", &mut run);
    run.kill().unwrap();
    run.wait().unwrap();
    world
}

#[test]
fn a_torn_line_of_the_log_is_cut_off_and_said() {
    let world = killed("slow:300");
    let log = world.only_run().join("events.jsonl");
    let mut bytes = std::fs::read(&log).unwrap();
    let whole = bytes.iter().rposition(|b| *b == b'\n').unwrap() + 1;
    bytes.truncate(whole);
    bytes.extend(b"{\"at\":\"2026-01-01T00:0");
    std::fs::write(&log, bytes).unwrap();
    let ran = resumed(&world);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("22 bytes were cut off"), "{}", ran.err);
}

#[test]
fn a_damaged_log_is_an_error_with_a_way_out() {
    let world = killed("slow:300");
    let log = world.only_run().join("events.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("block_started", "block_starteD", 1)).unwrap();
    let refused = resumed(&world);
    assert_eq!(refused.code, 4, "{}", refused.err);
    let words = refused.err.replace("\n", " ");
    assert!(
        words.contains("is damaged") && words.contains("mv "),
        "{words}"
    );
    std::fs::rename(&log, log.with_extension("damaged")).unwrap();
    let ran = resumed(&world);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn a_second_vexp_on_a_run_is_refused_and_told_who_has_it() {
    let world = World::new();
    let mut run = world.run(&[]);
    run.env("FAKE_FAULTS", "slow:500")
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    let mut run = run.spawn().unwrap();
    world.wait_for("measuring", &mut run);
    let second = resumed(&world);
    assert_eq!(second.code, 4, "{}", second.err);
    let holder = format!("another vexp (process {}) is running", run.id());
    assert!(second.err.contains(&holder), "{}", second.err);
    assert_eq!(
        run.wait().unwrap().code(),
        Some(0),
        "the first is not disturbed"
    );
}

#[test]
fn what_is_half_written_is_no_result_and_goes() {
    let world = killed("slow:300");
    let run = world.only_run();
    // As if it had died between writing a trial and its rename.
    let half = run.join("trials/.writing-abc");
    std::fs::create_dir_all(half.join("raw")).unwrap();
    std::fs::write(half.join("trial.json"), "{}").unwrap();
    let listed = said(&mut world.vexp(&[
        "runs",
        "--format=json",
        "--runs",
        world.path("runs").to_str().unwrap(),
    ]));
    assert!(listed.out.contains("\"measured\": 0"), "{}", listed.out);
    let ran = resumed(&world);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!half.exists());
}

#[test]
fn a_worker_ends_with_its_dispatcher() {
    let world = killed("slow:60000");
    let run = world.only_run();
    let runs = |pid: &str| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(run.to_str().unwrap())
    };
    until("no worker is left", || {
        let mut all = std::fs::read_dir("/proc").unwrap();
        !all.any(|entry| runs(&entry.unwrap().file_name().to_string_lossy()))
    });
}

#[test]
fn a_run_is_not_finished_as_another_one() {
    let world = killed("slow:300");
    let run = world.only_run();
    for (option, says) in [
        (["--effort", "often"], "with --effort quick"),
        (["--only", "*.r1"], "without --only"),
    ] {
        let mut args = vec!["--resume", run.to_str().unwrap()];
        args.extend(option);
        let refused = said(&mut world.run(&args));
        assert_eq!(refused.code, 2, "{}", refused.err);
        let words = refused.err.replace('\n', " ");
        assert!(
            words.contains("was started") && words.contains(says),
            "{words}"
        );
    }
}

#[test]
fn a_folder_in_which_no_run_was_begun_is_said_to_be_that() {
    let world = World::new();
    let folder = world.path("runs/dead");
    std::fs::create_dir_all(&folder).unwrap();
    let refused = said(&mut world.run(&["--resume", folder.to_str().unwrap()]));
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("no run was begun"), "{}", refused.err);
}
