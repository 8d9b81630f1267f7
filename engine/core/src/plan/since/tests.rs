//! Edits of a plan, and what they leave valid.

use super::*;

const TRIALS: [(&str, &str); 2] = [("slow", "10"), ("fast", "100")];

fn study(edit: impl Fn(&mut Value)) -> Value {
    let experiment = |rate: &str| {
        json!({
            "title": "t", "role": "sender", "platforms": ["linux"], "vms": [1],
            "traffic": {"tool": "steady", "options": {"rate": rate}},
        })
    };
    let mut study = json!({
        "format": 1, "name": "s", "title": "S", "seed": 1,
        "hardware": {"machine": {
            "description": "d", "cpus": 1, "memory": "1GiB", "nics": [{"model": "e1000", "rate": "1Gb/s"}],
        }},
        "platforms": {"linux": {
            "title": "L", "hypervisor": "linux", "version": "1", "hardware": {"sender": "machine"},
        }},
        "experiments": TRIALS.map(|(name, rate)| (name, experiment(rate))).into_iter().collect::<BTreeMap<_, _>>(),
        "efforts": {"quick": {"repetitions": 2, "warm_up": "1s", "window": "3s"}},
        "testbeds": {"fake": {}},
    });
    edit(&mut study);
    study
}

/// The plan of two experiments on a platform, twice.
fn plan(edit: impl Fn(&mut Value)) -> Plan {
    let trial = |name: &str, rate: &str, repetition: u32| {
        json!({
            "id": format!("{name}.linux.v0.r{repetition}"), "experiment": name, "platform": "linux",
            "role": "sender", "vms": 0, "repetition": repetition, "boot": repetition,
            "traffic": {"tool": "steady", "options": {"rate": rate}}, "load": null, "monitors": [],
            "warm_up": "1s", "window": "3s",
        })
    };
    let block = |repetition: u32| {
        json!({
            "id": format!("linux.machine.v0.r{repetition}"), "repetition": repetition, "vms": 0, "boot": null,
            "machine": {
                "platform": "linux", "hardware": "machine", "cpus": 1, "memory": "1GiB",
                "nics": [{"model": "e1000", "rate": "1Gb/s"}], "image": "linux", "guest_image": "guest",
                "hypervisor": "linux", "version": "1", "toolstack": null, "scheduler": null,
                "dom0_weight": null, "nic": null, "guest": null, "max_vms": 0, "peers": 1, "options": {},
            },
            "trials": TRIALS.map(|(name, rate)| trial(name, rate, repetition)),
        })
    };
    let mut plan = json!({
        "format": 1, "study": "s", "study_digest": Digest::of(b""), "testbed": "fake", "effort": "quick",
        "seed": 1, "calibration": null, "images": ["emulator", "guest", "linux"],
        "blocks": [block(1), block(2)], "deviations": [], "excluded": [],
        "estimate": {"run": "1s", "build": "1s", "disk": "1MB"},
    });
    edit(&mut plan);
    serde_json::from_value(plan).unwrap()
}

struct Facts {
    vexp: &'static str,
    images: BTreeMap<Name, Digest>,
    controller: BTreeMap<String, String>,
}

fn facts() -> Facts {
    let images = ["emulator", "guest", "linux"];
    Facts {
        vexp: "1",
        images: images
            .map(|name| (Name::new(name).unwrap(), Digest::of(name.as_bytes())))
            .into(),
        controller: BTreeMap::from([("kernel".to_owned(), "6".to_owned())]),
    }
}

struct Edit {
    study: Value,
    plan: Plan,
    facts: Facts,
}

fn edit(study_edit: impl Fn(&mut Value), plan_edit: impl Fn(&mut Value)) -> Edit {
    Edit {
        study: study(study_edit),
        plan: plan(plan_edit),
        facts: facts(),
    }
}

fn side(edit: &Edit) -> Side<'_> {
    Side {
        plan: &edit.plan,
        study: &edit.study,
        vexp: edit.facts.vexp,
        images: &edit.facts.images,
        controller: &edit.facts.controller,
    }
}

fn measured(_: &Name) -> Before {
    Before::Measured
}

fn compared(now: &Edit, whole: bool) -> Since {
    since(&side(&edit(|_| {}, |_| {})), &side(now), &measured, whole)
}

fn names<'a>(all: impl IntoIterator<Item = &'a Name>) -> Vec<&'a str> {
    all.into_iter().map(Name::as_str).collect()
}

fn fields(since: &Since) -> BTreeSet<(&str, Vec<&str>)> {
    let changes = since.stale.iter().flat_map(|stale| &stale.changes);
    changes
        .map(|c| {
            (
                c.field.as_str(),
                c.study.iter().map(|edited| edited.field.as_str()).collect(),
            )
        })
        .collect()
}

#[test]
fn a_claim_or_a_title_invalidates_nothing() {
    let now = edit(
        |study| study["title"] = json!("Another"),
        |plan| {
            plan["study_digest"] = json!(Digest::of(b"other"));
            plan["estimate"]["run"] = json!("2s");
        },
    );
    for whole in [false, true] {
        let found = compared(&now, whole);
        assert_eq!(found.valid.len(), 4, "{found:?}");
        assert!(found.rest().is_empty() && found.gone.is_empty());
    }
}

