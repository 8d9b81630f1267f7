//! Runs on the real Slurm, three nodes on this computer (`scripts/slurm-here`), as an ordinary user. Machines are pretended,
//! so that what is tested is what vexp and Slurm do to each other.
//!
//! They need root, to start Slurm and to become that user, and the packages of `make test-packages`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod once;
#[expect(dead_code, reason = "other tests use the rest")]
mod pretended;
mod slurm;
mod support;

use std::path::Path;
use std::process::Command;

use pretended::{events, json, records, until};
use slurm::{Cluster, User, ended, fine, kill, started};
use support::{root, said, vexp};

/// Trials of the study with effort `often`, and its blocks.
const TRIALS: usize = 48;
const BLOCKS: usize = 12;
/// How long a trial of a run takes in which something is to happen meanwhile, in milliseconds.
const SLOW: &str = "slow:300";

fn on<'a>(user: &'a User, more: &[&'a str]) -> Command {
    let mut args = vec!["--effort", "often", "--on", "slurm"];
    args.extend(more);
    user.run(&args)
}

fn slowly(mut command: Command) -> Command {
    command.env("FAKE_FAULTS", SLOW);
    command
}

fn some_trials(user: &User) {
    until("some trials", || user.measured() > 2);
}

/// All in, each trial once; how many attempts that took.
fn all_once(user: &User) -> usize {
    let history = once::all(&user.only_run(), TRIALS, BLOCKS);
    history.values().map(Vec::len).sum()
}

/// The same, and nothing is left in Slurm's queue.
fn whole(user: &User, cluster: &Cluster) -> usize {
    until("an empty queue", || cluster.queue().is_empty());
    all_once(user)
}

fn metrics(user: &User) -> serde_json::Value {
    let run = user.only_run();
    let reported = said(&mut user.vexp(&["report", run.to_str().unwrap(), "--format", "json"]));
    assert_eq!(reported.code, 5, "{}", reported.err);
    json(&run.join("frames/metrics.json"))
}

#[test]
#[ignore = "starts Slurm: needs root"]
fn a_run_on_slurm_is_the_run_without_it_whatever_becomes_of_vexp() {
    let cluster = Cluster::new(&[]);
    let alone = User::new(Some(&cluster));
    fine(&said(&mut alone.run(&["--effort", "often"])));

    let user = User::new(Some(&cluster));
    fine(&said(&mut on(&user, &[])));
    assert_eq!(whole(&user, &cluster), BLOCKS);
    assert!(metrics(&user) == metrics(&alone));
    let log = std::fs::read_dir(user.only_run().join("batch/logs")).unwrap();
    assert!(log.count() > 0, "tasks have logs");

    // The process on the login node is killed.
    let user = User::new(Some(&cluster));
    let mut run = started(slowly(on(&user, &[])));
    some_trials(&user);
    run.kill().unwrap();
    run.wait().unwrap();
    let listed = said(&mut user.vexp(&["runs", user.path("runs").to_str().unwrap()]));
    assert!(listed.out.contains("out: job "), "{}", listed.out);
    let attached = said(&mut user.attach(&[]));
    fine(&attached);
    assert!(attached.err.contains("attached to "), "{}", attached.err);
    assert_eq!(whole(&user, &cluster), BLOCKS);
    assert_eq!(user.submissions(), 1);

    // Ctrl-C, then no job is to be left.
    let user = User::new(Some(&cluster));
    let run = started(slowly(on(&user, &[])));
    some_trials(&user);
    kill("-INT", &run.id().to_string());
    let ran = ended(run);
    assert_eq!(ran.code, 130, "{}", ran.err);
    assert!(ran.err.contains("of slurm goes on"), "{}", ran.err);
    assert!(!cluster.queue().is_empty());
    fine(&said(&mut user.attach(&["--cancel"])));
    until("an empty queue", || cluster.queue().is_empty());
    let kept = records(&user.only_run());
    assert!(!kept.is_empty() && kept.len() < TRIALS, "{}", kept.len());
    fine(&said(&mut user.attach(&[])));
    whole(&user, &cluster);
    let all = records(&user.only_run());
    assert!(kept.iter().all(|(id, record)| all[id] == *record));
}

