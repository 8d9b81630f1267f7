//! Plans of real studies: what is in them, and that they never change by themselves.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{checked, folder};
use vexp_api::digest::{Digest, canonical_json};
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_engine::plan::{PlanError, plan};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn paper() -> vexp_engine::check::CheckedStudy {
    checked(&folder("../../experiments/paper.ncl"))
}

fn of_paper(effort: &str, only: Option<&str>) -> Plan {
    plan(&paper(), &name("emulated"), &name(effort), only).unwrap()
}

/// The order of the quick plan, as text.
#[test]
fn quick_plan_of_the_paper() {
    let plan = of_paper("quick", None);
    let mut text = String::new();
    for block in &plan.blocks {
        let machine = &block.machine;
        let of = (&machine.image, machine.max_vms, machine.peers);
        text.push_str(&format!("{} {of:?}\n", block.id));
        for trial in &block.trials {
            let monitors: Vec<_> = trial.monitors.iter().map(|used| &used.tool).collect();
            text.push_str(&format!("  {} {monitors:?}\n", trial.id));
        }
    }
    for deviation in &plan.deviations {
        let d = deviation;
        text.push_str(&format!(
            "{}: {}: {} -> {}\n",
            d.subject, d.property, d.asked, d.used
        ));
    }
    for point in &plan.excluded {
        text.push_str(&format!("not run: {point:?}\n"));
    }
    text.push_str(&format!("images {:?}\n", plan.images));
    insta::assert_snapshot!(text);
}

/// The same bytes on every machine and in every build. A change here is a change of the plan's
/// format or of the order, and makes older runs impossible to resume: it must be meant.
#[test]
fn golden_digest() {
    let checked = checked(&folder("tests/good/small.ncl"));
    let plan = plan(&checked, &name("emulated"), &name("quick"), None).unwrap();
    insta::assert_snapshot!(Digest::of_value(&plan).unwrap().to_string());
}

#[test]
fn planning_twice_gives_the_same_bytes() {
    let texts: BTreeSet<_> = (0..2)
        .map(|_| canonical_json(&of_paper("full", None)).unwrap())
        .collect();
    assert_eq!(texts.len(), 1);
    let text = texts.first().unwrap();
    let read: Plan = serde_json::from_str(text).unwrap();
    assert_eq!(&canonical_json(&read).unwrap(), text);
}

#[test]
fn every_point_is_run_in_every_repetition() {
    let plan = of_paper("standard", None);
    let mut ids = BTreeSet::new();
    let mut points: BTreeMap<_, u32> = BTreeMap::new();
    for block in &plan.blocks {
        for trial in &block.trials {
            assert!(ids.insert(&trial.id), "{} twice", trial.id);
            assert_eq!(trial.repetition, block.repetition);
            assert_eq!(trial.platform, block.machine.platform);
            assert!(trial.vms <= block.machine.max_vms);
            assert!(trial.flows() <= block.machine.peers);
            *points
                .entry((&trial.experiment, &trial.platform, trial.vms))
                .or_default() += 1;
        }
    }
    // Three experiments; Linux has one point, each of five platforms with guests has four.
    assert_eq!(points.len(), 3 * (1 + 5 * 4));
    assert!(points.values().all(|n| *n == 5), "{points:?}");
    let repetitions: Vec<_> = plan.blocks.iter().map(|block| block.repetition).collect();
    assert!(repetitions.is_sorted());
}

#[test]
fn a_selection_keeps_the_order() {
    let all = of_paper("quick", None);
    let some = of_paper("quick", Some("send-tcp.xen-*"));
    let wanted: Vec<_> = all
        .trials()
        .map(|trial| &trial.id)
        .filter(|id| id.as_str().starts_with("send-tcp.xen-"))
        .collect();
    let found: Vec<_> = some.trials().map(|trial| &trial.id).collect();
    assert_eq!(found, wanted);
    assert!(some.deviations.iter().all(|d| !d.subject.contains("kvm")));
}

#[test]
fn the_seed_changes_the_order_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(folder("tests/good/small.ncl")).unwrap();
    let orders: Vec<_> = (1..=4)
        .map(|seed| {
            let path = dir.path().join(format!("{seed}.ncl"));
            let text = text.replace(
                "name = \"hello\"",
                &format!("name = \"hello\", seed = {seed}"),
            );
            std::fs::write(&path, text).unwrap();
            let plan = plan(&checked(&path), &name("emulated"), &name("quick"), None).unwrap();
            plan.trials().map(|t| t.id.clone()).collect::<Vec<_>>()
        })
        .collect();
    let sorted: BTreeSet<Vec<_>> = orders
        .iter()
        .map(|order| {
            let mut order = order.clone();
            order.sort();
            order
        })
        .collect();
    assert_eq!(sorted.len(), 1);
    assert!(
        orders.iter().collect::<BTreeSet<_>>().len() > 1,
        "{orders:?}"
    );
}

#[test]
fn refuses_what_it_does_not_know() {
    let checked = paper();
    let quick = name("quick");
    let emulated = name("emulated");
    assert!(matches!(
        plan(&checked, &name("moon"), &quick, None),
        Err(PlanError::NoTestbed(..))
    ));
    assert!(matches!(
        plan(&checked, &emulated, &name("heroic"), None),
        Err(PlanError::NoEffort(..))
    ));
    assert!(matches!(
        plan(&checked, &emulated, &quick, Some("a[")),
        Err(PlanError::BadGlob { .. })
    ));
    let standard = name("standard");
    let nothing = plan(&checked, &emulated, &standard, Some("route*")).unwrap_err();
    let text = nothing.to_string();
    assert!(
        text.contains("forwarding between two data networks"),
        "{text}"
    );
}

/// Checking and planning stay fast where a matrix is large: 10,000 trials in less than 10 s here,
/// in a debug build beside other tests. `make bench` measures them in a release build.
#[test]
fn ten_thousand_trials() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.ncl");
    let experiments: String = (0..25)
        .map(|i| {
            format!(
                "  experiments.e{i} = {{ title = \"E\", role = \"sender\", traffic.tool = \"iperf3\",\n    \
                 platforms = [\"xen\", \"kvm\"], vms = [1, 2, 4, 8] }},\n"
            )
        })
        .collect();
    let text = format!(
        "let vexp = import \"vexp.ncl\" in\n{{\n  name = \"large\",\n  title = \"Large\",\n  \
         hardware.laptop = vexp.laptop,\n  platforms = vexp.platform \"laptop\",\n{experiments}  \
         efforts.full = {{ repetitions = 50, warm_up = \"1s\", window = \"3s\" }},\n  \
         testbeds.emulated = vexp.stock,\n}}\n"
    );
    std::fs::write(&path, text).unwrap();
    let loaded = support::loader()
        .study(&path, &support::registry())
        .unwrap();
    let start = std::time::Instant::now();
    let checked = vexp_engine::check::check(&loaded, &support::registry()).unwrap();
    let plan = plan(&checked, &name("emulated"), &name("full"), None).unwrap();
    assert_eq!(plan.trials().count(), 10_000);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
