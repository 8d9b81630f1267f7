//! Whether runs in virtual time are the same, where they part, and what is said of that.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
mod fixture;

use std::collections::BTreeMap;
use std::path::Path;

use fixture::{edit, fresh, name};
use serde_json::{Value, json};
use vexp_api::compared::{Comparison, With};
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::trace::{self, Carried, Channel, Command, Head, Step, Trace};
use vexp_report::assurance::{self, Assurance, Level};
use vexp_report::parting::{self, Kind, Parting, Side};
use vexp_report::{Frames, frame, identity};

const TRIAL: &str = "send-tcp.linux.v0.r1";
const RAW: &str = "trials/send-tcp.linux.v0.r1/raw/host.fake-iperf3.client.json";
const MS: u64 = 1_000_000;

/// A made-up run in virtual time.
fn in_virtual_time() -> tempfile::TempDir {
    let dir = fresh(1);
    edit(dir.path(), "plan.json", |plan| {
        let time = json!({
            "subject": "testbed virtual", "property": "time", "asked": "real", "used": "virtual", "reason": "",
        });
        plan["deviations"].as_array_mut().unwrap().push(time);
    });
    edit(
        dir.path(),
        "trials/latency.kvm-84-fv.v1.r1/trial.json",
        |trial| {
            drop(trial.as_object_mut().unwrap().remove("instruments"));
        },
    );
    dir
}

/// A trace of four steps, and of a command whose output has so many bytes.
fn made_up(hashes: [&str; 4], output: u64) -> Trace {
    let channel = Channel {
        link: "data0".into(),
        from: "machine".into(),
        to: "peers0".into(),
        frames: 100,
        hash: "00000000".into(),
        whole: true,
    };
    let step = |(number, hash): (usize, &&str)| {
        let number = number as u64;
        let marks = format!("{number:02x}");
        let carried = Carried(
            0,
            104 + 4 * number,
            (*hash).to_owned(),
            match number % 2 {
                0 => marks,
                _ => String::new(),
            },
        );
        Step(50_000 * MS + number * 1000 * MS, vec![carried])
    };
    Trace {
        head: Head {
            format: trace::FORMAT,
            step_ns: 5 * MS,
            began_ns: 49_000 * MS,
            epoch_ns: 49_050 * MS,
            ended_ns: 60_000 * MS,
            late: 0,
            channels: vec![channel],
            whole: true,
        },
        traffic: hashes.iter().enumerate().map(step).collect(),
        commands: vec![Command {
            sent_ns: 49_050 * MS,
            ended_ns: Some(59_000 * MS),
            node: name("host"),
            command: "iperf3 --client".into(),
            input: Digest::of(b"iperf3"),
            status: Some(0),
            output: Some((output, Digest::of(&output.to_le_bytes()))),
            errors: None,
        }],
    }
}

fn put_trace(run: &Path, made: &Trace) {
    let text = made.text().unwrap();
    let trial = run.join("trials").join(TRIAL);
    std::fs::write(trial.join(trace::FILE), &text).unwrap();
    edit(run, &format!("trials/{TRIAL}/trial.json"), |record| {
        record["trace"] = json!({
            "path": trace::FILE, "digest": Digest::of(text.as_bytes()), "late": made.head.late,
        });
    });
}

/// Changes a run's raw output, and the digest in the trial's record.
fn change_output(run: &Path, change: impl Fn(&str) -> String) {
    let path = run.join(RAW);
    let text = change(&std::fs::read_to_string(&path).unwrap());
    std::fs::write(&path, &text).unwrap();
    edit(run, &format!("trials/{TRIAL}/trial.json"), |record| {
        let artefacts = record["artefacts"].as_array_mut().unwrap();
        let file = RAW.rsplit_once("/raw/").unwrap().1;
        let one = artefacts
            .iter_mut()
            .find(|one| one["path"].as_str().unwrap().ends_with(file));
        one.unwrap()["digest"] = json!(Digest::of(text.as_bytes()));
    });
}

fn read(run: &Path) -> Frames {
    frame::read(run, &fixture::registry()).unwrap()
}

fn images(text: &str) -> BTreeMap<Name, Digest> {
    BTreeMap::from([(name("guest"), Digest::of(text.as_bytes()))])
}

fn between(expected: &Path, found: &Path) -> Parting {
    with_images((expected, &images("1")), (found, &images("1")))
}

