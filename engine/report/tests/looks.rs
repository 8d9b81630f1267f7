//! Looks at a run on disk, and a report for eyes.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
mod fixture;

use std::path::PathBuf;

use fixture::{edit, fresh};
use vexp_report::frame;
use vexp_report::judge::judge;

/// Each claim is judged on the units of the look, those beyond it are not looked at, and what can't be
/// shown asks for no more trials.
#[test]
fn looks_see_their_units_and_no_others() {
    use vexp_report::Verdict;
    let looks = serde_json::json!([{"units": 3, "share": 0.5}, {"units": 8, "share": 0.5}]);
    let dir = fresh(8);
    edit(dir.path(), "plan.json", |plan| {
        plan["looks"] = looks.clone()
    });
    edit(dir.path(), "study.json", |study| {
        study["claims"]["a3"]["needs"] = serde_json::json!({"processors": 3});
    });
    let judged = || {
        let found = judge(&frame::read(dir.path(), &fixture::registry()).unwrap());
        let a2 = found.claims.iter().find(|claim| claim.claim == *"a2");
        (a2.unwrap().clone(), found)
    };
    // Three signs decide nothing at any level here, eight do.
    let (a2, found) = judged();
    let looks = found.looks.as_ref().unwrap();
    assert_eq!((looks.taken, looks.missing.len()), (2, 0));
    assert_eq!(
        (a2.verdict, a2.look),
        (Verdict::NotReproduced, Some(2)),
        "{}",
        a2.reason
    );
    assert!(
        a2.reason.ends_with("decided at look 2 of 2"),
        "{}",
        a2.reason
    );
    let a3 = found
        .claims
        .iter()
        .find(|claim| claim.claim == *"a3")
        .unwrap();
    assert_eq!((a3.verdict, a3.look), (Verdict::OutOfRegime, Some(1)));
    let wanted = |trial: &str| !looks.unwanted.contains(trial);
    assert!(wanted("send-tcp.kvm-84-fv.v1.r8") && wanted("receive-tcp.xen-3.2.v1.r1"));
    assert!(
        !wanted("receive-tcp.xen-3.2.v1.r2"),
        "it is out of regime, which is known before anything is measured"
    );

    // One trial of the second look is not there yet: what there is of it is not looked at.
    std::fs::remove_dir_all(dir.path().join("trials/send-tcp.kvm-84-fv.v1.r7")).unwrap();
    let (a2, found) = judged();
    let looks = found.looks.as_ref().unwrap();
    assert_eq!((looks.taken, looks.missing.len()), (1, 1));
    assert_eq!((a2.verdict, a2.look), (Verdict::Inconclusive, Some(1)));
    assert_eq!(a2.tests[0].compared.as_ref().unwrap().units, 3);
    let words = looks.words(&found.claims, Some("about 1 min"));
    assert!(
        words.contains(" open (1 trials, about 1 min), 1 out of regime"),
        "{words}"
    );

    std::fs::remove_dir_all(dir.path().join("trials/send-tcp.kvm-84-fv.v1.r2")).unwrap();
    let (a2, found) = judged();
    assert_eq!(found.looks.unwrap().taken, 0);
    assert!(
        a2.reason
            .contains("look 1 of 2, after 3 boots, is not reached")
    );
    assert!(a2.tests[0].compared.is_none() && a2.tests[0].left.value.is_none());
}

/// A report for eyes: `VEXP_REPORT_OUT=FOLDER cargo test --test run a_report_to_look_at -- --ignored`.
#[test]
#[ignore = "writes a report for somebody who looks at it"]
fn a_report_to_look_at() {
    let out = PathBuf::from(std::env::var_os("VEXP_REPORT_OUT").unwrap());
    let dir = fresh(8);
    // Claims as many as a paper has.
    edit(dir.path(), "study.json", |study| {
        let claims = study["claims"].as_object_mut().unwrap();
        let some = claims.clone();
        for i in 1..=4 {
            for (name, claim) in &some {
                let mut claim = claim.clone();
                if i == 2 && !claim["tests"].as_array().unwrap().is_empty() {
                    claim["needs"] = serde_json::json!({"processors": 2 + i});
                }
                claims.insert(format!("{name}.{i}"), claim);
            }
        }
    });
    let derived = vexp_report::derived::derive(dir.path(), &fixture::registry(), None).unwrap();
    derived.write(&out).unwrap();
}