#[test]
#[ignore = "starts Slurm: needs root"]
fn a_node_of_slurm_that_dies_takes_no_trial_with_it() {
    let mut cluster = Cluster::new(&[]);
    let user = User::new(Some(&cluster));
    let run = started(slowly(on(&user, &[])));
    some_trials(&user);
    let kept = records(&user.only_run());
    let node = cluster.node_of_a_task();
    cluster.tell(&format!("kill {node}"));
    let ran = ended(run);
    fine(&ran);
    let attempts = whole(&user, &cluster);
    assert!(attempts > BLOCKS, "{attempts}: {}", ran.err);
    let all = records(&user.only_run());
    assert!(kept.iter().all(|(id, record)| all[id] == *record));
}

#[test]
#[ignore = "starts Slurm: needs root"]
fn what_slurm_and_its_users_do_to_tasks_loses_nothing() {
    let cluster = Cluster::new(&[]);
    let user = User::new(Some(&cluster));

    // The time limit: lowered in mid-run, so that SIGTERM comes at Slurm's next look, which it takes every 30 s.
    let mut command = on(&user, &["--jobs", "1"]);
    command.env("FAKE_FAULTS", "slow:900");
    let limited = started(command);
    some_trials(&user);
    let limit = format!("JobId={}", cluster.running(&user));
    let limit = ["update", &limit, "TimeLimit=1"];
    fine(&said(cluster.client("scontrol").args(limit)));

    // Meanwhile the others, on the other nodes.
    for command in ["requeue", "cancel"] {
        let user = User::new(Some(&cluster));
        let run = started(slowly(on(&user, &["--jobs", "2"])));
        some_trials(&user);
        let task = cluster.running(&user);
        let asked = match command {
            "requeue" => said(cluster.client("scontrol").args(["requeue", &task])),
            _ => said(cluster.client("scancel").arg(&task)),
        };
        fine(&asked);
        let ran = ended(run);
        fine(&ran);
        let attempts = all_once(&user);
        let expected = BLOCKS..=BLOCKS + 1;
        assert!(
            expected.contains(&attempts),
            "{command}: {attempts}: {}",
            ran.err
        );
    }

    let ran = ended(limited);
    fine(&ran);
    let attempts = whole(&user, &cluster);
    assert!((BLOCKS..=BLOCKS + 1).contains(&attempts), "{attempts}");
    assert!(user.submissions() > 1, "{}", ran.err);
    assert!(no_node_is_blamed(&user.only_run()));

    // All of them, behind vexp's back.
    let user = User::new(Some(&cluster));
    let run = started(slowly(on(&user, &[])));
    some_trials(&user);
    let everything = format!("--user={}", slurm::USER);
    fine(&said(cluster.client("scancel").arg(everything)));
    fine(&ended(run));
    whole(&user, &cluster);
    assert!(user.submissions() > 1);
}

fn no_node_is_blamed(run: &Path) -> bool {
    let record = json(&run.join("run.json"));
    record["deviations"].as_array().unwrap().is_empty()
}

#[test]
#[ignore = "starts Slurm: needs root"]
fn a_task_that_makes_room_for_an_urgent_job_loses_nothing() {
    let cluster = Cluster::new(&[
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "PartitionName=urgent Nodes=n[1-3] PriorityTier=10 MaxTime=INFINITE State=UP",
    ]);
    let user = User::new(Some(&cluster));
    let run = started(slowly(on(&user, &[])));
    some_trials(&user);
    let kept = records(&user.only_run());
    let node = format!("--nodelist={}", cluster.node_of_a_task());
    let urgent = ["--partition=urgent", "--exclusive", &node, "--time=1"];
    let urgent = [&urgent[..], &["--output=/dev/null", "--wrap=sleep 1"]].concat();
    fine(&said(cluster.client("sbatch").args(urgent)));
    let ran = ended(run);
    fine(&ran);
    assert!(cluster.log().contains("preempted"), "{}", cluster.log());
    let attempts = whole(&user, &cluster);
    assert!((BLOCKS..=BLOCKS + 1).contains(&attempts), "{attempts}");
    let all = records(&user.only_run());
    assert!(kept.iter().all(|(id, record)| all[id] == *record));
}

