//! Parsers on what the real Slurm 22.05.8 printed, and the commands on stand-ins that print it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use vexp_api::batch::Needs;

use super::*;

fn recorded(file: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/slurm-22.05.8");
    std::fs::read_to_string(PathBuf::from(folder).join(file)).unwrap()
}

fn task(text: &str) -> TaskId {
    let (job, index) = text.split_once('_').unwrap();
    TaskId {
        job: JobId::parse(job).unwrap(),
        index: index.parse().unwrap(),
    }
}

/// `$ command`, what it printed, and its status, for each that was recorded.
fn transcripts(file: &str) -> Vec<(String, String, i32)> {
    let text = recorded(file);
    let parts = text.split("$ ").skip(1);
    let parts = parts.map(|part| {
        let (command, rest) = part.split_once('\n').unwrap();
        let (printed, status) = rest.trim_end().rsplit_once("rc ").unwrap();
        (
            command.to_owned(),
            printed.to_owned(),
            status.parse().unwrap(),
        )
    });
    parts.collect()
}

#[test]
fn tasks_are_read_with_and_without_lists() {
    let tasks = parse::tasks(&recorded("squeue-array.txt")).unwrap();
    let over = |state: &str, node: Option<&str>| TaskState::Over {
        state: state.to_owned(),
        node: node.map(str::to_owned),
    };
    let waiting = |reason: &str| TaskState::Waiting(reason.to_owned());
    assert_eq!(tasks[&task("13_0")], waiting("BeginTime"));
    assert_eq!(tasks[&task("13_1")], TaskState::Running("n3".to_owned()));
    assert_eq!(tasks[&task("1_0")], over("COMPLETED", Some("n1")));
    assert_eq!(tasks[&task("4_0")], over("FAILED", None));
    assert_eq!(tasks.len(), 15);
    let tasks = parse::tasks(&recorded("squeue-lists.txt")).unwrap();
    let missing = "ReqNodeNotAvail, UnavailableNodes:n3";
    assert_eq!(tasks[&task("27_1")], waiting(missing));
    assert_eq!(tasks[&task("24_20")], waiting("JobArrayTaskLimit"));
    assert!(!tasks.contains_key(&task("24_9")), "its list has a gap");
    assert_eq!(tasks[&task("24_0")], over("CANCELLED", Some("n1")));
    // What is left of an array that was ended as a whole is no task.
    let tasks = parse::tasks(&recorded("squeue-ended.txt")).unwrap();
    assert_eq!(tasks.len(), 3);
    assert!(
        tasks
            .values()
            .all(|state| *state != waiting("JobArrayTaskLimit"))
    );
    // A state that is newer than this program is no end.
    let tasks = parse::tasks("7_0|MELTED|n1|None\n").unwrap();
    assert_eq!(tasks[&task("7_0")], waiting("MELTED"));
}

#[test]
fn damaged_answers_are_errors_or_tasks_that_were_named() {
    for bad in [
        "1_0|RUNNING|n1\n",
        "1_0\n",
        "1_[0-9\n|RUNNING|n1|None\n",
        "1_[0-4294967295]|PENDING||None\n",
        "1_[0-9,...]|PENDING||None\n",
        "1_[3-2]|PENDING||None\n",
        "1_[0-9:0]|PENDING||None\n",
        "1_x|PENDING||None\n",
        "_1|PENDING||None\n",
        "1_2|pending||None\n",
        "slurm_load_jobs error: Unable to contact slurm controller\n",
    ] {
        assert!(parse::tasks(bad).is_err(), "{bad}");
    }
    for file in ["squeue-array.txt", "squeue-lists.txt"] {
        let whole = recorded(file);
        for end in 0..whole.len() {
            let Some(cut) = whole.get(..end) else {
                continue;
            };
            // A line that was cut in its reason can't be told from a whole one; a state or a node can.
            if let Ok(tasks) = parse::tasks(cut) {
                let all = parse::tasks(&whole).unwrap();
                for (id, state) in tasks {
                    let same = std::mem::discriminant(&state) == std::mem::discriminant(&all[&id]);
                    assert!(same, "{file} cut at {end}: {id} {state:?}");
                }
            }
        }
        vexp_testkit::hostile::on_changed_text(200, &whole, |text| {
            let _ = parse::tasks(text);
            let _ = parse::jobs(text);
            let _ = parse::submitted(text);
        });
    }
    vexp_testkit::hostile::on_changed_text(100, &recorded("config.txt"), |text| {
        let limits = parse::limits(text);
        assert!(limits.array != Some(0));
    });
}

#[test]
fn limits_are_those_of_the_configuration() {
    let limits = parse::limits(&recorded("config.txt"));
    assert_eq!((limits.array, limits.queued), (Some(101), Some(1000)));
    let fewer = recorded("config.txt").replace("sched_interval=2", "max_array_tasks=10");
    assert_eq!(parse::limits(&fewer).array, Some(10));
    assert_eq!(parse::limits(""), Limits::default());
}

