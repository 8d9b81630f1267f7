//! Which blocks are set beside each other, so that they must run on nodes of one kind where time is real.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::spec::{Assertion, Claim, MetricRef, Operand};

/// Groups of blocks, by their ids in the plan's order: those of one repetition that are compared, directly or by way of
/// others. Trials of one experiment are compared, and trials of experiments that one claim names. Blocks of two
/// repetitions are in two groups: each may have a kind of node of its own.
pub fn groups(plan: &Plan, claims: &BTreeMap<Name, Claim>) -> Vec<Vec<Name>> {
    let mut joined = Joined::default();
    let mut first: BTreeMap<&Name, usize> = BTreeMap::new();
    for claim in claims.values() {
        let tests = claim.tests.iter().chain(&claim.needs.controls);
        let mut named = tests.flat_map(sides).map(|of| &of.experiment);
        if let Some(one) = named.next() {
            let one = *first.entry(one).or_insert_with(|| joined.add());
            for other in named {
                let other = *first.entry(other).or_insert_with(|| joined.add());
                joined.join(one, other);
            }
        }
    }
    // What is joined above holds within each repetition.
    let kinds: BTreeMap<&Name, usize> = first
        .iter()
        .map(|(name, at)| (*name, joined.root(*at)))
        .collect();
    let mut blocks = Joined::default();
    let mut places: BTreeMap<(u32, Compared<'_>), usize> = BTreeMap::new();
    for block in &plan.blocks {
        let at = blocks.add();
        for trial in &block.trials {
            let what = match kinds.get(&trial.experiment) {
                Some(kind) => Compared::Claimed(*kind),
                None => Compared::Alone(&trial.experiment),
            };
            let other = *places.entry((block.repetition, what)).or_insert(at);
            blocks.join(other, at);
        }
    }
    let mut groups: BTreeMap<usize, Vec<Name>> = BTreeMap::new();
    for (at, block) in plan.blocks.iter().enumerate() {
        let group = groups.entry(blocks.root(at)).or_default();
        group.push(block.id.clone());
    }
    groups.into_values().collect()
}

/// What trials are compared by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Compared<'a> {
    /// Experiments that claims join.
    Claimed(usize),
    /// An experiment of which no claim speaks.
    Alone(&'a Name),
}

fn sides(test: &Assertion) -> impl Iterator<Item = &MetricRef> {
    let right = match &test.right {
        Operand::Metric { of, .. } => Some(of),
        Operand::Number(_) => None,
    };
    std::iter::once(&test.left).chain(right)
}

/// Sets that are joined; the root of each is its least member.
#[derive(Default)]
struct Joined(Vec<usize>);

impl Joined {
    fn add(&mut self) -> usize {
        self.0.push(self.0.len());
        self.0.len() - 1
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            // Paths become shorter on the way, so that many blocks cost little.
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::dispatch::tests::{block, plan};
    use super::*;

    fn made(id: &str, repetition: u32, experiments: &[&str]) -> vexp_api::plan::Block {
        let trials: Vec<Name> = (experiments.iter())
            .map(|experiment| Name::new(format!("{experiment}.{id}")).unwrap())
            .collect();
        let mut block = block(&trials.iter().collect::<Vec<_>>());
        block.id = Name::new(id).unwrap();
        block.repetition = repetition;
        for (trial, experiment) in block.trials.iter_mut().zip(experiments) {
            trial.experiment = Name::new(*experiment).unwrap();
        }
        block
    }

    #[test]
    fn blocks_of_a_repetition_that_share_an_experiment_or_a_claim_are_one_group() {
        let blocks = [
            made("linux.r1", 1, &["send"]),
            made("xen.r1", 1, &["send", "receive"]),
            made("kvm.r1", 1, &["receive"]),
            made("ping.r1", 1, &["latency"]),
            made("loss.r1", 1, &["loss"]),
            made("linux.r2", 2, &["send"]),
            made("ping.r2", 2, &["latency"]),
        ];
        let plan = plan(&blocks);
        let told = |claims: &BTreeMap<Name, Claim>| -> Vec<String> {
            let groups = groups(&plan, claims);
            let words = groups.iter().map(|group| {
                let ids: Vec<&str> = group.iter().map(Name::as_str).collect();
                ids.join(" ")
            });
            words.collect()
        };
        assert_eq!(
            told(&BTreeMap::new()),
            [
                "linux.r1 xen.r1 kvm.r1",
                "ping.r1",
                "loss.r1",
                "linux.r2",
                "ping.r2"
            ]
        );
        let side = |experiment: &str| {
            serde_json::json!({
                "metric": "throughput", "experiment": experiment, "platform": "p", "vms": 0, "node": null,
            })
        };
        let claim: Claim = serde_json::from_value(serde_json::json!({
            "statement": "s", "place": "p", "note": null, "tests": [{
                "left": side("latency"), "relation": "less_than", "margin": 0.0,
                "right": {"of": side("send"), "times": 1.0},
            }],
        }))
        .unwrap();
        let claims = BTreeMap::from([(Name::new("c").unwrap(), claim)]);
        assert_eq!(
            told(&claims),
            [
                "linux.r1 xen.r1 kvm.r1 ping.r1",
                "loss.r1",
                "linux.r2 ping.r2"
            ]
        );
    }
}
