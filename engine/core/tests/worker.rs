//! What a worker does when something fails, with machines that pretend.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use vexp_api::digest::Digest;
use vexp_api::plugin::Witness;
use vexp_api::trace::{Trace, Traffic};
use vexp_engine::run::clock::{Clock, Commands};
use vexp_engine::run::manifest::Manifest;
use vexp_engine::run::worker::{self, Place, WorkError};
use vexp_testkit::{Notes, Pretend};

fn node(name: &str, role: &str) -> Value {
    json!({
        "name": name, "role": role,
        "ssh": {"keyed": {
            "address": "198.18.0.1", "port": 22, "user": "root", "identity": "", "known_hosts": "",
        }},
        "data": [{"address": "198.18.0.1", "prefix": 24}],
    })
}

/// One trial with two guests.
fn manifest(run: &Path) -> Manifest {
    let slot = |name: &str| json!({"node": node(name, "guest"), "nics": [], "seed": ""});
    serde_json::from_value(json!({
        "format": 1, "grow": null, "run": run, "boot_s": 0.0,
        "block": {
            "id": "b", "repetition": 1, "vms": 2, "boot": null,
            "machine": {
                "platform": "p", "hardware": "h", "cpus": 1, "memory": "2GiB", "nics": [],
                "image": null, "guest_image": null, "hypervisor": "fakevisor", "version": "1",
                "toolstack": null, "scheduler": null, "dom0_weight": null, "nic": null,
                "guest": {"vcpus": 1, "memory": "64MiB"}, "max_vms": 2, "peers": 2, "options": {},
            },
            "trials": [{
                "id": "e.p.v2.r1", "experiment": "e", "platform": "p", "role": "sender", "vms": 2,
                "repetition": 1, "boot": 1, "traffic": {"tool": "steady", "options": {"rate": 5}},
                "load": null, "monitors": [{"tool": "glance"}], "warm_up": "1s", "window": "3s",
            }],
        },
        "site": {
            "host": node("host", "host"), "host_nics": ["eth1"], "guests": [slot("vm1"), slot("vm2")],
            "peers": [[node("peer1", "peer"), node("peer2", "peer")]], "scratch": "/tmp", "facts": {},
        },
    }))
    .unwrap()
}

struct Worked {
    result: Result<(), WorkError>,
    notes: Vec<String>,
    journal: String,
    outcome: Option<String>,
    why: String,
    /// Whether it is measured again.
    again: bool,
    block: Value,
    /// What the trial's record says of its trace, and the file.
    of_trace: Value,
    trace: Option<String>,
}

async fn work(faults: &str) -> Worked {
    work_by(faults, Clock::Computer).await
}

async fn work_by(faults: &str, clock: Clock) -> Worked {
    let run = tempfile::tempdir().unwrap();
    let journal = run.path().join("journal");
    let world = Pretend {
        faults: faults.to_owned(),
        journal: Some(journal.clone()),
    };
    let notes = Arc::new(Notes::default());
    let manifest = manifest(run.path());
    let events = Arc::clone(&notes) as _;
    let connect = match &clock {
        Clock::Computer => world.connect(),
        Clock::Machines {
            witness, commands, ..
        } => commands.trace(world.connect(), Arc::clone(witness)),
    };
    let place = Place {
        connect,
        events,
        clock,
    };
    let result = worker::work(&manifest, &world.registry(), place).await;
    let json = |name: &str| {
        let record = std::fs::read(run.path().join(name));
        record.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
    };
    let record: Value = json("trials/e.p.v2.r1/trial.json");
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let notes = notes.0.lock().unwrap().clone();
    Worked {
        result,
        notes,
        journal: std::fs::read_to_string(journal).unwrap(),
        outcome: text("outcome"),
        why: text("reason").or(text("error")).unwrap_or_default(),
        again: record["instruments"] == true,
        block: json("blocks/b/block.json"),
        of_trace: record["trace"].clone(),
        trace: std::fs::read_to_string(run.path().join("trials/e.p.v2.r1/trace.jsonl")).ok(),
    }
}

#[tokio::test]
async fn guests_are_booted_measured_and_stopped_the_last_first() {
    let worked = work("").await;
    worked.result.unwrap();
    assert_eq!(worked.outcome.unwrap(), "measured");
    assert_eq!(
        worked.journal,
        "booted vm1\nbooted vm2\nmeasuring\nstopped vm2\nstopped vm1\n"
    );
}

/// Machines in virtual time of which one was late, each time that they are asked after the first.
#[derive(Default)]
struct Late(std::sync::atomic::AtomicU32);

impl Witness for Late {
    fn doubt(&self) -> Option<String> {
        let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (asked > 0).then(|| "1 borders or frames of the lockstep were late".to_owned())
    }

