//! What a run on a batch engine has come to: every trial, once.

use std::collections::BTreeMap;
use std::path::Path;

use crate::pretended::{events, json, records};

/// Each attempt of each block: how it ended.
pub(crate) fn history(run: &Path) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for stage in (1..)
        .map(|n| run.join(format!("batch/stage-{n}")))
        .take_while(|s| s.exists())
    {
        let claims = std::fs::read_dir(stage.join("claims")).unwrap();
        let mut names: Vec<String> = claims
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        for name in names {
            let end = stage.join("ended").join(&name).join("it.json");
            let how = match end.exists() {
                true => json(&end)["how"].as_str().unwrap().to_owned(),
                false => "goes on".to_owned(),
            };
            let block = name.rsplit_once('.').unwrap().0;
            all.entry(block.to_owned()).or_default().push(how);
        }
    }
    all
}

/// All trials are measured, each once; each block has one attempt that measured it, the last; nothing is left out.
pub(crate) fn all(run: &Path, trials: usize, blocks: usize) -> BTreeMap<String, Vec<String>> {
    assert_eq!(records(run).len(), trials);
    for (id, record) in records(run) {
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(record["outcome"], "measured", "{id}");
        assert!(record["computer"]["node"].is_string(), "{id}");
    }
    let mut ended: BTreeMap<String, usize> = BTreeMap::new();
    for event in events(run) {
        if event["event"] == "trial_ended" {
            *ended.entry(event["trial"].to_string()).or_default() += 1;
        }
    }
    // A task that dies between a record and its event tells of the record no more.
    assert!(ended.len() + 1 >= trials, "{}", ended.len());
    assert!(ended.values().all(|times| *times == 1), "{ended:?}");
    let history = history(run);
    assert_eq!(history.len(), blocks);
    for (block, attempts) in &history {
        let measured = attempts.iter().filter(|how| *how == "measured").count();
        assert_eq!(
            (measured, attempts.last().unwrap().as_str()),
            (1, "measured"),
            "{block}: {attempts:?}"
        );
    }
    assert!(json(&run.join("run.json"))["ended"].is_string());
    let left = std::fs::read_dir(run.join("trials")).unwrap();
    assert_eq!(left.count(), trials, "something half-written is left");
    history
}
