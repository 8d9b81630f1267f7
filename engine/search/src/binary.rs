use crate::error::SearchError;
use crate::goal::seconds;
use crate::observation::Observation;

/// Throughput by RFC 2544 to the letter: one trial a load, no packet lost, 60 s long at the least (sections 24 and 26.1).
///
/// The first trial is at the greatest load. Each further one halves the loads in question on a linear scale, until they are no further
/// apart than the width.
#[derive(Clone, Debug)]
pub struct Binary {
    from: f64,
    to: f64,
    width: f64,
    seconds: f64,
    lower: Option<f64>,
    upper: Option<f64>,
    asked: Option<f64>,
}

/// What a binary search wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BinaryStep {
    /// Measure this, then [`Binary::record`] it.
    Trial {
        /// In the unit of the search's range.
        load: f64,
        /// How long.
        seconds: f64,
    },
    /// Nothing more.
    Done(BinaryResult),
}

/// Where a binary search ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryResult {
    /// The throughput: the greatest load without loss. `None`: even the least load lost packets.
    pub lower: Option<f64>,
    /// The least load with loss. `None`: the greatest load lost none.
    pub upper: Option<f64>,
}

impl Binary {
    /// RFC 2544's shortest trial.
    pub const SECONDS: f64 = 60.0;

    /// Loads from `from` to `to`, ending where (upper − lower) / upper is at most `width`.
    ///
    /// # Errors
    ///
    /// A range that isn't 0 < `from` < `to`, or a width that isn't between 0 and 1.
    pub fn new(from: f64, to: f64, width: f64) -> Result<Self, SearchError> {
        if !(seconds(from) && from < to && to.is_finite()) {
            return Err(SearchError::Range { from, to });
        }
        if !(1e-9..1.0).contains(&width) {
            return Err(SearchError::Width { width });
        }
        Ok(Self {
            from,
            to,
            width,
            seconds: Self::SECONDS,
            lower: None,
            upper: None,
            asked: None,
        })
    }

    /// The next trial, or the result. Asking again before a result is recorded gives the same trial.
    pub fn step(&mut self) -> BinaryStep {
        self.asked = match (self.lower, self.upper) {
            (_, None) if self.lower.is_some() => None,
            (_, None) => Some(self.to),
            (None, Some(upper)) if upper <= self.from => None,
            (None, Some(upper)) => Some(self.half(self.from, upper).unwrap_or(self.from)),
            (Some(lower), Some(upper)) => self.half(lower, upper),
        };
        match self.asked {
            Some(load) => BinaryStep::Trial {
                load,
                seconds: self.seconds,
            },
            None => BinaryStep::Done(BinaryResult {
                lower: self.lower,
                upper: self.upper,
            }),
        }
    }

    fn half(&self, lower: f64, upper: f64) -> Option<f64> {
        ((upper - lower) / upper > self.width).then(|| lower + (upper - lower) / 2.0)
    }

    /// Takes the result of the trial that [`Binary::step`] asked for.
    ///
    /// # Errors
    ///
    /// No trial was asked for.
    pub fn record(&mut self, observation: Observation) -> Result<(), SearchError> {
        let load = self.asked.take().ok_or(SearchError::NothingAsked)?;
        if observation.loss_ratio() > 0.0 {
            self.upper = Some(load);
        } else {
            self.lower = Some(load);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(capacity: f64) -> (usize, BinaryResult) {
        let mut search = Binary::new(1_000.0, 1_488_095.0, 0.01).unwrap();
        let mut trials = 0;
        loop {
            match search.step() {
                BinaryStep::Done(result) => return (trials, result),
                BinaryStep::Trial { load, seconds } => {
                    assert_eq!(seconds, 60.0);
                    trials += 1;
                    let offered = (load * seconds) as u64;
                    let forwarded = offered.min((capacity * seconds) as u64);
                    search.record(Observation::new(offered, forwarded)).unwrap();
                }
            }
        }
    }

    #[test]
    fn the_throughput_lies_between_the_bounds() {
        let (trials, result) = run(300_000.0);
        let (lower, upper) = (result.lower.unwrap(), result.upper.unwrap());
        assert!(lower <= 300_000.0 && 300_000.0 < upper);
        assert!((upper - lower) / upper <= 0.01);
        assert!(trials < 15, "{trials}");
    }

    #[test]
    fn a_device_beyond_the_range_leaves_a_bound_out() {
        let (trials, fast) = run(1e9);
        assert_eq!(
            (trials, fast.lower, fast.upper),
            (1, Some(1_488_095.0), None)
        );
        let (_, slow) = run(10.0);
        assert_eq!((slow.lower, slow.upper), (None, Some(1_000.0)));
    }

    #[test]
    fn one_packet_lost_in_a_minute_is_loss() {
        let mut search = Binary::new(1.0, 2.0, 0.4).unwrap();
        search.step();
        search.record(Observation::new(1_000_000, 999_999)).unwrap();
        assert_eq!(
            search.step(),
            BinaryStep::Trial {
                load: 1.5,
                seconds: 60.0
            }
        );
    }

    #[test]
    fn what_no_search_can_begin_with_is_refused() {
        assert!(matches!(
            Binary::new(2.0, 1.0, 0.1),
            Err(SearchError::Range { .. })
        ));
        assert!(matches!(
            Binary::new(1.0, 2.0, 0.0),
            Err(SearchError::Width { .. })
        ));
        let mut search = Binary::new(1.0, 2.0, 0.1).unwrap();
        assert_eq!(
            search.record(Observation::new(1, 1)),
            Err(SearchError::NothingAsked)
        );
    }
}