#[test]
fn an_edited_option_invalidates_its_trials_and_is_named() {
    let now = edit(
        |study| study["experiments"]["fast"]["traffic"]["options"]["rate"] = json!("120"),
        |plan| {
            for block in [0, 1] {
                plan["blocks"][block]["trials"][1]["traffic"]["options"]["rate"] = json!("120");
            }
        },
    );
    let found = compared(&now, false);
    assert_eq!(
        names(&found.valid),
        ["slow.linux.v0.r1", "slow.linux.v0.r2"]
    );
    assert_eq!(
        fields(&found),
        BTreeSet::from([(
            "trial.traffic.options.rate",
            vec!["experiments.fast.traffic.options.rate"]
        )])
    );
    assert_eq!(
        (
            &found.stale[0].changes[0].before,
            &found.stale[0].changes[0].now
        ),
        (&json!("100"), &json!("120"))
    );
    // In virtual time what ran on the machine before is part of the result.
    let found = compared(&now, true);
    assert!(found.valid.is_empty());
    assert_eq!(found.stale.len(), 2);
    assert_eq!(
        names(found.missing.iter().map(|m| &m.trial)),
        ["slow.linux.v0.r1", "slow.linux.v0.r2"]
    );
    assert!(
        found.missing[0].why.contains("fast.linux.v0.r1"),
        "{found:?}"
    );
}

#[test]
fn each_thing_that_a_result_depends_on_invalidates_it() {
    let whole_machine = |field: &'static str, value: Value| {
        move |plan: &mut Value| {
            for block in [0, 1] {
                plan["blocks"][block]["machine"][field] = value.clone();
            }
        }
    };
    type Case = (&'static str, Vec<&'static str>, Edit);
    let cases: Vec<Case> = vec![
        (
            "machine.memory",
            vec!["hardware.machine.memory"],
            edit(
                |study| study["hardware"]["machine"]["memory"] = json!("2GiB"),
                whole_machine("memory", json!("2GiB")),
            ),
        ),
        (
            "machine.nics[0].rate",
            vec!["hardware.machine.nics[0].rate"],
            edit(
                |study| study["hardware"]["machine"]["nics"][0]["rate"] = json!("100Mb/s"),
                whole_machine("nics", json!([{"model": "e1000", "rate": "100Mb/s"}])),
            ),
        ),
        (
            "machine.version",
            vec![],
            edit(|_| {}, whole_machine("version", json!("2"))),
        ),
        (
            "seed",
            vec!["seed"],
            edit(
                |study| study["seed"] = json!(2),
                |plan| plan["seed"] = json!(2),
            ),
        ),
        (
            "testbed",
            vec![],
            edit(|_| {}, |plan| plan["testbed"] = json!("other")),
        ),
        (
            "testbed_options.a",
            vec![],
            edit(|_| {}, |plan| plan["testbed_options"] = json!({"a": 1})),
        ),
        (
            "trial.window",
            vec!["efforts.quick.window"],
            edit(
                |study| study["efforts"]["quick"]["window"] = json!("4s"),
                |plan| {
                    for (block, trial) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                        plan["blocks"][block]["trials"][trial]["window"] = json!("4s");
                    }
                },
            ),
        ),
    ];
    for (field, study, now) in cases {
        let found = compared(&now, false);
        assert!(found.valid.is_empty(), "{field}: {found:?}");
        assert_eq!(
            fields(&found),
            BTreeSet::from([(field, study)]),
            "{found:?}"
        );
    }
}

#[test]
fn images_vexp_and_the_computer_invalidate_it_too() {
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut now = edit(|_| {}, |_| {});
        change(&mut now.facts);
        now
    };
    let name = |name: &str| Name::new(name).unwrap();
    for (field, now) in [
        ("vexp", with(&|facts| facts.vexp = "2")),
        (
            "images.guest",
            with(&|facts| drop(facts.images.insert(name("guest"), Digest::of(b"x")))),
        ),
        (
            "images.emulator",
            with(&|facts| drop(facts.images.insert(name("emulator"), Digest::of(b"x")))),
        ),
        (
            "controller.kernel",
            with(&|facts| drop(facts.controller.insert("kernel".into(), "7".into()))),
        ),
    ] {
        let found = compared(&now, false);
        assert!(found.valid.is_empty(), "{field}");
        assert_eq!(fields(&found), BTreeSet::from([(field, vec![])]));
    }
    // What nobody knows can't be compared.
    let unknown = with(&|facts| facts.images.clear());
    assert_eq!(compared(&unknown, false).valid.len(), 4);
}

#[test]
fn trials_are_new_gone_or_were_never_measured() {
    let now = edit(
        |_| {},
        |plan| {
            plan["blocks"][1]["trials"][1]["id"] = json!("faster.linux.v0.r2");
        },
    );
    let found = compared(&now, false);
    assert_eq!(names(&found.new), ["faster.linux.v0.r2"]);
    assert_eq!(names(&found.gone), ["fast.linux.v0.r2"]);
    assert_eq!(found.valid.len(), 3);
    // In virtual time, with the new one the block's other trial goes, and the first block stays.
    let found = compared(&now, true);
    assert_eq!(
        names(&found.valid),
        ["slow.linux.v0.r1", "fast.linux.v0.r1"]
    );

    let same = edit(|_| {}, |_| {});
    let failed = |trial: &Name| match *trial == "slow.linux.v0.r1" {
        true => Before::NotMeasured("it failed".to_owned()),
        false => Before::Measured,
    };
    let found = since(&side(&same), &side(&same), &failed, false);
    assert_eq!(
        found.missing,
        [Missing {
            trial: Name::new("slow.linux.v0.r1").unwrap(),
            why: "it failed".to_owned()
        }]
    );
    assert_eq!(found.valid.len(), 3);
    assert_eq!(found.rest().len(), 1);
}
