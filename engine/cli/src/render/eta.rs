//! The time that a run still takes: what was expected, corrected by what was seen.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_engine::plan::estimate::{BlockCost, Start, together};

/// Expected time of what has ended, and what it took. Seconds.
#[derive(Clone, Copy, Default)]
struct Seen {
    expected: f64,
    took: f64,
}

impl Seen {
    fn add(&mut self, expected: f64, took: f64) {
        self.expected += expected;
        self.took += took;
    }

    /// How much longer things take than expected. Before much was seen it is near 1: the expectation
    /// weighs as much as `prior` seconds that took as long as they should.
    fn ratio(&self, prior: f64) -> f64 {
        let expected = prior + self.expected;
        if expected > 0.0 {
            (prior + self.took) / expected
        } else {
            1.0
        }
    }
}

/// A run's blocks, and what was seen of them.
#[derive(Default)]
pub(super) struct Eta {
    blocks: Vec<BlockCost>,
    /// Blocks that are over.
    over: BTreeSet<Name>,
    /// What trials took.
    trials: BTreeMap<Name, f64>,
    /// How many blocks run at the same time.
    jobs: usize,
    /// Blocks that run, and since when.
    now: BTreeMap<Name, f64>,
    booted: Seen,
    restored: Seen,
    trial: Seen,
}

impl Eta {
    pub(super) fn new(blocks: Vec<BlockCost>, jobs: usize) -> Self {
        Self {
            blocks,
            jobs,
            ..Self::default()
        }
    }

    /// Other blocks, of which as many run at the same time.
    pub(super) fn expect(&mut self, blocks: Vec<BlockCost>) {
        *self = Self::new(blocks, self.jobs);
    }

    fn block(&self, name: &Name) -> Option<&BlockCost> {
        self.blocks.iter().find(|block| block.block == *name)
    }

    pub(super) fn block_started(&mut self, block: &Name, now: f64) {
        // It may be its second try.
        self.over.remove(block);
        self.now.insert(block.clone(), now);
    }

    pub(super) fn trial_ended(&mut self, trial: &Name, seconds: f64) {
        let mut all = self.blocks.iter().flat_map(|block| &block.trials);
        let expected = all.find(|(name, _)| name == trial);
        if let Some((_, expected)) = expected {
            self.trial.add(*expected, seconds);
            self.trials.insert(trial.clone(), seconds);
        }
    }

    pub(super) fn block_ended(&mut self, block: &Name, seconds: f64) {
        if let Some(cost) = self.block(block) {
            let trials = cost.trials.iter();
            let took: f64 = trials.filter_map(|(name, _)| self.trials.get(name)).sum();
            let (start, expected) = (cost.start, cost.start_s);
            let rest = (seconds - took).max(0.0);
            match start {
                Start::Booted => self.booted.add(expected, rest),
                Start::Restored => self.restored.add(expected, rest),
            }
        }
        self.block_failed(block);
    }

    /// A block that failed says nothing about others.
    pub(super) fn block_failed(&mut self, block: &Name) {
        self.over.insert(block.clone());
        self.now.remove(block);
    }

    /// Seconds from `now` to the end.
    pub(super) fn left(&self, now: f64) -> f64 {
        let ahead = self.blocks.iter().filter(|b| !self.over.contains(&b.block));
        together(
            ahead.map(|block| (&block.machine, self.left_of(block, now))),
            self.jobs,
        )
    }

    fn left_of(&self, block: &BlockCost, now: f64) -> f64 {
        let start = block.start_s * self.start_ratio(block);
        let missing = block
            .trials
            .iter()
            .filter(|(name, _)| !self.trials.contains_key(name));
        let left: f64 = missing
            .map(|(_, seconds)| seconds * self.trial.ratio(*seconds))
            .sum();
        let ended = block
            .trials
            .iter()
            .any(|(name, _)| self.trials.contains_key(name));
        match self.now.get(&block.block) {
            None => start + left,
            // Once it has trials, it has started: only those that follow are left.
            Some(since) if !ended => (start + left - (now - since)).max(left),
            Some(_) => left,
        }
    }

