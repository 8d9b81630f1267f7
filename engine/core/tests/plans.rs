//! Plans of real studies: what is in them, and that they never change by themselves.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use support::{checked, folder};
use vexp_api::digest::{Digest, canonical_json};
use vexp_api::ids::Name;
use vexp_api::plan::{Calibration, Plan};
use vexp_engine::check::CheckedStudy;
use vexp_engine::plan::estimate::{self, Start};
use vexp_engine::plan::{PlanError, calibration_plan, plan, plan_until_decided};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The paper's study, evaluated once.
fn paper() -> CheckedStudy {
    static PAPER: LazyLock<CheckedStudy> =
        LazyLock::new(|| checked(&folder("../../experiments/paper.ncl")));
    PAPER.clone()
}

fn of_paper(effort: &str, only: Option<&str>) -> Plan {
    plan(&paper(), &name("emulated"), &name(effort), only, None).unwrap()
}

/// The order of the quick plan, as text.
#[test]
fn quick_plan_of_the_paper() {
    let plan = of_paper("quick", None);
    let mut text = String::new();
    for block in &plan.blocks {
        let machine = &block.machine;
        let image = machine.image.as_ref().unwrap();
        let of = (image, machine.max_vms, machine.peers);
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
    let plan = plan(&checked, &name("emulated"), &name("quick"), None, None).unwrap();
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
    let plan = of_paper("full", None);
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
    // End hosts: two experiments; Linux has one point, each of five platforms with guests has four.
    // Routers: four experiments with two such platforms, and one that needs a guest to load.
    assert_eq!(points.len(), 2 * (1 + 5 * 4) + 4 * (1 + 2 * 4) + 2 * 3);
    assert!(points.values().all(|n| *n == 6), "{points:?}");
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
            let plan = plan(
                &checked(&path),
                &name("emulated"),
                &name("quick"),
                None,
                None,
            )
            .unwrap();
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
fn an_effort_s_looks_go_before_the_studys() {
    let paper = checked(&folder("../../experiments/paper.ncl"));
    let until = |effort: &str, only: &str| {
        let decided = plan_until_decided(&paper, &name("virtual"), &name(effort), Some(only), None);
        let plan = decided.unwrap();
        let units: Vec<_> = plan.looks.iter().map(|look| look.units).collect();
        (units, plan.trials().count())
    };
    let (units, trials) = until("routers", "route-tcp.linux.*");
    assert_eq!((units, trials), (vec![8], 8));
    let (units, trials) = until("quick", "send-tcp.linux.*");
    assert_eq!((units, trials), (vec![6, 12, 20], 20));
}

#[test]
fn refuses_what_it_does_not_know() {
    let checked = paper();
    let quick = name("quick");
    let emulated = name("emulated");
    assert!(matches!(
        plan(&checked, &name("moon"), &quick, None, None),
        Err(PlanError::NoTestbed(..))
    ));
    assert!(matches!(
        plan(&checked, &emulated, &name("heroic"), None, None),
        Err(PlanError::NoEffort(..))
    ));
    assert!(matches!(
        plan(&checked, &emulated, &quick, Some("a["), None),
        Err(PlanError::BadGlob { .. })
    ));
    let stressed = Some("route-latency-stressed.linux*");
    let full = name("full");
    let nothing = plan(&checked, &emulated, &full, stressed, None).unwrap_err();
    let text = nothing.to_string();
    assert!(
        text.contains("on linux: without guests there is none to load"),
        "{text}"
    );
}

fn found(factor: f64) -> Calibration {
    Calibration {
        factor,
        interval: (factor * 0.9, factor * 1.1),
        cpu_per_mbps: 0.2,
        cpu: 0.32,
        points: vec![(50.0, 10.0), (100.0, 20.0), (200.0, 40.0)],
        note: None,
    }
}

#[test]
fn a_calibration_sets_the_rates_and_stands_in_the_plan() {
    let (emulated, quick) = (name("emulated"), name("quick"));
    let found = found(0.17);
    let plan_of =
        |checked: &CheckedStudy| plan(checked, &emulated, &quick, None, Some(&found)).unwrap();
    let calibrated = plan_of(&paper());
    assert_eq!(calibrated.calibration, Some(found.clone()));
    let blocks = || calibrated.blocks.iter();
    let mut nics = blocks().flat_map(|block| &block.machine.nics);
    assert!(nics.all(|nic| nic.rate.to_string() == "170Mb/s"));
    let link = calibrated
        .deviations
        .iter()
        .find(|d| d.property == "link rate");
    let link = link.unwrap();
    assert_eq!(link.used, "170Mb/s");
    assert!(
        link.reason
            .ends_with("by calibration on the machine at hand"),
        "{}",
        link.reason
    );
    // The order and everything else is that of any rate.
    let ids = |plan: &Plan| plan.trials().map(|t| t.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&calibrated), ids(&of_paper("quick", None)));

    // A study that does not ask for it keeps its own rates.
    let small = checked(&folder("tests/good/small.ncl"));
    assert_eq!(
        plan_of(&small),
        plan(&small, &emulated, &quick, None, None).unwrap()
    );
}

#[test]
fn a_calibration_measures_the_reference_point_around_the_first_rate() {
    let emulated = name("emulated");
    let plan = calibration_plan(&paper(), &emulated).unwrap().unwrap();
    let mut blocks: Vec<_> = plan.blocks.iter().collect();
    blocks.sort_by_key(|block| block.machine.nics[0].rate);
    let rates: Vec<_> = blocks
        .iter()
        .map(|block| (block.id.as_str(), block.machine.nics[0].rate.to_string()))
        .collect();
    let expected = [("0.05", "50Mb/s"), ("0.1", "100Mb/s"), ("0.2", "200Mb/s")];
    assert_eq!(rates.len(), expected.len());
    for ((id, rate), (factor, mbps)) in rates.into_iter().zip(expected) {
        assert_eq!(id, format!("linux.eserver-325.link-{factor}"));
        assert_eq!(rate, mbps);
    }
    let ids: BTreeSet<_> = plan.trials().map(|trial| trial.id.as_str()).collect();
    assert_eq!(ids.len(), 9);
    assert!(
        ids.iter().all(|id| id.starts_with("send-tcp.linux.v0.r")),
        "{ids:?}"
    );
    assert!(plan.deviations.iter().all(|d| d.property != "link rate"));
    assert!(plan.excluded.is_empty());

    let small = checked(&folder("tests/good/small.ncl"));
    assert_eq!(calibration_plan(&small, &emulated).unwrap(), None);
}

/// Each machine is booted once for all its VM counts; everything after that is restored.
#[test]
fn kept_boots_are_estimated_once() {
    let plan = of_paper("full", None);
    let costs = estimate::blocks(&plan, false, |_| None);
    assert_eq!(costs.len(), plan.blocks.len());
    let total: f64 = costs.iter().map(|cost| cost.seconds()).sum();
    assert_eq!(plan.estimate.run.secs_f64(), total.ceil());
    for (cost, block) in costs.iter().zip(&plan.blocks) {
        assert_eq!(cost.block, block.id);
        assert_eq!(cost.trials.len(), block.trials.len());
        if block.repetition > 1 {
            assert_eq!(cost.start, Start::Restored, "{}", block.id);
        }
    }
    let kept = estimate::blocks(&plan, false, |block| Some(block.vms));
    assert!(kept.iter().all(|cost| cost.start == Start::Restored));
    // In the first repetition as many guests are booted as the largest block of a machine has.
    let machines: BTreeMap<_, u32> = plan
        .blocks
        .iter()
        .map(|block| {
            (
                (&block.machine.platform, &block.machine.hardware),
                block.machine.max_vms,
            )
        })
        .collect();
    let booted: f64 = machines
        .values()
        .map(|vms| 17.0 + 18.0 * f64::from(*vms))
        .sum();
    let first = costs
        .iter()
        .zip(&plan.blocks)
        .filter(|(_, block)| block.repetition == 1);
    let starts: f64 = first.map(|(cost, _)| cost.start_s).sum();
    // The rest is restoring, at most 20 s a block.
    let blocks = plan
        .blocks
        .iter()
        .filter(|block| block.repetition == 1)
        .count() as f64;
    assert!(
        starts >= booted && starts <= booted + 20.0 * blocks,
        "{starts} of {booted}"
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
    let plan = plan(&checked, &name("emulated"), &name("full"), None, None).unwrap();
    assert_eq!(plan.trials().count(), 10_000);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// In virtual time nothing reads ticks, every platform says what its time is, KVM's too, and links have the rate of the
/// study's regime without a calibration.
#[test]
fn the_paper_in_virtual_time() {
    let plan = plan(&paper(), &name("virtual"), &name("full"), None, None).unwrap();
    for trial in plan.trials() {
        let tools: Vec<_> = trial
            .monitors
            .iter()
            .map(|used| used.tool.as_str())
            .collect();
        assert!(
            !tools.contains(&"sar") && !tools.contains(&"pidstat"),
            "{tools:?}"
        );
        let classical = trial.platform == *"linux";
        assert_eq!(
            tools.contains(&"uptime"),
            classical && !trial.monitors.is_empty()
        );
    }
    let times: Vec<_> = (plan.deviations.iter())
        .filter(|deviation| deviation.property == "time")
        .collect();
    assert_eq!(times.len(), 7, "{times:#?}");
    assert!(
        times
            .iter()
            .all(|time| time.used == "virtual time, instruction model")
    );
    let kvm = |block: &vexp_api::plan::Block| block.machine.hypervisor == *"kvm";
    assert!(plan.blocks.iter().any(kvm));
    assert_eq!(plan.calibration, None);
    let rates = plan.blocks.iter().flat_map(|block| &block.machine.nics);
    let rates: std::collections::BTreeSet<_> = rates.map(|nic| nic.rate.to_string()).collect();
    assert_eq!(rates.into_iter().collect::<Vec<_>>(), ["212500kb/s"]);
    for trial in of_paper("full", None).trials() {
        assert!(trial.monitors.iter().all(|used| used.tool != *"uptime"));
    }
}

/// A large machine on an emulator, with links a tenth as fast.
fn scaled() -> CheckedStudy {
    checked(&folder("tests/good/scaled.ncl"))
}

fn deviations_of_scaled() -> Vec<[String; 4]> {
    let plan = plan(&scaled(), &name("emulated"), &name("quick"), None, None).unwrap();
    let all = plan.deviations.into_iter();
    all.map(|d| [d.subject, d.property, d.asked, d.used])
        .collect()
}

fn has(found: &[[String; 4]], wanted: [&str; 4]) {
    assert!(
        found.iter().any(|one| *one == wanted),
        "{wanted:?} in {found:#?}"
    );
}

#[test]
fn defaults_that_are_not_the_software_s_own_are_deviations() {
    let found = deviations_of_scaled();
    let asked = "credit2, the default of xen 4.20";
    has(&found, ["platform xen", "scheduler", asked, "credit"]);
    // What is named is no default, and xl is what that version takes.
    assert!(
        !found.iter().any(|one| one[0] == "platform xen-named"),
        "{found:#?}"
    );
    assert!(!found.iter().any(|one| one[1] == "toolstack"), "{found:#?}");
    // The paper names all that it has another default of.
    assert!(
        !of_paper("quick", None)
            .deviations
            .iter()
            .any(|d| d.property == "scheduler")
    );
}

#[test]
fn every_field_of_a_profile_is_met_or_a_deviation() {
    let found = deviations_of_scaled();
    let speed = "as fast as the computer that emulates it";
    let asked = "AMD EPYC 9374F at 3700MHz";
    has(&found, ["hardware big", "processor", asked, speed]);
    let used = "64, emulated on those of the computer";
    has(&found, ["hardware big", "processors", "64", used]);
    has(&found, ["hardware big", "link rate", "1Gb/s", "100Mb/s"]);
    // Rules of a study say what stands for a processor: nothing is added to them.
    let paper = of_paper("quick", None);
    assert!(!paper.deviations.iter().any(|d| d.used == speed));
}

#[test]
fn rates_that_are_not_scaled_are_said() {
    let found = deviations_of_scaled();
    let (asked, used) = ("50 % of the link", "500 % of the link");
    has(&found, ["experiment fixed", "offered load", asked, used]);
    assert!(
        !found.iter().any(|one| one[0] == "experiment share"),
        "{found:#?}"
    );
    let warnings = scaled().warnings().to_vec();
    let over: Vec<_> = warnings
        .iter()
        .filter(|w| w.code == "rate-over-link")
        .collect();
    assert_eq!(over.len(), 1, "{warnings:#?}");
    assert_eq!(
        over[0].message,
        "500Mb/s is more than a link has on testbed `emulated`: 100Mb/s (1Gb/s × link.factor 0.1)"
    );
    assert_eq!(over[0].field, "experiments.fixed.traffic.options.rate");
}

#[test]
fn known_limits_are_findings() {
    let warnings = scaled().warnings().to_vec();
    let limits: Vec<_> = warnings
        .iter()
        .filter(|w| w.code == "known-limit")
        .collect();
    assert_eq!(limits.len(), 1, "{warnings:#?}");
    assert!(
        limits[0]
            .message
            .contains("KVM on 64 emulated processors hangs")
    );
    assert!(!limits[0].labels.is_empty());
}
