//! The engine on a pool of real processes, and templates that are right or wrong.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vexp_api::batch::Needs;

use super::*;

fn documented(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/batch")
        .join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn engine(template: &Value) -> Result<Arc<dyn BatchEngine>, String> {
    Command::default().engine(template["command"].as_object().unwrap())
}

fn read(template: &Value) -> Engine {
    Engine {
        options: CommandOptions::read(template["command"].as_object().unwrap()).unwrap(),
        pace: Pace::default(),
    }
}

fn array(folder: &Path, name: &str, tasks: u32, script: &str) -> Array {
    Array {
        name: Name::new(name).unwrap(),
        tasks,
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        folder: folder.to_owned(),
        logs: folder.to_owned(),
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

/// The documented pool, with its program and its folder where they are here.
fn pool(folder: &Path) -> Value {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/batch/pool");
    let text = documented("pool.json").to_string();
    let text = text.replace("/opt/vexp/pool", program.to_str().unwrap());
    let text = text.replace("/var/tmp/pool", folder.join("pool").to_str().unwrap());
    serde_json::from_str(&text).unwrap()
}

/// Asks until the states are so, for 30 s.
async fn until(
    engine: &dyn BatchEngine,
    job: &JobId,
    so: impl Fn(&[TaskState]) -> bool,
) -> Vec<TaskState> {
    let begun = Instant::now();
    loop {
        let tasks = engine.status(std::slice::from_ref(job)).await.unwrap();
        let states: Vec<TaskState> = tasks.into_values().collect();
        if so(&states) {
            return states;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{states:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn ended(state: &TaskState) -> &str {
    match state {
        TaskState::Over { state, .. } => state,
        TaskState::Waiting(_) | TaskState::Running(_) => "",
    }
}

/// Waits until a task has said this.
async fn logged(log: &Path, wanted: &str) {
    let begun = Instant::now();
    while !std::fs::read_to_string(log).is_ok_and(|said| said.lines().any(|line| line == wanted)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "never said");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_pool_of_processes_is_an_engine() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&pool(folder.path())).unwrap();
    let script = "echo $POOL_JOB $POOL_INDEX \"it's\" in $PWD; exit $POOL_INDEX";
    let job = engine
        .submit(&array(folder.path(), "vexp-a", 2, script))
        .await
        .unwrap();
    let states = until(&*engine, &job, |states| {
        states.iter().all(|state| !ended(state).is_empty())
    })
    .await;
    assert_eq!(
        states.iter().map(ended).collect::<Vec<_>>(),
        ["DONE", "FAILED"]
    );
    let log = std::fs::read_to_string(folder.path().join(format!("{job}_1.out"))).unwrap();
    let place = folder.path().canonicalize().unwrap();
    assert_eq!(log, format!("{job} 1 it's in {}\n", place.display()));
    // Two slots: the third task waits, is cancelled, and never runs.
    let hang = "trap 'echo told; exit 1' TERM; echo on; while :; do sleep 0.1; done";
    let second = engine
        .submit(&array(folder.path(), "vexp-b", 3, hang))
        .await
        .unwrap();
    assert_ne!(job, second);
    until(&*engine, &second, |states| {
        states
            .iter()
            .filter(|state| matches!(state, TaskState::Running(_)))
            .count()
            == 2
    })
    .await;
    assert_eq!(
        engine.find(&Name::new("vexp-b").unwrap()).await.unwrap(),
        Some(second.clone())
    );
    assert_eq!(
        engine.find(&Name::new("vexp-c").unwrap()).await.unwrap(),
        None
    );
    let log = folder.path().join(format!("{second}_0.out"));
    logged(&log, "on").await;
    let all: Vec<TaskId> = engine
        .status(std::slice::from_ref(&second))
        .await
        .unwrap()
        .into_keys()
        .collect();
    assert_eq!(all.len(), 3);
    engine.cancel(&all).await.unwrap();
    engine.cancel(&all).await.unwrap();
    until(&*engine, &second, |states| {
        states.iter().all(|state| ended(state) == "CANCELLED")
    })
    .await;
    logged(&log, "told").await;
    assert!(!folder.path().join(format!("{second}_2.out")).exists());
    let forgotten = JobId::parse("99").unwrap();
    assert!(engine.status(&[forgotten]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_command_answers_decides_what_a_submission_was() {
    let folder = tempfile::tempdir().unwrap();
    let submit = async |script: &str| {
        let mut template = pool(folder.path());
        template["command"]
            .as_object_mut()
            .unwrap()
            .remove("exclusive");
        template["command"]["submit"] = json!(["sh", "-c", script, "{script}"]);
        template["command"]["later"] = json!(["queue full"]);
        template["command"]["deadline"] = json!("2s");
        engine(&template)
            .unwrap()
            .submit(&array(folder.path(), "vexp-a", 1, "true"))
            .await
    };
    assert_eq!(submit("echo hello; echo 17").await.unwrap().as_str(), "17");
    assert!(matches!(
        submit("echo hello").await,
        Err(SubmitError::Unknown { .. })
    ));
    assert!(matches!(
        submit("sleep 60").await,
        Err(SubmitError::Unknown { .. })
    ));
    assert!(matches!(
        submit("kill -9 $$").await,
        Err(SubmitError::Unknown { .. })
    ));
    assert!(matches!(
        submit("echo the queue full >&2; exit 1").await,
        Err(SubmitError::Later { .. })
    ));
    let error = submit("echo no such account >&2; exit 1")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "command refuses the job: no such account"
    );
    // Nodes alone have to be asked for, or nothing is submitted.
    let mut alone = array(folder.path(), "vexp-a", 1, "true");
    alone.needs.exclusive = true;
    let mut template = pool(folder.path());
    let options = template["command"].as_object_mut().unwrap();
    options.remove("exclusive");
    let submit = options["submit"].as_array_mut().unwrap();
    submit.retain(|argument| argument != "{exclusive}");
    let error = engine(&template).unwrap().submit(&alone).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("option `exclusive`"), "{error}");
}

#[tokio::test]
async fn a_list_that_fails_is_no_empty_list() {
    let folder = tempfile::tempdir().unwrap();
    let mut template = pool(folder.path());
    template["command"]["status"] =
        json!(["sh", "-c", "echo $0 >&2; exit 1", "no server", "{jobs}"]);
    let jobs = [JobId::parse("1").unwrap()];
    let error = engine(&template).unwrap().status(&jobs).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`sh` ended with status 1: no server"),
        "{error}"
    );
    template["command"]["forgotten"] = json!(["^no server"]);
    assert!(
        engine(&template)
            .unwrap()
            .status(&jobs)
            .await
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_documented_templates_read_what_their_engines_document() {
    // PBS Professional's User's Guide, `qstat -t`; not recorded.
    let pbs = read(&documented("pbs.json"));
    let tasks = pbs.tasks(
        "Job id            Name             User              Time Use S Queue\n\
         ----------------  ---------------- ----------------  -------- - -----\n\
         1235[].host       vexp-1           user1                    0 B workq\n\
         1235[0].host      vexp-1           user1             00:00:01 R workq\n\
         1235[1].host      vexp-1           user1                    0 Q workq\n\
         1235[2].host      vexp-1           user1             00:00:09 X workq\n",
    );
    let tasks = tasks.unwrap();
    let states: Vec<&TaskState> = tasks.values().collect();
    let over = TaskState::Over {
        state: "X".to_owned(),
        node: None,
    };
    assert_eq!(
        states,
        [
            &TaskState::Running("?".to_owned()),
            &TaskState::Waiting("Q".to_owned()),
            &over
        ]
    );
    let task = tasks.keys().nth(1).unwrap();
    assert_eq!(pbs.task_name(task).unwrap(), "1235[1]");
    let here = pbs.here_by(|name| match name {
        "PBS_JOBID" => Some("1235[1].host".to_owned()),
        "PBS_ARRAY_INDEX" => Some("1".to_owned()),
        _ => None,
    });
    let here = here.unwrap();
    assert_eq!((here.task.as_ref(), here.restart), (Some(task), 0));
    assert_eq!(
        Engine::job(&pbs.options.job, "1235[].host\n")
            .unwrap()
            .unwrap()
            .as_str(),
        "1235"
    );
    // HTCondor's manual, `condor_submit -terse` and JobStatus; not recorded.
    let condor = read(&documented("htcondor.json"));
    assert_eq!(
        Engine::job(&condor.options.job, "42.0 - 42.4\n")
            .unwrap()
            .unwrap()
            .as_str(),
        "42"
    );
    let tasks = condor
        .tasks("42 0 2 slot1@node1\n42 1 1 undefined\n")
        .unwrap();
    assert_eq!(
        tasks.values().next(),
        Some(&TaskState::Running("slot1@node1".to_owned()))
    );
}

#[test]
fn a_description_is_written_for_engines_that_want_one() {
    let folder = tempfile::tempdir().unwrap();
    let condor = read(&documented("htcondor.json"));
    let array = array(folder.path(), "vexp-a", 5, "true");
    let values = condor.values(&array).unwrap();
    condor.write(&array, &values).unwrap();
    let description = std::fs::read_to_string(folder.path().join("vexp-a.description")).unwrap();
    let script = folder.path().join("vexp-a.sh");
    for line in [
        format!("executable = {}", script.display()),
        "environment = \"VEXP_INDEX=$(Process) VEXP_JOB=$(Cluster)\"".to_owned(),
        "queue 5".to_owned(),
    ] {
        assert!(
            description.lines().any(|written| written == line),
            "{line}: {description}"
        );
    }
    assert_eq!(
        std::fs::metadata(script).unwrap().permissions().mode() & 0o777,
        0o755
    );
}

#[test]
fn wrong_templates_are_refused_by_the_option() {
    let good = documented("pool.json");
    for (option, value, says) in [
        ("submit", json!([]), "a program is due"),
        (
            "submit",
            json!(["pool", "{scrpt}"]),
            "no placeholder `{scrpt}`",
        ),
        (
            "submit",
            json!(["pool", "{name}", "{exclusive}"]),
            "neither `{script}`",
        ),
        (
            "submit",
            json!(["pool", "{script}", "{description}"]),
            "go together",
        ),
        ("submit", json!(["pool", "{script}"]), "go together"),
        ("submit", json!("pool {script}"), "invalid type"),
        ("job", json!("[0-9]+"), "no group `(?<job>…)`"),
        ("job", json!("(?<job>"), "regex"),
        ("find", json!(["pool"]), "`{name}` is not in it"),
        ("status", json!(["pool", "x{jobs}"]), "argument of its own"),
        ("status", json!(["pool"]), "`{jobs}` is not in it"),
        (
            "task",
            json!("(?<job>.)(?<state>.)"),
            "no group `(?<index>…)`",
        ),
        ("states", json!({"running": ["R"]}), "missing field `over`"),
        (
            "cancel",
            json!(["pool", "{tasks}"]),
            "no placeholder `{tasks}`",
        ),
        ("task_name", json!("{job}"), "`{index}`"),
        ("here", json!({"index": "I"}), "missing field `job`"),
        ("first", json!(2), "0 or 1"),
        (
            "description",
            json!(["queue {jobs}"]),
            "no placeholder `{jobs}`",
        ),
        ("array_limit", json!(0), "nonzero"),
        ("deadline", json!("0s"), "needs some time"),
        ("submitt", json!(1), "unknown field"),
    ] {
        let mut bad = good.clone();
        bad["command"][option] = value.clone();
        let error = engine(&bad).map(drop).unwrap_err();
        assert!(
            error.contains(says) && error.contains(option),
            "{option} {value}: {error}"
        );
    }
    let error = Command::default()
        .engine(&Options::new())
        .map(drop)
        .unwrap_err();
    assert!(error.contains("missing field `submit`"), "{error}");
    let good = good["command"].clone();
    let cases = vexp_testkit::cases(400);
    proptest::proptest!(cases, |(changed in vexp_testkit::hostile::changed_json(&good))| {
        if let Some(options) = changed.as_object() && let Ok(options) = CommandOptions::read(options) {
            let _ = Engine { options, pace: Pace::default() }.tasks("1 2 RUNNING n1\n");
        }
    });
}
