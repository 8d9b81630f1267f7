//! How far a run's results are known to be the same elsewhere: what was done to find out, and with what evidence.
//!
//! A level is a statement about what was done. It holds by what stands in the run's folder: the trials' records, how busy
//! the computer was ([`Load`]), and comparisons ([`Compared`]) of the very results that the run has now. A run that was
//! compared with something is not one that was compared on several computers, whoever says so.

use vexp_api::compared::{self, Compared, Comparison, Load, With};
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::record::Outcome;
use vexp_api::run_dir::{RECORD_BYTES, RunDir};

use crate::frame::Frames;
use crate::identity;
use crate::run::Run;

/// The part of the computer's processor time that other programs must have taken throughout, for a run under load.
pub const LOADED: f64 = 0.25;

/// What is known of a run in virtual time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Assurance {
    /// All levels, the least first.
    pub statements: Vec<Statement>,
}

/// A level, whether it holds, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Statement {
    /// Its name.
    pub level: Level,
    /// Whether it was reached.
    pub holds: bool,
    /// What was done and seen, or what is missing.
    pub evidence: String,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Level {
    /// No border or frame of the lockstep was late in any trial.
    #[serde(rename = "ran strictly")]
    Strictly,
    /// All results are those of another run.
    #[serde(rename = "ran twice and compared")]
    Twice,
    /// One of these runs was made beside other programs.
    #[serde(rename = "under load and compared")]
    UnderLoad,
    /// They were made on different computers.
    #[serde(rename = "on several machines and compared")]
    Machines,
}

impl Level {
    /// As reports name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strictly => "ran strictly",
            Self::Twice => "ran twice and compared",
            Self::UnderLoad => "under load and compared",
            Self::Machines => "on several machines and compared",
        }
    }
}

impl Assurance {
    /// What holds, in a few words.
    pub fn words(&self) -> String {
        let holding = self.statements.iter().filter(|one| one.holds);
        let all: Vec<&str> = holding.map(|one| one.level.as_str()).collect();
        match all.as_slice() {
            [] => "it is not known to be the same elsewhere".to_owned(),
            all => all.join("; "),
        }
    }

    /// Whether a level was reached.
    pub fn holds(&self, level: Level) -> bool {
        let mut all = self.statements.iter();
        all.any(|one| one.level == level && one.holds)
    }
}

/// What is known of a run; `None` where time is real, and no two runs are the same.
pub fn of(frames: &Frames) -> Option<Assurance> {
    let run = &frames.run;
    if !run.is_virtual() {
        return None;
    }
    let (results, compared) = (identity::digest(frames).ok(), compared(run));
    Some(assess(&Seen {
        frames,
        results: results.as_ref(),
        compared: match &compared {
            Ok(all) => Ok(all.as_slice()),
            Err(why) => Err(why.as_str()),
        },
        others: least_others(run),
    }))
}

struct Seen<'a> {
    frames: &'a Frames,
    results: Option<&'a Digest>,
    compared: Result<&'a [Comparison], &'a str>,
    /// See [`least_others`].
    others: Option<f64>,
}

fn assess(seen: &Seen<'_>) -> Assurance {
    let strictly = strictly(seen.frames);
    let mut statements = vec![strictly];
    let compared = counted(seen);
    for level in [Level::Twice, Level::UnderLoad, Level::Machines] {
        let (holds, evidence) = match &compared {
            _ if !statements[0].holds => (false, "it did not run strictly".to_owned()),
            Err(why) => (false, why.clone()),
            Ok(counted) => by_evidence(level, counted, seen),
        };
        statements.push(Statement {
            level,
            holds,
            evidence,
        });
    }
    Assurance { statements }
}

fn strictly(frames: &Frames) -> Statement {
    let mut late = Vec::new();
    for (trial, record) in &frames.run.trials {
        let doubtful = match (&record.trace, &record.outcome) {
            (Some(trace), _) => trace.late > 0,
            // Without a trace it can't be told from other reasons to measure again.
            (None, Outcome::Invalid { instruments, .. }) => *instruments,
            (None, _) => false,
        };
        if doubtful {
            late.push(trial.as_str());
        }
    }
    let measured = frames.trials.len();
    let others = frames.unusable.len();
    let mut evidence = match (late.first(), measured) {
        (Some(first), _) => format!(
            "a border or frame was late, or may have been, in {} trials, of which {first} is one",
            late.len()
        ),
        (None, 0) => "no trial was measured".to_owned(),
        (None, _) => format!("no border or frame was late in any of {measured} trials"),
    };
    if others > 0 && measured > 0 {
        evidence.push_str(&format!(
            "; {others} that were planned have no result and say nothing"
        ));
    }
    Statement {
        level: Level::Strictly,
        holds: late.is_empty() && measured > 0,
        evidence,
    }
}