fn with_images(
    expected: (&Path, &BTreeMap<Name, Digest>),
    found: (&Path, &BTreeMap<Name, Digest>),
) -> Parting {
    let (ours, theirs) = (read(expected.0), read(found.0));
    let side = |frames, images| Side { frames, images };
    parting::between(side(&ours, expected.1), side(&theirs, found.1)).unwrap()
}

#[test]
fn equal_runs_do_not_part_whoever_made_them_and_when() {
    let (one, other) = (in_virtual_time(), in_virtual_time());
    for run in [&one, &other] {
        put_trace(run.path(), &made_up(["a", "b", "c", "d"], 7));
    }
    edit(other.path(), "run.json", |run| {
        run["started"] = json!("2030-01-01T00:00:00Z");
        run["id"] = json!("another");
        run["vexp"] = json!("0.2.0+gabc");
    });
    let parting = between(one.path(), other.path());
    assert!(parting.is_same() && !parting.is_explained());
    assert_eq!((parting.differ.len(), parting.other_traces.len()), (0, 0));
    assert_eq!(parting.first, None);
    let text = parting::text(&parting);
    for words in [
        "have the same results, to the last bit",
        "vexp: 0.1.0 there, 0.2.0+gabc here",
        "They do not part",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn the_first_moment_comes_first_and_ends_in_one_sentence() {
    let (one, other) = (in_virtual_time(), in_virtual_time());
    put_trace(one.path(), &made_up(["a", "b", "c", "d"], 7));
    put_trace(other.path(), &made_up(["a", "b", "x", "y"], 8));
    // Two lines within the window.
    change_output(other.path(), |text| text.replacen("\t18", "\t19", 9));
    for (run, line) in [(&one, "up"), (&other, "down")] {
        let block = read(run.path()).run.trials[TRIAL].block.clone();
        let block = run.path().join("blocks").join(block.as_str());
        let console = format!("ready\n[179] Jan 01 00:00:51 link is {line}\n");
        std::fs::write(block.join("console.log"), console).unwrap();
        let facts = json!({"host": {"kernel": line}});
        let environment = json!({"format": 1, "before": facts, "after": facts});
        std::fs::write(block.join("environment.json"), environment.to_string()).unwrap();
    }
    let parting = between(one.path(), other.path());
    assert_eq!(parting.differ, [name(TRIAL)]);
    let first = parting.first.as_ref().unwrap();
    let kinds: Vec<Kind> = first.places.iter().map(|place| place.kind).collect();
    assert_eq!(kinds[0], Kind::Environment);
    let at = |kind| first.places.iter().position(|place| place.kind == kind);
    assert!(at(Kind::Console) < at(Kind::Link) && at(Kind::Link) < at(Kind::Command));
    assert!(at(Kind::Output).is_some() && at(Kind::Sample).is_some());
    let text = parting::text(&parting);
    assert!(
        text.contains("environment: host kernel: up, and down"),
        "{text}"
    );
    assert!(
        text.contains("2.950         52.000  frames: link data0, machine to peers0: "),
        "{text}"
    );
    assert!(
        text.contains("1.950         51.000  console: console.log, line 2"),
        "{text}"
    );
    assert!(text.lines().count() < 24, "{text}");
    let last = text.lines().last().unwrap();
    let starts = "They part before send-tcp.linux.v0.r1, in what the machines are: host kernel";
    assert!(last.starts_with(starts), "{last}");
}

#[test]
fn without_another_reason_they_part_on_a_link() {
    let (one, other) = (in_virtual_time(), in_virtual_time());
    put_trace(one.path(), &made_up(["a", "b", "c", "d"], 7));
    put_trace(other.path(), &made_up(["a", "b", "x", "y"], 7));
    let parting = between(one.path(), other.path());
    // Results are the same all the same, and the runs took other ways there.
    assert!(parting.is_same());
    assert_eq!(parting.other_traces, [name(TRIAL)]);
    assert_eq!(
        parting.sentence,
        "They part at 2.950 s of send-tcp.linux.v0.r1 (52.000 s after power-on) on link data0: machine sent something \
         else among frames 109 to 112."
    );
}

#[test]
fn what_was_given_is_said_first() {
    let (one, other) = (in_virtual_time(), in_virtual_time());
    change_output(other.path(), |text| text.replacen("\t18", "\t19", 9));
    let (ours, theirs) = (images("1"), images("2"));
    let parting = with_images((one.path(), &ours), (other.path(), &theirs));
    assert!(parting.is_explained());
    let text = parting::text(&parting);
    let place = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    assert!(place("image guest: sha256:") < place("first trial that is not the same"));
    assert!(
        parting.sentence.starts_with(
            "They were given other things (image guest), from which other results follow."
        ),
        "{}",
        parting.sentence
    );
    // Another seed, and other trials before it on its machine, are reasons as well.
    edit(other.path(), "plan.json", |plan| {
        plan["seed"] = json!(999);
        let block = &mut plan["blocks"][0];
        block["trials"].as_array_mut().unwrap().reverse();
    });
    let parting = between(one.path(), other.path());
    let given: Vec<&str> = parting
        .given
        .iter()
        .map(|given| given.what.as_str())
        .collect();
    assert_eq!(given[0], "seed");
    assert!(
        given[1].starts_with("trials on the same machine before"),
        "{given:?}"
    );
}

#[test]
fn a_run_without_traces_says_so() {
    let (one, other) = (in_virtual_time(), in_virtual_time());
    edit(one.path(), "run.json", |run| run["id"] = json!("older"));
    put_trace(other.path(), &made_up(["a", "b", "c", "d"], 7));
    change_output(other.path(), |text| text.replacen("\t18", "\t19", 9));
    let parting = between(one.path(), other.path());
    assert_eq!(parting.first.as_ref().unwrap().untraced, [name("older")]);
    let text = parting::text(&parting);
    assert!(text.contains("no trace of it in older"), "{text}");
    // Lines of this tool have no times, and a sample has.
    let sample = "in the samples: throughput on host by fake-iperf3";
    assert!(parting.sentence.contains(sample), "{text}");
    assert!(text.contains("raw output: raw/host.fake-iperf3.client.json, line"));
}

#[test]
fn a_trial_that_one_run_does_not_have_is_no_equal() {
    let (one, other) = (in_virtual_time(), in_virtual_time());
    std::fs::remove_dir_all(other.path().join("trials").join(TRIAL)).unwrap();
    let parting = between(one.path(), other.path());
    assert_eq!(parting.differ, [name(TRIAL)]);
    let state = parting.first.as_ref().unwrap().state.as_deref();
    assert!(state.unwrap().contains("found not run"), "{state:?}");
}

#[test]
fn a_trace_that_was_changed_is_no_trace() {
    let one = in_virtual_time();
    put_trace(one.path(), &made_up(["a", "b", "c", "d"], 7));
    let path = one.path().join("trials").join(TRIAL).join(trace::FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"a\"", "\"b\"", 1)).unwrap();
    let error = frame::read(one.path(), &fixture::registry()).unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        why.contains("trace.jsonl is not the file that was recorded"),
        "{why}"
    );
}

