use super::*;
use vexp_api::digest::Digest;
use vexp_api::plugin::{Plugin, PluginError};
use vexp_api::record;

fn put(run: &Path, trial: &Name, outcome: Outcome) {
    let record = TrialRecord {
        format: record::FORMAT,
        trial: trial.clone(),
        block: Name::new("b").unwrap(),
        outcome,
        epoch: now_rfc3339(),
        window: None,
        setup: BTreeMap::new(),
        ended_s: 0.0,
        artefacts: Vec::new(),
        trace: None,
        computer: None,
    };
    files::write_trial(run, &record, Vec::new(), None).unwrap();
}

pub(in super::super) fn block(ids: &[&Name]) -> Block {
    let trials: Vec<_> = ids.iter().map(|id| trial(id)).collect();
    serde_json::from_value(serde_json::json!({
        "id": "b", "repetition": 1, "vms": 0, "boot": null, "trials": trials,
        "machine": {
            "platform": "p", "hardware": "h", "cpus": 1, "memory": "2GiB", "nics": [],
            "image": "linux", "guest_image": "guest", "hypervisor": "linux",
            "version": "6.12", "toolstack": null, "scheduler": null, "dom0_weight": null,
            "nic": null, "guest": null, "max_vms": 0, "peers": 1, "options": {},
        },
    }))
    .unwrap()
}

fn images() -> BTreeMap<Name, ImageFiles> {
    let files = ImageFiles {
        root: PathBuf::from("/root"),
        digest: Digest::of(b""),
        boot: None,
    };
    let named = |name| (Name::new(name).unwrap(), files.clone());
    ["linux", "guest"].map(named).into()
}

pub(in super::super) fn plan(blocks: &[Block]) -> Plan {
    serde_json::from_value(serde_json::json!({
        "format": 1, "study": "s", "study_digest": Digest::of(b""),
        "testbed": "t", "effort": "e", "seed": 1, "calibration": null, "images": [],
        "blocks": blocks, "deviations": [], "excluded": [],
        "estimate": {"run": "1s", "build": "1s", "disk": "1B"},
    }))
    .unwrap()
}

/// A testbed without machines; writes down what is asked of it.
#[derive(Debug, Default)]
pub(in super::super) struct Empty(std::sync::Mutex<Vec<&'static str>>);

impl Plugin for Empty {
    fn name(&self) -> &'static str {
        "empty"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait::async_trait]
impl Testbed for Empty {
    fn forget(&self, _: &MachineRequest) {
        self.0.lock().unwrap().push("forget");
    }

    async fn acquire(
        &self,
        _: &MachineRequest,
        _: &Context,
    ) -> Result<Box<dyn Lease>, PluginError> {
        self.0.lock().unwrap().push("acquire");
        Err(PluginError::new("acquire", "controller", "nothing here"))
    }
}

#[tokio::test]
async fn what_a_machine_was_restored_from_is_forgotten_before_the_next_try() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(&[block(&[&Name::new("lost").unwrap()])]);
    let testbed = Arc::new(Empty::default());
    let (_stop, cancel) = watch::channel(false);
    let request = RunRequest {
        plan: &plan,
        images: &images(),
        run: folder.path(),
        id: &Name::new("r").unwrap(),
        testbed: Arc::clone(&testbed) as Arc<dyn Testbed>,
        executable: PathBuf::from("/none"),
        jobs: 1,
        registry: Registry::new(),
        events: Arc::new(vexp_api::event::NoEvents),
        stages: None,
        batch: None,
        computer: None,
        cancel,
    };
    let summary = run(&request).await.unwrap();
    assert_eq!((summary.measured, summary.not_measured), (0, 1));
    let asked = testbed.0.lock().unwrap().clone();
    assert_eq!(asked, ["acquire", "forget", "acquire"]);
}

fn trial(id: &Name) -> serde_json::Value {
    serde_json::json!({
        "id": id, "experiment": "e", "platform": "p", "role": "sender", "vms": 0,
        "repetition": 1, "boot": 1, "traffic": {"tool": "ping"}, "load": null, "monitors": [],
        "warm_up": "1s", "window": "3s",
    })
}

