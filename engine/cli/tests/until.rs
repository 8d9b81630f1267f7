//! `--until decided`: claims are looked at when the study says so, and at no other time.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "other tests use the rest")]
mod pretended;
#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeSet;
use std::path::Path;

use pretended::{World, events, json, records};
use support::{Said, said};

const UNTIL: [&str; 2] = ["--until", "decided"];

/// Trials of a point, from one repetition to another.
fn of_point(point: &str, from: u32, to: u32) -> BTreeSet<String> {
    (from..=to).map(|n| format!("{point}.v0.r{n}")).collect()
}

fn measured(run: &Path) -> BTreeSet<String> {
    records(run).into_keys().collect()
}

fn reported(world: &World, run: &Path) -> Said {
    said(&mut world.vexp(&["report", run.to_str().unwrap()]))
}

/// Six boots can't decide one claim at a look's level, twelve can; and only its two points are measured again. What no
/// claim is about is measured once.
#[test]
fn only_what_open_claims_need_is_measured_on() {
    let world = World::new();
    let ran = world.failing("uneven", &UNTIL);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let run = world.only_run();

    let mut expected = BTreeSet::new();
    // `other` is classical Linux, too, in the experiments of the claim.
    for (experiment, most) in [("slow", 12), ("fast", 12), ("faster", 1), ("fastest", 1)] {
        for platform in ["linux", "other"] {
            expected.extend(of_point(&format!("{experiment}.{platform}"), 1, most));
        }
    }
    assert_eq!(measured(&run), expected);

    let plan = json(&run.join("plan.json"));
    assert_eq!(plan["looks"].as_array().unwrap().len(), 3);
    let said: Vec<String> = events(&run)
        .iter()
        .filter_map(|event| event["text"].as_str())
        .filter(|text| text.starts_with("look "))
        .map(|text| text.split(" (").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        said,
        [
            "look 1 of 3, after 6 boots, is not reached",
            "look 1 of 3: 0 decided, 1 open",
            "look 2 of 3: 1 decided, 0 open",
        ],
        "{}",
        ran.err
    );

    let told = reported(&world, &run);
    assert_eq!(told.code, 0, "{}", told.out);
    assert!(
        told.out.contains("look 2 of 3: 1 decided, 0 open"),
        "{}",
        told.out
    );
    assert!(
        told.out.contains("52 of 52 trials measured"),
        "{}",
        told.out
    );
    let claims = json(&run.join("frames/claims.json"));
    assert_eq!(claims["looks"]["taken"], 2);
    assert_eq!(claims["claims"][0]["look"], 2);
    assert_eq!(claims["claims"][0]["verdict"], "reproduced");
}

/// What was measured before a look, or beyond it, is not judged.
#[test]
fn nothing_is_judged_before_its_look() {
    let world = World::new();
    assert_eq!(world.failing("uneven", &UNTIL).code, 0);
    let run = world.only_run();
    let take_away = |id: &str| std::fs::remove_dir_all(run.join("trials").join(id)).unwrap();

    // Of the second look one trial is missing: the first one's verdict stands, on six boots.
    take_away("fast.linux.v0.r12");
    let told = reported(&world, &run);
    assert_eq!(told.code, 5, "{}", told.out);
    assert!(
        told.out
            .contains("look 1 of 3: 0 decided, 1 open (1 trials)"),
        "{}",
        told.out
    );
    let claim = &json(&run.join("frames/claims.json"))["claims"][0];
    assert_eq!(claim["tests"][0]["compared"]["units"], 6);

    // Of the first one: there is no look, and nothing of the claim is shown.
    take_away("fast.other.v0.r3");
    let told = reported(&world, &run);
    assert_eq!(told.code, 5, "{}", told.out);
    assert!(
        told.out
            .contains("look 1 of 3, after 6 boots, is not reached"),
        "{}",
        told.out
    );
    let claim = &json(&run.join("frames/claims.json"))["claims"][0];
    assert_eq!(claim["verdict"], "inconclusive");
    assert!(claim["tests"][0]["compared"].is_null() && claim["p"].is_null());

    // A run that is resumed has the looks that it was begun with, and takes the same ones.
    let resumed = world.failing("uneven", &["--resume", run.to_str().unwrap()]);
    assert_eq!(resumed.code, 0, "{}", resumed.err);
    let claims = json(&run.join("frames/claims.json"));
    assert_eq!(
        claims["looks"]["taken"], 0,
        "the report was not made again yet"
    );
    assert_eq!(reported(&world, &run).code, 0);
    let claims = json(&run.join("frames/claims.json"));
    assert_eq!(claims["looks"]["taken"], 2);

    // Looks that were changed afterwards are another plan.
    let plan = std::fs::read_to_string(run.join("plan.json")).unwrap();
    std::fs::write(
        run.join("plan.json"),
        plan.replace("\"units\":6", "\"units\":7"),
    )
    .unwrap();
    let refused = world.failing("uneven", &["--resume", run.to_str().unwrap()]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    std::fs::write(
        run.join("plan.json"),
        plan.replace("\"units\":6", "\"units\":60"),
    )
    .unwrap();
    let refused = reported(&world, &run);
    assert_eq!(refused.code, 6, "{}", refused.err);
    assert!(
        refused.err.contains("more than the look before it"),
        "{}",
        refused.err
    );
}

#[test]
fn a_budget_bounds_looks_and_nothing_else() {
    let world = World::new();
    let alone = said(&mut world.run(&["--budget", "4h"]));
    assert_eq!(alone.code, 2, "{}", alone.err);
    assert!(alone.err.contains("--until decided"), "{}", alone.err);

    let short = said(&mut world.run(&["--until", "decided", "--budget", "1min"]));
    assert_eq!(short.code, 2, "{}", short.err);
    assert!(
        short.err.contains("the first look is reached after about"),
        "{}",
        short.err
    );
    assert!(measured(&world.only_run()).is_empty());
}
