//! Trials that were measured on nodes of a batch engine.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
mod fixture;

use std::path::Path;

use fixture::{edit, fresh};
use vexp_report::judge::judge;
use vexp_report::{CauseKind, Verdict, frame, identity};

/// Says of each trial on which node it was measured.
fn measured_on(dir: &Path, node: impl Fn(&str) -> serde_json::Value) {
    for entry in std::fs::read_dir(dir.join("trials")).unwrap() {
        let trial = entry.unwrap().file_name().into_string().unwrap();
        let file = format!("trials/{trial}/trial.json");
        edit(dir, &file, |record| record["computer"] = node(&trial));
    }
}

fn node(name: &str, processor: &str) -> serde_json::Value {
    serde_json::json!({"node": name, "facts": {"processor": processor, "kernel": "6.1"}})
}

#[test]
fn what_was_measured_on_different_kinds_of_nodes_is_not_compared() {
    let dir = fresh(1);
    let read = || frame::read(dir.path(), &fixture::registry()).unwrap();
    let told = || {
        let claims = judge(&read()).claims;
        let told = claims
            .into_iter()
            .map(|claim| (claim.verdict, claim.reason));
        told.collect::<Vec<_>>()
    };
    let (before, digest) = (told(), identity::digest(&read()).unwrap());
    // Two nodes of one kind change nothing.
    measured_on(dir.path(), |trial| {
        let name = if trial.contains("linux") { "n1" } else { "n2" };
        node(name, "Xeon")
    });
    assert_eq!(told(), before);
    assert_eq!(identity::digest(&read()).unwrap(), digest);

    measured_on(dir.path(), |trial| match trial.contains("kvm-84-fv") {
        true => node("n2", "Opteron"),
        false => node("n1", "Xeon"),
    });
    assert_eq!(identity::digest(&read()).unwrap(), digest);
    let claims = judge(&read()).claims;
    let mixed = claims.iter().filter(|claim| {
        let mut causes = claim.causes.iter();
        causes.any(|cause| cause.what.contains("different kinds of computers"))
    });
    let mixed: Vec<_> = mixed.collect();
    assert_eq!(mixed.len(), 1, "{claims:?}");
    assert_eq!(mixed[0].claim, *"a2");
    assert_eq!(mixed[0].verdict, Verdict::OutOfRegime);
    assert_eq!(mixed[0].causes[0].kind, CauseKind::Condition);
    assert_eq!(
        mixed[0].reason,
        "repetition 1 compares what was measured on different kinds of computers: n2 (processor Opteron, kernel 6.1) \
         and n1 (processor Xeon, kernel 6.1)"
    );
    // What is relative to classical Linux is compared with it, though no claim names that.
    measured_on(dir.path(), |trial| match trial.contains("linux") {
        true => node("n2", "Opteron"),
        false => node("n1", "Xeon"),
    });
    let causes = judge(&read()).claims.into_iter();
    let causes = causes.filter(|claim| claim.verdict == Verdict::OutOfRegime);
    let names: Vec<String> = causes.map(|claim| claim.claim.to_string()).collect();
    assert_eq!(names, ["a1", "a3"]);
}

#[test]
fn a_report_says_on_which_node_each_trial_was_measured() {
    let dir = fresh(1);
    let texts = || {
        vexp_report::report(dir.path(), &fixture::registry(), None).unwrap();
        ["html", "md"].map(|end| {
            let path = dir.path().join("report").join(format!("report.{end}"));
            std::fs::read_to_string(path).unwrap()
        })
    };
    let [html, md] = texts();
    assert!(!html.contains("Nodes that measured") && !md.contains("- node n1"));
    // As in virtual time.
    measured_on(
        dir.path(),
        |trial| serde_json::json!({"node": if trial.contains("linux") { "n1" } else { "n2" }}),
    );
    let [html, md] = texts();
    assert!(html.contains("Nodes that measured trials"));
    let each = html.matches("<dt>node</dt><dd>n2</dd>").count();
    assert!(each > 5, "{each}");
    let line = md
        .lines()
        .find(|line| line.starts_with("- node n1"))
        .unwrap();
    assert!(line.contains("send-tcp.linux.v0.r1"), "{line}");
}
