//! A bundle's run and the run that measured it again → a page that sets them side by side, claim by claim.
//!
//! A claim is *the same* if both runs decided it alike, or if time is virtual and the trials of all of its points
//! that were measured here are the authors' to the last bit. It *differs* if the runs decided it differently. Else
//! it *can't be told here*, and the page says why.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::record::Outcome;
use vexp_api::sample::Unit;
use vexp_api::spec::Relation;

use super::template::{TemplateError, Templates};
use super::{forest, format};
use crate::derived::Derived;
use crate::identity;
use crate::judge::{self, ClaimVerdict, Compared, Test, Verdict};
use crate::metrics::Basis;

/// The version of [`Page`]'s format.
pub const FORMAT: u32 = 1;

/// A run, as far as it is compared with another of the same study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    title: String,
    facts: Facts,
    claims: Vec<ClaimSeen>,
    /// Digests of the trials' results, where time is virtual.
    digests: BTreeMap<Name, Digest>,
}

/// What a run was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Its name.
    pub run: Name,
    /// When it was started, RFC 3339 in UTC.
    pub started: String,
    /// Testbed.
    pub testbed: Name,
    /// Effort.
    pub effort: Name,
    /// Version of vexp.
    pub vexp: String,
    /// Trials that were measured.
    pub measured: usize,
    /// Trials of its plan.
    pub planned: usize,
}

/// A claim of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimSeen {
    claim: Name,
    statement: String,
    place: String,
    verdict: String,
    reason: String,
    tests: Vec<TestSeen>,
    decisive: Option<usize>,
    /// Trials that were measured, by point.
    points: Vec<Vec<Name>>,
}

/// A test of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestSeen {
    of: String,
    paper: String,
    measured: Option<String>,
}

impl Seen {
    /// What a run gave.
    ///
    /// # Errors
    /// A sample that JSON can't hold; parsers give none.
    pub fn of(derived: &Derived) -> Result<Self, serde_json::Error> {
        let frames = &derived.frames;
        let run = &frames.run;
        let usable: BTreeSet<&Name> = frames.trials.iter().map(|trial| &trial.trial.id).collect();
        let mut needs: BTreeMap<Name, _> = (judge::needs::of(run).into_iter())
            .map(|needs| (needs.claim, needs.points))
            .collect();
        let claims = derived.verdicts.claims.iter().map(|claim| {
            let points = needs.remove(&claim.claim).unwrap_or_default();
            let of_point = |(experiment, platform, vms): &(Name, Name, u32)| -> Vec<Name> {
                let trials = run.plan.trials().filter(|trial| {
                    (&trial.experiment, &trial.platform, &trial.vms) == (experiment, platform, vms)
                        && usable.contains(&trial.id)
                });
                trials.map(|trial| trial.id.clone()).collect()
            };
            seen(
                claim,
                points.iter().map(of_point).collect(),
                &run.study.published,
            )
        });
        let measured = run
            .trials
            .values()
            .filter(|trial| trial.outcome == Outcome::Measured);
        Ok(Self {
            title: run.study.title.clone(),
            facts: Facts {
                run: run.record.id.clone(),
                started: run.record.started.clone(),
                testbed: run.plan.testbed.clone(),
                effort: run.plan.effort.clone(),
                vexp: run.record.vexp.clone(),
                measured: measured.count(),
                planned: run.plan.trials().count(),
            },
            claims: claims.collect(),
            digests: match run.is_virtual() {
                true => identity::each(frames)?,
                false => BTreeMap::new(),
            },
        })
    }

    /// Verdicts by claim, as `claims.json` has them.
    pub fn verdicts(&self) -> BTreeMap<String, String> {
        let claims = self.claims.iter();
        claims
            .map(|claim| (claim.claim.to_string(), claim.verdict.clone()))
            .collect()
    }
}

