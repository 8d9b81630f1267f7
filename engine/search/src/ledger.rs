//! What the trials say of each load, for each target.

use std::collections::BTreeMap;

use crate::target::Target;

/// Durations of the trials at one load, in seconds, as one target sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    good_long: f64,
    bad_long: f64,
    good_short: f64,
    bad_short: f64,
    /// Loss ratios of the long trials and the seconds of each, by rising ratio.
    losses: Vec<(f64, f64)>,
}

impl Tally {
    /// `asked` decides whether a trial is a long one, `seconds` is what it counts for.
    fn add(&mut self, target: &Target, asked: f64, seconds: f64, loss: f64) {
        let good = loss <= target.loss_ratio;
        let sum = match (asked >= target.trial, good) {
            (true, true) => &mut self.good_long,
            (true, false) => &mut self.bad_long,
            (false, true) => &mut self.good_short,
            (false, false) => &mut self.bad_short,
        };
        *sum += seconds;
        if asked >= target.trial {
            match self
                .losses
                .binary_search_by(|known| known.0.total_cmp(&loss))
            {
                Ok(at) => self.losses[at].1 += seconds,
                Err(at) => self.losses.insert(at, (loss, seconds)),
            }
        }
    }

    /// Whether the load is good, or not: `None` while further trials could still turn it either way.
    ///
    /// Short trials that were good excuse short ones that were bad; what is left of those counts as
    /// if it had been long (draft-ietf-bmwg-mlrsearch).
    fn verdict(&self, target: &Target) -> Option<bool> {
        let excused = self.good_short * target.exceed_ratio / (1.0 - target.exceed_ratio);
        let bad = self.bad_long + (self.bad_short - excused).max(0.0);
        let sum = (self.good_long + bad).max(target.duration_sum);
        let allowed = sum * target.exceed_ratio;
        let if_all_good = bad <= allowed;
        let if_all_bad = sum - self.good_long <= allowed;
        (if_all_good == if_all_bad).then_some(if_all_good)
    }

    /// The loss ratio that the load's conditional throughput rests on: the quantile of the long trials that
    /// the exceed ratio leaves, time not yet measured counting as lost.
    fn quantile(&self, target: &Target) -> f64 {
        let all = (self.good_long + self.bad_long).max(target.duration_sum);
        let mut left = all * (1.0 - target.exceed_ratio);
        let mut found = None;
        for (loss, seconds) in &self.losses {
            if found.is_some() && left <= 0.0 {
                return found.unwrap_or(1.0);
            }
            found = Some(*loss);
            left -= seconds;
        }
        match found {
            Some(loss) if left <= 0.0 => loss,
            _ => 1.0,
        }
    }
}

/// The relevant bounds of a target, as positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The greatest good load below `upper`.
    pub(crate) lower: Option<i64>,
    /// The least bad load.
    pub(crate) upper: Option<i64>,
}

/// All trials so far.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    targets: Vec<Target>,
    loads: BTreeMap<i64, Vec<Tally>>,
}

impl Ledger {
    pub(crate) const fn new(targets: Vec<Target>) -> Self {
        Self {
            targets,
            loads: BTreeMap::new(),
        }
    }

    pub(crate) fn target(&self, target: usize) -> &Target {
        &self.targets[target]
    }

    pub(crate) fn add(&mut self, position: i64, asked: f64, seconds: f64, loss: f64) {
        let count = self.targets.len();
        let tallies = self
            .loads
            .entry(position)
            .or_insert_with(|| vec![Tally::default(); count]);
        for (tally, target) in tallies.iter_mut().zip(&self.targets) {
            tally.add(target, asked, seconds, loss);
        }
    }

    /// A load above a bad one is never a lower bound, however good it looked.
    pub(crate) fn bounds(&self, target: usize) -> Bounds {
        let mut lower = None;
        for (position, tallies) in &self.loads {
            match tallies[target].verdict(&self.targets[target]) {
                Some(true) => lower = Some(*position),
                Some(false) => {
                    return Bounds {
                        lower,
                        upper: Some(*position),
                    };
                }
                None => {}
            }
        }
        Bounds { lower, upper: None }
    }

    /// See [`Tally::quantile`]; 1 for a load without trials.
    pub(crate) fn loss_ratio(&self, position: i64, target: usize) -> f64 {
        self.loads.get(&position).map_or(1.0, |tallies| {
            tallies[target].quantile(&self.targets[target])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            loss_ratio: 0.01,
            exceed_ratio: 0.5,
            width: 10,
            trial: 1.0,
            duration_sum: 21.0,
            expansion: 2,
        }
    }

    fn tally(trials: &[(f64, f64)]) -> Tally {
        let mut tally = Tally::default();
        for (seconds, loss) in trials {
            tally.add(&target(), *seconds, *seconds, *loss);
        }
        tally
    }

    #[test]
    fn a_load_is_decided_once_no_further_trial_can_turn_it() {
        let good = |count| tally(&vec![(1.0, 0.0); count]).verdict(&target());
        assert_eq!(good(10), None);
        assert_eq!(good(11), Some(true));
        let bad = |count| tally(&vec![(1.0, 0.5); count]).verdict(&target());
        assert_eq!(bad(10), None);
        assert_eq!(bad(11), Some(false));
    }

    #[test]
    fn short_trials_only_speak_against_a_load() {
        assert_eq!(tally(&[(0.5, 0.0); 100]).verdict(&target()), None);
        assert_eq!(tally(&[(0.5, 0.5); 22]).verdict(&target()), Some(false));
        // As many good short ones excuse them.
        let mixed = [[(0.5, 0.5); 22], [(0.5, 0.0); 22]].concat();
        assert_eq!(tally(&mixed).verdict(&target()), None);
    }

    #[test]
    fn the_quantile_counts_what_was_not_measured_as_lost() {
        assert_eq!(tally(&[(1.0, 0.0); 5]).quantile(&target()), 1.0);
        let mixed = [[(1.0, 0.0); 6], [(1.0, 0.004); 6]].concat();
        assert_eq!(tally(&mixed).quantile(&target()), 0.004);
    }

    #[test]
    fn a_good_load_above_a_bad_one_is_no_lower_bound() {
        let mut ledger = Ledger::new(vec![target()]);
        for (position, loss) in [(10, 0.0), (20, 0.5), (30, 0.0)] {
            ledger.add(position, 21.0, 21.0, loss);
        }
        let bounds = ledger.bounds(0);
        assert_eq!((bounds.lower, bounds.upper), (Some(10), Some(20)));
    }
}