    fn now_ns(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn a_trial_in_which_machines_lost_step_is_invalid() {
    let clock = Clock::Machines {
        witness: Arc::new(Late::default()),
        seed: 1,
        commands: Commands::default(),
    };
    let worked = work_by("", clock).await;
    worked.result.unwrap();
    assert_eq!(worked.outcome.unwrap(), "invalid");
    assert!(worked.why.contains("lockstep were late"), "{}", worked.why);
}

/// Machines in virtual time whose clock goes on by a nanosecond each time that it is looked at.
#[derive(Default)]
struct Strict(std::sync::atomic::AtomicU64);

impl Witness for Strict {
    fn doubt(&self) -> Option<String> {
        None
    }

    fn now_ns(&self) -> u64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    fn end_trace(&self) -> Option<Traffic> {
        Some(Traffic {
            step_ns: 5,
            began_ns: 1,
            ended_ns: self.now_ns(),
            late: 0,
            channels: Vec::new(),
            steps: Vec::new(),
            whole: true,
        })
    }
}

#[tokio::test]
async fn a_trial_in_virtual_time_keeps_its_trace() {
    let clock = || Clock::Machines {
        witness: Arc::new(Strict::default()),
        seed: 1,
        commands: Commands::default(),
    };
    let worked = work_by("", clock()).await;
    let text = worked.trace.unwrap();
    let digest = Digest::of(text.as_bytes()).to_string();
    assert_eq!(
        worked.of_trace,
        json!({"path": "trace.jsonl", "digest": digest, "late": 0})
    );
    let trace = Trace::parse(&text).unwrap();
    // Nodes were asked what they are before the trial and after it, which is none of it.
    assert_eq!(trace.commands, []);
    assert!(trace.head.epoch_ns > 1 && trace.head.ended_ns > trace.head.epoch_ns);
    // In real time there is none.
    assert_eq!(work("").await.trace, None);
}

#[tokio::test]
async fn a_guest_that_never_answers_is_an_error_with_the_end_of_its_console() {
    let worked = work("silent:vm2").await;
    let error = worked.result.unwrap_err().to_string();
    for words in [
        "boot guest vm2 on host",
        "did not answer within 150 s",
        "connection timed out",
        "last lines of its console:\nVFS: Unable to mount root fs",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert_eq!(worked.outcome, None);
    assert!(worked.journal.contains("stopped vm1"), "{}", worked.journal);
}

#[tokio::test]
async fn a_cleanup_step_that_fails_is_said_and_the_rest_still_runs() {
    let worked = work("cleanup:vm2").await;
    worked.result.unwrap();
    assert_eq!(worked.outcome.unwrap(), "measured");
    assert_eq!(worked.notes.len(), 1, "{:?}", worked.notes);
    assert!(worked.notes[0].contains("vm2: stop guest vm2 on host"));
    assert!(
        worked.journal.ends_with("measuring\nstopped vm1\n"),
        "{}",
        worked.journal
    );
}

#[tokio::test]
async fn a_connection_that_is_lost_in_a_trial_fails_it_and_guests_are_stopped() {
    let worked = work("lost:vm1").await;
    worked.result.unwrap();
    assert_eq!(worked.outcome.unwrap(), "failed");
    assert!(worked.why.contains("steady --client"), "{}", worked.why);
    assert!(worked.journal.ends_with("stopped vm2\nstopped vm1\n"));
}

#[tokio::test]
async fn a_monitor_that_ends_early_makes_its_trial_invalid() {
    for (status, how) in [("137", "with status 137"), ("signal", "by a signal")] {
        let worked = work(&format!("early:{status}")).await;
        worked.result.unwrap();
        assert_eq!(worked.outcome.unwrap(), "invalid");
        for words in ["`glance --all` on host ended early", how, "Killed"] {
            assert!(worked.why.contains(words), "{words}: {}", worked.why);
        }
    }
}

#[tokio::test]
async fn a_trial_around_which_a_node_did_not_say_what_it_was_is_invalid_and_says_so() {
    for (fault, node, when) in [
        ("unread:peer1", "peer1", "before"),
        ("unread-after:host", "host", "after"),
    ] {
        let worked = work(fault).await;
        worked.result.unwrap();
        assert_eq!(worked.outcome.unwrap(), "invalid", "{fault}");
        // It is measured again where the node was lost meanwhile.
        assert_eq!(worked.again, when == "after");
        let says =
            format!("what {node} was {when} the block's trials could not be read: no answer");
        assert!(worked.why.starts_with(&says), "{}", worked.why);
        assert!(worked.why.contains("connection reset"), "{}", worked.why);
        let unread = &worked.block["unread"][0];
        assert_eq!(
            (&unread["node"], &unread["when"]),
            (&json!(node), &json!(when))
        );
        let said = worked
            .notes
            .iter()
            .any(|note| note.contains("1 trials that were measured are invalid"));
        assert!(said, "{:?}", worked.notes);
    }
}

#[tokio::test]
async fn what_can_not_be_started_is_never_retried() {
    let worked = work("refuses:rate").await;
    worked.result.unwrap();
    // Only what has failed is tried again.
    assert_eq!(worked.outcome.unwrap(), "invalid");
    let says = "`steady` refuses what the plan asks of it: rate can't be";
    assert_eq!(worked.why, says);
    assert!(!worked.journal.contains("measuring"), "{}", worked.journal);
}
