//! What templates see. All numbers are text already, so that templates only lay out.

mod claims;
mod computers;
mod figures;
mod packets;
mod results;
mod scale;
mod trace;

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::environment::Difference;
use vexp_api::ids::Name;
use vexp_api::metric::{self, METRICS};
use vexp_api::plan::{Deviation, Excluded};
use vexp_api::record::{Outcome, TrialRecord};

use self::claims::{Claim, Count, Section, claim, counts, findings};
use self::computers::{Computer, computers};
use self::figures::{FigureView, figure};
use self::packets::{Hops, hops};
use self::results::{Experiment, Printed, Results};
use self::scale::{Scale, scale};
use self::trace::{Point, points};
use super::figures::Figure;
use super::index::Index;
use super::tables;
use crate::assurance::{self, Assurance};
use crate::frame::{Frames, Unusable};
use crate::judge::{ClaimVerdict, Verdicts};
use crate::metrics::{Basis, ENOUGH_REPETITIONS, MetricValue};
use crate::{stats, window};

/// The whole of a report.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    title: String,
    paper: Option<Paper>,
    run: Run,
    counts: Vec<Count>,
    trials_measured: usize,
    trials_planned: usize,
    /// What came of the run's looks, in words.
    looks: Option<String>,
    /// Trials that no look asked for.
    unwanted: usize,
    findings: Vec<Section>,
    /// `paper`, or `study` where there is none.
    whose: &'static str,
    /// Points whose sources sent less than they were told to.
    lagging: Vec<String>,
    /// All claims in one picture.
    forest: Option<String>,
    claims: Vec<Claim>,
    figures: Vec<FigureView>,
    tables: Vec<&'a tables::View>,
    experiments: Vec<Experiment>,
    printed: Vec<Printed>,
    printed_elsewhere: usize,
    scale: Scale,
    hops: Vec<Hops>,
    /// How far results are known to be the same elsewhere; nothing in real time.
    assurance: Option<Assurance>,
    deviations: Vec<Deviation>,
    excluded: Vec<Excluded>,
    unusable: Vec<Unusable>,
    again: Vec<Again>,
    controller: BTreeMap<String, String>,
    /// Nodes of a batch engine that measured trials.
    computers: Vec<Computer>,
    blocks: Vec<Block>,
    formulas: Vec<Formula>,
    method: Method,
    points: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Paper {
    title: String,
    authors: String,
    year: u32,
}

#[derive(Debug, Serialize)]
struct Run {
    id: String,
    started: String,
    ended: Option<String>,
    vexp: String,
    testbed: String,
    emulated: bool,
    /// How its time is labelled, where it is not the real one.
    time: Option<String>,
    effort: String,
    seed: String,
    study_digest: String,
}

#[derive(Debug, Serialize)]
struct Block {
    id: String,
    up: String,
    guests: Vec<String>,
    site: BTreeMap<String, String>,
    host: BTreeMap<String, String>,
    /// What was another after the trials: node and fact, before, after.
    changed: Vec<(String, String, String)>,
    /// Nodes that did not say what they were.
    unread: Vec<String>,
    console: String,
}

/// A trial that was tried again.
#[derive(Debug, Serialize)]
struct Again {
    trial: String,
    /// `failed`, or `spoiled` by its instruments.
    what: &'static str,
    reason: String,
    /// What it is in the end.
    ended: &'static str,
}

#[derive(Debug, Serialize)]
struct Formula {
    name: &'static str,
    symbol: &'static str,
    source: String,
    unit: &'static str,
    formula: &'static str,
    better: &'static str,
}

#[derive(Debug, Serialize)]
struct Method {
    level: String,
    replicates: usize,
    enough: usize,
    inside: String,
    coverage: String,
    within_trial: bool,
    over_repetitions: bool,
    outliers: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(
        index: &Index<'_>,
        verdicts: &Verdicts,
        paper: &[Figure],
        more: &BTreeMap<Name, Vec<Figure>>,
        tables: &'a [tables::Table],
    ) -> Self {
        let frames = index.frames;
        let run = &frames.run;
        let (plan, record, study) = (&run.plan, &run.record, &run.study);
        let results = Results(index);
        let (printed, printed_elsewhere) = results.printed();
        let mut ordered: Vec<&ClaimVerdict> = verdicts.claims.iter().collect();
        ordered.sort_by_key(|claim| claim.verdict);
        Self {
            title: study.title.clone(),
            paper: study.paper.as_ref().map(|paper| Paper {
                title: paper.title.clone(),
                authors: paper.authors.join(", "),
                year: paper.year,
            }),
            run: Run {
                id: record.id.to_string(),
                started: record.started.clone(),
                ended: record.ended.clone(),
                vexp: record.vexp.clone(),
                testbed: plan.testbed.to_string(),
                emulated: plan.testbed == "emulated" || plan.testbed == "virtual",
                time: index.time().map(str::to_owned),
                effort: plan.effort.to_string(),
                seed: plan.seed.to_string(),
                study_digest: plan.study_digest.to_string(),
            },
            counts: counts(&verdicts.claims),
            trials_measured: frames.trials.len(),
            trials_planned: frames.trials.len() + super::missed(frames, verdicts).count(),
            looks: super::looks(verdicts),
            unwanted: verdicts
                .looks
                .as_ref()
                .map_or(0, |looks| looks.unwanted.len()),
            findings: findings(&verdicts.claims),
            whose: index.whose(),
            lagging: results.lagging(),
            forest: super::forest::svg(&verdicts.claims, plan.testbed.as_str()),
            claims: ordered.into_iter().map(|c| claim(c, index)).collect(),
            figures: paper.iter().map(figure).collect(),
            tables: tables.iter().map(|table| &table.view).collect(),
            experiments: results.experiments(more),
            printed,
            printed_elsewhere,
            scale: scale(frames),
            hops: hops(index),
            assurance: assurance::of(frames),
            deviations: super::deviations(frames),
            excluded: plan.excluded.clone(),
            unusable: super::missed(frames, verdicts).cloned().collect(),
            again: again(frames),
            controller: record.controller.clone(),
            computers: computers(run),
            blocks: blocks(frames),
            formulas: (METRICS.iter())
                .map(|metric| formula(metric, study.paper.as_ref()))
                .collect(),
            method: method(&verdicts.metrics),
            points: points(index, verdicts),
        }
    }
}

