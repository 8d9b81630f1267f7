use crate::error::SearchError;
use crate::goal::{Compliance, Goal, seconds};
use crate::grid::Grid;
use crate::ledger::Ledger;
use crate::observation::Observation;
use crate::pursuit::{Pursuit, View, Wish};
use crate::target::Target;

/// A trial to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Load to offer, in the unit of the search's range.
    pub load: f64,
    /// How long.
    pub seconds: f64,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its result is forgotten.
    Warmup,
    /// One of up to three at the beginning, for all goals at once.
    Start,
    /// For a goal, counted from 0. Its result counts for all.
    Goal(usize),
}

/// What a search wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Measure this, then [`Search::record`] it.
    Trial(Trial),
    /// Nothing more. One result a goal, in the order of the goals.
    Done(Vec<GoalResult>),
}

/// What a search found for one goal. A missing bound is a finding: the least load was too much, or the greatest wasn't.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalResult {
    /// As declared.
    pub goal: Goal,
    /// The greatest load found good, with no bad one below it.
    pub lower: Option<f64>,
    /// The least load found bad.
    pub upper: Option<f64>,
    /// The lower bound less the share lost at it, by the quantile that the exceed ratio leaves.
    pub conditional_throughput: Option<f64>,
    /// Whether the lower bound is a throughput by RFC 2544.
    pub rfc2544: Compliance,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Warmup,
    First,
    Second,
    Third { second: i64 },
    Pursue,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    position: i64,
    seconds: f64,
    /// The goal whose wish it is, and the wish's width.
    wish: Option<(usize, i64)>,
}

/// Multiple loss ratio search over a range of loads.
///
/// It has no limit of time of its own: a caller that runs out of time stops asking. [`Search::results`] says what is known so far.
#[derive(Clone, Debug)]
pub struct Search {
    goals: Vec<Goal>,
    grid: Grid,
    ledger: Ledger,
    /// Each goal's targets in the ledger.
    chains: Vec<std::ops::Range<usize>>,
    start: Start,
    phase: Phase,
    asked: Option<Asked>,
    pursuits: Vec<Pursuit>,
    shared: i64,
}

/// What the first trials are held to: the strictest of all goals' easiest targets.
#[derive(Clone, Copy, Debug)]
struct Start {
    loss_ratio: f64,
    seconds: f64,
    width: i64,
}

impl Search {
    /// Begins at the greatest load. `warmup` is a trial of that many seconds there whose result is forgotten.
    ///
    /// # Errors
    ///
    /// A range that isn't 0 < `from` < `to`, no goal, two equal goals, a goal's number outside its range, or a warm-up without a length.
    pub fn new(
        from: f64,
        to: f64,
        goals: Vec<Goal>,
        warmup: Option<f64>,
    ) -> Result<Self, SearchError> {
        check(from, to, &goals, warmup)?;
        let grid = Grid::new(from, to, goals.iter().map(|goal| goal.width));
        let mut targets = Vec::new();
        let mut chains = Vec::new();
        for goal in &goals {
            let first = targets.len();
            targets.extend(Target::chain(goal, &grid));
            chains.push(first..targets.len());
        }
        let easiest = |chain: &std::ops::Range<usize>| targets[chain.start];
        let mut start = Start {
            loss_ratio: 1.0,
            seconds: 0.0,
            width: 0,
        };
        for target in chains.iter().map(easiest) {
            start.loss_ratio = start.loss_ratio.min(target.loss_ratio);
            start.seconds = start.seconds.max(target.trial);
            start.width = start.width.max(target.width);
        }
        let first = |seconds| {
            Some(Asked {
                position: grid.top(),
                seconds,
                wish: None,
            })
        };
        let (phase, asked) = match warmup {
            Some(seconds) => (Phase::Warmup, first(seconds)),
            None => (Phase::First, first(start.seconds)),
        };
        Ok(Self {
            goals,
            grid,
            ledger: Ledger::new(targets),
            chains,
            start,
            phase,
            asked,
            pursuits: Vec::new(),
            shared: 0,
        })
    }

    /// The next trial, or the results. Asking again before a result is recorded gives the same trial.
    pub fn step(&mut self) -> Step {
        if self.asked.is_none() {
            self.asked = self.choose();
        }
        let Some(asked) = self.asked else {
            return Step::Done(self.results());
        };
        Step::Trial(Trial {
            load: self.grid.load(asked.position),
            seconds: asked.seconds,
            purpose: match (self.phase, asked.wish) {
                (Phase::Warmup, _) => Purpose::Warmup,
                (_, Some((goal, _))) => Purpose::Goal(goal),
                (_, None) => Purpose::Start,
            },
        })
    }

