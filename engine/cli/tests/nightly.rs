//! `docs/nightly.md` is true, and `vexp nightly` does what it says: with runs that were recorded in place
//! of those that it would make, and with one that it makes on the testbed that pretends.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "other tests use the rest")]
mod pretended;
mod recorded;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use pretended::{STUDY, World};
use recorded::{Recorded, recorded};
use support::{Said, command, root, said, vexp};

/// The blocks of the document that are files, by name.
fn files() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("docs/nightly.md")).unwrap();
    let blocks = text.split("\n```").skip(1).step_by(2);
    let file = |block: &str| {
        let (words, text) = block.split_once('\n').unwrap();
        let name = words.split_once(" file=");
        if name.is_none() {
            assert_eq!(words, "sh", "an untested block:\n{text}");
        }
        name.map(|(_, name)| (name.to_owned(), format!("{text}\n")))
    };
    blocks.filter_map(file).collect()
}

#[test]
fn cron_timer_and_job_call_the_verb_with_what_it_takes() {
    let files = files();
    assert_eq!(files.len(), 4);
    let mut calls = 0;
    for (name, text) in &files {
        for line in text.lines().filter(|line| line.contains("vexp nightly ")) {
            let (_, args) = line.split_once("vexp nightly ").unwrap();
            let args: Vec<&str> = args.split_whitespace().collect();
            assert!(args[0].starts_with("/var/lib/"), "{name}: {line}");
            assert!(root().join(args[1]).exists(), "{name}: {line}");
            calls += 1;
        }
    }
    assert_eq!(calls, 3);
    let of = |end: &str| {
        &files
            .iter()
            .find(|(name, _)| name.ends_with(end))
            .unwrap()
            .1
    };
    let cron = of(".cron").lines().last().unwrap();
    let fields: Vec<&str> = cron.split_whitespace().take(6).collect();
    let time = fields[..5]
        .iter()
        .all(|f| *f == "*" || f.parse::<u8>().is_ok());
    assert!(time && fields[5] == "root", "{cron}");
    for unit in [".service", ".timer"] {
        for line in of(unit)
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let section = line.starts_with('[') && line.ends_with(']');
            assert!(
                section
                    || line
                        .split_once('=')
                        .is_some_and(|(key, _)| !key.contains(' ')),
                "{line}"
            );
        }
    }
}

#[test]
fn its_commands_are_there() {
    let text = std::fs::read_to_string(root().join("docs/nightly.md")).unwrap();
    let verbs = text
        .lines()
        .filter_map(|line| line.strip_prefix("vexp ")?.split(' ').next());
    let verbs: Vec<&str> = verbs.collect();
    assert_eq!(verbs, ["compare", "trend", "compare"]);
    for verb in verbs {
        assert_eq!(vexp(&[verb, "--help"]).code, 0, "{verb}");
    }
}

/// systemd's own opinion, where there is systemd.
#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files() {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let checked = Command::new("systemd-analyze")
        .args(["verify", "./vexp-nightly.service", "./vexp-nightly.timer"])
        .current_dir(folder.path())
        .output();
    match checked {
        Ok(output) => {
            let err = String::from_utf8_lossy(&output.stderr);
            let own: Vec<&str> = err
                .lines()
                .filter(|line| line.contains("vexp-nightly"))
                .collect();
            assert!(own.is_empty(), "{own:?}");
        }
        Err(_) => println!("skipped: there is no systemd-analyze"),
    }
}

/// Nights in a folder with a blank, a quote and a line break in its name.
struct Nights {
    folder: tempfile::TempDir,
}

const NIGHT: &str = "ni ght's\nfolder";

impl Nights {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(NIGHT).join(name)
    }

    fn night(&self, run: &Recorded<'_>) -> Said {
        self.night_with(run, &[])
    }

    /// A night that has measured `run`.
    fn night_with(&self, run: &Recorded<'_>, more: &[&str]) -> Said {
        let run = run.write(&self.at("runs"));
        let judge = ["nightly", NIGHT, "--judge", run.to_str().unwrap()];
        let mut night = command(&[&judge[..], more].concat());
        night
            .current_dir(self.folder.path())
            .env("COLUMNS", "100")
            .env("VEXP_STORE", self.folder.path().join("store"))
            .env_remove("VEXP_KEEP");
        said(&mut night)
    }

    fn good(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.at("good")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn left(&self) -> Vec<u32> {
        let there = |day: &u32| self.at(&format!("runs/n{day:02}")).exists();
        (1..=20).filter(there).collect()
    }
}

