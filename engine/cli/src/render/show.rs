//! A trial on one screen.

use std::collections::BTreeMap;
use std::path::Path;

use vexp_api::plan::Trial;
use vexp_api::record::{Artefact, Outcome, Part, TrialRecord};
use vexp_report::frame::{TrialFrame, Unusable};
use vexp_report::run::Run;

use super::table::table;
use super::wrapped;

/// How a trial ended, in two words at most, and why.
fn ended(record: Option<&TrialRecord>) -> (&'static str, String) {
    match record.map(|record| &record.outcome) {
        None => ("not run", String::new()),
        Some(Outcome::Measured) => ("measured", String::new()),
        Some(Outcome::Invalid { reason, .. }) => ("invalid", reason.clone()),
        Some(Outcome::Failed { error }) => ("failed", error.clone()),
    }
}

/// All trials of a run, in the plan's order.
pub(crate) fn trials(run: &Run) -> String {
    let rows = run.plan.trials().map(|trial| {
        let (outcome, mut why) = ended(run.trials.get(&trial.id));
        if let Some(taken) = run.record.origin(&trial.id) {
            why = format!("taken over from {}", taken.run);
        }
        let first = why.lines().next().unwrap_or_default();
        vec![trial.id.to_string(), outcome.to_owned(), first.to_owned()]
    });
    table(&["trial", "outcome", "why"], rows)
}

/// Everything about a trial of a run.
pub(crate) fn trial(run: &Run, trial: &Trial, found: &Result<TrialFrame, Unusable>) -> String {
    let record = run.trials.get(&trial.id);
    let mut text = head(run, trial, record, found);
    if let Ok(frame) = found {
        text += &section("Samples in the window", &samples(frame));
    }
    if let Some(record) = record {
        text += &section("Programs", &programs(&record.artefacts));
        text += &section("Standard error", &errors(&record.artefacts));
        text += &section("Read back before the trial", &pairs(&record.setup));
        text += &section("Files", &files(run, trial, record));
    }
    text + &section("Machine", &machine(run, trial))
}

/// A heading and what stands below it; nothing where there is nothing.
fn section(heading: &str, body: &str) -> String {
    match body.is_empty() {
        true => String::new(),
        false => format!("\n{heading}\n{body}"),
    }
}

fn head(
    run: &Run,
    trial: &Trial,
    record: Option<&TrialRecord>,
    found: &Result<TrialFrame, Unusable>,
) -> String {
    let (outcome, why) = match found {
        // A trial may be recorded as measured and yet be of no use.
        Err(unusable) => (unusable.kind, unusable.reason.clone()),
        Ok(_) => ended(record),
    };
    let mut text = format!("{}: {outcome}\n", trial.id);
    for line in why.lines() {
        text += &wrapped(line, "  ", "  ");
    }
    if let Some(taken) = run.record.origin(&trial.id) {
        let words = format!(
            "taken over from run {}, which was started at {} by vexp {} (its run.json is {})",
            taken.run, taken.started, taken.vexp, taken.digest
        );
        text += &wrapped(&words, "  ", "    ");
    }
    let guests = match trial.vms {
        0 => "no guest".to_owned(),
        1 => "1 guest".to_owned(),
        n => format!("{n} guests"),
    };
    let point = format!(
        "{} on {}, {guests}, repetition {}, traffic {}",
        trial.experiment, trial.platform, trial.repetition, trial.traffic.tool
    );
    text += &wrapped(&point, "  ", "  ");
    if let Some(record) = record {
        let window = match record.window {
            Some(window) => format!(
                "; measured from {:.3} s to {:.3} s",
                window.start_s, window.end_s
            ),
            None => "; nothing was measured".to_owned(),
        };
        let times = format!(
            "began at {}{window}; over after {:.3} s",
            record.epoch, record.ended_s
        );
        text += &wrapped(&times, "  ", "  ");
    }
    let tries = run.set_aside.iter().filter(|one| one.trial == trial.id);
    for (n, earlier) in (1..).zip(tries) {
        let (outcome, why) = ended(Some(earlier));
        text += &wrapped(
            &format!("try {n} was {outcome}, and it was measured again: {why}"),
            "  ",
            "    ",
        );
    }
    text
}