/// The beginnings of two traces of a machine that sent TCP on classical Linux, with other seeds.
#[test]
fn recorded_traces_part_where_they_do() {
    let read = |seed: u32| {
        let name = format!("tests/data/traces/seed-{seed}.jsonl");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let parse = |text: &str| Trace::parse(text).unwrap();
    let (one, other) = (parse(&read(1)), parse(&read(2)));
    assert_eq!(parting::links(&one, &one), None);
    assert_eq!(parting::commands(&one.commands, &one.commands), None);
    // The seed shows before the trial: vexp's random numbers are others.
    let apart = parting::links(&one, &other).unwrap();
    assert!(
        apart.before && apart.what.contains("vexp to machine: 111 frames"),
        "{}",
        apart.what
    );
    // One frame is another, from the mark of frame 8,784 on.
    let text = read(1);
    let step = "[4,8789,\"495eefdb\",\"3990fb3a25f41275c75e\"]";
    assert!(text.contains(step));
    let changed = parse(&text.replace(step, "[4,8789,\"495eefdc\",\"3990fb3a25f41275c700\"]"));
    let apart = parting::links(&one, &changed).unwrap();
    assert_eq!(apart.at_ns, 15_109_999_328);
    assert_eq!(
        apart.what,
        "link data0, machine to peers0: among frames 8,777 to 8,784"
    );
}

// ---- levels ----

fn known(run: &Path) -> Assurance {
    assurance::of(&read(run)).unwrap()
}

/// What a run of the same results says of itself where it is compared with this one.
fn compared(run: &Path, with: With) -> Comparison {
    let frames = read(run);
    Comparison {
        at: "2026-01-03T00:00:00Z".into(),
        vexp: "0.1.0".into(),
        results: identity::digest(&frames).unwrap(),
        with,
        same: frames.trials.len(),
        differ: 0,
        unknown: 0,
        given: Vec::new(),
        parts: None,
    }
}

fn another_run(computer: Option<&str>, others: Option<f64>) -> With {
    With::Run {
        id: name("another"),
        vexp: "0.1.0".into(),
        results: Digest::of(b""),
        computer: computer.map(|text| Digest::of(text.as_bytes())),
        others,
    }
}

fn put_compared(run: &Path, all: &[Comparison]) {
    let file = json!({"format": 1, "comparisons": all});
    std::fs::write(run.join("compared.json"), file.to_string()).unwrap();
}

fn holding(run: &Path) -> Vec<&'static str> {
    let known = known(run);
    let holding = known.statements.iter().filter(|one| one.holds);
    holding.map(|one| one.level.as_str()).collect()
}