fn on<'a>(day: u32, id: &'a str, factors: &'a [f64]) -> Recorded<'a> {
    Recorded {
        day,
        ..recorded(id, factors)
    }
}

#[test]
fn nights_are_compared_with_good_ones_only() {
    let nights = Nights::new();
    // The first has nothing to be compared with, the next two have too little.
    for (id, factor, code, good) in [
        ("n1", 1.0, 0, 1),
        ("n2", 1.003, 5, 2),
        ("n3", 0.998, 5, 3),
        ("n4", 1.001, 0, 4),
    ] {
        let told = nights.night(&on(good, id, &[factor]));
        let found = (told.code, nights.good().len());
        assert_eq!(
            found,
            (code, good as usize),
            "{id}: {}{}",
            told.out,
            told.err
        );
    }
    let told = nights.night(&on(5, "n5", &[0.8]));
    assert_eq!((told.code, nights.good().len()), (1, 4), "{}", told.err);
    assert!(told.out.contains(" worse"), "{}", told.out);
    let xml = std::fs::read_to_string(nights.at("compare.xml")).unwrap();
    assert!(xml.contains("<failure "), "{xml}");
    let told = nights.night(&on(6, "n6", &[0.999]));
    assert_eq!((told.code, nights.good().len()), (0, 5), "{}", told.err);
    let told = nights.night(&Recorded {
        rate: "200Mb/s",
        ..on(7, "n7", &[1.0])
    });
    assert_eq!((told.code, nights.good().len()), (2, 5), "{}", told.out);
    assert!(told.err.contains("machine nics 1 rate"), "{}", told.err);
    // That nothing was judged is a document, too.
    let xml = std::fs::read_to_string(nights.at("compare.xml")).unwrap();
    assert!(
        xml.contains("errors=\"1\"") && xml.ends_with("</testsuites>\n"),
        "{xml}"
    );
    assert!(nights.at("site/index.html").exists());
    let page = std::fs::read_to_string(nights.at("site/throughput_aggregate.html")).unwrap();
    assert!(
        page.contains("href=\"../runs/n6/report/report.html\""),
        "{page}"
    );
}

/// What can't be read is neither judged nor good, and no night after it is the worse for it.
#[test]
fn a_night_that_can_not_be_read_is_no_good_one_and_stops_no_other() {
    let nights = Nights::new();
    for day in 1..=4 {
        nights.night(&on(day, &format!("n{day}"), &[1.0 + f64::from(day) * 1e-3]));
    }
    // A new run that is damaged.
    let flip = |run: &str| {
        let raw = "trials/send-tcp.linux.v0.r1/raw/host.iperf3.server.json";
        let raw = nights.at(&format!("runs/{run}")).join(raw);
        let mut bytes = std::fs::read(&raw).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&raw, bytes).unwrap();
    };
    let damaged = on(5, "n5", &[1.0]).write(&nights.at("runs"));
    flip("n5");
    let judge = ["nightly", NIGHT, "--judge", damaged.to_str().unwrap()];
    let told = said(command(&judge).current_dir(nights.folder.path()));
    assert_eq!(
        (told.code, nights.good().len()),
        (6, 4),
        "{}{}",
        told.out,
        told.err
    );
    assert!(
        told.err.contains("n5") && told.err.contains("remove the links in"),
        "{}",
        told.err
    );
    let xml = std::fs::read_to_string(nights.at("compare.xml")).unwrap();
    assert!(
        xml.contains("<error ") && xml.contains("errors=\"1\""),
        "{xml}"
    );
    // Good ones that have become unreadable: a flipped byte, an empty record, another format.
    flip("n1");
    std::fs::write(nights.at("runs/n2/run.json"), "").unwrap();
    std::fs::write(nights.at("runs/n3/run.json"), "{\"format\":99}").unwrap();
    let told = nights.night(&on(6, "n6", &[1.0]));
    assert_eq!(
        (told.code, nights.good().len()),
        (5, 5),
        "{}{}",
        told.out,
        told.err
    );
    for run in ["n1", "n2", "n3"] {
        let named = told
            .err
            .lines()
            .any(|line| line.starts_with("left out: ") && line.contains(run));
        assert!(named, "{run}: {}", told.err);
    }
    let xml = std::fs::read_to_string(nights.at("compare.xml")).unwrap();
    assert!(
        xml.contains("can be used") && xml.contains("<skipped "),
        "{xml}"
    );
    assert!(nights.at("site/index.html").exists());
    // None is left to compare with: that is said, and is no pass.
    std::fs::write(nights.at("runs/n4/plan.json"), "[]").unwrap();
    std::fs::write(nights.at("runs/n6/plan.json"), "[]").unwrap();
    let told = nights.night(&on(7, "n7", &[1.0]));
    assert_eq!(
        (told.code, nights.good().len()),
        (6, 5),
        "{}{}",
        told.out,
        told.err
    );
}

