//! `--until decided`: between the looks of a run, which trials come next.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vexp_api::event::{Event, EventSink};
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::registry::Registry;
use vexp_api::spec::Study;
use vexp_engine::plan::estimate::{self, BlockCost};
use vexp_engine::run::dispatch::Stages;
use vexp_report::frame;
use vexp_report::judge::{self, LooksTaken, Verdicts};

use crate::error::Failure;
use crate::render::plan::span;
use crate::render::progress::Progress;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Refuses looks at nothing, and a budget without looks.
pub(super) fn can_be_taken(
    plan: &Plan,
    study: &Study,
    budget: Option<Duration>,
) -> Result<(), Failure> {
    if plan.looks.is_empty() {
        return match budget {
            None => Ok(()),
            Some(_) => Err(
                Failure::new(Exit::Usage, "--budget bounds looks, and there are none")
                    .hint("add --until decided"),
            ),
        };
    }
    if study.claims.values().any(|claim| !claim.tests.is_empty()) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        "the study has no claim with a test: nothing can be decided",
    )
    .hint("leave --until decided out"))
}

/// The looks of a run that is being measured.
pub(super) struct Looks<'a> {
    run: &'a Path,
    registry: &'a Registry,
    progress: &'a Arc<Progress>,
    costs: Vec<BlockCost>,
    /// How many blocks run at the same time.
    jobs: usize,
    budget: Option<Duration>,
    began: Instant,
    /// What was said last: it is not said twice.
    said: RefCell<String>,
    stopped: Cell<bool>,
}

impl<'a> Looks<'a> {
    /// With what each block is expected to take, and how many run at the same time.
    pub(super) fn new(
        run: &'a Path,
        registry: &'a Registry,
        progress: &'a Arc<Progress>,
        (costs, jobs): (Vec<BlockCost>, usize),
        budget: Option<Duration>,
    ) -> Self {
        Self {
            run,
            registry,
            progress,
            costs,
            jobs,
            budget,
            began: Instant::now(),
            said: RefCell::default(),
            stopped: Cell::new(false),
        }
    }

    /// What the next stage of the run is expected to take.
    ///
    /// # Errors
    /// What was measured can't be read, or the first look would be reached too late.
    pub(super) fn first(&self) -> Result<Vec<BlockCost>, Failure> {
        let judged = self.judged();
        let (_, looks) = judged.map_err(|error| Failure::of(Exit::Unreadable, &*error))?;
        let costs = self.costs_of(&looks.missing);
        let needed = self.time(&costs);
        match self.budget {
            Some(budget) if looks.taken == 0 && needed > budget => {
                let message = format!(
                    "the first look is reached after about {}, and the budget is {}",
                    span(needed),
                    span(budget)
                );
                Err(Failure::new(Exit::Usage, message)
                    .hint("give more time, a smaller --effort, or --only a part of the trials"))
            }
            _ => Ok(costs),
        }
    }

    fn judged(&self) -> Result<(Verdicts, LooksTaken), BoxError> {
        let mut verdicts = judge::judge(&frame::read(self.run, self.registry)?);
        let looks = verdicts.looks.take();
        let looks =
            looks.ok_or_else(|| format!("the plan of {} has no looks", self.run.display()))?;
        Ok((verdicts, looks))
    }

    fn costs_of(&self, trials: &BTreeSet<Name>) -> Vec<BlockCost> {
        let mut costs = self.costs.clone();
        for cost in &mut costs {
            cost.trials.retain(|(trial, _)| trials.contains(trial));
        }
        costs.retain(|cost| !cost.trials.is_empty());
        costs
    }

    fn say(&self, events: &dyn EventSink, text: String) {
        if *self.said.borrow() != text {
            events.event(&Event::Note { text: text.clone() });
            self.said.replace(text);
        }
    }

    fn time(&self, costs: &[BlockCost]) -> Duration {
        Duration::try_from_secs_f64(estimate::all(costs, self.jobs)).unwrap_or_default()
    }

    fn is_spent(&self) -> bool {
        let budget = self.budget.unwrap_or(Duration::MAX);
        self.began.elapsed() >= budget
    }
}

impl Stages for Looks<'_> {
    fn next(&self, events: &dyn EventSink) -> Result<BTreeSet<Name>, BoxError> {
        let (verdicts, looks) = self.judged()?;
        let costs = self.costs_of(&looks.missing);
        let needed = self.time(&costs);
        let estimate = format!("about {}", span(needed));
        self.say(events, looks.words(&verdicts.claims, Some(&estimate)));
        let passed = self.began.elapsed();
        if let Some(budget) = self.budget.filter(|budget| passed + needed > *budget)
            && !looks.missing.is_empty()
        {
            let left = budget.saturating_sub(passed);
            self.stopped.set(true);
            self.say(events, format!(
                "the next look is reached after about {}, and of the budget {} are left: nothing more is measured; \
                 --resume goes on to it",
                span(needed),
                span(left)
            ));
            return Ok(BTreeSet::new());
        }
        self.progress.go_on(looks.missing.len(), costs);
        Ok(looks.missing)
    }

    fn is_over(&self, events: &dyn EventSink) -> bool {
        if self.is_spent() && !self.stopped.replace(true) {
            self.say(
                events,
                "the budget is spent before the next look is reached: nothing more is judged; --resume goes on to it"
                    .to_owned(),
            );
        }
        self.stopped.get()
    }
}
