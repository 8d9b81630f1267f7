//! What the bundle's templates see. All numbers are text already.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vexp_api::ids::Name;
use vexp_api::plan::{Deviation, Excluded, Plan, Trial};
use vexp_api::spec::{Claim, MetricRef, Operand};

use super::{About, Binary, Image};
use crate::frame::{Frames, Unusable};
use crate::judge::{ClaimVerdict, Verdict};

/// A bundle, for its README, licence and appendix.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    title: &'a str,
    study: &'a Name,
    paper: Option<PaperView>,
    run: &'a Name,
    vexp: &'a str,
    bundled_by: &'a str,
    license: Option<&'a str>,
    license_url: Option<String>,
    authors: &'a [String],
    contact: Option<&'a str>,
    archive: Option<&'a str>,
    code: Option<&'a str>,
    anonymous: bool,
    cited: bool,
    deposited: bool,
    started: &'a str,
    ended: Option<&'a str>,
    main: Option<String>,
    testbed: &'a Name,
    emulated: bool,
    effort: &'a Name,
    /// Pattern of the trials that were selected, if one was given.
    selected: Option<&'a str>,
    seed: String,
    study_digest: String,
    measured: usize,
    planned: usize,
    boots: usize,
    restored: usize,
    took: Option<String>,
    trials_took: String,
    expected: Option<String>,
    build_estimate: String,
    run_estimate: String,
    disk_estimate: String,
    size: String,
    files: usize,
    with_images: bool,
    binary: Option<&'a Binary>,
    images: &'a [Image],
    controller: &'a BTreeMap<String, String>,
    accelerators: BTreeSet<String>,
    hypervisors: BTreeSet<String>,
    tools: BTreeSet<String>,
    hardware: Vec<HardwareView>,
    metrics: BTreeSet<&'static str>,
    counts: Vec<(usize, &'static str)>,
    claims: Vec<ClaimView>,
    deviations: Vec<Deviation>,
    excluded: &'a [Excluded],
    unusable: &'a [Unusable],
}

#[derive(Debug, Serialize)]
struct PaperView {
    title: String,
    authors: String,
    year: u32,
}

/// Hardware as the study asks for it.
#[derive(Debug, Serialize)]
struct HardwareView {
    name: Name,
    description: String,
    asked: String,
    used: String,
}

#[derive(Debug, Serialize)]
struct ClaimView {
    name: String,
    place: String,
    statement: String,
    verdict: &'static str,
    reason: String,
    /// Assertions that could be tested, and all.
    tested: usize,
    tests: usize,
    /// Trials that they are about, and what these took here.
    resources: String,
    /// What selects them with `--only`, where one pattern can.
    only: Option<String>,
}

impl<'a> View<'a> {
    pub(super) fn new(about: &About<'a>) -> Self {
        let frames = &about.derived.frames;
        let run = &frames.run;
        let (record, plan, study) = (&run.record, &run.plan, &run.study);
        let size: u64 = about.files.values().sum();
        let claims = &about.derived.verdicts.claims;
        let seconds = run.trials.values().map(|trial| trial.ended_s).sum();
        let of = |blocks: &dyn Fn(&BTreeMap<String, String>) -> Option<String>| {
            let blocks = run.blocks.values().filter_map(|block| blocks(&block.site));
            blocks.collect()
        };
        Self {
            title: &study.title,
            study: &study.name,
            paper: study.paper.as_ref().map(|paper| PaperView {
                title: paper.title.clone(),
                authors: paper.authors.join(", "),
                year: paper.year,
            }),
            run: &record.id,
            vexp: &record.vexp,
            bundled_by: about.vexp,
            license: about.license,
            license_url: about.license_url(),
            authors: about.authors,
            contact: about.contact,
            archive: about.archive,
            code: about.code,
            anonymous: about.anonymous,
            cited: about.anonymous || !about.authors.is_empty(),
            deposited: about.license.is_some() && (about.anonymous || !about.authors.is_empty()),
            started: &record.started,
            ended: record.ended.as_deref(),
            main: about.main(),
            testbed: &plan.testbed,
            emulated: about.emulated(),
            effort: &plan.effort,
            selected: record.only.as_deref(),
            seed: plan.seed.to_string(),
            study_digest: plan.study_digest.to_string(),
            measured: frames.trials.len(),
            planned: plan.trials().count(),
            boots: run.blocks.values().filter(|b| b.restored.is_none()).count(),
            restored: run.blocks.values().filter(|b| b.restored.is_some()).count(),
            took: took(frames),
            trials_took: minutes(seconds),
            expected: record.estimate_s.map(minutes),
            build_estimate: minutes(plan.estimate.build.secs_f64()),
            run_estimate: minutes(plan.estimate.run.secs_f64()),
            disk_estimate: megabytes(plan.estimate.disk.bytes()),
            size: megabytes(size),
            files: about.files.len(),
            with_images: about.with_images,
            binary: about.binary,
            images: about.images,
            controller: &record.controller,
            accelerators: of(&|site| {
                Some(format!(
                    "{} ({})",
                    site.get("accelerator")?,
                    site.get("emulator")?
                ))
            }),
            hypervisors: hypervisors(plan),
            tools: tools(plan),
            hardware: hardware(frames),
            metrics: about
                .derived
                .verdicts
                .metrics
                .iter()
                .map(|m| m.metric)
                .collect(),
            counts: counts(claims),
            claims: claims.iter().map(|claim| view(claim, frames)).collect(),
            deviations: plan
                .deviations
                .iter()
                .chain(&record.deviations)
                .cloned()
                .collect(),
            excluded: &plan.excluded,
            unusable: &frames.unusable,
        }
    }
}