/// Count, mean and range of each series, traffic first. Most counters of a good trial are 0 and say nothing more.
fn samples(frame: &TrialFrame) -> String {
    let mut series: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for row in &frame.rows {
        let sample = &row.sample;
        let key = (
            row.part,
            sample.metric.to_string(),
            sample.node.to_string(),
            sample.unit.as_str(),
            row.tool.to_string(),
        );
        series.entry(key).or_default().push(sample.value);
    }
    let all = series.len();
    series.retain(|key, values| key.0 != Part::Monitor || values.iter().any(|value| *value != 0.0));
    let left_out = match all - series.len() {
        0 => String::new(),
        1 => "  and 1 series of a monitor that was 0\n".to_owned(),
        n => format!("  and {n} series of monitors that were 0\n"),
    };
    if series.is_empty() {
        return left_out;
    }
    let rows = series
        .into_iter()
        .map(|((_, metric, node, unit, tool), all)| {
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let least = all.iter().copied().fold(f64::INFINITY, f64::min);
            let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let number = |value: f64| format!("{value:.4}");
            vec![
                metric,
                node,
                unit.to_owned(),
                all.len().to_string(),
                number(mean),
                number(least),
                number(most),
                tool,
            ]
        });
    let head = [
        "metric", "node", "unit", "samples", "mean", "least", "most", "tool",
    ];
    table(&head, rows) + &left_out
}

/// Every program, in the order in which they were started.
fn programs(artefacts: &[Artefact]) -> String {
    let mut seen: Vec<&Artefact> = artefacts.iter().collect();
    seen.sort_by(|a, b| {
        let by_start = a.started_s.total_cmp(&b.started_s);
        by_start.then_with(|| (&a.node, &a.command).cmp(&(&b.node, &b.command)))
    });
    // A program has an artefact for each of its streams.
    seen.dedup_by(|a, b| {
        (&a.node, &a.command, a.started_s.to_bits()) == (&b.node, &b.command, b.started_s.to_bits())
    });
    let rows: Vec<_> = seen
        .into_iter()
        .map(|artefact| {
            let status = match artefact.status {
                Some(0) => String::new(),
                Some(status) => format!("exit {status}"),
                None => "signal".to_owned(),
            };
            vec![
                format!("{:.3}", artefact.started_s),
                format!("{:.3}", artefact.ended_s),
                artefact.node.to_string(),
                status,
                artefact.command.clone(),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => table(&["from, s", "to, s", "node", "ended", "command"], rows),
    }
}

fn errors(artefacts: &[Artefact]) -> String {
    let said = artefacts.iter().filter(|a| !a.stderr.trim().is_empty());
    let lines = said.flat_map(|artefact| {
        let lines = artefact.stderr.trim_end().lines();
        lines.map(|line| format!("  {} {}: {line}\n", artefact.node, artefact.tool))
    });
    lines.collect()
}

fn pairs(all: &BTreeMap<String, String>) -> String {
    all.iter()
        .map(|(key, value)| wrapped(&format!("{key}: {value}"), "  ", "    "))
        .collect()
}

fn files(run: &Run, trial: &Trial, record: &TrialRecord) -> String {
    let folder = run.dir.join("trials").join(trial.id.as_str());
    let mut text = format!("  in {}: trial.json\n", folder.display());
    for artefact in &record.artefacts {
        let cut = if artefact.truncated { " (cut)" } else { "" };
        text += &format!("  {}{cut}\n", artefact.path);
    }
    text
}

/// What the block's machine was, and what changed while its trials ran.
fn machine(run: &Run, trial: &Trial) -> String {
    let mut blocks = run.plan.blocks.iter();
    let planned = blocks.find(|block| block.trials.iter().any(|one| one.id == trial.id));
    let Some(planned) = planned else {
        return String::new();
    };
    let folder = run.dir.join("blocks").join(planned.id.as_str());
    // Where others of its block were measured again, that folder is about their machine.
    let own = (run.record.origin(&trial.id))
        .map(|taken| Path::new("taken").join(taken.run.as_str()))
        .map(|folder| run.dir.join(folder).join(planned.id.as_str()))
        .filter(|folder| folder.is_dir());
    if let Some(folder) = own {
        return format!(
            "  block {} of the run that it was taken over from: {}\n",
            planned.id,
            folder.display()
        );
    }
    let mut text = format!("  block {}: {}\n", planned.id, folder.display());
    let Some(block) = run.blocks.get(&planned.id) else {
        return text + "  it did not come up\n";
    };
    text += &match block.restored {
        Some(0) => "  restored from a snapshot without guests\n".to_owned(),
        Some(guests) => format!("  restored from a snapshot with {guests} guests\n"),
        None => format!("  booted in {:.1} s\n", block.boot_s),
    };
    text += &pairs(&block.site);
    text += &pairs(&block.host);
    for unread in &block.unread {
        text += &wrapped(&unread.to_string(), "  ", "    ");
    }
    for change in &block.changed {
        let value = |side: &Option<String>| side.clone().unwrap_or_else(|| "unknown".to_owned());
        let line = format!(
            "{} of {} changed while its trials ran: {} → {}",
            change.fact,
            change.node,
            value(&change.one),
            value(&change.other)
        );
        text += &wrapped(&line, "  ", "    ");
    }
    text
}
