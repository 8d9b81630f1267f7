//! Runs on a batch engine that misbehaves: nothing is lost, and nothing is measured twice.

#![expect(clippy::unwrap_used, reason = "tests")]

mod once;
#[expect(dead_code, reason = "other tests use the rest")]
mod pretended;
#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use once::history;
use pretended::{World, json, records, until};
use support::{Said, said};

/// Trials of the study with effort `often`, and its blocks.
const TRIALS: usize = 48;
const BLOCKS: usize = 12;

fn queue(world: &World) -> PathBuf {
    let queue = world.path("queue");
    std::fs::create_dir_all(&queue).unwrap();
    queue
}

/// vexp in a world with an engine that has these faults.
fn with_engine(mut command: Command, world: &World, faults: &str) -> Command {
    command
        .env("FAKE_BATCH", queue(world))
        .env("FAKE_BATCH_FAULTS", faults)
        .env_remove("FAKE_JOB");
    command
}

fn on(world: &World, faults: &str, more: &[&str]) -> Command {
    let mut args = vec!["--effort", "often", "--on", "local"];
    args.extend(more);
    with_engine(world.run(&args), world, faults)
}

fn attach(world: &World, faults: &str, more: &[&str]) -> Command {
    let run = world.only_run();
    let mut args = vec!["attach", run.to_str().unwrap()];
    args.extend(more);
    with_engine(world.vexp(&args), world, faults)
}

fn calls(world: &World, of: &str) -> Vec<String> {
    let text = std::fs::read_to_string(queue(world).join("calls")).unwrap_or_default();
    let calls = text.lines().filter(|line| line.starts_with(of));
    calls.map(str::to_owned).collect()
}

/// All trials are measured, each once, and the run is listed as finished.
fn all_once(world: &World) -> BTreeMap<String, Vec<String>> {
    let history = once::all(&world.only_run(), TRIALS, BLOCKS);
    let listed = said(&mut world.vexp(&["runs", world.path("runs").to_str().unwrap()]));
    assert!(listed.out.contains("finished"), "{}", listed.out);
    history
}