/// From the first moment to the last, if it was one go.
pub(super) fn took(frames: &Frames) -> Option<String> {
    let record = &frames.run.record;
    // A run that was resumed also stood still.
    record.estimate_s?;
    let moment = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let (start, end) = (moment(&record.started)?, moment(record.ended.as_ref()?)?);
    Some(minutes(end.duration_since(start).as_secs_f64()))
}

pub(super) fn minutes(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

pub(super) fn megabytes(bytes: u64) -> String {
    match bytes as f64 / 1e6 {
        mb if mb < 1000.0 => format!("{mb:.1} MB"),
        mb => format!("{:.1} GB", mb / 1000.0),
    }
}

pub(super) fn hypervisors(plan: &Plan) -> BTreeSet<String> {
    let machines = plan.blocks.iter().map(|block| &block.machine);
    machines
        .map(|machine| format!("{} {}", machine.hypervisor, machine.version))
        .collect()
}

pub(super) fn tools(plan: &Plan) -> BTreeSet<String> {
    let uses = |trial: &'_ Trial| {
        let all = std::iter::once(&trial.traffic)
            .chain(&trial.load)
            .chain(&trial.monitors);
        all.map(|used| used.tool.to_string()).collect::<Vec<_>>()
    };
    plan.trials().flat_map(uses).collect()
}

fn hardware(frames: &Frames) -> Vec<HardwareView> {
    let run = &frames.run;
    let mut seen = BTreeSet::new();
    let blocks = run.plan.blocks.iter().map(|block| &block.machine);
    let machines = blocks.filter(|machine| seen.insert(&machine.hardware));
    machines
        .filter_map(|machine| {
            let asked = run.study.hardware.get(&machine.hardware)?;
            let nic = asked.nics.first().map(|nic| nic.rate.to_string());
            let link = machine.nics.first().map(|nic| nic.rate.to_string());
            Some(HardwareView {
                name: machine.hardware.clone(),
                description: asked.description.clone(),
                asked: format!(
                    "{} × {}, {}, {} × {}",
                    asked.cpus,
                    asked.cpu,
                    asked.memory,
                    asked.nics.len(),
                    nic.unwrap_or_default()
                ),
                used: format!(
                    "{} processor(s), {}, {} × {}",
                    machine.cpus,
                    machine.memory,
                    machine.nics.len(),
                    link.unwrap_or_default()
                ),
            })
        })
        .collect()
}

pub(super) fn counts(claims: &[ClaimVerdict]) -> Vec<(usize, &'static str)> {
    let of = |verdict| {
        claims
            .iter()
            .filter(|claim| claim.verdict == verdict)
            .count()
    };
    Verdict::ALL
        .map(|verdict| (of(verdict), verdict.as_str()))
        .to_vec()
}

fn view(judged: &ClaimVerdict, frames: &Frames) -> ClaimView {
    let run = &frames.run;
    let points: Vec<&MetricRef> = run
        .study
        .claims
        .get(&judged.claim)
        .map(points)
        .unwrap_or_default();
    let about = |trial: &&Trial| {
        points.iter().any(|of| {
            (&of.experiment, &of.platform, of.vms)
                == (&trial.experiment, &trial.platform, trial.vms)
        })
    };
    let trials: Vec<&Trial> = run.plan.trials().filter(about).collect();
    let seconds = trials
        .iter()
        .filter_map(|trial| Some(run.trials.get(&trial.id)?.ended_s))
        .sum();
    let experiments: BTreeSet<&Name> = points.iter().map(|of| &of.experiment).collect();
    ClaimView {
        name: judged.claim.to_string(),
        place: judged.place.clone(),
        statement: judged.statement.clone(),
        verdict: judged.verdict.as_str(),
        reason: judged.reason.clone(),
        tested: judged.tested,
        tests: judged.tests.len(),
        resources: match trials.len() {
            0 => "no trial".to_owned(),
            1 => format!("1 trial, {} here without boots", minutes(seconds)),
            n => format!("{n} trials, {} here without boots", minutes(seconds)),
        },
        // The whole experiment: relative metrics need classical Linux in it.
        only: match experiments.first() {
            Some(one) if experiments.len() == 1 && !trials.is_empty() => Some(format!("{one}.*")),
            _ => None,
        },
    }
}

/// The points that a claim is about.
pub(super) fn points(claim: &Claim) -> Vec<&MetricRef> {
    let tests = claim.tests.iter();
    tests
        .flat_map(|test| {
            let right = match &test.right {
                Operand::Metric { of, .. } => Some(of),
                Operand::Number(_) => None,
            };
            std::iter::once(&test.left).chain(right)
        })
        .collect()
}
