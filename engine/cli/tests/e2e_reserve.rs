//! Testbed `hosts` on machines that a batch engine lends: a real Slurm of three nodes on this computer, and an OAR whose
//! commands print what its documentation says. SSH is pretended: it writes down whom it is asked for, and is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Said, command, root, said};

/// Most that a batch engine may take for what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A real Slurm. It ends when this is dropped.
struct Slurm {
    script: Child,
    answers: BufReader<ChildStdout>,
    conf: PathBuf,
}

impl Slurm {
    fn up(folder: &Path) -> Self {
        let mut script = Command::new(root().join("scripts/slurm-here"))
            .args([folder.join("slurm").as_os_str(), "3".as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut answers = BufReader::new(script.stdout.take().unwrap());
        answers.read_line(&mut line).unwrap();
        let conf = line.trim().strip_prefix("ready ").unwrap().into();
        Self {
            script,
            answers,
            conf,
        }
    }

    /// Has something happen to it.
    fn has(&mut self, what: &str) {
        let mut line = String::new();
        let rig = self.script.stdin.as_mut().unwrap();
        writeln!(rig, "{what}").unwrap();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "{what}");
    }

    /// What one of Slurm's programs says.
    fn ask(&self, argv: &[&str]) -> String {
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).env("SLURM_CONF", &self.conf);
        let output = command.output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Jobs that are not over: number, state.
    fn alive(&self) -> Vec<(String, String)> {
        let text = self.ask(&["squeue", "--noheader", "--format=%i %T"]);
        let jobs = text.lines().filter_map(|line| line.split_once(' '));
        let jobs = jobs.filter(|(_, state)| *state != "COMPLETING");
        jobs.map(|(job, state)| (job.to_owned(), state.to_owned()))
            .collect()
    }

    /// Somebody else takes all nodes; gives the job.
    fn taken(&self) -> String {
        let all = ["salloc", "--no-shell", "--nodes=3", "--exclusive"];
        let said = self.ask(&all);
        let granted = said.lines().find(|line| line.contains("Granted"));
        granted.unwrap().rsplit(' ').next().unwrap().to_owned()
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// A folder with a study about two nodes, and programs that go before the others.
struct World {
    folder: tempfile::TempDir,
    /// Variables of the batch engine.
    variables: Vec<(String, String)>,
}

impl World {
    fn new(allocation: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let readable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), readable).unwrap();
        let world = Self {
            folder,
            variables: Vec::new(),
        };
        let at = world.folder.path().display().to_string();
        let ssh = format!(
            "#!/bin/sh\necho \"$*\" >> {at}/asked\nwhile [ -e {at}/slow ]; do sleep 0.1; done\nlog=/dev/stderr\n\
             while [ $# -gt 0 ]; do [ \"$1\" != -E ] || log=$2; shift; done\n\
             echo 'Permission denied (publickey).' >> \"$log\"\nexit 255\n"
        );
        world.program("ssh", &ssh);
        std::fs::write(
            world.path("study.ncl"),
            format!(
                r#"let vexp = import "vexp.ncl" in
{{
  name = "lent",
  title = "Machines that are lent",
  hardware.machine = vexp.laptop,
  platforms.linux = (vexp.platform "machine").linux,
  experiments.latency = {{
    role = "sender", platforms = ["linux"], vms = [1], title = "Round trip", traffic.tool = "ping",
  }},
  efforts.quick = {{ repetitions = 1, warm_up = "1s", window = "3s" }},
  testbeds.hosts.options = {{
    inventory = {{
      rack1 = {{ role = "host", node = 0, data = [{{ nic = "eth1", address = "198.18.0.1/24" }}] }},
      gen1 = {{ role = "peer", node = 1, data = [{{ nic = "eth1", address = "198.18.0.2/24" }}] }},
    }},
    allocation = {{ {allocation} }},
  }},
}}
"#
            ),
        )
        .unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        std::fs::create_dir_all(self.path("bin")).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn vexp(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        let path = std::env::var("PATH").unwrap();
        let bin = self.path("bin");
        command
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("XDG_STATE_HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("VEXP_STORE", self.path("store"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, more: &[&str]) -> Command {
        let (study, runs) = (self.path("study.ncl"), self.path("runs"));
        let mut args = vec!["run", study.to_str().unwrap(), "--testbed", "hosts"];
        args.extend(["--trust", "--runs", runs.to_str().unwrap()]);
        args.extend(more);
        self.vexp(&args)
    }

    /// A run in the background, whose words go to a file.
    fn began(&self, more: &[&str]) -> Child {
        let words = std::fs::File::create(self.path("words")).unwrap();
        let mut run = self.run(more);
        run.stdout(words.try_clone().unwrap()).stderr(words);
        run.spawn().unwrap()
    }

    fn words(&self) -> String {
        std::fs::read_to_string(self.path("words")).unwrap()
    }

    /// Whether SSH was asked for a host, as the last word before the command.
    fn asked_for(&self, host: &str) -> bool {
        let asked = std::fs::read_to_string(self.path("asked")).unwrap_or_default();
        asked.split_whitespace().any(|word| word == host)
    }

    fn only_run(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.path("runs")).unwrap();
        let runs: Vec<_> = runs.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }

    fn forget(&self) {
        for name in ["runs", "asked"] {
            let path = self.path(name);
            let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
        }
    }
}

fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn kill(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

fn has(said: &Said, words: &[&str]) {
    for words in words {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
}

const SLURM: &str = r#"engine = "slurm", nodes = 2, time = "10min""#;

fn on_slurm(allocation: &str) -> (World, Slurm) {
    let mut world = World::new(allocation);
    let slurm = Slurm::up(world.folder.path());
    let conf = slurm.conf.display().to_string();
    world.variables = vec![("SLURM_CONF".to_owned(), conf)];
    (world, slurm)
}

#[test]
#[ignore = "a real Slurm: needs root"]
fn slurm_lends_machines_for_a_run_and_has_them_back() {
    let (mut world, mut slurm) = on_slurm(SLURM);
    let study = world.path("study.ncl");
    let doctor = ["doctor", study.to_str().unwrap(), "--testbed", "hosts"];
    let looked = said(&mut world.vexp(&[&doctor[..], &["--format", "json"]].concat()));
    assert_eq!(looked.code, 0, "{}{}", looked.out, looked.err);
    for words in [
        "2 nodes of Slurm for 10min",
        "asked for when the run begins",
    ] {
        assert!(looked.out.contains(words), "{}", looked.out);
    }
    assert_eq!(slurm.ask(&["squeue", "--noheader", "--states=all"]), "");

    // Its nodes are looked at, and refuse; the allocation ends with the run.
    let ran = said(&mut world.run(&[]));
    assert_eq!(ran.code, 4, "{}", ran.err);
    let granted = "job 1 of Slurm: n1, n2";
    has(
        &ran,
        &[granted, "reachability of rack1", "job 1 of Slurm is ended"],
    );
    assert!(world.asked_for("n1") && world.asked_for("n2"));
    assert_eq!(slurm.alive(), []);
    assert!(!world.only_run().join("allocation.json").exists());
    world.forget();

    // An allocation that is taken away is told in Slurm's word.
    std::fs::write(world.path("slow"), "").unwrap();
    let mut run = world.began(&[]);
    until("SSH", || world.asked_for("n1"));
    slurm.ask(&["scancel", "2"]);
    until("the end of job 2", || slurm.alive().is_empty());
    std::fs::remove_file(world.path("slow")).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(4));
    let lost = "the allocation is over: job 2 of Slurm: CANCELLED";
    assert!(world.words().contains(lost), "{}", world.words());
    world.forget();

    // Ctrl-C ends one that is granted.
    std::fs::write(world.path("slow"), "").unwrap();
    let mut run = world.began(&[]);
    until("SSH", || world.asked_for("n1"));
    assert_eq!(slurm.alive().len(), 1);
    kill(&run, rustix::process::Signal::INT);
    assert_eq!(run.wait().unwrap().code(), Some(130), "{}", world.words());
    assert_eq!(slurm.alive(), []);
    std::fs::remove_file(world.path("slow")).unwrap();
    world.forget();

    // Inside of a job, it is used and left alone, and nothing is asked for.
    let outer = slurm.taken();
    let inside = [
        ("SLURM_JOB_ID", outer.as_str()),
        ("SLURM_JOB_NODELIST", "n[2-3]"),
    ];
    let inside = inside.map(|(name, value)| (name.to_owned(), value.to_owned()));
    world.variables.extend(inside);
    let ran = said(&mut world.run(&[]));
    assert_eq!(ran.code, 4, "{}", ran.err);
    has(&ran, &["reachability of rack1"]);
    assert!(world.asked_for("n2") && world.asked_for("n3") && !world.asked_for("n1"));
    assert_eq!(slurm.alive(), [(outer.clone(), "RUNNING".to_owned())]);
    world.variables.truncate(1);
    world.forget();

    // So is one whose node dies.
    slurm.ask(&["scancel", &outer]);
    std::fs::write(world.path("slow"), "").unwrap();
    let mut run = world.began(&[]);
    until("SSH", || world.asked_for("n1"));
    slurm.has("kill n1");
    until("the end of the job", || slurm.alive().is_empty());
    std::fs::remove_file(world.path("slow")).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(4));
    let words = world.words();
    let failed = words.contains("NodeDown") || words.contains("NODE_FAIL");
    assert!(
        failed && words.contains("the allocation is over: "),
        "{words}"
    );
}

#[test]
#[ignore = "a real Slurm: needs root"]
fn what_waits_says_why_and_nothing_is_left_of_it() {
    let (world, slurm) = on_slurm(SLURM);
    let outer = slurm.taken();
    let only_outer = || slurm.alive() == [(outer.clone(), "RUNNING".to_owned())];
    let waits = "waits: PENDING (Resources)";

    // Ctrl-C takes the request back.
    let mut run = world.began(&[]);
    until(waits, || world.words().contains(waits));
    kill(&run, rustix::process::Signal::INT);
    assert_eq!(run.wait().unwrap().code(), Some(130), "{}", world.words());
    assert!(only_outer(), "{:?}", slurm.alive());
    assert!(!world.only_run().join("allocation.json").exists());

    // What a killed vexp has asked for is still there, and is found: by `release`, by `gc`, by the same run.
    let path = world.only_run();
    let resume = ["--resume", path.to_str().unwrap()];
    let killed = || {
        let mut run = world.began(&resume);
        until(waits, || world.words().contains(waits));
        kill(&run, rustix::process::Signal::KILL);
        run.wait().unwrap();
        assert_eq!(slurm.alive().len(), 2);
    };
    killed();
    let released = said(&mut world.vexp(&["release", path.to_str().unwrap()]));
    assert_eq!(released.code, 0, "{}", released.err);
    assert!(released.out.contains("is ended"), "{}", released.out);
    assert!(only_outer());
    killed();
    let (runs, store) = (world.path("runs"), world.path("store"));
    std::fs::create_dir_all(store).unwrap();
    let args = ["gc", "--runs", runs.to_str().unwrap()];
    let dry = said(&mut world.vexp(&[&args[..], &["--dry-run"]].concat()));
    assert!(
        dry.out.contains("allocation.json"),
        "{}{}",
        dry.out,
        dry.err
    );
    assert_eq!(slurm.alive().len(), 2, "a dry run ends nothing");
    let collected = said(&mut world.vexp(&args));
    assert_eq!(collected.code, 0, "{}", collected.err);
    assert!(only_outer());
    killed();
    let waiting = slurm.alive();
    let mut run = world.began(&resume);
    let used = "was asked for by this run before: it is used";
    until(used, || world.words().contains(used));
    assert_eq!(slurm.alive(), waiting);
    slurm.ask(&["scancel", &outer]);
    assert_eq!(run.wait().unwrap().code(), Some(4), "{}", world.words());
    assert!(world.asked_for("n1") && world.asked_for("n2"));
    assert_eq!(slurm.alive(), []);
}

#[test]
#[ignore = "a real Slurm: needs root"]
fn what_slurm_refuses_is_told_in_its_words() {
    let (world, slurm) = on_slurm(&format!("{SLURM}, partition = \"nope\""));
    let ran = said(&mut world.run(&[]));
    assert_eq!(ran.code, 4, "{}", ran.err);
    has(&ran, &["salloc has named no job", "nvalid partition"]);
    assert_eq!(slurm.alive(), []);
    // The user's own word goes before the study's.
    let machines = world.path("machines.json");
    std::fs::write(&machines, r#"{"allocation": {"partition": "main"}}"#).unwrap();
    std::fs::set_permissions(&machines, std::fs::Permissions::from_mode(0o600)).unwrap();
    world.forget();
    let ran = said(&mut world.run(&["--machines", machines.to_str().unwrap()]));
    has(&ran, &["job 1 of Slurm: n1, n2"]);
}

#[test]
#[ignore = "a real Slurm: needs root"]
fn what_can_t_be_ended_now_is_ended_later() {
    let (world, mut slurm) = on_slurm(SLURM);
    std::fs::write(world.path("slow"), "").unwrap();
    let mut run = world.began(&[]);
    until("SSH", || world.asked_for("n1"));
    slurm.has("stop-controller");
    std::fs::remove_file(world.path("slow")).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(4));
    let path = world.only_run();
    let way_out = format!("`vexp release {}` tries it again", path.display());
    for words in ["`squeue` has failed", way_out.as_str()] {
        assert!(world.words().contains(words), "{words}: {}", world.words());
    }
    assert!(path.join("allocation.json").exists());
    slurm.has("start-controller");
    assert_eq!(slurm.alive(), [("1".to_owned(), "RUNNING".to_owned())]);
    let released = said(&mut world.vexp(&["release", path.to_str().unwrap()]));
    assert_eq!(released.code, 0, "{}", released.err);
    assert_eq!(slurm.alive(), []);
    assert!(!path.join("allocation.json").exists());
    let again = said(&mut world.vexp(&["release", path.to_str().unwrap()]));
    assert_eq!(again.code, 0, "{}", again.err);
    has(&again, &["holds nothing"]);
}

/// OAR's commands as their documentation has them: a job waits once, and then runs.
fn on_oar() -> World {
    let world = World::new(
        r#"engine = "oar", nodes = 2, time = "10min", properties = { cluster = "dahu" }"#,
    );
    let at = world.folder.path().display().to_string();
    let oarsub = format!(
        "#!/bin/sh\nfor word; do echo \"$word\" >> {at}/oarsub; done\necho \"$2\" > {at}/name\necho Waiting > {at}/state\n\
         echo '[ADMISSION RULE] Modify resource description with type constraints'\necho OAR_JOB_ID=42\n"
    );
    let oarstat = format!(
        "#!/bin/sh\n[ -e {at}/state ] || {{ echo '{{}}'; exit; }}\ncat << END\n{{ \"42\" : {{ \"name\" : \"$(cat {at}/name)\", \
         \"state\" : \"$(cat {at}/state)\", \"message\" : \"R=2,W=0:10:0,J=B\",\n\"assigned_network_address\" : [ \"dahu-1.example\", \
         \"dahu-2.example\" ] }} }}\nEND\n[ \"$(cat {at}/state)\" != Waiting ] || echo Running > {at}/state\n"
    );
    let oardel = format!(
        "#!/bin/sh\necho \"$*\" >> {at}/oardel\necho Terminated > {at}/state\necho \"Deleting the job = $1 ...REGISTERED.\"\n"
    );
    world.program("oarsub", &oarsub);
    world.program("oarstat", &oarstat);
    world.program("oardel", &oardel);
    world
}

#[test]
fn oar_lends_machines_for_a_run_and_has_them_back() {
    let mut world = on_oar();
    let ran = said(&mut world.run(&[]));
    assert_eq!(ran.code, 4, "{}", ran.err);
    let waits = "job 42 of OAR waits: Waiting (R=2,W=0:10:0,J=B)";
    let granted = "job 42 of OAR: dahu-1.example, dahu-2.example";
    has(&ran, &[waits, granted, "job 42 of OAR is ended"]);
    assert!(world.asked_for("dahu-1.example") && world.asked_for("dahu-2.example"));
    let asked = std::fs::read_to_string(world.path("oarsub")).unwrap();
    let wanted = ["/nodes=2,walltime=0:10:00", "cluster='dahu'", "sleep 600"];
    assert!(
        wanted
            .iter()
            .all(|word| asked.lines().any(|line| line == *word)),
        "{asked}"
    );
    assert_eq!(
        std::fs::read_to_string(world.path("oardel")).unwrap(),
        "42\n"
    );
    world.forget();

    // Inside of a job nothing is asked for, and nothing ended.
    let nodes = world.path("nodes");
    std::fs::write(&nodes, "dahu-7\ndahu-7\ndahu-8\ndahu-8\n").unwrap();
    let inside = [
        ("OAR_JOB_ID", "42"),
        ("OAR_NODEFILE", nodes.to_str().unwrap()),
    ];
    let inside = inside.map(|(name, value)| (name.to_owned(), value.to_owned()));
    world.variables.extend(inside);
    let ran = said(&mut world.run(&[]));
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(world.asked_for("dahu-7") && world.asked_for("dahu-8"));
    assert_eq!(
        std::fs::read_to_string(world.path("oarsub")).unwrap(),
        asked
    );
    assert_eq!(
        std::fs::read_to_string(world.path("oardel")).unwrap(),
        "42\n"
    );
}

#[test]
fn allocations_that_make_no_sense_are_findings_of_check() {
    for (allocation, words) in [
        (
            r#"engine = "lsf", nodes = 2, time = "1h""#,
            "not known here",
        ),
        (
            r#"engine = "slurm", nodes = 0, time = "1h""#,
            "expected a whole number",
        ),
        (
            r#"engine = "slurm", nodes = 2, time = "2""#,
            "a time such as",
        ),
        (
            r#"engine = "slurm", nodes = 2, time = "1h", partition = "--wrap=id""#,
            "expected a name",
        ),
        (
            r#"engine = "slurm", nodes = 2, time = "1h", command = "id""#,
            "command",
        ),
        (
            r#"engine = "slurm", nodes = 2, time = "1h", queue = "short""#,
            "Slurm has none",
        ),
        (
            r#"engine = "oar", nodes = 2, time = "1h", partition = "main""#,
            "OAR has none",
        ),
        (
            r#"engine = "slurm", nodes = 1, time = "1h""#,
            "nodes 0 to 0",
        ),
    ] {
        let world = World::new(allocation);
        let study = world.path("study.ncl");
        let checked = said(&mut world.vexp(&["check", study.to_str().unwrap()]));
        assert_eq!(
            checked.code, 2,
            "{allocation}: {}{}",
            checked.out, checked.err
        );
        let all = format!("{}{}", checked.out, checked.err);
        assert!(all.contains(words), "{allocation}: {all}");
    }
}