/// Comparisons of all results that the run has now with those of another run, of which all were the same.
///
/// # Errors
/// Why there are none.
fn counted<'a>(seen: &Seen<'a>) -> Result<Vec<&'a Comparison>, String> {
    let compared = seen.compared.map_err(str::to_owned)?;
    let own = &seen.frames.run.record.id;
    let of_these = |one: &&Comparison| Some(&one.results) == seen.results;
    let with_itself = |one: &&Comparison| origin(&one.with) == Some(own);
    // What was given other images or another seed has reason to differ, and shows nothing where it doesn't.
    let comparable: Vec<&Comparison> = (compared.iter().filter(of_these))
        .filter(|one| !with_itself(one) && one.given.is_empty())
        .collect();
    if let Some(one) = comparable.iter().find(|one| one.differ > 0) {
        let parts = one.parts.as_deref().unwrap_or_default();
        let all = one.same + one.differ;
        let (differ, with) = (one.differ, name(&one.with));
        let text = format!("{differ} of {all} trials are not those of {with}. {parts}");
        return Err(text.trim_end().to_owned());
    }
    let measured = seen.frames.trials.len();
    let whole = |one: &&Comparison| one.unknown == 0 && one.same >= measured;
    let counted: Vec<&Comparison> = comparable.iter().copied().filter(whole).collect();
    match (counted.is_empty(), comparable.first()) {
        (false, _) => Ok(counted),
        (true, Some(part)) => Err(format!(
            "only {} of its trials were compared, with {}",
            part.same,
            name(&part.with)
        )),
        (true, None) if compared.iter().any(|one| !of_these(&one)) => {
            Err("it was compared when it had other results".to_owned())
        }
        (true, None) if !compared.is_empty() => {
            Err("it was compared with itself, or with what was given other things".to_owned())
        }
        (true, None) => Err("it was compared with no other run".to_owned()),
    }
}

fn by_evidence(level: Level, counted: &[&Comparison], seen: &Seen<'_>) -> (bool, String) {
    let all = |one: &Comparison| {
        format!(
            "{} trials are those of {}, to the last bit",
            one.same,
            name(&one.with)
        )
    };
    match level {
        Level::Strictly | Level::Twice => {
            let each: Vec<String> = counted.iter().map(|one| all(one)).collect();
            (!each.is_empty(), each.join("; "))
        }
        Level::UnderLoad => under_load(counted, seen.others),
        Level::Machines => machines(counted, seen.frames.run.record.computer.as_ref()),
    }
}

fn under_load(counted: &[&Comparison], own: Option<f64>) -> (bool, String) {
    let theirs = counted.iter().filter_map(|one| match &one.with {
        With::Run { id, others, .. } => Some((format!("run {id}"), (*others)?)),
        With::Digest(_) | With::File { .. } => None,
    });
    let all = own.map(|others| ("this run".to_owned(), others));
    let most = all
        .into_iter()
        .chain(theirs)
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    match most {
        None => (
            false,
            "how busy the computer was is not recorded for all blocks".to_owned(),
        ),
        Some((of, others)) => {
            let share = format!("{:.0} %", others * 100.0);
            let evidence = format!(
                "in each block of {of} other programs took {share} of the processors' time or more"
            );
            match others >= LOADED {
                true => (true, evidence),
                false => (
                    false,
                    format!(
                        "{evidence}, in no run more; it is load from {:.0} % on",
                        LOADED * 100.0
                    ),
                ),
            }
        }
    }
}

fn machines(counted: &[&Comparison], own: Option<&Digest>) -> (bool, String) {
    let not = |text: &str| (false, text.to_owned());
    let Some(own) = own else {
        return not("which computer it ran on is not recorded");
    };
    let mut same = false;
    for one in counted {
        let theirs = match &one.with {
            With::Digest(_) => None,
            With::File { computer, .. } | With::Run { computer, .. } => computer.as_ref(),
        };
        match theirs {
            Some(theirs) if theirs != own => {
                let with = name(&one.with);
                let (a, b) = (short(theirs), short(own));
                let text = format!("{with} was measured on computer {a}, this run on {b}");
                return (true, text);
            }
            Some(_) => same = true,
            None => {}
        }
    }
    match same {
        true => not("the other run was measured on this computer, too"),
        false => not("which computer the other run was measured on is not recorded"),
    }
}

/// The beginning of a digest, which tells computers and files apart.
fn short(digest: &Digest) -> &str {
    &digest.hex()[..12]
}

/// The run whose results were compared with, if it is known.
fn origin(with: &With) -> Option<&Name> {
    match with {
        With::Digest(_) => None,
        With::File { run, .. } => run.as_ref(),
        With::Run { id, .. } => Some(id),
    }
}

fn name(with: &With) -> String {
    match with {
        With::Digest(digest) => format!("the run with digest {}", short(digest)),
        With::File { digest, run, .. } => {
            let run = run
                .as_ref()
                .map_or(String::new(), |run| format!(" of run {run}"));
            format!("file {}{run}", short(digest))
        }
        With::Run { id, vexp, .. } => format!("run {id} (vexp {vexp})"),
    }
}

/// What a run's results were compared with; nothing where they never were.
///
/// # Errors
/// The file can't be read, or is of another version.
pub fn compared(run: &Run) -> Result<Vec<Comparison>, String> {
    let there = RunDir::open(&run.dir).map_err(|error| error.to_string())?;
    let bytes = match there.read(compared::FILE, RECORD_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let file = compared::FILE;
    let read: Compared =
        serde_json::from_slice(&bytes).map_err(|error| format!("{file} can't be read: {error}"))?;
    match read.format {
        compared::FORMAT => Ok(read.comparisons),
        other => Err(format!(
            "{file} has format {other}; this vexp reads {}",
            compared::FORMAT
        )),
    }
}

/// What other programs took of the computer's processor time, in that block in which it was least: of all blocks that have
/// a trial. `None` where it isn't known of each.
pub fn least_others(run: &Run) -> Option<f64> {
    let there = RunDir::open(&run.dir).ok()?;
    let blocks = run.plan.blocks.iter();
    let measured = blocks.filter(|block| {
        let mut trials = block.trials.iter();
        trials.any(|trial| run.trials.contains_key(&trial.id))
    });
    let mut least = None;
    for block in measured {
        let name = format!("blocks/{}/{}", block.id, compared::LOAD);
        let load: Load = there.read_json(name).ok()?;
        let others = load.others.filter(|_| load.format == compared::FORMAT)?;
        least = Some(least.unwrap_or(others).min(others));
    }
    least
}