fn seen(
    claim: &ClaimVerdict,
    points: Vec<Vec<Name>>,
    published: &[vexp_api::spec::Published],
) -> ClaimSeen {
    let decisive = forest::decisive(claim);
    let decisive = decisive.and_then(|test| {
        claim
            .tests
            .iter()
            .position(|other| std::ptr::eq(other, test))
    });
    let test = |test: &Test| {
        let of = test.left.of.as_ref();
        let unit = of.and_then(|of| metric::find(of.metric.as_str()));
        let unit = unit.map_or(Unit::One, |metric| metric.unit);
        let mut printed = published.iter().filter(|value| Some(&value.of) == of);
        let printed = printed.next().map(|value| {
            let number = format::as_printed(value.value);
            format!(
                "; printed: {number}{} ({})",
                format::unit_after(value.unit),
                value.place
            )
        });
        TestSeen {
            of: of.map(judge::describe).unwrap_or_default(),
            paper: format!("{}{}", claimed(test, unit), printed.unwrap_or_default()),
            measured: test.compared.as_ref().map(|found| measured(found, unit)),
        }
    };
    ClaimSeen {
        claim: claim.claim.clone(),
        statement: claim.statement.clone(),
        place: claim.place.clone(),
        verdict: claim.verdict.as_str().replace(' ', "-"),
        reason: claim.reason.clone(),
        tests: claim.tests.iter().map(test).collect(),
        decisive,
        points,
    }
}

/// `≥ 0.9 times throughput of linux in send − 5 %`.
fn claimed(test: &Test, unit: Unit) -> String {
    let relation = match test.relation {
        Relation::About => "≈",
        Relation::AtLeast => "≥",
        Relation::AtMost => "≤",
        Relation::GreaterThan => ">",
        Relation::LessThan => "<",
    };
    let right = match &test.right.of {
        None => format!(
            "{}{}",
            format::as_printed(test.right.times),
            format::unit_after(unit)
        ),
        Some(of) => format!(
            "{} times {}",
            format::factor(test.right.times),
            judge::describe(of)
        ),
    };
    match test.margin {
        margin if margin > 0.0 => {
            let percent = (margin * 1e8).round() / 1e6;
            format!("{relation} {right}, margin {percent} %")
        }
        _ => format!("{relation} {right}"),
    }
}

/// `ratio 1.31 [1.12, 1.49] over 5 boots`.
fn measured(found: &Compared, unit: Unit) -> String {
    let unit = match found.what {
        "ratio" => Unit::One,
        _ => unit,
    };
    let value = found
        .value
        .map_or_else(|| "none".to_owned(), |value| format::number(value, unit));
    let interval = found
        .interval
        .map(|interval| format!(" {}", format::interval(interval, unit)));
    let over = match found.basis {
        Basis::Boots => "boots",
        Basis::Repetitions => "repetitions",
        Basis::WithinTrial | Basis::None => "samples inside the trials",
    };
    let after = format::unit_after(unit);
    format!(
        "{} {value}{}{after} over {} {over}",
        found.what,
        interval.unwrap_or_default(),
        found.units
    )
}

/// Whether a claim is what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Both runs say the same.
    Same,
    /// One says that it is reproduced, and the other that it is not.
    Differs,
    /// This run, or the authors', does not tell.
    CannotTell,
}

impl Answer {
    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::CannotTell => "can't be told here",
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Same => "good",
            Self::Differs => "bad",
            Self::CannotTell => "open",
        }
    }
}

/// A run's side of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Verdict.
    pub verdict: String,
    /// What it stands on: value and interval at the point that decided in the authors' run.
    pub measured: Option<String>,
}

/// A claim, side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The claim.
    pub claim: Name,
    /// In words.
    pub statement: String,
    /// Where it stands in the publication.
    pub place: String,
    /// What the values are of.
    pub of: String,
    /// What the paper says of it.
    pub paper: String,
    /// The authors' run.
    pub authors: Cell,
    /// The run here.
    pub here: Cell,
    /// How they stand to each other.
    pub answer: Answer,
    /// Why.
    pub why: String,
    class: String,
    label: String,
}

