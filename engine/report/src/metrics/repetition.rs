//! One repetition of a point: what was observed, classical Linux of the same repetition, and
//! resamplings of both.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use vexp_api::plan::Trial;

use super::observed::{Classical, Estimates, Key, Observed};
use super::steady::TrialSteady;
use crate::stats::steady::State;
use crate::stats::{self, Bootstrap};

/// A repetition.
pub(super) struct Repetition<'a> {
    /// The trial.
    pub(super) trial: &'a Trial,
    /// All metrics.
    pub(super) estimates: Estimates,
    /// Whether its series are level.
    pub(super) steady: TrialSteady,
    observed: Rc<Observed>,
    classical: Option<(&'a Trial, Rc<Observed>)>,
    copy: bool,
    seed: u64,
    replicates: OnceCell<BTreeMap<Key, Vec<(f64, f64)>>>,
}

impl<'a> Repetition<'a> {
    pub(super) fn new(
        trial: &'a Trial,
        observed: Rc<Observed>,
        classical: Option<(&'a Trial, Rc<Observed>)>,
        copy: bool,
        seed: u64,
    ) -> Self {
        let reference = classical.as_ref();
        let reference = reference.map_or_else(Classical::default, |(_, o)| o.as_classical(None));
        let mut estimates = observed.estimates(None, reference);
        estimates.extend(observed.totals());
        Self {
            trial,
            estimates,
            steady: TrialSteady::new(trial, &observed),
            observed,
            classical,
            copy,
            seed,
            replicates: OnceCell::new(),
        }
    }

    /// Whether its samples, and those of classical Linux, are to the last bit those of an earlier
    /// repetition: it says nothing that is not known.
    pub(super) fn is_copy(&self) -> bool {
        self.copy
    }

    pub(super) fn is_unsteady(&self) -> bool {
        self.steady.state == State::NoSteadyState
    }

    pub(super) fn round_trips(&self, key: &Key) -> impl Iterator<Item = f64> {
        self.observed.round_trips(key.node.as_ref())
    }

    pub(super) fn outliers(&self, key: &Key) -> usize {
        self.observed.outliers(key)
    }

    /// A metric in [`stats::REPLICATES`] resamplings of the trial: above and below the line. The
    /// same resamplings for every metric, so that what happens together stays together; and the
    /// same of classical Linux for all that are compared with it.
    pub(super) fn replicates(&self, key: &Key) -> Option<&[(f64, f64)]> {
        let all = self.replicates.get_or_init(|| self.resampled());
        all.get(key).map(Vec::as_slice)
    }

    fn resampled(&self) -> BTreeMap<Key, Vec<(f64, f64)>> {
        let mut own = Bootstrap::new(self.seed, self.trial.id.as_str());
        let reference = self.classical.as_ref();
        let mut reference = reference
            .map(|(trial, observed)| (Bootstrap::new(self.seed, trial.id.as_str()), observed));
        let mut found: BTreeMap<Key, Vec<(f64, f64)>> = BTreeMap::new();
        for i in 0..stats::REPLICATES {
            let classical =
                reference
                    .as_mut()
                    .map_or_else(Classical::default, |(bootstrap, observed)| {
                        let draw = bootstrap.draw(observed.lengths());
                        observed.as_classical(Some(&draw))
                    });
            let draw = own.draw(self.observed.lengths());
            for (key, estimate) in self.observed.estimates(Some(&draw), classical) {
                let replicates = found.entry(key).or_default();
                // What a resampling does not have is no number.
                replicates.resize(i, (f64::NAN, f64::NAN));
                replicates.push((estimate.above, estimate.below));
            }
        }
        for replicates in found.values_mut() {
            replicates.resize(stats::REPLICATES, (f64::NAN, f64::NAN));
        }
        found
    }
}
