//! What a reader of the output might take for a fault: all of it is what the run had.

use std::collections::BTreeMap;

use super::claims::Row;
use super::{About, Level, cut};
use crate::judge::Verdict;
use vexp_api::record::{Outcome, TrialRecord};

/// The things that happened, those that weigh most first; as many as the level names.
pub(super) fn items(about: &About<'_>, rows: &[Row<'_>], level: Level) -> Vec<String> {
    let mut items = Vec::new();
    verdicts(rows, &mut items);
    incomplete(about, &mut items);
    trials(about, &mut items);
    machines(about, &mut items);
    programs(about, &mut items);
    deviations(about, &mut items);
    let all = items.len();
    let mut shown: Vec<String> = items
        .into_iter()
        .map(|item| cut(&item, level.text))
        .collect();
    shown.truncate(level.unusual);
    if all > shown.len() {
        shown.push(format!("{} more: see {}.", all - shown.len(), super::LONG));
    }
    if shown.is_empty() {
        shown.push("None: nothing but what is said above.".to_owned());
    }
    shown
}

fn verdicts(rows: &[Row<'_>], items: &mut Vec<String>) {
    for verdict in [
        Verdict::NotReproduced,
        Verdict::Inconclusive,
        Verdict::OutOfRegime,
        Verdict::NotTested,
    ] {
        let of = rows.iter().filter(|row| row.judged.verdict == verdict);
        let ids: Vec<&str> = of.map(|row| row.id.as_str()).collect();
        if !ids.is_empty() {
            items.push(format!(
                "Verdict \"{}\" in this run, too: {}.",
                verdict.as_str(),
                ids.join(", ")
            ));
        }
    }
}

fn incomplete(about: &About<'_>, items: &mut Vec<String>) {
    let record = &about.derived.frames.run.record;
    if record.ended.is_none() {
        items.push("This run has not ended.".to_owned());
    } else if record.estimate_s.is_none() {
        items.push(
            "This run was resumed: its first and last moment do not say what it took.".to_owned(),
        );
    }
}

/// How often each text is there, the most frequent first.
fn grouped(texts: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all
}

fn trials(about: &About<'_>, items: &mut Vec<String>) {
    let frames = &about.derived.frames;
    let unusable = frames.unusable.iter();
    let unusable = unusable.map(|trial| format!("{}: {}", trial.kind, trial.reason));
    for (what, count) in grouped(unusable) {
        items.push(format!("{} {what}", trials_of(count)));
    }
    let reason = |record: &TrialRecord| match &record.outcome {
        Outcome::Measured => "measured".to_owned(),
        Outcome::Invalid { reason, .. } => reason.clone(),
        Outcome::Failed { error } => error.clone(),
    };
    for (why, count) in grouped(frames.run.set_aside.iter().map(reason)) {
        items.push(format!(
            "{} tried again (first records in run/failed): {why}",
            trials_of(count)
        ));
    }
}

fn trials_of(count: usize) -> String {
    match count {
        1 => "1 trial".to_owned(),
        count => format!("{count} trials"),
    }
}

fn machines(about: &About<'_>, items: &mut Vec<String>) {
    let blocks = about.derived.frames.run.blocks.values();
    let changed = blocks.clone().flat_map(|block| &block.changed);
    for (fact, count) in grouped(changed.map(|change| change.fact.clone())) {
        items.push(format!(
            "{fact} was another after the trials than before, on {count} machines."
        ));
    }
    let unread = blocks.flat_map(|block| &block.unread);
    for (what, count) in grouped(unread.map(ToString::to_string)) {
        items.push(format!("{what} ({count} times)"));
    }
}

/// Programs of measured trials that said something, failed, or had their output cut.
fn programs(about: &About<'_>, items: &mut Vec<String>) {
    let records = about.derived.frames.run.trials.values();
    let measured = records.filter(|record| record.outcome == Outcome::Measured);
    let odd = measured
        .flat_map(|record| &record.artefacts)
        .filter_map(|artefact| {
            let said = artefact
                .stderr
                .lines()
                .map(str::trim)
                .find(|line| !line.is_empty());
            let what = match (said, artefact.status, artefact.truncated) {
                (Some(said), ..) => format!("says on standard error \"{said}\""),
                (None, _, true) => "prints more than is kept".to_owned(),
                (None, Some(0), _) => return None,
                (None, Some(status), _) => format!("ends with status {status}"),
                // Monitors are ended by a signal when the traffic has.
                (None, None, _) => return None,
            };
            Some(format!("{} {what}", artefact.tool))
        });
    for (what, count) in grouped(odd) {
        items.push(format!("{what} ({count} times)"));
    }
}

fn deviations(about: &About<'_>, items: &mut Vec<String>) {
    let run = &about.derived.frames.run;
    for deviation in run.record.deviations.iter().chain(&run.plan.deviations) {
        items.push(format!(
            "{}, {}: {} for {}, because {}",
            deviation.subject,
            deviation.property,
            deviation.used,
            deviation.asked,
            deviation.reason
        ));
    }
    for point in &run.plan.excluded {
        let platform = point.platform.as_ref().map(|name| format!(" on {name}"));
        items.push(format!(
            "Not run: {}{}: {}",
            point.experiment,
            platform.unwrap_or_default(),
            point.reason
        ));
    }
}
