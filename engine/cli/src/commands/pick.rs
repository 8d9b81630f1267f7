//! `vexp verify --rerun --budget`: the trials that tell most within a time, and nothing else, are measured.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use vexp_api::event::{Event, EventSink};
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::{Estimate, Plan};
use vexp_api::shown;
use vexp_api::spec::Study;
use vexp_engine::plan::budget::{Budget, Choice, Wanted, choose};
use vexp_engine::plan::estimate;
use vexp_engine::run::dispatch::{BlockError, Stages};
use vexp_engine::run::files;
use vexp_report::judge::needs::{Needs, needs};

use crate::error::Failure;
use crate::render;
use crate::render::plan::span;
use crate::render::wrapped;

/// What is measured within a time.
pub(super) struct Pick {
    choice: Choice,
    /// Claims that can't be told here, and why.
    never: BTreeMap<Name, String>,
    budget: Duration,
    estimate: Estimate,
    began: Instant,
    given: Cell<bool>,
    over: Cell<bool>,
}

impl Pick {
    /// Chooses trials of a plan, of which `jobs` blocks run at the same time. Building images from nothing counts,
    /// whether they are there or not, so that the same command always chooses the same.
    ///
    /// # Errors
    /// No claim fits, or none can be told on this testbed.
    pub(super) fn new(
        plan: &Plan,
        study: &Study,
        (virtual_time, jobs): (bool, usize),
        budget: Duration,
    ) -> Result<Self, Failure> {
        let (mut wanted, mut never) = (Vec::new(), BTreeMap::new());
        for Needs {
            claim,
            points,
            never: why,
        } in needs(study, plan)
        {
            match why {
                None => wanted.push(Wanted { claim, points }),
                Some(why) => drop(never.insert(claim, why)),
            }
        }
        if wanted.is_empty() {
            let first = never.iter().next();
            let first = first.map(|(claim, why)| format!(": {claim}: {why}"));
            let message = format!(
                "no claim can be told on testbed `{}`{}",
                plan.testbed,
                first.unwrap_or_default()
            );
            return Err(Failure::new(Exit::Incomplete, message)
                .hint("--testbed names another one; without --budget all is measured"));
        }
        let build = plan.estimate.build.duration();
        let how = Budget {
            time: budget.saturating_sub(build),
            jobs,
            virtual_time,
        };
        let choice = choose(plan, &wanted, how);
        if choice.trials.is_empty() {
            let least = choice.left_out.iter().map(|(_, seconds)| *seconds);
            let least = Duration::try_from_secs_f64(least.fold(f64::INFINITY, f64::min));
            let message = format!(
                "nothing can be told within {}: the first claim needs about {}",
                span(budget),
                span(build + least.unwrap_or_default())
            );
            return Err(Failure::new(Exit::Usage, message).hint("give more time with --budget"));
        }
        let estimate =
            estimate::of_part(plan, virtual_time, &|trial| choice.trials.contains(trial));
        Ok(Self {
            choice,
            never,
            budget,
            estimate,
            began: Instant::now(),
            given: Cell::new(false),
            over: Cell::new(false),
        })
    }

    /// The trials.
    pub(super) fn trials(&self) -> &BTreeSet<Name> {
        &self.choice.trials
    }

    /// Why claims are not measured, by claim.
    pub(super) fn left_out(&self) -> BTreeMap<Name, String> {
        let mut all = self.never.clone();
        for (claim, seconds) in &self.choice.left_out {
            let more = Duration::try_from_secs_f64(*seconds).unwrap_or_default();
            let why = format!(
                "it was left out: it needs about {} more than what was chosen for {}",
                span(more),
                span(self.budget)
            );
            all.insert(claim.clone(), why);
        }
        all
    }

    /// What was chosen and left out.
    fn words(&self) -> String {
        let chosen = self.choice.claims.iter();
        let chosen: Vec<String> = chosen
            .map(|(claim, n)| match n {
                1 => claim.to_string(),
                n => format!("{claim} ({n} repetitions)"),
            })
            .collect();
        let all = self.choice.claims.len() + self.choice.left_out.len() + self.never.len();
        let text = format!(
            "chosen: {} of {all} claims, {} trials: {}",
            chosen.len(),
            self.choice.trials.len(),
            chosen.join(", ")
        );
        let mut text = wrapped(&text, "  ", "    ");
        for (claim, why) in self.left_out() {
            let line = format!("not {claim}: {why}");
            text.push_str(&wrapped(&shown::line(&line), "  ", "    "));
        }
        text
    }
}