#[test]
fn a_submission_names_its_job() {
    for (text, id) in [
        ("17\n", "17"),
        ("17;here\n", "17"),
        ("Welcome to here!\n\n17\n\n", "17"),
    ] {
        assert_eq!(parse::submitted(text).unwrap().as_str(), id);
    }
    for bad in [
        "",
        "\n",
        "Submitted batch job 17\n",
        "17_4\n",
        "-17\n",
        "17\nbye\n",
    ] {
        assert!(parse::submitted(bad).is_err(), "{bad}");
    }
    assert_eq!(parse::jobs("").unwrap(), []);
    let jobs = parse::jobs("9\n10\n9\n").unwrap();
    assert_eq!(jobs.last().unwrap().as_str(), "10");
}

#[test]
fn what_sbatch_says_is_told_apart() {
    let mut seen = BTreeMap::new();
    for (command, printed, status) in transcripts("sbatch.txt") {
        assert_ne!(status, 0, "{command}");
        let meaning = format!("{:?}", said::meaning(&printed));
        seen.entry(meaning)
            .or_insert_with(Vec::new)
            .push(said::words(&printed));
    }
    let all = |meaning: &str, wanted: &[&str]| {
        for words in wanted {
            assert!(
                seen[meaning].iter().any(|said| said.contains(words)),
                "{meaning} {words}: {seen:?}"
            );
        }
    };
    all(
        "Refused",
        &[
            "Invalid partition name specified",
            "Invalid job array specification",
            "Invalid account or account/partition combination specified",
            "User's group not permitted to use this partition",
            "Requested time limit is invalid",
            "Invalid feature specification",
            "Invalid node name specified",
            "Requested node configuration is not available",
            "Batch script is empty!",
        ],
    );
    all(
        "Later",
        &[
            "Unable to contact slurm controller (connect failure)",
            "sleeping and retrying",
            "Munge encode failed",
        ],
    );
    all("Unknown", &["Socket timed out on send/recv operation"]);
    assert_eq!(seen.len(), 3, "{seen:?}");
    // Texts of slurm_errno.c that take slurmdbd or more than a test can do to a cluster.
    let of = |text: &str| {
        said::meaning(&format!(
            "sbatch: error: Batch job submission failed: {text}"
        ))
    };
    assert_eq!(of("Invalid qos specification"), Meaning::Refused);
    assert_eq!(
        of("Zero Bytes were transmitted or received"),
        Meaning::Unknown
    );
    let policy =
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
    assert_eq!(of(policy), Meaning::Limit);
    let limit =
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: ";
    assert_eq!(said::meaning(&format!("{limit}{policy}")), Meaning::Limit);
}

#[test]
fn a_task_knows_itself_by_its_environment() {
    let variables = recorded("environment.txt");
    let of = |text: &str| {
        let text = text.to_owned();
        here(move |wanted| {
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs
                .filter(|(name, _)| *name == wanted)
                .map(|(_, value)| value.to_owned())
                .next()
        })
    };
    let first = of(&variables).unwrap();
    assert_eq!(first.task, Some(task("13_0")));
    assert_eq!(
        (first.job.as_str(), first.restart, first.node.as_str()),
        ("13", 0, "n2")
    );
    let again = of(&format!("{variables}SLURM_RESTART_COUNT=2\n")).unwrap();
    assert_eq!(again.restart, 2);
    let single = of("SLURM_JOB_ID=15\n").unwrap();
    assert_eq!((single.task, single.job.as_str()), (None, "15"));
    assert!(!single.node.is_empty());
    assert!(of("HOME=/root\n").is_none());
}

#[test]
fn tasks_are_cancelled_in_few_words() {
    let tasks: Vec<TaskId> = ["7_3", "7_0", "7_1", "7_2", "12_5", "7_9", "7_9"]
        .map(task)
        .to_vec();
    assert_eq!(lists(&tasks), ["12_[5]", "7_[0-3,9]"]);
    let apart: Vec<TaskId> = (0..5000)
        .map(|index| task(&format!("7_{}", 2 * index)))
        .collect();
    let lists = lists(&apart);
    assert_eq!(lists.len(), 3);
    assert!(lists.iter().all(|list| list.len() < 100_000));
}

#[test]
fn variables_of_the_users_do_not_change_what_is_asked() {
    for hidden in [
        "SQUEUE_FORMAT",
        "SQUEUE_STATES",
        "SBATCH_WAIT",
        "SBATCH_ARRAY_INX",
        "SLURM_CLUSTERS",
        "SBATCH_CLUSTERS",
    ] {
        assert!(hides(hidden), "{hidden}");
    }
    for kept in [
        "SBATCH_ACCOUNT",
        "SBATCH_PARTITION",
        "SLURM_CONF",
        "PATH",
        "HOME",
    ] {
        assert!(!hides(kept), "{kept}");
    }
}

/// Slurm's commands as scripts in a folder.
struct StandIns(tempfile::TempDir);