#[test]
fn only_what_failed_is_tried_again_and_its_record_is_kept() {
    let run = tempfile::tempdir().unwrap();
    let [good, odd, lost] = ["good", "odd", "lost"].map(|id| Name::new(id).unwrap());
    put(run.path(), &good, Outcome::Measured);
    let reason = "unreadable".to_owned();
    let instruments = false;
    let outcome = Outcome::Invalid {
        reason,
        instruments,
    };
    put(run.path(), &odd, outcome);
    let block = block(&[&good, &odd, &lost]);
    assert!(set_aside(run.path(), &block).unwrap().is_none());
    let failed = worker::fail_rest(run.path(), &block, "the machine died", None).unwrap();
    assert_eq!(failed, 1);
    assert!(missing(run.path(), &block, false).trials.is_empty());

    assert_eq!(set_aside(run.path(), &block).unwrap().failed, 1);
    let again = missing(run.path(), &block, false);
    assert_eq!(again.trials.len(), 1);
    assert_eq!(again.trials[0].id, lost);
    assert_eq!(missing(run.path(), &block, true), block);
    assert!(run.path().join("failed/1/lost/trial.json").exists());

    // Its second failure stays, also when the run is resumed.
    worker::fail_rest(run.path(), &block, "again", None).unwrap();
    assert!(set_aside(run.path(), &block).unwrap().is_none());
    assert!(missing(run.path(), &block, false).trials.is_empty());
}

#[test]
fn what_instruments_spoiled_is_measured_again_twice_and_all_is_kept() {
    let run = tempfile::tempdir().unwrap();
    let late = Name::new("late").unwrap();
    let block = block(&[&late]);
    let spoiled = || Outcome::Invalid {
        reason: "a line of xentop's came late".to_owned(),
        instruments: true,
    };
    for round in 1..=2 {
        put(run.path(), &late, spoiled());
        let again = set_aside(run.path(), &block).unwrap();
        assert_eq!((again.failed, again.spoiled), (0, 1), "{round}");
        assert_eq!(missing(run.path(), &block, false).trials.len(), 1);
        let kept = format!("failed/{round}/late/trial.json");
        assert!(run.path().join(kept).exists());
    }
    put(run.path(), &late, spoiled());
    assert!(set_aside(run.path(), &block).unwrap().is_none());
    assert!(missing(run.path(), &block, false).trials.is_empty());
}

/// One trial after the other, of which the last is never wanted.
struct OneByOne(std::sync::Mutex<Vec<Name>>);

impl Stages for OneByOne {
    fn next(&self, _: &dyn EventSink) -> Result<BTreeSet<Name>, BlockError> {
        Ok(self.0.lock().unwrap().pop().into_iter().collect())
    }

    fn is_over(&self, _: &dyn EventSink) -> bool {
        false
    }
}

#[tokio::test]
async fn what_no_stage_wants_is_not_run_and_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, never] = ["first", "second", "never"].map(|id| Name::new(id).unwrap());
    let plan = plan(&[block(&[&first, &second, &never])]);
    let stages = OneByOne(vec![second.clone(), first.clone()].into());
    let (_stop, cancel) = watch::channel(false);
    let request = RunRequest {
        plan: &plan,
        images: &images(),
        run: folder.path(),
        id: &Name::new("r").unwrap(),
        testbed: Arc::new(Empty::default()),
        executable: PathBuf::from("/none"),
        registry: Registry::new(),
        events: Arc::new(vexp_api::event::NoEvents),
        jobs: 1,
        stages: Some(&stages),
        batch: None,
        computer: None,
        cancel,
    };
    let summary = run(&request).await.unwrap();
    assert_eq!((summary.measured, summary.not_measured), (0, 2));
    let has = |id| files::trial_record(folder.path(), id).exists();
    assert_eq!([&first, &second, &never].map(has), [true, true, false]);
}

#[test]
fn a_machine_is_kept_with_each_number_of_guests_on_the_way() {
    let at = |vms: u32, platform: &str| {
        let mut block = block(&[]);
        block.vms = vms;
        block.machine.platform = Name::new(platform).unwrap();
        block
    };
    let plan = plan(&[
        at(8, "p"),
        at(1, "p"),
        at(2, "other"),
        at(4, "p"),
        at(1, "p"),
    ]);
    let steps = |vms, have| {
        let steps = steps(&plan, &at(vms, "p"), have);
        steps.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(steps(8, None), [1, 4, 8]);
    assert_eq!(steps(4, Some(1)), [4]);
    assert_eq!(steps(4, Some(4)), [0; 0]);
    assert_eq!(super::steps(&plan, &at(0, "p"), None).len(), 0);
}

#[test]
fn a_run_without_records_counts_nothing_as_measured() {
    let run = tempfile::tempdir().unwrap();
    let block = block(&[&Name::new("lost").unwrap()]);
    assert_eq!(missing(run.path(), &block, false), block);
}
