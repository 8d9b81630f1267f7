//! Testbed `virtual` on real machines: the same results, to the last bit, booted or restored,
//! alone or beside busy programs.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use super::STUDY;
use super::leftovers::Traces;
use super::support::vexp;

/// Programs that want all of the computer's processors, twice, and end with the test.
struct Busy(Vec<Child>);

impl Busy {
    fn begin() -> Self {
        let processors = std::thread::available_parallelism().unwrap().get();
        let spin = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
        };
        Self((0..2 * processors).map(|_| spin().unwrap()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What Linux, Xen and KVM gave when this file was written, on another day and maybe another computer.
const WITNESS: &str = "engine/cli/tests/data/witness.json";

#[test]
#[ignore = "boots machines: needs root, and minutes"]
fn linux_xen_and_kvm_give_what_they_gave_elsewhere_side_by_side_or_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let traces = Traces::before();
    let run = |name: &str, more: &[&str]| {
        let runs = folder.path().join(name);
        let args = ["reproduce", STUDY, "--effort", "witness", "--runs"];
        let said = vexp(&[&args[..], &[runs.to_str().unwrap()], more].concat());
        let all = said.out.contains("3 of 3 trials measured");
        assert!(all, "{}\n{}", said.out, said.err);
        let found = std::fs::read_dir(&runs).unwrap().next().unwrap();
        (said, found.unwrap().path())
    };
    let (first, alone) = run("two at a time", &["--jobs", "2", "--expect", WITNESS]);
    // Results follow from the images' bytes, and Debian's archive moves on; the images say so.
    let same_images = !first.out.contains("images differ");
    let as_expected = first.out.contains("as expected, to the last bit: 3 trials");
    assert!(as_expected || !same_images, "{}", first.out);

    let time = "virtual time, instruction model";
    assert!(first.out.contains(time), "{}", first.out);
    traces.none_left(Duration::from_secs(5));

    let busy = Busy::begin();
    let expected = ["--jobs", "1", "--expect", alone.to_str().unwrap()];
    let (second, beside) = run("one by one", &expected);
    drop(busy);
    let as_expected = second.out.contains("\nas expected, to the last bit");
    assert!(as_expected, "{}", second.out);
    let bytes = |run: &Path, file: &str| std::fs::read(run.join(file)).unwrap();
    // The table of samples names its run in a column; what follows from it does not.
    for file in ["frames/metrics.json", "report/metrics.csv"] {
        assert_eq!(bytes(&alone, file), bytes(&beside, file), "{file}");
    }
    // Whoever has the digest only sees the same, and no other.
    let digest = (first.out.lines()).find_map(|line| line.strip_prefix("results: "));
    let digest = digest.unwrap_or_else(|| panic!("no digest in {}", first.out));
    assert!(second.out.contains(digest));
    traces.none_left(Duration::from_secs(5));
}

/// Processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
    let all: Vec<_> = tasks.filter_map(|task| of(task.ok()?).ok()).collect();
    (all.iter().flat_map(|text| text.split_whitespace()))
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
#[ignore = "boots machines: needs root, and minutes"]
fn an_emulator_that_is_killed_fails_no_run_and_a_vexp_that_is_killed_leaves_no_emulator() {
    let runs = tempfile::tempdir().unwrap();
    let traces = Traces::before();
    let virtually = ["--testbed", "virtual", "--effort", "twice"];
    let run = super::start(runs.path(), &virtually);
    super::wait_for_measuring(runs.path());
    kill(*children(run.id()).last().unwrap());
    let output = run.wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("the emulator of"), "{words}");
    assert!(words.contains("2 of 2 trials)"), "{words}");
    traces.none_left(Duration::from_secs(5));

    let again = tempfile::tempdir().unwrap();
    let mut run = super::start(again.path(), &virtually);
    super::wait_for_measuring(again.path());
    assert!(traces.there_are_some(), "the test would see nothing");
    run.kill().unwrap();
    run.wait().unwrap();
    traces.none_left(Duration::from_secs(5));
    let left = |said: &str| said.contains("vexp-lockstep-");
    let removed = vexp(&["gc"]);
    assert!(left(&removed.out), "{}{}", removed.out, removed.err);
    assert!(!left(&vexp(&["gc"]).out));
}
