//! JSON Schemas: they change on purpose only, and what vexp writes is as they
//! say. The library: everything in it is explained.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod json_schema;
mod recorded;
mod support;

use std::path::{Path, PathBuf};

use json_schema::errors;
use recorded::recorded;
use serde_json::{Value, json};
use support::{root, vexp};
use vexp_api::digest::Digest;
use vexp_engine::load::docs::{documented, library};

fn names() -> Vec<String> {
    let listed = vexp(&["schema"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let name = |line: &str| line.split(' ').next().unwrap().to_owned();
    listed.out.lines().map(name).collect()
}

/// A change of a type shows here in review; `vexp schema NAME` prints what it changed.
#[test]
fn schemas_change_on_purpose_only() {
    let digest = |name: &String| {
        let schema = vexp(&["schema", name]).out;
        let digest = Digest::of(schema.as_bytes());
        format!("{name:14} {}", &digest.hex()[..16])
    };
    let digests: Vec<_> = names().iter().map(digest).collect();
    insta::assert_snapshot!(digests.join("\n"));
    let unknown = vexp(&["schema", "plans"]);
    assert_eq!(unknown.code, 2);
    let known = "there is: block, bundle, check";
    assert!(unknown.err.contains(known), "{}", unknown.err);
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&vexp(&["schema", name]).out).unwrap()
}

/// Holds a value against a schema, and then what lacks any of the fields that there must be.
fn is_as_the_schema_says(name: &str, value: &Value) {
    let schema = schema(name);
    let wrong = errors(&schema, value);
    assert!(wrong.is_empty(), "{name}: {wrong:#?}");
    // An empty list says nothing.
    let (element, wrap): (&Value, fn(Value) -> Value) = match value {
        Value::Array(list) => (list.first().unwrap(), |value| json!([value])),
        other => (other, |value| value),
    };
    let object = element.as_object().unwrap();
    assert!(!object.is_empty());
    for field in object.keys() {
        let mut wrong = element.clone();
        wrong[field] = json!({ "no such": ["thing"] });
        let free = ["controller", "options", "testbed_options"].contains(&field.as_str());
        assert!(
            free || !errors(&schema, &wrap(wrong)).is_empty(),
            "{name}: anything is a {field}"
        );
    }
    assert!(
        !errors(&schema, &wrap(json!({ "no such": 1 }))).is_empty(),
        "{name}"
    );
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The run in the recorded bundle, unpacked; its bundle's folder.
fn unpacked(folder: &Path) -> PathBuf {
    let bundle = root().join("engine/cli/tests/data/run.vexp.tar.zst");
    let into = folder.join("into");
    let said = vexp(&[
        "verify",
        text(&bundle),
        "--into",
        text(&into),
        "--format",
        "json",
    ]);
    is_as_the_schema_says("verify", &serde_json::from_str(&said.out).unwrap());
    let mut found = std::fs::read_dir(into).unwrap();
    found.next().unwrap().unwrap().path()
}

#[test]
fn files_of_a_run_are_as_the_schemas_say() {
    let folder = tempfile::tempdir().unwrap();
    let there = unpacked(folder.path());
    let run = there.join("run");
    // What follows from a run's files has the form of today, whichever version recorded it.
    let reported = vexp(&["report", text(&run)]);
    assert_eq!(reported.code, 5, "{}", reported.err);
    let block = "blocks/linux.machine.v0.r1";
    for (name, file) in [
        ("block", format!("{block}/block.json")),
        ("claims", "frames/claims.json".to_owned()),
        ("environment", format!("{block}/environment.json")),
        ("images", "images.json".to_owned()),
        ("metrics", "frames/metrics.json".to_owned()),
        ("plan", "plan.json".to_owned()),
        ("run", "run.json".to_owned()),
        ("steady", "frames/steady.json".to_owned()),
        ("study", "study.json".to_owned()),
        ("trial", "trials/send.linux.v0.r1/trial.json".to_owned()),
    ] {
        is_as_the_schema_says(name, &read(&run.join(file)));
    }
    is_as_the_schema_says("bundle", &read(&there.join("manifest.json")));
    let events = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    assert!(events.lines().count() > 3);
    let schema = schema("event");
    for event in events.lines() {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(errors(&schema, &event), [""; 0], "{event}");
    }
    assert!(!errors(&schema, &json!({ "at": "now", "event": "no such" })).is_empty());
    let raw = run.join("trials/latency.linux.v0.r1/raw/host.ping.stdout.txt");
    let samples = vexp(&["parse", "--tool", "ping", text(&raw)]).out;
    is_as_the_schema_says(
        "sample",
        &serde_json::from_str(samples.lines().next().unwrap()).unwrap(),
    );
}

#[test]
fn what_verbs_print_is_as_the_schemas_say() {
    let folder = tempfile::tempdir().unwrap();
    let there = unpacked(folder.path());
    let run = there.join("run");
    let runs = folder.path().join("runs");
    for (id, factor) in [("a", 1.0), ("b", 0.8)] {
        recorded(id, &[factor, factor * 1.001, factor]).write(&runs);
    }
    let [store, site, packed] = ["store", "site", "packed"].map(|name| folder.path().join(name));
    let wrong = folder.path().join("wrong.ncl");
    std::fs::write(&wrong, "{ name = 1 }").unwrap();
    let (a, b) = (runs.join("a"), runs.join("b"));
    let (runs, store) = (text(&runs), text(&store));
    for (name, args) in [
        ("check", vec!["check", text(&wrong)]),
        ("compare", vec!["compare", text(&a), text(&b)]),
        ("doctor", vec!["doctor"]),
        (
            "export",
            vec!["export", text(&run), "--output", text(&packed)],
        ),
        (
            "gc",
            vec![
                "gc",
                "--runs",
                runs,
                "--store",
                store,
                "--keep-last",
                "1",
                "--dry-run",
            ],
        ),
        ("plan", vec!["plan", "experiments/paper.ncl"]),
        ("report", vec!["report", text(&run)]),
        ("runs", vec!["runs", "--runs", runs]),
        ("trend", vec!["trend", runs, "--out", text(&site)]),
    ] {
        let said = vexp(&[&args[..], &["--format", "json"]].concat());
        let value =
            serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{name}: {}", said.err));
        is_as_the_schema_says(name, &value);
    }
}

#[test]
fn studies_that_are_wrong_are_refused_by_the_schema_too() {
    let folder = tempfile::tempdir().unwrap();
    let good = read(&unpacked(folder.path()).join("run/study.json"));
    let schema = schema("study");
    assert_eq!(errors(&schema, &good), [""; 0]);
    for (pointer, wrong) in [
        ("/hardware/machine/nics/0/rate", json!("200")),
        ("/hardware/machine/cpus", json!(0)),
        ("/hardware/machine/nics", json!([])),
        ("/experiments/send/role", json!("spectator")),
        ("/efforts/quick/window", json!(4)),
        ("/platforms/xen/dom0_weight", json!(65_536)),
        ("/claims/pv/tests/0/right", json!("more")),
        ("/name", json!("No Name")),
        ("/format", json!(2)),
        (
            "/experiments/send/traffic/options",
            json!({"protcol": "udp"}),
        ),
    ] {
        let mut study = good.clone();
        *study.pointer_mut(pointer).unwrap() = wrong;
        assert!(!errors(&schema, &study).is_empty(), "{pointer}");
    }
    let mut more = good.clone();
    more["platfroms"] = json!({});
    assert!(!errors(&schema, &more).is_empty());
}

#[test]
fn everything_in_the_library_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(&vexp::registry());
    let said = vexp(&["library", text(folder.path())]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let mut seen = 0;
    for (file, text) in &library {
        assert!(
            std::fs::read_to_string(folder.path().join(file)).unwrap() == *text,
            "{file}"
        );
        for one in documented(text) {
            // A value's fields, as those of `laptop`, are explained by their contract.
            if !one.contract && (*file == "registry.ncl" || !one.record.is_empty()) {
                continue;
            }
            let said = one.doc.as_deref().unwrap_or_default();
            assert!(
                !said.trim().is_empty(),
                "{file}: {}.{}",
                one.record,
                one.field
            );
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen}");
}