#[test]
#[ignore = "starts Slurm: needs root"]
fn a_controller_that_restarts_or_stalls_makes_no_task_twice() {
    let mut cluster = Cluster::new(&[]);
    let user = User::new(Some(&cluster));
    let run = started(slowly(on(&user, &[])));
    some_trials(&user);
    cluster.tell("stop-controller");
    let before = user.measured();
    until("more trials", || user.measured() > before);
    cluster.tell("start-controller");
    fine(&ended(run));
    assert_eq!(whole(&user, &cluster), BLOCKS);
    assert_eq!(user.submissions(), 1);

    // slurmctld takes the submission, and sbatch hears nothing: it is started when the controller stands still.
    let user = User::new(Some(&cluster));
    let sbatch = user.path("bin/sbatch");
    let (asked, go) = (user.path("asked"), user.path("go"));
    let script = format!(
        "#!/bin/sh\n[ -e '{go}' ] || {{ : > '{asked}'; while [ ! -e '{go}' ]; do sleep 0.1; done; }}\n\
         exec /usr/bin/sbatch \"$@\"\n",
        go = go.display(),
        asked = asked.display()
    );
    user.program(&sbatch, &script);
    let path = format!("{}:/usr/bin:/bin", user.path("bin").display());
    let mut command = on(&user, &[]);
    command.env("PATH", path);
    let run = started(command);
    until("a submission", || asked.exists());
    cluster.tell("stall-controller");
    std::fs::write(&go, "").unwrap();
    until("no answer", || {
        let notes = events(&user.only_run());
        let note = |event: &serde_json::Value| event.to_string().contains("before anything else");
        notes.iter().any(note)
    });
    cluster.tell("continue-controller");
    let ran = ended(run);
    fine(&ran);
    assert!(ran.err.contains("submitted all the same"), "{}", ran.err);
    assert_eq!(whole(&user, &cluster), BLOCKS);
    assert_eq!(user.submissions(), 1);
}

