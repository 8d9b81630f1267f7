//! What a run does when something fails, on machines that pretend. `docs/faults.md` lists all faults and
//! where each is tried.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod pretended;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pretended::{STUDY, World, events, json, records, until};
use rustix::process::{Pid, Signal, kill_process};
use support::{root, said, vexp};

/// Outcomes of a run's trials, by id.
fn outcomes(run: &Path) -> Vec<(String, String)> {
    let outcome = |(id, record): (String, Vec<u8>)| {
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        (id, record["outcome"].as_str().unwrap().to_owned())
    };
    records(run).into_iter().map(outcome).collect()
}

/// The reason or error of a trial.
fn why(run: &Path, trial: &str) -> String {
    let record = json(&run.join("trials").join(trial).join("trial.json"));
    let text = record["error"].as_str().or(record["reason"].as_str());
    text.unwrap_or_default().to_owned()
}

fn spawned(world: &World, faults: &str) -> Child {
    let mut run = world.run(&[]);
    run.env("FAKE_FAULTS", faults)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    run.spawn().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn an_interrupted_run_cleans_up_and_ends_with_130() {
    let world = World::new();
    let mut run = spawned(&world, "slow:60000");
    world.wait_for("measuring", &mut run);
    signal(run.id(), Signal::INT);
    let output = run.wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{words}");
    assert!(words.contains("--resume"), "{words}");
    let journal = world.journal();
    assert_eq!(journal, ["acquired", "measuring", "released"]);
}

#[test]
fn a_run_that_is_interrupted_twice_ends_at_once() {
    let world = World::new();
    let mut run = spawned(&world, "slow:60000 slow-cleanup:600");
    world.wait_for("measuring", &mut run);
    signal(run.id(), Signal::INT);
    world.wait_for("releasing", &mut run);
    let began = Instant::now();
    signal(run.id(), Signal::INT);
    let status = run.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(!world.journal().contains(&"released".to_owned()));
}

/// The worker of a run.
fn worker(run: &Child) -> u32 {
    let pid = run.id();
    let mut found = None;
    until("a worker", || {
        // vexp starts nothing else.
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        found = children
            .split(' ')
            .next()
            .and_then(|child| child.parse().ok());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_trial_in_which_the_worker_was_stopped_is_measured_again() {
    let world = World::new();
    let mut run = world.run(&["--only", "slow.linux.*"]);
    run.env("FAKE_FAULTS", "slow:5000").stdout(Stdio::null());
    let mut run = run.stderr(Stdio::null()).spawn().unwrap();
    world.wait_for("measuring", &mut run);
    let worker = worker(&run);
    signal(worker, Signal::STOP);
    until("it is stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat"));
        stat.unwrap().contains(") T ")
    });
    std::thread::sleep(Duration::from_millis(2500));
    signal(worker, Signal::CONT);
    let code = run.wait().unwrap().code();
    let run = world.only_run();
    let spoiled = json(&run.join("failed/1/slow.linux.v0.r1/trial.json"));
    let why = spoiled["reason"].as_str().unwrap();
    assert!(
        why.contains("was stopped for") && why.contains("SIGSTOP"),
        "{why}"
    );
    assert_eq!(code, Some(0), "it was measured again");
    let [(_, outcome)] = &outcomes(&run)[..] else {
        panic!("one trial was chosen");
    };
    assert_eq!(outcome, "measured");
}

#[test]
fn a_killed_worker_costs_its_trial_one_try() {
    let world = World::new();
    let mut run = spawned(&world, "slow:700");
    world.wait_for("measuring", &mut run);
    signal(worker(&run), Signal::KILL);
    let output = run.wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(
        words.contains("tried once more on a new machine"),
        "{words}"
    );
    let run = world.only_run();
    assert!(run.join("failed/1").exists());
    assert!(
        outcomes(&run)
            .iter()
            .all(|(_, outcome)| outcome == "measured")
    );
}

/// The library that sets the wall clock to and fro.
fn stepping_clock(folder: &Path) -> PathBuf {
    let library = folder.join("step.so");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(root().join("engine/cli/tests/clock/step.c"))
        .status();
    assert!(made.unwrap().success());
    library
}

#[test]
fn a_wall_clock_that_is_set_meanwhile_changes_no_result() {
    let (steady, stepped) = (World::new(), World::new());
    assert_eq!(said(&mut steady.run(&[])).code, 0);
    let library = stepping_clock(&stepped.path(""));
    let ran = said(stepped.run(&[]).env("LD_PRELOAD", library));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let dates: std::collections::BTreeSet<String> = events(&stepped.only_run())
        .iter()
        .map(|event| event["at"].as_str().unwrap()[..10].to_owned())
        .collect();
    assert_eq!(dates.len(), 2, "the test would see nothing: {dates:?}");
    let metrics = |world: &World| {
        let run = world.only_run();
        said(&mut world.vexp(&["report", run.to_str().unwrap()]));
        json(&run.join("frames/metrics.json"))
    };
    assert_eq!(metrics(&steady), metrics(&stepped));
    for (_, record) in records(&stepped.only_run()) {
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let took = record["ended_s"].as_f64().unwrap();
        assert!((0.0..600.0).contains(&took), "{record}");
    }
}

#[test]
fn trials_of_a_lost_machine_fail_and_others_go_on() {
    let world = World::new();
    let ran = world.failing("lost-host:linux", &[]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    let run = world.only_run();
    for (id, outcome) in outcomes(&run) {
        let expected = if id.contains(".linux.") {
            "failed"
        } else {
            "measured"
        };
        assert_eq!(outcome, expected, "{id}");
    }
    let why = why(&run, "slow.linux.v0.r1");
    assert!(
        why.contains("connect on linux: no answer from 10.0.0.7"),
        "{why}"
    );
    assert!(
        run.join("failed/1/slow.linux.v0.r1").exists(),
        "it was tried twice"
    );
}

#[test]
fn a_lost_connection_fails_its_trials_and_names_step_node_and_command() {
    let world = World::new();
    let ran = world.failing("lost:vm7", &[]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    let why = why(&world.only_run(), "fast.other.v0.r1");
    assert!(
        why.contains("run steady on vm7") && why.contains("steady --client"),
        "{why}"
    );
}

#[test]
fn output_that_is_no_output_makes_trials_invalid_and_is_kept() {
    let world = World::new();
    let ran = world.failing("say:nonsense", &[]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    let run = world.only_run();
    assert!(
        outcomes(&run)
            .iter()
            .all(|(_, outcome)| outcome == "invalid")
    );
    let why = why(&run, "fast.other.v0.r1");
    assert!(
        why.contains("host.steady.client.txt:1: not three numbers"),
        "{why}"
    );
    let raw = run.join("trials/fast.other.v0.r1/raw/host.steady.client.txt");
    assert_eq!(std::fs::read_to_string(raw).unwrap(), "nonsense");
}

/// A file system of so many KiB below `folder`, in a mount namespace of its own, and a shell in it. `None`,
/// visibly, where that is not allowed.
fn small_disk(folder: &Path, kib: u32, script: &str) -> Option<Command> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let allowed = Command::new(unshare.get_program())
        .args(unshare.get_args())
        .arg("true")
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: mount namespaces are not allowed here");
        return None;
    }
    std::fs::create_dir_all(folder).unwrap();
    let mount = format!("set -e; mount -t tmpfs -o size={kib}k tmpfs \"$0\"; {script}");
    unshare.args(["sh", "-c", &mount]).arg(folder);
    Some(unshare)
}

/// Carries a command's environment over to another one, and appends it as arguments.
fn wrapped(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    outer.current_dir(root()).stdin(Stdio::null());
    outer
}

#[test]
fn a_full_disk_ends_a_run_that_can_be_finished_when_there_is_room() {
    let world = World::new();
    // Runs until the disk is full; then makes room, and resumes.
    let script = "\"$@\" 2> \"$0.full\" && exit 1; echo \"code $?\" >> \"$0.full\"; \
                  cp -r \"$0\" \"$0.then\"; mount -o remount,size=64m \"$0\"; \
                  \"$@\" --resume \"$0\"/pretended-*; cp -r \"$0\" \"$0.after\"";
    let Some(disk) = small_disk(&world.path("runs"), 96, script) else {
        return;
    };
    let finished = said(&mut wrapped(disk, &world.run(&[])));
    let full = std::fs::read_to_string(world.path("runs.full")).unwrap();
    assert_eq!(finished.code, 0, "{}\n{full}", finished.err);
    for words in [
        "No space left on device",
        "trials",
        "make room",
        "--resume",
        "code 4",
    ] {
        assert!(full.replace('\n', " ").contains(words), "{words}: {full}");
    }
    let only = |folder: &str| {
        let mut runs = std::fs::read_dir(world.path(folder)).unwrap();
        runs.next().unwrap().unwrap().path()
    };
    // Some trials were measured, and none has failed: there was only no room for more.
    let (then, after) = (only("runs.then"), only("runs.after"));
    let before = records(&then);
    assert!((1..8).contains(&before.len()), "{}", before.len());
    assert!(
        outcomes(&then)
            .iter()
            .all(|(_, outcome)| outcome == "measured")
    );
    assert!(
        outcomes(&after)
            .iter()
            .all(|(_, outcome)| outcome == "measured")
    );
    assert_eq!(outcomes(&after).len(), 8);
    let now = records(&after);
    assert!(before.iter().all(|(id, record)| now[id] == *record));
}

#[test]
fn a_full_disk_leaves_the_old_report_and_says_so() {
    let world = World::new();
    assert_eq!(said(&mut world.run(&[])).code, 0);
    let run = world.only_run();
    let script = "cp -r \"$RUN\"/. \"$0\"; rm -rf \"$0/report\"; mkdir \"$0/report\"; \
                  echo old > \"$0/report/report.html\"; \
                  dd if=/dev/zero of=\"$0/fill\" bs=1k 2> /dev/null || true; \
                  \"$@\" && exit 1; code=$?; cat \"$0/report/report.html\"; ls -A \"$0\"; exit $code";
    let Some(mut disk) = small_disk(&world.path("small"), 512, script) else {
        return;
    };
    disk.env("RUN", &run);
    let small = world.path("small");
    let report = world.vexp(&["report", small.to_str().unwrap()]);
    let failed = said(&mut wrapped(disk, &report));
    assert_eq!(failed.code, 4, "{}", failed.err);
    assert!(
        failed.err.contains("No space left on device"),
        "{}",
        failed.err
    );
    assert!(failed.err.contains("cannot write"), "{}", failed.err);
    // What the report says comes first; then what there is of it.
    let (_, files) = failed.out.split_once("\nold\n").unwrap();
    assert!(!files.contains(".tmp"), "{files}");
}

/// Every byte of every file below a folder.
fn all_bytes(folder: &Path, bytes: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_bytes(&path, bytes);
        } else {
            bytes.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn secrets_of_the_environment_reach_no_file_and_no_terminal() {
    const CANARY: &str = "c4n4ry-b1rd-51ng5";
    let world = World::new();
    let secrets = [
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "CANARY",
        "SSH_ASKPASS",
    ];
    for faults in ["", "lost-host:linux"] {
        let mut run = world.run(&[]);
        run.env("FAKE_FAULTS", faults);
        secrets.iter().for_each(|name| {
            run.env(name, CANARY);
        });
        let ran = said(&mut run);
        let path = PathBuf::from(ran.out.trim());
        let mut report = world.vexp(&["report", path.to_str().unwrap()]);
        secrets.iter().for_each(|name| {
            report.env(name, CANARY);
        });
        let reported = said(&mut report);
        for text in [&ran.out, &ran.err, &reported.out, &reported.err] {
            assert!(!text.contains(CANARY), "{text}");
        }
    }
    let mut files = Vec::new();
    all_bytes(&world.path(""), &mut files);
    assert!(
        files
            .iter()
            .any(|(path, _)| path.ends_with("report/report.html"))
    );
    assert!(files.len() > 60, "{}", files.len());
    for (path, bytes) in files {
        let found = bytes
            .windows(CANARY.len())
            .any(|part| part == CANARY.as_bytes());
        assert!(!found, "{}", path.display());
    }
}

#[test]
fn markup_in_names_is_text_in_the_report() {
    let world = World::new();
    assert_eq!(said(&mut world.run(&[])).code, 0);
    let run = world.only_run();
    assert_eq!(
        said(&mut world.vexp(&["report", run.to_str().unwrap()])).code,
        5
    );
    let read = |name: &str| std::fs::read_to_string(run.join("report").join(name)).unwrap();
    let (html, markdown) = (read("report.html"), read("report.md"));
    for (raw, escaped) in [
        ("<b>of another</b>", "&lt;b&gt;of another&lt;"),
        ("Machines <that> are", "Machines &lt;that&gt; are"),
        ("<i>Mb", "&lt;i&gt;Mb"),
    ] {
        assert!(!html.contains(raw) && !markdown.contains(raw), "{raw}");
        assert!(html.contains(escaped), "{escaped}");
    }
    let mut svgs = Vec::new();
    all_bytes(&run.join("report"), &mut svgs);
    for (path, bytes) in svgs
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "svg"))
    {
        assert!(
            !String::from_utf8_lossy(bytes).contains("<b>"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn gc_removes_what_the_dead_have_left_and_nothing_else() {
    let world = World::new();
    let mut dead = spawned(&world, "slow:60000");
    world.wait_for("measuring", &mut dead);
    dead.kill().unwrap();
    dead.wait().unwrap();
    let killed = world.only_run();
    let put = |path: PathBuf| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    // What it would have left at other moments.
    put(killed.join("trials/.writing-1/raw/x"));
    put(killed.join(".tmpRun"));
    let (store, runs, temp) = (world.path("store"), world.path("runs"), world.path("tmp"));
    put(store.join("tmp/s-1/half"));
    let calibration = store.join("calibrations-v1/unfinished/pretended-1");
    put(calibration.join(".lock"));
    put(calibration.join("trials/x/trial.json"));
    for name in [".lock", "study.json", "plan.json"] {
        put(runs.join("pretended-died-early").join(name));
    }
    // What others have made, and what is in use.
    let others = [
        runs.join("notes/.tmp1"),
        runs.join("mine/study.json"),
        runs.join("paper.pdf"),
        temp.join("vexp-thesis/in-use"),
    ];
    others.iter().for_each(|path| put(path.clone()));
    let mut alive = spawned(&world, "slow:60000");
    until("another run", || {
        world.journal().iter().filter(|l| *l == "measuring").count() == 2
    });
    let all = std::fs::read_dir(&runs)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut running = all.filter(|path| path.join("run.json").exists() && *path != killed);
    let running = running.next().unwrap();
    put(running.join("trials/.writing-2/raw/x"));

    let gc = |more: &[&str]| {
        let args = ["gc", "--runs", runs.to_str().unwrap(), "--format", "json"];
        let said = said(world.vexp(&[&args, more].concat()).env("TMPDIR", &temp));
        assert_eq!(said.code, 0, "{}", said.err);
        (
            serde_json::from_str::<serde_json::Value>(&said.out).unwrap(),
            said.err,
        )
    };
    let (dry, _) = gc(&["--dry-run"]);
    let (removed, words) = gc(&[]);
    assert_eq!(dry["removed"], removed["removed"]);
    let paths: Vec<&str> = (removed["removed"].as_array().unwrap().iter())
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len(), 5, "{paths:?}");
    assert!(
        words.contains("in use") && words.contains(running.to_str().unwrap()),
        "{words}"
    );
    assert!(killed.join("run.json").exists() && running.join("trials/.writing-2").exists());
    assert!(!runs.join("pretended-died-early").exists());
    assert!(others.iter().all(|path| path.exists()));
    let (nothing, _) = gc(&[]);
    assert_eq!(nothing["removed"].as_array().unwrap().len(), 0);
    alive.kill().unwrap();
    alive.wait().unwrap();
}

#[test]
fn hostile_command_lines_are_refused_or_taken_literally() {
    let world = World::new();
    let flag = world.path("pwned");
    let touch = format!("$(touch {})", flag.display());
    let back = format!("`touch {}`", flag.display());
    for text in [
        &touch,
        &back,
        "-oProxyCommand=id",
        "--",
        "a\nb",
        "../../etc/shadow",
        "*",
    ] {
        for option in ["--testbed", "--effort"] {
            let refused = vexp(&["plan", STUDY, &format!("{option}={text}")]);
            assert_eq!(refused.code, 2, "{option} {text}: {}", refused.err);
        }
        let none = vexp(&["plan", STUDY, &format!("--only={text}")]);
        assert_eq!(none.code, 2, "{text}: {}", none.err);
        let missing = vexp(&["check", &format!("./{text}")]);
        assert_eq!(missing.code, 2, "{text}: {}", missing.err);
        let run = vexp(&["run", STUDY, &format!("--resume={text}")]);
        assert_eq!(run.code, 2, "{text}: {}", run.err);
    }
    assert!(!flag.exists());
}

#[test]
fn a_study_can_not_speak_to_the_terminal() {
    let world = World::new();
    let study = std::fs::read_to_string(root().join(STUDY)).unwrap();
    // A window's title, a cleared screen, and the cursor at home.
    let hostile = "title = \"\\u{1b}]0;mine\\u{7}\\u{1b}[2J\\u{1b}[H\"";
    let study = study.replacen("title = \"Linux\"", hostile, 1);
    let path = world.path("study.ncl");
    std::fs::write(&path, study).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(said(&mut world.vexp(&["check", path])).code, 0);
    let runs = world.path("runs");
    let run = [
        "run",
        path,
        "--testbed",
        "fake",
        "--runs",
        runs.to_str().unwrap(),
    ];
    let mut run = world.vexp(&run);
    let ran = said(run.env("FAKE_FAULTS", "say:\x1b[2J\x1b]0;mine\x07"));
    assert_eq!(ran.code, 4, "{}", ran.err);
    for text in [&ran.out, &ran.err] {
        assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
    }
    assert!(
        ran.err.contains("\\u001b[2J"),
        "it was never said: {}",
        ran.err
    );
}

/// One user's store, another user's run: nothing is built, so that nothing needs to be written there.
#[test]
fn a_store_that_can_only_be_read_serves() {
    let world = World::new();
    let (store, runs) = (world.path("store"), world.path("runs"));
    std::fs::create_dir_all(&store).unwrap();
    std::fs::create_dir_all(&runs).unwrap();
    std::fs::set_permissions(store.parent().unwrap(), PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::set_permissions(&runs, PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::set_permissions(&store, PermissionsExt::from_mode(0o555)).unwrap();
    let run = world.run(&[]);
    let ran = if rustix::process::geteuid().is_root() {
        let mut other = Command::new("setpriv");
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        other.env("HOME", world.path("home"));
        said(&mut wrapped(other, &run))
    } else {
        let mut same = Command::new("env");
        same.env("HOME", world.path("home"));
        said(&mut wrapped(same, &run))
    };
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0);
    std::fs::set_permissions(&store, PermissionsExt::from_mode(0o755)).unwrap();
}