    fn start_ratio(&self, block: &BlockCost) -> f64 {
        match block.start {
            Start::Booted => self.booted.ratio(block.start_s),
            Start::Restored => self.restored.ratio(block.start_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// Four blocks of two trials of 10 s; the first of two is booted in 50 s, the others restored
    /// in 5 s.
    fn eta() -> Eta {
        let block = |i: usize| BlockCost {
            block: name(&format!("b{i}")),
            machine: (name(&format!("p{i}")), name("h")),
            start: if i < 2 {
                Start::Booted
            } else {
                Start::Restored
            },
            start_s: if i < 2 { 50.0 } else { 5.0 },
            trials: (0..2).map(|t| (name(&format!("b{i}t{t}")), 10.0)).collect(),
        };
        Eta::new((0..4).map(block).collect(), 1)
    }

    /// Runs the first `blocks` blocks in which everything takes `slow` times what is expected.
    fn run(eta: &mut Eta, blocks: usize, slow: f64) -> f64 {
        let mut now = 0.0;
        for cost in eta.blocks.clone().iter().take(blocks) {
            eta.block_started(&cost.block, now);
            for (trial, seconds) in &cost.trials {
                eta.trial_ended(trial, seconds * slow);
            }
            eta.block_ended(&cost.block, cost.seconds() * slow);
            now += cost.seconds() * slow;
        }
        now
    }

    #[test]
    fn it_begins_with_what_is_expected_and_ends_with_nothing() {
        let mut eta = eta();
        assert_eq!(eta.left(0.0), 2.0 * 50.0 + 2.0 * 5.0 + 8.0 * 10.0);
        let now = run(&mut eta, 4, 1.0);
        assert_eq!(eta.left(now), 0.0);
    }

    #[test]
    fn what_is_as_expected_changes_nothing() {
        let mut eta = eta();
        let now = run(&mut eta, 2, 1.0);
        assert_eq!(eta.left(now), 2.0 * (5.0 + 20.0));
    }

    #[test]
    fn what_was_slow_will_be_slow() {
        let mut eta = eta();
        let now = run(&mut eta, 2, 2.0);
        // Trials: (10 + 80) / (10 + 40) = 1.8 of 10 s; no restore was seen yet.
        assert_eq!(eta.left(now), 2.0 * (5.0 + 2.0 * 18.0));
        let mut eta = self::eta();
        let now = run(&mut eta, 3, 2.0);
        // (10 + 120) / (10 + 60) and (5 + 10) / (5 + 5).
        assert!((eta.left(now) - (7.5 + 2.0 * 130.0 / 7.0)).abs() < 1e-9);
    }

    #[test]
    fn blocks_side_by_side_are_over_earlier() {
        let mut eta = eta();
        eta.jobs = 2;
        assert_eq!(eta.left(0.0), (2.0 * 50.0 + 2.0 * 5.0 + 8.0 * 10.0) / 2.0);
        eta.block_started(&name("b0"), 0.0);
        eta.block_started(&name("b1"), 0.0);
        assert_eq!(eta.left(20.0), (190.0 - 2.0 * 20.0) / 2.0);
        // Those of one machine take each other's turn.
        eta.blocks
            .iter_mut()
            .for_each(|block| block.machine = (name("p"), name("h")));
        assert_eq!(eta.left(20.0), 150.0);
    }

    #[test]
    fn the_running_block_counts_down_but_not_below_its_trials() {
        let mut eta = eta();
        let whole = eta.left(0.0);
        eta.block_started(&name("b0"), 0.0);
        assert_eq!(eta.left(20.0), whole - 20.0);
        assert_eq!(eta.left(90.0), whole - 50.0);
        eta.trial_ended(&name("b0t0"), 10.0);
        assert_eq!(eta.left(60.0), whole - 60.0);
        eta.block_failed(&name("b0"));
        assert_eq!(eta.left(61.0), whole - 70.0);
    }
}