    /// Takes the result of the trial that [`Search::step`] asked for.
    ///
    /// # Errors
    ///
    /// No trial was asked for, or the observation's seconds are no positive number.
    pub fn record(&mut self, observation: Observation) -> Result<(), SearchError> {
        if let Some(taken) = observation.seconds
            && !seconds(taken)
        {
            return Err(SearchError::Duration { seconds: taken });
        }
        let asked = self.asked.ok_or(SearchError::NothingAsked)?;
        self.asked = None;
        if !matches!(self.phase, Phase::Warmup) {
            let taken = observation.seconds.unwrap_or(asked.seconds);
            let loss = observation.loss_ratio();
            self.ledger.add(asked.position, asked.seconds, taken, loss);
        }
        let next = match self.phase {
            Phase::Warmup => {
                self.phase = Phase::First;
                Some(self.grid.top())
            }
            Phase::First => self.second(observation.loss_ratio()),
            Phase::Second => self.third(asked.position, observation.loss_ratio()),
            Phase::Third { second } => {
                self.pursue(second, asked.position);
                None
            }
            Phase::Pursue => {
                self.grant(asked);
                None
            }
        };
        self.asked = next.map(|position| Asked {
            position,
            seconds: self.start.seconds,
            wish: None,
        });
        Ok(())
    }

    /// One a goal, from the trials so far; final once [`Search::step`] says that it is done.
    #[must_use]
    pub fn results(&self) -> Vec<GoalResult> {
        let goals = self.goals.iter().zip(&self.chains);
        goals
            .map(|(goal, chain)| {
                let target = chain.end - 1;
                let bounds = self.ledger.bounds(target);
                let lower = bounds.lower.map(|position| self.grid.load(position));
                let left = bounds
                    .lower
                    .map(|position| 1.0 - self.ledger.loss_ratio(position, target));
                GoalResult {
                    goal: *goal,
                    lower,
                    upper: bounds.upper.map(|position| self.grid.load(position)),
                    conditional_throughput: lower.zip(left).map(|(lower, left)| lower * left),
                    rfc2544: goal.compliance(),
                }
            })
            .collect()
    }

    /// The load that a trial forwarded, raised by the loss that is allowed: a first guess at the bound.
    fn guess(&self, load: i64, loss: f64) -> i64 {
        let forwarded = self.grid.load(load) * (1.0 - loss);
        let raised = forwarded * (1.0 / (1.0 - self.start.loss_ratio));
        self.grid.position(raised)
    }

    fn second(&mut self, loss: f64) -> Option<i64> {
        let top = self.grid.top();
        let guess = self.guess(top, loss);
        match self.grid.within(guess, self.start.width, None, Some(top)) {
            Some(second) if guess < top => {
                self.phase = Phase::Second;
                Some(second)
            }
            _ => {
                self.pursue(top, top);
                None
            }
        }
    }

    /// The third trial looks for the other bound near the second.
    fn third(&mut self, second: i64, loss: f64) -> Option<i64> {
        let width = self.start.width;
        let third = if loss > self.start.loss_ratio {
            let guess = self.guess(second, loss);
            self.grid.within(guess, width, None, Some(second))
        } else {
            let top = self.grid.top();
            self.grid
                .within(second.saturating_add(width), width, Some(second), Some(top))
        };
        match third {
            Some(_) => self.phase = Phase::Third { second },
            None => self.pursue(second, second),
        }
        third
    }

    fn pursue(&mut self, one: i64, other: i64) {
        let (low, high) = (one.min(other), one.max(other));
        self.phase = Phase::Pursue;
        self.shared = high - low;
        let view = View {
            grid: &self.grid,
            ledger: &self.ledger,
            shared: self.shared,
        };
        let chains = self.chains.iter().cloned();
        self.pursuits = chains
            .map(|chain| Pursuit::new(chain, low, high, view))
            .collect();
    }

    fn choose(&mut self) -> Option<Asked> {
        let view = View {
            grid: &self.grid,
            ledger: &self.ledger,
            shared: self.shared,
        };
        let mut best: Option<(usize, Wish)> = None;
        for (goal, pursuit) in self.pursuits.iter_mut().enumerate() {
            let Some(wish) = pursuit.wish(view) else {
                continue;
            };
            if best.is_none_or(|(_, earlier)| wish.precedes(&earlier)) {
                best = Some((goal, wish));
            }
        }
        best.map(|(goal, wish)| Asked {
            position: wish.position,
            seconds: wish.trial,
            wish: Some((goal, wish.width)),
        })
    }