fn evidence(run: &Path, level: Level) -> String {
    let known = known(run);
    let mut all = known.statements.into_iter();
    all.find(|one| one.level == level).unwrap().evidence
}

const STRICT: [&str; 1] = ["ran strictly"];

#[test]
fn a_run_that_was_never_compared_ran_strictly_and_no_more() {
    let dir = in_virtual_time();
    assert_eq!(holding(dir.path()), STRICT);
    let why = evidence(dir.path(), Level::Twice);
    assert_eq!(why, "it was compared with no other run");
    // In real time nothing is said.
    assert_eq!(assurance::of(&read(fresh(1).path())), None);
}

#[test]
fn a_run_with_a_doubtful_trial_did_not_run_strictly_and_nothing_follows() {
    for late_trace in [true, false] {
        let dir = in_virtual_time();
        put_compared(dir.path(), &[compared(dir.path(), another_run(None, None))]);
        assert_eq!(holding(dir.path()).len(), 2);
        match late_trace {
            true => {
                let mut made = made_up(["a", "b", "c", "d"], 7);
                made.head.late = 2;
                put_trace(dir.path(), &made);
            }
            // Of a vexp before traces.
            false => edit(dir.path(), &format!("trials/{TRIAL}/trial.json"), |trial| {
                trial["outcome"] = json!("invalid");
                trial["reason"] = json!("2 borders or frames of the lockstep were late");
                trial["instruments"] = json!(true);
            }),
        }
        assert_eq!(holding(dir.path()), [""; 0]);
        let why = evidence(dir.path(), Level::Strictly);
        assert!(why.contains(TRIAL), "{why}");
        assert_eq!(
            known(dir.path()).words(),
            "it is not known to be the same elsewhere"
        );
    }
}

#[test]
fn each_level_needs_its_own_evidence() {
    let dir = in_virtual_time();
    let run = dir.path();
    let also =
        |more: &'static [&'static str]| [&STRICT[..], &["ran twice and compared"], more].concat();
    let put = |with: With| put_compared(run, &[compared(run, with)]);
    put(another_run(None, None));
    assert_eq!(holding(run), also(&[]));
    assert!(
        evidence(run, Level::Twice).contains("those of run another (vexp 0.1.0), to the last bit")
    );
    put(With::Digest(identity::digest(&read(run)).unwrap()));
    assert_eq!(holding(run), also(&[]));

    put(another_run(None, Some(0.2)));
    assert_eq!(holding(run), also(&[]));
    assert!(
        evidence(run, Level::UnderLoad)
            .contains("took 20 % of the processors' time or more, in no run more")
    );
    put(another_run(None, Some(0.5)));
    assert_eq!(holding(run), also(&["under load and compared"]));

    // Another computer is one only if it is known which this one is.
    put(another_run(Some("theirs"), None));
    assert_eq!(holding(run), also(&[]));
    edit(run, "run.json", |record| {
        record["computer"] = json!(Digest::of(b"ours"))
    });
    assert_eq!(holding(run), also(&["on several machines and compared"]));
    put(another_run(Some("ours"), None));
    assert_eq!(holding(run), also(&[]));
    assert!(evidence(run, Level::Machines).contains("on this computer, too"));
    let file = |computer: Option<&[u8]>| With::File {
        digest: Digest::of(b"file"),
        run: None,
        computer: computer.map(Digest::of),
    };
    put(file(None));
    assert_eq!(holding(run), also(&[]));
    put(file(Some(b"theirs")));
    assert_eq!(holding(run), also(&["on several machines and compared"]));
}