#[test]
#[ignore = "starts Slurm: needs root"]
fn what_slurm_refuses_is_said_in_its_own_words_and_its_limits_are_kept_to() {
    let cluster = Cluster::new(&[
        "MaxArraySize=3",
        "EnforcePartLimits=ALL",
        "PartitionName=closed Nodes=n[1-3] AllowAccounts=physics",
    ]);
    let user = User::new(Some(&cluster));
    for (options, says) in [
        (
            r#"{"partition": "nowhere"}"#,
            "slurm refuses the job: invalid partition specified: nowhere",
        ),
        (
            r#"{"partition": "closed", "account": "chemistry"}"#,
            "Invalid account or account/partition combination specified",
        ),
        (
            r#"{"memory": "1TB"}"#,
            "Memory specification can not be satisfied",
        ),
    ] {
        user.configure(&format!(r#"{{"format": 1, "slurm": {options}}}"#));
        let user = user.another();
        let ran = said(&mut on(&user, &[]));
        assert_eq!(ran.code, 4, "{}", ran.err);
        assert!(ran.err.contains(says), "{options}: {}", ran.err);
        assert_eq!(user.submissions(), 1);
    }
    // What can be known before is known before.
    user.configure(r#"{"slurm": {"extra": ["--array=1"]}}"#);
    let ran = said(&mut on(&user, &[]));
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(
        ran.err.contains("batch.json: `slurm`: option `extra[0]`"),
        "{}",
        ran.err
    );
    assert!(cluster.queue().is_empty());
    // No array is larger than Slurm allows.
    user.configure(r#"{"slurm": {"partition": "main"}}"#);
    fine(&said(&mut on(&user, &["--jobs", "5"])));
    whole(&user, &cluster);
    let largest = user.sizes().into_iter().max();
    assert!(largest <= Some(3), "{largest:?}");
}

#[test]
#[ignore = "becomes another user: needs root"]
fn an_engine_of_the_user_s_own_is_commands_in_a_file() {
    let user = User::new(None);
    let pool = root().join("docs/batch");
    let text = std::fs::read_to_string(pool.join("pool")).unwrap();
    let program = user.path("bin/pool");
    user.program(&program, &text);
    let example = std::fs::read_to_string(pool.join("pool.json")).unwrap();
    let example = example.replace("\"command\"", "\"pool\"");
    let example = example.replace("/opt/vexp/pool", program.to_str().unwrap());
    let queue = user.path("queue");
    user.configure(&example.replace("/var/tmp/pool", queue.to_str().unwrap()));

    let args = ["--effort", "often", "--on", "pool", "--jobs", "2"];
    let mut run = started(slowly(user.run(&args)));
    some_trials(&user);
    run.kill().unwrap();
    run.wait().unwrap();
    fine(&said(&mut user.attach(&[])));
    let history = once::all(&user.only_run(), TRIALS, BLOCKS);
    assert!(
        history.values().all(|attempts| attempts.len() == 1),
        "{history:?}"
    );
    assert_eq!(
        json(&user.only_run().join("batch/engine.json"))["engine"],
        "pool"
    );

    // What a run's folder says of programs is not believed: the user's file is gone, and nothing is called.
    user.configure(r#"{"format": 1}"#);
    let refused = said(&mut user.attach(&[]));
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(
        refused.err.contains("there is no batch engine `pool`"),
        "{}",
        refused.err
    );

    let other = user.another();
    other.configure(&example.replace("/var/tmp/pool", other.path("queue").to_str().unwrap()));
    let run = started(slowly(other.run(&args)));
    some_trials(&other);
    kill("-INT", &run.id().to_string());
    assert_eq!(ended(run).code, 130);
    let cancelled = said(&mut other.attach(&["--cancel"]));
    fine(&cancelled);
    let kept = records(&other.only_run()).len();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(records(&other.only_run()).len(), kept, "{}", cancelled.err);
    fine(&said(&mut other.attach(&[])));
    once::all(&other.only_run(), TRIALS, BLOCKS);
}

#[test]
#[ignore = "boots a machine on Slurm: needs root, and minutes"]
fn in_virtual_time_a_run_on_slurm_is_that_of_this_computer_to_the_last_bit() {
    const STUDY: &str = "engine/cli/tests/data/e2e.ncl";
    let built = vexp(&["build", STUDY, "--effort", "witness"]);
    assert_eq!(built.code, 0, "{}", built.err);
    let cluster = Cluster::new(&[]);
    let user = User::new(Some(&cluster));
    std::fs::copy(root().join(STUDY), user.path("e2e.ncl")).unwrap();
    let trials = [
        "--effort",
        "witness",
        "--only",
        "*.linux.*",
        "--testbed",
        "virtual",
    ];
    for (runs, on) in [("there", &["--on", "slurm"][..]), ("here", &[])] {
        let args = [&["run", "e2e.ncl", "--runs", runs], &trials[..], on].concat();
        let ran = said(&mut user.real(&args));
        fine(&ran);
        assert!(ran.err.contains("[1/1] "), "{}", ran.err);
    }
    until("an empty queue", || cluster.queue().is_empty());
    let run = |runs: &str| {
        let mut found = std::fs::read_dir(user.path(runs)).unwrap();
        found.next().unwrap().unwrap().path()
    };
    let (there, here) = (run("there"), run("here"));
    assert!(there.join("batch/jobs.jsonl").exists() && !here.join("batch").exists());
    let pair = [there.to_str().unwrap(), here.to_str().unwrap()];
    let same = said(&mut user.real(&["compare", "--exact", pair[0], pair[1]]));
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);
}