fn fine(said: &Said) {
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

fn started(mut command: Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(child: Child) -> Said {
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn measured(world: &World) -> usize {
    let run = std::fs::read_dir(world.path("runs"))
        .into_iter()
        .flatten()
        .flatten()
        .next();
    run.map_or(0, |run| records(&run.path()).len())
}

fn kill(signal: &str, pid: &str) {
    assert!(
        Command::new("kill")
            .args([signal, pid])
            .status()
            .unwrap()
            .success()
    );
}

fn pid(world: &World, job: u32, task: u32) -> String {
    let file = queue(world).join(format!("{job}/{task}/pid"));
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

#[test]
fn a_run_on_an_engine_is_the_run_that_it_is_without_one() {
    let world = World::new();
    let ran = said(&mut on(&world, "", &["--jobs", "4"]));
    fine(&ran);
    let history = all_once(&world);
    assert!(
        history.values().all(|attempts| attempts.len() == 1),
        "{history:?}"
    );
    assert_eq!(calls(&world, "submit").len(), 1);
    assert!(
        ran.err.contains("submitted 4 tasks to local: job 1"),
        "{}",
        ran.err
    );
    let alone = World::new();
    fine(&said(&mut alone.run(&["--effort", "often"])));
    let run = world.only_run();
    let read = |run: &Path, name: &str| std::fs::read(run.join(name)).unwrap();
    assert!(read(&run, "plan.json") == read(&alone.only_run(), "plan.json"));
    let metrics = |world: &World| {
        let run = world.only_run();
        let reported =
            said(&mut world.vexp(&["report", run.to_str().unwrap(), "--format", "json"]));
        assert_eq!(reported.code, 5, "{}", reported.err);
        json(&run.join("frames/metrics.json"))
    };
    assert!(metrics(&world) == metrics(&alone));
    // The bundle has nothing of the engine, and verifies.
    let bundle = world.path("run.vexp.tar.zst");
    let (run, bundle) = (run.to_str().unwrap(), bundle.to_str().unwrap());
    fine(&said(&mut world.vexp(&["export", run, "--output", bundle])));
    let verified = said(&mut world.vexp(&["verify", bundle]));
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

#[test]
fn nodes_have_a_store_of_their_own_where_the_user_says_so_and_a_run_remembers_it() {
    let world = World::new();
    let own = world.path("node/store");
    let mut command = on(&world, "", &["--jobs", "2"]);
    let refused = said(command.env("VEXP_STORE_LOCAL", "node/store"));
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("by its whole path"), "{}", refused.err);
    let mut command = on(&world, "", &["--jobs", "2", "--detach"]);
    fine(&said(command.env("VEXP_STORE_LOCAL", &own)));
    // From a shell that does not say so.
    fine(&said(&mut attach(&world, "", &[])));
    all_once(&world);
    assert!(own.join("images-v1").is_dir());
    let order = json(&world.only_run().join("batch/engine.json"));
    assert_eq!(order["local"], own.to_str().unwrap());
}

#[test]
fn a_submission_that_is_not_answered_is_looked_up_before_anything_else() {
    let world = World::new();
    let ran = said(&mut on(&world, "unknown", &["--jobs", "2"]));
    fine(&ran);
    all_once(&world);
    assert_eq!(calls(&world, "submit").len(), 1);
    assert!(
        ran.err.contains("it was submitted all the same: job 1"),
        "{}",
        ran.err
    );
}

#[test]
fn a_job_that_nobody_finds_and_that_runs_all_the_same_measures_nothing_twice() {
    let world = World::new();
    let ran = said(on(&world, "unfound", &["--jobs", "2"]).env("FAKE_FAULTS", "slow:50"));
    fine(&ran);
    all_once(&world);
}

#[test]
fn what_is_accepted_and_never_runs_is_submitted_again() {
    let world = World::new();
    let ran = said(&mut on(&world, "never", &["--jobs", "2"]));
    fine(&ran);
    all_once(&world);
    assert_eq!(calls(&world, "submit").len(), 2);
    assert!(
        ran.err
            .contains("neither a sign of life nor a word of the engine"),
        "{}",
        ran.err
    );
}

#[test]
fn an_engine_that_says_nothing_or_is_away_ends_nothing() {
    for fault in ["empty", "away"] {
        let world = World::new();
        // Longer than it takes to believe that a task is dead.
        let ran = said(on(&world, fault, &["--jobs", "2"]).env("FAKE_FAULTS", "slow:150"));
        fine(&ran);
        let history = all_once(&world);
        assert!(
            history.values().all(|attempts| attempts.len() == 1),
            "{history:?}"
        );
        assert_eq!(calls(&world, "submit").len(), 1, "{fault}");
    }
}

#[test]
fn a_task_that_is_killed_is_replaced_and_its_node_left_out() {
    let world = World::new();
    let run = started(slow(on(&world, "", &["--jobs", "2"])));
    until("some trials", || measured(&world) > 2);
    kill("-KILL", &pid(&world, 1, 0));
    let ran = ended(run);
    fine(&ran);
    let history = all_once(&world);
    let lost: Vec<_> = history
        .values()
        .filter(|attempts| attempts.contains(&"lost".to_owned()))
        .collect();
    assert_eq!(lost, [&["lost".to_owned(), "measured".to_owned()]]);
    assert!(
        ran.err
            .contains("node n0 is left out from now on: NODE_FAIL on node n0"),
        "{}",
        ran.err
    );
    let record = json(&world.only_run().join("run.json"));
    assert_eq!(record["deviations"][0]["subject"], "node n0");
    assert_ne!(
        std::fs::read_to_string(queue(&world).join("2/0/node")).unwrap(),
        "n0"
    );
}

fn slow(mut command: Command) -> Command {
    command.env("FAKE_FAULTS", "slow:100");
    command
}

#[test]
fn a_task_at_its_time_limit_gives_its_block_back() {
    let world = World::new();
    let run = started(slow(on(&world, "", &["--jobs", "1"])));
    until("some trials", || measured(&world) > 2);
    kill("-TERM", &pid(&world, 1, 0));
    let ran = ended(run);
    fine(&ran);
    let history = all_once(&world);
    let back: Vec<_> = history
        .values()
        .filter(|attempts| attempts.len() > 1)
        .collect();
    assert_eq!(back, [&["given_back".to_owned(), "measured".to_owned()]]);
    assert!(
        json(&world.only_run().join("run.json"))["deviations"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_task_that_is_started_anew_takes_its_own_block_over() {
    let world = World::new();
    let run = started(slow(on(&world, "requeue", &["--jobs", "1"])));
    until("some trials", || measured(&world) > 2);
    kill("-KILL", &pid(&world, 1, 0));
    let ran = ended(run);
    fine(&ran);
    let history = all_once(&world);
    let back: Vec<_> = history
        .values()
        .filter(|attempts| attempts.len() > 1)
        .collect();
    assert_eq!(back, [&["given_back".to_owned(), "measured".to_owned()]]);
    assert_eq!(calls(&world, "submit").len(), 1);
    assert!(
        ran.err.contains("is started anew on node n0"),
        "{}",
        ran.err
    );
}

#[test]
fn a_dispatcher_that_is_killed_is_replaced_by_attach_and_nothing_is_submitted_twice() {
    let world = World::new();
    let mut run = started(slow(on(&world, "", &["--jobs", "2"])));
    until("some trials", || measured(&world) > 2);
    run.kill().unwrap();
    run.wait().unwrap();
    let listed = said(&mut world.vexp(&["runs", world.path("runs").to_str().unwrap()]));
    assert!(listed.out.contains("out: job 1"), "{}", listed.out);
    // A collector finds nothing that is in its way.
    let before = measured(&world);
    until("more trials", || measured(&world) > before);
    let attached = said(&mut attach(&world, "", &[]));
    fine(&attached);
    assert!(
        attached.err.contains("attached to 2 tasks"),
        "{}",
        attached.err
    );
    all_once(&world);
    assert_eq!(calls(&world, "submit").len(), 1);
    // Once more changes nothing.
    fine(&said(&mut attach(&world, "", &[])));
    assert_eq!(calls(&world, "submit").len(), 1);
}

#[test]
fn detached_tasks_wait_for_nobody_and_are_cancelled_by_a_word() {
    let world = World::new();
    let ran = said(&mut on(&world, "hold", &["--jobs", "3", "--detach"]));
    fine(&ran);
    assert!(ran.err.contains("next: vexp attach "), "{}", ran.err);
    assert_eq!(ran.out.trim(), world.only_run().to_str().unwrap());
    let cancelled = said(&mut attach(&world, "hold", &["--cancel"]));
    fine(&cancelled);
    assert!(
        cancelled.err.contains("3 tasks have ended"),
        "{}",
        cancelled.err
    );
    let listed = said(&mut world.vexp(&["runs", world.path("runs").to_str().unwrap()]));
    assert!(listed.out.contains("unfinished"), "{}", listed.out);
    fine(&said(&mut attach(&world, "", &[])));
    all_once(&world);
}

#[test]
fn ctrl_c_leaves_the_tasks_and_says_how_to_go_on() {
    let world = World::new();
    let run = started(on(&world, "hold", &["--jobs", "2"]));
    until("submitted", || !calls(&world, "status").is_empty());
    kill("-INT", &run.id().to_string());
    let ran = ended(run);
    assert_eq!(ran.code, 130, "{}", ran.err);
    assert!(ran.err.contains("2 tasks wait: Priority"), "{}", ran.err);
    assert!(ran.err.contains("job 1 of local goes on"), "{}", ran.err);
    assert!(calls(&world, "cancel").is_empty());
    std::fs::write(queue(&world).join("release"), "").unwrap();
    fine(&said(&mut attach(&world, "hold", &[])));
    all_once(&world);
    assert_eq!(calls(&world, "submit").len(), 1);
}

#[test]
fn limits_are_kept_to_and_what_is_refused_is_said_in_the_engine_s_words() {
    let world = World::new();
    let ran = said(on(&world, "array:2 later", &["--jobs", "6"]).env("FAKE_FAULTS", "slow:60"));
    fine(&ran);
    all_once(&world);
    let submitted = calls(&world, "submit");
    assert!(
        submitted
            .iter()
            .all(|line| line.ends_with(" 2") || line.ends_with(" 1")),
        "{submitted:?}"
    );
    assert!(
        ran.err.contains("Unable to contact slurm controller"),
        "{}",
        ran.err
    );
    let world = World::new();
    let ran = said(&mut on(&world, "refused", &[]));
    assert_eq!(ran.code, 4);
    assert!(
        ran.err.contains("local refuses the job: Invalid account"),
        "{}",
        ran.err
    );
    assert_eq!(calls(&world, "submit").len(), 1);
}

#[test]
fn inside_of_a_job_its_allocation_is_used() {
    let world = World::new();
    let ran = said(
        on(&world, "", &[])
            .env("FAKE_JOB", "77")
            .env("FAKE_NODE", "n1"),
    );
    fine(&ran);
    assert!(
        ran.err.contains("this is job 77 of local on node n1"),
        "{}",
        ran.err
    );
    assert!(calls(&world, "submit").is_empty());
    assert_eq!(records(&world.only_run()).len(), TRIALS);
    let ran = said(&mut world.run(&["--on", "nothing"]));
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("there is no batch engine `nothing`"),
        "{}",
        ran.err
    );
}

#[test]
fn a_study_says_what_engines_are_told_and_check_finds_what_is_wrong() {
    let world = World::new();
    let pretended = support::root().join(pretended::STUDY);
    let with = |name: &str, batch: &str| {
        let path = world.path(name);
        std::fs::copy(&pretended, world.path("pretended.ncl")).unwrap();
        let text = format!("(import \"pretended.ncl\") & {{ batch = {batch} }}\n");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let check = |study: &str| said(&mut world.vexp(&["check", study]));
    fine(&check(&with(
        "good.ncl",
        "{ local = { account = \"us\" } }",
    )));
    for (batch, word) in [
        ("{ local = { acount = \"us\" } }", "acount"),
        ("{ local = { account = 7 } }", "the value of `account`"),
        ("{ locla = {} }", "did you mean `local`?"),
    ] {
        let checked = check(&with("bad.ncl", batch));
        assert_eq!(checked.code, 2, "{batch}: {}", checked.err);
        assert!(checked.err.contains(word), "{batch}: {}", checked.err);
    }
    let refused = with("refused.ncl", "{ local = { account = \"nobody\" } }");
    let runs = world.path("runs");
    let args = [
        "run",
        &refused,
        "--testbed",
        "fake",
        "--on",
        "local",
        "--runs",
        runs.to_str().unwrap(),
    ];
    let ran = said(&mut with_engine(world.vexp(&args), &world, ""));
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(
        ran.err
            .contains("batch engine `local`: account: nobody pays"),
        "{}",
        ran.err
    );
    assert!(calls(&world, "submit").is_empty());
}

#[test]
fn a_block_that_no_time_limit_lets_end_is_not_tried_for_ever() {
    let world = World::new();
    let mut run = on(&world, "limit:0.7", &["--jobs", "1"]);
    let ran = said(run.env("FAKE_FAULTS", "slow:60000"));
    assert_eq!(ran.code, 4, "{}", ran.err);
    let text = "6 tasks in a row have ended without a block that is measured: told to stop";
    assert!(ran.err.contains(text), "{}", ran.err);
    assert_eq!(calls(&world, "submit").len(), 6);
    assert!(records_now(&world).is_empty());
}

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

#[test]
fn dispatchers_and_tasks_that_are_killed_at_any_moment_lose_nothing_and_measure_nothing_twice() {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = match std::env::var("VEXP_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => now.as_nanos() as u64 | 1,
    };
    println!("seed {seed}");
    let mut random = Random(seed);
    let world = World::new();
    let begin = || slow(on(&world, "requeue", &["--jobs", "3"]));
    let mut run = started(begin());
    until("a task", || queue(&world).join("1/0/pid").exists());
    for kills in 0..8 {
        std::thread::sleep(std::time::Duration::from_millis(random.below(700)));
        let before = records_now(&world);
        if kills % 2 == 0 {
            let job = 1 + random.below(jobs(&world)) as u32;
            let task = random.below(3) as u32;
            let pid = queue(&world).join(format!("{job}/{task}/pid"));
            if let Ok(pid) = std::fs::read_to_string(pid) {
                // It may have ended long ago.
                let _ = Command::new("kill")
                    .args(["-KILL", pid.trim()])
                    .output()
                    .unwrap();
            }
        } else {
            run.kill().unwrap();
            run.wait().unwrap();
            run = started(slow(attach(&world, "requeue", &[])));
        }
        for (id, record) in before {
            assert_eq!(
                records_now(&world).get(&id),
                Some(&record),
                "seed {seed}: {id}"
            );
        }
    }
    let ran = ended(run);
    assert_eq!(ran.code, 0, "seed {seed}: {}", ran.err);
    let run = world.only_run();
    assert_eq!(records(&run).len(), TRIALS, "seed {seed}");
    let history = history(&run);
    for (block, attempts) in &history {
        let measured = attempts.iter().filter(|how| *how == "measured").count();
        assert_eq!(
            (measured, attempts.last().unwrap().as_str()),
            (1, "measured"),
            "seed {seed}: {block}: {attempts:?}"
        );
    }
    // Each trial's traffic flowed once, but for those that a kill has undone.
    let flowed = world
        .journal()
        .iter()
        .filter(|line| *line == "measuring")
        .count();
    assert!(flowed <= TRIALS + 4, "seed {seed}: {flowed}");
}

fn records_now(world: &World) -> BTreeMap<String, Vec<u8>> {
    records(&world.only_run())
}

fn jobs(world: &World) -> u64 {
    let all = std::fs::read_dir(queue(world)).unwrap();
    all.filter(|entry| entry.as_ref().unwrap().path().is_dir())
        .count() as u64
}
