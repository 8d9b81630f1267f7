//! `docs/nightly.md` is true, and `scripts/nightly` does what it says, with runs that were recorded in
//! place of those that it would make.

#![expect(clippy::unwrap_used, reason = "tests")]

mod recorded;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use recorded::{Recorded, recorded};
use support::{Said, root, said, vexp};

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
fn cron_timer_and_job_call_the_script_with_what_it_takes() {
    let files = files();
    assert_eq!(files.len(), 4);
    let mut calls = 0;
    for (name, text) in &files {
        for line in text
            .lines()
            .filter(|line| line.contains("scripts/nightly "))
        {
            let (_, args) = line.split_once("scripts/nightly ").unwrap();
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

/// A `vexp` whose `run` hands out the run NEXT and ends with CODE.
fn shim(folder: &Path) {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let text = format!(
        "#!/bin/sh\ncase $1 in\nrun) cp -r \"next/$NEXT\" night/runs/ && echo \"$PWD/night/runs/$NEXT\"; \
         exit \"$CODE\";;\n*) exec '{}' \"$@\";;\nesac\n",
        env!("CARGO_BIN_EXE_vexp")
    );
    let path = bin.join("vexp");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn night(folder: &Path, next: &str, code: &str) -> Said {
    night_with(folder, next, code, &[])
}

fn night_with(folder: &Path, next: &str, code: &str, more: &[(&str, &str)]) -> Said {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", folder.join("bin").display());
    let mut script = Command::new("sh");
    script
        .arg(root().join("scripts/nightly"))
        .args(["night", "experiments/paper.ncl"])
        .current_dir(folder)
        .env("PATH", path)
        .env("NEXT", next)
        .env("CODE", code)
        .env("COLUMNS", "100")
        .env("VEXP_STORE", folder.join("store"))
        .env_remove("VEXP_KEEP")
        .envs(more.iter().copied());
    said(&mut script)
}

#[test]
fn nights_are_compared_with_good_ones_only() {
    let folder = tempfile::tempdir().unwrap();
    shim(folder.path());
    for (day, factor) in [
        (1, 1.0),
        (2, 1.003),
        (3, 0.998),
        (4, 1.001),
        (5, 0.8),
        (6, 0.999),
    ] {
        Recorded {
            day,
            ..recorded(&format!("n{day}"), &[factor])
        }
        .write(&folder.path().join("next"));
    }
    Recorded {
        rate: "200Mb/s",
        ..recorded("n7", &[1.0])
    }
    .write(&folder.path().join("next"));
    let good = || {
        std::fs::read_dir(folder.path().join("night/good"))
            .unwrap()
            .count()
    };
    // The first has nothing to be compared with, the next two have too little.
    for (next, code, nights) in [("n1", 0, 1), ("n2", 5, 2), ("n3", 5, 3), ("n4", 0, 4)] {
        let told = night(folder.path(), next, "0");
        assert_eq!(
            (told.code, good()),
            (code, nights),
            "{next}: {}{}",
            told.out,
            told.err
        );
    }
    let told = night(folder.path(), "n5", "0");
    assert_eq!((told.code, good()), (1, 4), "{}", told.err);
    assert!(told.out.contains(" worse"), "{}", told.out);
    let xml = std::fs::read_to_string(folder.path().join("night/compare.xml")).unwrap();
    assert!(xml.contains("<failure "), "{xml}");
    // Some of its trials are missing.
    let told = night(folder.path(), "n6", "5");
    assert_eq!((told.code, good()), (0, 5), "{}", told.err);
    let told = night(folder.path(), "n7", "0");
    assert_eq!((told.code, good()), (2, 5), "{}", told.out);
    assert!(told.err.contains("machine nics 1 rate"), "{}", told.err);
    let told = night(folder.path(), "n1", "4");
    assert_eq!((told.code, good()), (4, 5));
    let site = folder.path().join("night/site");
    assert!(site.join("index.html").exists());
    let page = std::fs::read_to_string(site.join("throughput_aggregate.html")).unwrap();
    assert!(
        page.contains("href=\"../runs/n6/report/report.html\""),
        "{page}"
    );
}

#[test]
fn what_the_next_night_is_compared_with_stays_however_old() {
    let folder = tempfile::tempdir().unwrap();
    shim(folder.path());
    for day in 1..=9 {
        Recorded {
            day,
            ..recorded(&format!("n{day:02}"), &[1.0])
        }
        .write(&folder.path().join("next"));
        night(folder.path(), &format!("n{day:02}"), "0");
    }
    let night_of = |day: u32| folder.path().join(format!("night/runs/n{day:02}"));
    std::fs::write(night_of(1).join("keep"), "the paper's").unwrap();
    // The bad one is old as well, but none that the next one is compared with.
    Recorded {
        day: 10,
        ..recorded("n10", &[0.8])
    }
    .write(&folder.path().join("next"));
    let told = night_with(folder.path(), "n10", "0", &[("VEXP_KEEP", "1h")]);
    assert_eq!(told.code, 1, "{}", told.err);
    let left: Vec<u32> = (1..=10).filter(|day| night_of(*day).exists()).collect();
    assert_eq!(left, [1, 3, 4, 5, 6, 7, 8, 9], "{}", told.err);
    let good = std::fs::read_dir(folder.path().join("night/good")).unwrap();
    assert_eq!(good.count(), 8);
    let words = |day| std::fs::read_to_string(night_of(day).join("keep")).unwrap_or_default();
    assert_eq!(
        (words(1), words(9)),
        ("the paper's".to_owned(), "nightly\n".to_owned())
    );
    // The next good one takes the place of the oldest of the seven.
    Recorded {
        day: 11,
        ..recorded("n11", &[1.0])
    }
    .write(&folder.path().join("next"));
    let told = night_with(folder.path(), "n11", "0", &[("VEXP_KEEP", "1h")]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let left: Vec<u32> = (1..=11).filter(|day| night_of(*day).exists()).collect();
    assert_eq!(left, [1, 4, 5, 6, 7, 8, 9, 11], "{}", told.err);
}