    fn grant(&mut self, asked: Asked) {
        let Some((goal, width)) = asked.wish else {
            return;
        };
        self.shared = width;
        let view = View {
            grid: &self.grid,
            ledger: &self.ledger,
            shared: width,
        };
        let pursuit = self.pursuits.get_mut(goal);
        if let Some(step) = pursuit.and_then(|pursuit| pursuit.granted(asked.position, view)) {
            self.shared = step;
        }
    }
}

fn check(from: f64, to: f64, goals: &[Goal], warmup: Option<f64>) -> Result<(), SearchError> {
    if !(from > 0.0 && from < to && to.is_finite()) {
        return Err(SearchError::Range { from, to });
    }
    if let Some(warmup) = warmup
        && !seconds(warmup)
    {
        return Err(SearchError::Warmup { seconds: warmup });
    }
    if goals.is_empty() {
        return Err(SearchError::NoGoal);
    }
    for (at, goal) in goals.iter().enumerate() {
        goal.check(at + 1)?;
        if let Some(same) = goals.iter().take(at).position(|other| other == goal) {
            return Err(SearchError::SameGoal {
                first: same + 1,
                second: at + 1,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search() -> Search {
        Search::new(1e3, 1e7, vec![Goal::default()], None).unwrap()
    }

    fn run(mut search: Search, capacity: f64) -> (Vec<Trial>, Vec<GoalResult>) {
        let mut trials = Vec::new();
        loop {
            match search.step() {
                Step::Done(results) => return (trials, results),
                Step::Trial(trial) => {
                    assert_eq!(search.step(), Step::Trial(trial));
                    trials.push(trial);
                    let offered = (trial.load * trial.seconds) as u64;
                    let most = (capacity * trial.seconds) as u64;
                    search
                        .record(Observation::new(offered, offered.min(most)))
                        .unwrap();
                }
            }
        }
    }

    #[test]
    fn a_search_ends_within_its_width_and_repeats_itself() {
        let (trials, results) = run(search(), 4e6);
        assert_eq!(run(search(), 4e6), (trials.clone(), results.clone()));
        let (lower, upper) = (results[0].lower.unwrap(), results[0].upper.unwrap());
        assert!(lower <= 4e6 && 4e6 < upper);
        assert!((upper - lower) / upper <= 0.005);
        assert_eq!(trials[0].load, 1e7);
        assert_eq!(trials[0].purpose, Purpose::Start);
    }

    #[test]
    fn a_device_beyond_the_range_leaves_a_bound_out() {
        let (_, fast) = run(search(), 1e9);
        assert_eq!((fast[0].lower, fast[0].upper), (Some(1e7), None));
        assert_eq!(fast[0].conditional_throughput, Some(1e7));
        let (_, slow) = run(search(), 10.0);
        assert_eq!((slow[0].lower, slow[0].upper), (None, Some(1e3)));
        assert_eq!(slow[0].conditional_throughput, None);
    }

    #[test]
    fn a_warm_up_is_forgotten() {
        let mut search = Search::new(1e3, 1e7, vec![Goal::default()], Some(2.0)).unwrap();
        let Step::Trial(warmup) = search.step() else {
            panic!("nothing asked");
        };
        assert_eq!((warmup.purpose, warmup.seconds), (Purpose::Warmup, 2.0));
        search.record(Observation::new(100, 0)).unwrap();
        let (trials, results) = run(search, 1e9);
        assert_eq!(trials[0].purpose, Purpose::Start);
        assert_eq!(results[0].lower, Some(1e7));
    }

    #[test]
    fn what_no_search_can_begin_with_is_refused() {
        let goal = Goal::default();
        let refused = |from, to, goals, warmup| Search::new(from, to, goals, warmup).unwrap_err();
        assert_eq!(
            refused(0.0, 1.0, vec![goal], None),
            SearchError::Range { from: 0.0, to: 1.0 }
        );
        assert_eq!(refused(1.0, 2.0, vec![], None), SearchError::NoGoal);
        assert_eq!(
            refused(1.0, 2.0, vec![goal, Goal::rfc2544(), goal], None),
            SearchError::SameGoal {
                first: 1,
                second: 3
            }
        );
        assert_eq!(
            refused(1.0, 2.0, vec![goal], Some(0.0)),
            SearchError::Warmup { seconds: 0.0 }
        );
    }

    #[test]
    fn a_result_that_nobody_asked_for_is_refused() {
        let mut search = search();
        search.record(Observation::new(1, 1)).unwrap();
        assert_eq!(
            search.record(Observation::new(1, 1)),
            Err(SearchError::NothingAsked)
        );
        search.step();
        let endless = Observation {
            seconds: Some(f64::NAN),
            ..Observation::new(1, 1)
        };
        assert!(matches!(
            search.record(endless),
            Err(SearchError::Duration { .. })
        ));
    }
}