impl StandIns {
    fn new(commands: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in commands {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    fn engine(&self) -> Engine {
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        Engine {
            options: SlurmOptions::default(),
            environment: BTreeMap::from([("PATH".to_owned(), path)]),
            pace: Pace::default(),
            submit: Duration::from_secs(3),
            ask: Duration::from_secs(10),
        }
    }
}

fn array() -> Array {
    Array {
        name: Name::new("vexp-1").unwrap(),
        tasks: 2,
        argv: vec!["true".to_owned()],
        folder: "/".into(),
        logs: "/tmp".into(),
        needs: Needs {
            cpus: 1,
            memory: 1 << 20,
            time: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            exclusive: false,
        },
        exclude: BTreeSet::new(),
    }
}

#[tokio::test]
async fn a_submission_without_an_answer_may_have_been_one() {
    let submit = async |sbatch: &str, squeue: &str| {
        let commands = StandIns::new(&[("sbatch", sbatch), ("squeue", squeue)]);
        commands.engine().submit(&array()).await
    };
    assert!(matches!(
        submit("sleep 60", "").await,
        Err(SubmitError::Unknown { .. })
    ));
    assert!(matches!(
        submit("kill -9 $$", "").await,
        Err(SubmitError::Unknown { .. })
    ));
    assert!(matches!(
        submit("echo fine", "").await,
        Err(SubmitError::Unknown { .. })
    ));
    assert_eq!(
        submit("cat >/dev/null; echo '17;here'", "")
            .await
            .unwrap()
            .as_str(),
        "17"
    );
    // It sleeps for minutes, and is not waited for; whether it had submitted after all is looked up.
    let full = "echo 'sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying' >&2; sleep 60";
    let text = submit(full, "").await.unwrap_err().to_string();
    assert_eq!(
        text,
        "slurm can't take the job now: Slurm temporarily unable to accept job, sleeping and retrying"
    );
    assert_eq!(
        submit(full, "echo 18; echo 18").await.unwrap().as_str(),
        "18"
    );
    assert!(matches!(
        submit(full, "exit 1").await,
        Err(SubmitError::Unknown { .. })
    ));
    // A limit on the user's jobs passes if there are some, and never if there are none.
    let policy = "echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, \
                  user'\\''s size and/or time limits)' >&2; exit 1";
    assert!(matches!(
        submit(policy, "echo 5_1").await,
        Err(SubmitError::Later { .. })
    ));
    assert!(matches!(
        submit(policy, "").await,
        Err(SubmitError::Refused { .. })
    ));
    let none = Engine {
        environment: BTreeMap::from([("PATH".to_owned(), "/nonexistent".to_owned())]),
        ..StandIns::new(&[]).engine()
    };
    let error = none.submit(&array()).await.unwrap_err();
    assert!(matches!(error, SubmitError::Plugin(_)), "{error}");
    assert!(
        error.to_string().contains("cannot start `sbatch`"),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_that_is_none_is_no_empty_one() {
    let down = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1";
    let engine = StandIns::new(&[("squeue", down), ("scancel", down), ("scontrol", down)]);
    let of = engine.engine();
    let jobs = [JobId::parse("5").unwrap()];
    for error in [
        of.status(&jobs).await.map(drop).unwrap_err(),
        of.find(&array().name).await.map(drop).unwrap_err(),
        of.cancel(&[task("5_0")]).await.unwrap_err(),
        of.limits().await.map(drop).unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .contains("Unable to contact slurm controller"),
            "{error}"
        );
    }
    assert!(of.status(&[]).await.unwrap().is_empty());
    of.cancel(&[]).await.unwrap();
    let forgotten = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1";
    let ended = "echo 'scancel: error: Kill job error on job id 5_0: Job/step already completing or completed' >&2; exit 1";
    let engine = StandIns::new(&[("squeue", forgotten), ("scancel", ended)]);
    assert!(engine.engine().status(&jobs).await.unwrap().is_empty());
    engine.engine().cancel(&[task("5_0")]).await.unwrap();
}

#[tokio::test]
async fn modules_are_loaded_before_the_task_or_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let options: Options =
        serde_json::from_value(serde_json::json!({"modules": ["gcc/12.2"]})).unwrap();
    let options = SlurmOptions::read(&options).unwrap();
    let script = options
        .script(&["sh", "-c", "echo task"].map(str::to_owned))
        .unwrap();
    let path = folder.path().join("task");
    std::fs::write(&path, script.trim_start_matches("#!/bin/bash -l\n")).unwrap();
    let of = |module: &str| {
        let mut bash = std::process::Command::new("bash");
        bash.arg(&path)
            .env("BASH_FUNC_module%%", format!("() {{ {module}; }}"));
        let output = bash.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(
        of("echo $1 $2"),
        (Some(0), "load gcc/12.2\ntask\n".to_owned(), String::new())
    );
    let failed = of("return 1");
    assert_eq!((failed.0, failed.1.as_str()), (Some(1), ""));
    assert_eq!(failed.2, "vexp: cannot load module gcc/12.2\n");
}
