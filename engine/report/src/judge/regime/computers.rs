//! On which computers was measured what a claim sets beside each other: nodes of a batch engine may be of several kinds.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::plan::Trial;
use vexp_api::record;
use vexp_api::spec::{Assertion, Claim, MetricRef};

use super::{Cause, CauseKind, sides};
use crate::run::Run;

/// That a claim compares trials of one repetition that were measured on different kinds of computers, in real time.
/// The trials of a test are those of its sides and, where a metric is relative to it, of classical Linux.
pub(super) fn mixed(claim: &Claim, run: &Run) -> Option<Cause> {
    let elsewhere = run.trials.values().any(|trial| trial.computer.is_some());
    if run.is_virtual() || !elsewhere {
        return None;
    }
    let tests = claim.tests.iter().chain(&claim.needs.controls);
    let mixtures: BTreeMap<u32, String> = tests.flat_map(|test| of_test(test, run)).collect();
    let (repetition, first) = mixtures.iter().next()?;
    let more = match mixtures.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more like it)"),
    };
    Some(Cause {
        kind: CauseKind::Condition,
        what: format!(
            "repetition {repetition} compares what was measured on different kinds of computers: {first}{more}"
        ),
        lift: "nodes of one kind for each repetition: name them to the batch engine by a partition or a constraint"
            .to_owned(),
    })
}

/// Repetitions of a test's trials that mix kinds, and how.
fn of_test(test: &Assertion, run: &Run) -> Vec<(u32, String)> {
    let mut kinds: BTreeMap<u32, BTreeMap<String, BTreeSet<&str>>> = BTreeMap::new();
    for trial in run.plan.trials() {
        if sides(test).any(|of| is_of(trial, of, run))
            && let Some((kind, node)) = computer(run, &trial.id)
        {
            let of_repetition = kinds.entry(trial.repetition).or_default();
            of_repetition.entry(kind).or_default().insert(node);
        }
    }
    let mixed = kinds.into_iter().filter(|(_, kinds)| kinds.len() > 1);
    mixed
        .map(|(repetition, kinds)| {
            let words = kinds.iter().map(|(kind, nodes)| {
                let nodes: Vec<&str> = nodes.iter().copied().collect();
                format!("{} ({kind})", nodes.join(", "))
            });
            (repetition, words.collect::<Vec<_>>().join(" and "))
        })
        .collect()
}

fn is_of(trial: &Trial, of: &MetricRef, run: &Run) -> bool {
    if trial.experiment != of.experiment {
        return false;
    }
    let relative = metric::find(of.metric.as_str()).is_some_and(metric::Metric::is_relative);
    (&trial.platform, trial.vms) == (&of.platform, of.vms)
        || relative && trial.vms == 0 && run.is_classical(&trial.platform)
}

/// Kind and name of the computer that measured a trial; nothing where nothing is known.
fn computer<'a>(run: &'a Run, trial: &Name) -> Option<(String, &'a str)> {
    let (facts, node) = match &run.trials.get(trial)?.computer {
        Some(computer) => (&computer.facts, computer.node.as_str()),
        None => (&run.record.controller, "the controller"),
    };
    Some((record::kind(facts)?, node))
}