#[test]
fn what_the_next_night_is_compared_with_stays_however_old() {
    let nights = Nights::new();
    for day in 1..=9 {
        nights.night(&on(day, &format!("n{day:02}"), &[1.0]));
    }
    std::fs::write(nights.at("runs/n01/keep"), "the paper's").unwrap();
    // What bears a part of the folder's name, and whatever else is beside the runs, is none of ours.
    let beside =
        ["ni", "ght's", "folder", "runs", "good"].map(|name| nights.folder.path().join(name));
    for path in &beside {
        std::fs::create_dir(path).unwrap();
        std::fs::write(path.join("run.json"), "{}").unwrap();
    }
    let far = nights.folder.path().join("far");
    on(1, "far", &[1.0]).write(nights.folder.path());
    std::os::unix::fs::symlink(&far, nights.at("good/far")).unwrap();
    std::os::unix::fs::symlink(&far, nights.at("runs/far")).unwrap();
    // The bad one is old as well, but none that the next one is compared with.
    let told = nights.night_with(&on(10, "n10", &[0.8]), &["--keep", "1h"]);
    assert_eq!(told.code, 1, "{}", told.err);
    assert_eq!(nights.left(), [1, 3, 4, 5, 6, 7, 8, 9], "{}", told.err);
    assert_eq!(nights.good().len(), 9);
    let words = |day| {
        let path = nights.at(&format!("runs/n{day:02}/keep"));
        std::fs::read_to_string(path).unwrap_or_default()
    };
    assert_eq!(
        (words(1).as_str(), words(9).as_str()),
        ("the paper's", "nightly\n")
    );
    // The next good one takes the place of the oldest of the seven, whose mark goes.
    let told = nights.night_with(&on(11, "n11", &[1.0]), &["--keep", "1h"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert_eq!(nights.left(), [1, 4, 5, 6, 7, 8, 9, 11], "{}", told.err);
    assert!(beside.iter().all(|path| path.join("run.json").exists()));
    assert!(far.join("run.json").exists() && !far.join("keep").exists());
}

#[test]
fn only_a_run_of_these_nights_is_judged() {
    let nights = Nights::new();
    let other = recorded("other", &[1.0]).write(nights.folder.path());
    let judge = ["nightly", NIGHT, "--judge", other.to_str().unwrap()];
    let told = said(command(&judge).current_dir(nights.folder.path()));
    assert_eq!(told.code, 2, "{}", told.err);
    assert!(told.err.contains("is not in"), "{}", told.err);
    let told = vexp(&["nightly", "x"]);
    assert_eq!(told.code, 2, "{}", told.err);
    assert!(told.err.contains("<STUDY>"), "{}", told.err);
}

/// The whole way, with machines that pretend.
#[test]
fn a_night_measures_judges_and_cleans() {
    let world = World::new();
    let folder = world.path(NIGHT);
    let night = |fault: &str| {
        let args = [
            "nightly",
            folder.to_str().unwrap(),
            STUDY,
            "--testbed",
            "fake",
            "--keep",
            "1d",
        ];
        let mut night = world.vexp(&args);
        said(night.env("FAKE_FAULTS", fault).env_remove("VEXP_KEEP"))
    };
    let told = night("");
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let mut runs = std::fs::read_dir(folder.join("runs")).unwrap();
    let run = runs.next().unwrap().unwrap().path();
    assert!(runs.next().is_none());
    let first = format!("{}\n", run.canonicalize().unwrap().display());
    assert!(told.out.starts_with(&first), "{}", told.out);
    assert!(run.join("report/report.html").exists(), "{}", told.out);
    assert_eq!(
        std::fs::read_to_string(run.join("keep")).unwrap(),
        "nightly\n"
    );
    let good = std::fs::read_link(folder.join("good").join(run.file_name().unwrap())).unwrap();
    assert_eq!(good, Path::new("../runs").join(run.file_name().unwrap()));
}