/// How many trials are to be measured, and how many of them a run that is resumed does not have yet.
pub(super) fn wanted(plan: &Plan, pick: Option<&Pick>, resumed: Option<&Path>) -> (usize, usize) {
    let wanted = plan.trials().map(|trial| &trial.id);
    let wanted: Vec<&Name> = wanted
        .filter(|trial| pick.is_none_or(|pick| pick.trials().contains(*trial)))
        .collect();
    let there = |trial: &Name| {
        resumed.is_some_and(|run| files::trial_dir(run, trial).join("trial.json").is_file())
    };
    let left = wanted.iter().filter(|trial| !there(trial)).count();
    (wanted.len(), left)
}

/// Says what measuring takes before anything is begun: `runs` is where results will lie.
pub(super) fn announce(
    plan: &Plan,
    (pick, jobs): (Option<&Pick>, usize),
    to_build: Option<usize>,
    (runs, store): (&Path, &Path),
) {
    let estimate = pick.map_or(&plan.estimate, |pick| &pick.estimate);
    let time = match pick {
        Some(pick) => Duration::try_from_secs_f64(pick.choice.seconds).unwrap_or_default(),
        None => estimate.run.duration(),
    };
    let building = render::plan::building(plan, to_build);
    let memory = plan.blocks.iter().map(|block| block.machine.memory.mib());
    let memory = memory.max().unwrap_or(0);
    let machines = match jobs {
        1 => format!("{memory} MiB for the machine under test"),
        n => format!("{memory} MiB for each machine under test, {n} at a time"),
    };
    let whole = pick.map_or_else(String::new, |pick| {
        format!(", within {}", span(pick.budget))
    });
    let mut text = format!("measuring again{whole} (estimates):\n");
    for line in [
        format!("time: about {} to run, {building}", span(time)),
        format!(
            "disk: {} MiB in {} and {}",
            estimate.disk.mib(),
            store.display(),
            runs.display()
        ),
        format!("memory: {machines}, and its peers"),
        "you: 0 active minutes; nothing is asked. Ctrl-C stops it, and the same command goes on"
            .to_owned(),
        format!("results: {}", runs.display()),
    ] {
        text.push_str(&wrapped(&line, "  ", "    "));
    }
    if let Some(pick) = pick {
        text.push_str(&pick.words());
    }
    render::say(text.trim_end());
}

impl Stages for Pick {
    fn next(&self, _events: &dyn EventSink) -> Result<BTreeSet<Name>, BlockError> {
        Ok(match self.given.replace(true) {
            true => BTreeSet::new(),
            false => self.choice.trials.clone(),
        })
    }

    fn is_over(&self, events: &dyn EventSink) -> bool {
        let over = self.began.elapsed() >= self.budget;
        if over && !self.over.replace(true) {
            events.event(&Event::Note {
                text: "the time is over: no further block is begun; the same command goes on"
                    .to_owned(),
            });
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use vexp_api::units::{ByteSize, TimeSpan};

    use super::*;

    #[derive(Default)]
    struct Said(Mutex<Vec<String>>);

    impl EventSink for Said {
        fn event(&self, event: &Event) {
            if let Event::Note { text } = event {
                self.0.lock().unwrap().push(text.clone());
            }
        }
    }

    fn pick(budget: Duration) -> Pick {
        let name = |text: &str| Name::new(text).unwrap();
        Pick {
            choice: Choice {
                trials: BTreeSet::from([name("a.r1")]),
                claims: vec![(name("one"), 2)],
                left_out: vec![(name("long"), 2400.0)],
                seconds: 60.0,
            },
            never: BTreeMap::from([(name("never"), "time is\nvirtual here".to_owned())]),
            budget,
            estimate: Estimate {
                run: TimeSpan::from_secs(60),
                build: TimeSpan::from_secs(0),
                disk: ByteSize::new(1 << 20),
            },
            began: Instant::now(),
            given: Cell::new(false),
            over: Cell::new(false),
        }
    }

    #[test]
    fn its_trials_are_given_once_and_no_block_is_begun_when_the_time_is_over() {
        let said = Said::default();
        let picked = pick(Duration::from_secs(3600));
        assert_eq!(picked.next(&said).unwrap().len(), 1);
        assert!(picked.next(&said).unwrap().is_empty());
        assert!(!picked.is_over(&said));
        let over = pick(Duration::ZERO);
        assert!(over.is_over(&said) && over.is_over(&said));
        let said = said.0.into_inner().unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("the same command goes on"), "{said:?}");
    }

    #[test]
    fn it_says_what_is_left_out_and_why() {
        let words = pick(Duration::from_secs(7200)).words();
        let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            line.contains("chosen: 1 of 3 claims, 1 trials: one (2 repetitions)"),
            "{words}"
        );
        assert!(
            line.contains("not long: it was left out: it needs about 40 min more"),
            "{words}"
        );
        let never = words
            .lines()
            .filter(|line| line.trim_start().starts_with("virtual here"));
        assert_eq!(never.count(), 0, "a stranger's line: {words}");
    }
}