/// Everything that the page shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// `1`; a reader refuses any other.
    pub format: u32,
    /// The study's title.
    pub title: String,
    /// SHA-256 of the bundle.
    pub bundle: Digest,
    /// The authors' run.
    pub authors: Facts,
    /// The run here.
    pub here: Facts,
    /// Images here that are not those of the authors' run.
    pub other_images: Vec<Name>,
    /// Claims that are the same.
    pub same: usize,
    /// Claims that differ.
    pub differ: usize,
    /// Claims that can't be told here.
    pub cannot_tell: usize,
    /// Claims: those that differ first, then those that are the same.
    pub rows: Vec<Row>,
}

/// Sets two runs side by side. `left_out` says why claims were not measured here.
pub fn page(
    bundle: &Digest,
    authors: &Seen,
    here: &Seen,
    other_images: &[Name],
    left_out: &BTreeMap<Name, String>,
) -> Page {
    let found: BTreeMap<&Name, &ClaimSeen> = here
        .claims
        .iter()
        .map(|claim| (&claim.claim, claim))
        .collect();
    let mut rows: Vec<Row> = (authors.claims.iter())
        .map(|claim| {
            let other = found.get(&claim.claim).copied();
            row(
                claim,
                other,
                &bits(claim, other, authors, here),
                left_out.get(&claim.claim),
            )
        })
        .collect();
    let order = |row: &Row| match row.answer {
        Answer::Differs => 0,
        Answer::Same => 1,
        Answer::CannotTell => 2,
    };
    rows.sort_by_key(order);
    let count = |wanted| rows.iter().filter(|row| row.answer == wanted).count();
    Page {
        format: FORMAT,
        title: authors.title.clone(),
        bundle: bundle.clone(),
        authors: authors.facts.clone(),
        here: here.facts.clone(),
        other_images: other_images.to_vec(),
        same: count(Answer::Same),
        differ: count(Answer::Differs),
        cannot_tell: count(Answer::CannotTell),
        rows,
    }
}

/// How many trials of a claim are the authors' to the last bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bits {
    same: usize,
    differ: usize,
    /// Trials that the authors measured.
    of: usize,
    /// Whether each point that the authors measured has one that is the same.
    everywhere: bool,
}

fn bits(claim: &ClaimSeen, other: Option<&ClaimSeen>, authors: &Seen, here: &Seen) -> Bits {
    let mut bits = Bits {
        of: claim.points.iter().map(Vec::len).sum(),
        everywhere: other.is_some() && claim.points.iter().any(|point| !point.is_empty()),
        ..Bits::default()
    };
    for point in &claim.points {
        let pairs = point.iter().filter_map(|trial| {
            Some((authors.digests.get(trial)?, here.digests.get(trial)?, trial))
        });
        // A trial that is unusable has a digest, too.
        let usable = |trial: &Name| {
            other.is_some_and(|other| other.points.iter().any(|p| p.contains(trial)))
        };
        let (mut same, mut differ) = (0, 0);
        for (one, another, trial) in pairs {
            match (usable(trial), one == another) {
                (true, true) => same += 1,
                (true, false) => differ += 1,
                (false, _) => {}
            }
        }
        bits.everywhere &= point.is_empty() || same > 0;
        bits.same += same;
        bits.differ += differ;
    }
    bits
}

fn decided(verdict: &str) -> bool {
    let decided = [Verdict::Reproduced, Verdict::NotReproduced];
    decided
        .iter()
        .any(|known| known.as_str().replace(' ', "-") == verdict)
}