fn again(frames: &Frames) -> Vec<Again> {
    let run = &frames.run;
    let tried = |record: &TrialRecord| {
        let (what, reason) = match &record.outcome {
            Outcome::Failed { error } => ("failed", error.clone()),
            Outcome::Invalid { reason, .. } => ("spoiled", reason.clone()),
            Outcome::Measured => ("measured", String::new()),
        };
        let ended = run.trials.get(&record.trial);
        Again {
            trial: record.trial.to_string(),
            what,
            reason,
            ended: match ended.map(|record| &record.outcome) {
                Some(Outcome::Measured) => "measured",
                Some(Outcome::Invalid { .. }) => "invalid",
                Some(Outcome::Failed { .. }) => "failed",
                None => "not run",
            },
        }
    };
    run.set_aside.iter().map(tried).collect()
}

fn blocks(frames: &Frames) -> Vec<Block> {
    let blocks = frames.run.blocks.values();
    blocks
        .map(|block| Block {
            changed: block.changed.iter().map(change).collect(),
            unread: block.unread.iter().map(ToString::to_string).collect(),
            id: block.block.to_string(),
            up: match block.restored {
                Some(guests) => format!(
                    "restored {} in {:.1} s",
                    super::format::with_vms(guests),
                    block.boot_s
                ),
                None => format!("booted, host up after {:.1} s", block.boot_s),
            },
            guests: block
                .guest_boots
                .iter()
                .map(|boot| format!("{} {:.1} s", boot.guest, boot.seconds))
                .collect(),
            site: block.site.clone(),
            host: block.host.clone(),
            console: format!("../blocks/{}/console.log", block.block),
        })
        .collect()
}

/// A difference in words: what, before, after.
fn change(difference: &Difference) -> (String, String, String) {
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    (
        format!("{} {}", difference.node, difference.fact),
        side(&difference.one),
        side(&difference.other),
    )
}

fn formula(metric: &metric::Metric, paper: Option<&vexp_api::spec::Paper>) -> Formula {
    let place = paper.and_then(|paper| {
        let mut places = paper.metrics.iter();
        places.find(|(name, _)| **name == *metric.name)
    });
    Formula {
        name: metric.name,
        symbol: metric.symbol,
        // What belongs to one paper stands in its study.
        source: place.map(|(_, place)| place.clone()).unwrap_or_default(),
        unit: metric.unit.as_str(),
        formula: metric.formula,
        better: match metric.better {
            metric::Better::Higher => "higher",
            metric::Better::Lower => "lower",
        },
    }
}

fn method(metrics: &[MetricValue]) -> Method {
    let percent = |part: f64| format!("{:.0} %", part * 100.0);
    let stands_on = |basis| metrics.iter().any(|value| value.basis == basis);
    // Every other metric is made of these, and would count the same samples again.
    let own = |value: &&MetricValue| value.node.is_some();
    Method {
        level: percent(stats::LEVEL),
        replicates: stats::REPLICATES,
        enough: ENOUGH_REPETITIONS,
        inside: percent(window::INSIDE),
        coverage: percent(window::COVERAGE),
        within_trial: stands_on(Basis::WithinTrial),
        over_repetitions: stands_on(Basis::Repetitions),
        outliers: metrics.iter().filter(own).map(|value| value.outliers).sum(),
    }
}

/// Percent-encodes what must not stand in the path of a relative reference (RFC 3986, 3.3).
fn encode(path: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            other => drop(write!(encoded, "%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_for_links() {
        assert_eq!(encode("raw/a b\"?#.json"), "raw/a%20b%22%3F%23.json");
    }
}