#[test]
fn load_of_this_run_counts_where_each_block_had_it() {
    let dir = in_virtual_time();
    let run = dir.path();
    put_compared(run, &[compared(run, another_run(None, None))]);
    let blocks: Vec<String> = (read(run).run.blocks.keys())
        .map(ToString::to_string)
        .collect();
    let load = |others: f64| json!({"format": 1, "before": 4.5, "after": 5.5, "processors": 2, "seconds": 30.0, "others": others});
    let put = |block: &str, load: Value| {
        let path = run.join("blocks").join(block).join("load.json");
        std::fs::write(path, load.to_string()).unwrap();
    };
    for block in &blocks[1..] {
        put(block, load(0.6));
    }
    assert_eq!(assurance::least_others(&read(run).run), None);
    assert!(!known(run).holds(Level::UnderLoad));
    put(&blocks[0], load(0.3));
    assert_eq!(assurance::least_others(&read(run).run), Some(0.3));
    assert!(known(run).holds(Level::UnderLoad));
    put(&blocks[0], load(0.1));
    assert!(!known(run).holds(Level::UnderLoad));
}

#[test]
fn comparisons_that_show_nothing_count_for_nothing() {
    let dir = in_virtual_time();
    let run = dir.path();
    edit(run, "run.json", |record| {
        record["computer"] = json!(Digest::of(b"ours"))
    });
    let good = compared(run, another_run(Some("theirs"), Some(0.9)));
    put_compared(run, std::slice::from_ref(&good));
    assert_eq!(holding(run).len(), 4);
    let id = read(run).run.record.id;
    let itself = |with| Comparison {
        with,
        ..good.clone()
    };
    for (why, bad) in [
        (
            "only 1 of its trials",
            Comparison {
                same: 1,
                unknown: 9,
                ..good.clone()
            },
        ),
        (
            "when it had other results",
            Comparison {
                results: Digest::of(b"old"),
                ..good.clone()
            },
        ),
        (
            "given other things",
            Comparison {
                given: vec!["image guest".into()],
                ..good.clone()
            },
        ),
        (
            "with itself",
            itself(With::File {
                digest: Digest::of(b""),
                run: Some(id),
                computer: Some(Digest::of(b"theirs")),
            }),
        ),
        (
            "1 of 41 trials are not those of run another",
            Comparison {
                same: 40,
                differ: 1,
                ..good.clone()
            },
        ),
    ] {
        put_compared(run, &[bad]);
        assert_eq!(holding(run), STRICT, "{why}");
        let text = evidence(run, Level::Machines);
        assert!(text.contains(why), "{why}: {text}");
    }
    // One that differs is not outvoted.
    put_compared(
        run,
        &[
            good.clone(),
            Comparison {
                same: 0,
                differ: 1,
                ..good.clone()
            },
        ],
    );
    assert_eq!(holding(run), STRICT);
    for damaged in ["{", "{\"format\":2,\"comparisons\":[]}"] {
        std::fs::write(run.join("compared.json"), damaged).unwrap();
        assert_eq!(holding(run), STRICT, "{damaged}");
        assert!(evidence(run, Level::Twice).contains("compared.json"));
    }
}

#[test]
fn the_report_shows_levels_with_their_evidence() {
    let dir = in_virtual_time();
    put_compared(dir.path(), &[compared(dir.path(), another_run(None, None))]);
    let summary = vexp_report::report(dir.path(), &fixture::registry(), None).unwrap();
    assert_eq!(
        summary.assurance.as_deref(),
        Some("ran strictly; ran twice and compared")
    );
    for page in [&summary.html, &summary.markdown] {
        let text = std::fs::read_to_string(page).unwrap();
        for words in [
            "The same elsewhere?",
            "ran twice and compared",
            "on several machines and compared",
            "which computer it ran on is not recorded",
        ] {
            assert!(text.contains(words), "{words}");
        }
    }
}