fn row(
    claim: &ClaimSeen,
    other: Option<&ClaimSeen>,
    bits: &Bits,
    left_out: Option<&String>,
) -> Row {
    let words = |verdict: &str| verdict.replace('-', " ");
    let (answer, why) = answer(claim, other, bits, left_out);
    // What is open in both runs is the same, and no success.
    let open = other.is_none_or(|other| !decided(&other.verdict));
    let class = match answer {
        Answer::Same if open => Answer::CannotTell.class(),
        answer => answer.class(),
    };
    let index = claim
        .decisive
        .or(other.and_then(|other| other.decisive))
        .unwrap_or(0);
    let test = claim.tests.get(index);
    let measured = |claim: &ClaimSeen| {
        claim
            .tests
            .get(index)
            .and_then(|test| test.measured.clone())
    };
    Row {
        claim: claim.claim.clone(),
        statement: claim.statement.clone(),
        place: claim.place.clone(),
        of: test.map(|test| test.of.clone()).unwrap_or_default(),
        paper: test.map_or_else(|| "no test".to_owned(), |test| test.paper.clone()),
        authors: Cell {
            verdict: words(&claim.verdict),
            measured: measured(claim),
        },
        here: Cell {
            verdict: other.map_or_else(|| "missing".to_owned(), |other| words(&other.verdict)),
            measured: other.and_then(measured),
        },
        answer,
        why,
        class: class.to_owned(),
        label: answer.as_str().to_owned(),
    }
}

fn answer(
    claim: &ClaimSeen,
    other: Option<&ClaimSeen>,
    bits: &Bits,
    left_out: Option<&String>,
) -> (Answer, String) {
    let Some(other) = other else {
        return (
            Answer::CannotTell,
            "this run's study has no such claim".to_owned(),
        );
    };
    let trials = match bits.same {
        0 => String::new(),
        same => format!(
            "{same} of {} trials were measured again and are the authors' to the last bit",
            bits.of
        ),
    };
    let with = |words: String| match trials.is_empty() {
        true => words,
        false => format!("{words}; {trials}"),
    };
    let both = (decided(&claim.verdict), decided(&other.verdict));
    match both {
        (true, true) if claim.verdict == other.verdict => {
            let words = format!("{} in both runs", claim.verdict.replace('-', " "));
            return (Answer::Same, with(words));
        }
        (true, true) => return (Answer::Differs, other.reason.clone()),
        _ => {}
    }
    let unseen = [Verdict::OutOfRegime, Verdict::NotTested]
        .map(|verdict| verdict.as_str().replace(' ', "-"));
    let can_be_seen = !unseen.contains(&other.verdict) && !unseen.contains(&claim.verdict);
    if can_be_seen && bits.everywhere && bits.differ == 0 {
        // Equal runs in virtual time are no second piece of evidence: the claim stays as open as it was.
        let verdict = other.verdict.replace('-', " ");
        let words = format!("{trials}; the claim is {verdict}: {}", other.reason);
        return (Answer::Same, words);
    }
    if bits.differ > 0 {
        let words = format!(
            "{} trials differ from the authors', though time is virtual; {}",
            bits.differ, other.reason
        );
        return (Answer::CannotTell, words);
    }
    let words = match left_out {
        Some(why) => why.clone(),
        None if both.1 => format!("the authors' run does not tell: {}", claim.reason),
        None => other.reason.clone(),
    };
    (Answer::CannotTell, with(words))
}

impl Page {
    /// One self-contained HTML page, which prints as it looks.
    ///
    /// # Errors
    /// A template is wrong.
    pub fn html(&self) -> Result<String, TemplateError> {
        Templates::load(None)?.page("answer.html.j2", self)
    }

    /// The same in Markdown.
    ///
    /// # Errors
    /// A template is wrong.
    pub fn markdown(&self) -> Result<String, TemplateError> {
        let text = Templates::load(None)?.page("answer.md.j2", self)?;
        Ok(format!("{}\n", text.trim_end()))
    }
}

#[cfg(test)]
mod tests;
