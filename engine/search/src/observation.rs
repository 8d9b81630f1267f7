/// What one trial showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Packets that were sent.
    pub offered: u64,
    /// Packets that arrived.
    pub forwarded: u64,
    /// Packets that should have been sent. `None`: as many as were sent.
    pub intended: Option<u64>,
    /// Seconds that the trial took with its overheads. They count towards `duration_sum`. `None`: as long as asked.
    pub seconds: Option<f64>,
}

impl Observation {
    /// A generator that kept its rate, and a trial that took as long as was asked.
    #[must_use]
    pub const fn new(offered: u64, forwarded: u64) -> Self {
        Self {
            offered,
            forwarded,
            intended: None,
            seconds: None,
        }
    }

    /// 0 to 1. A packet that was not sent, though it should have been, counts as lost: a generator that lagged
    /// must not make a load look good. So does one that arrived twice. 0 where nothing was intended.
    #[must_use]
    pub fn loss_ratio(&self) -> f64 {
        let intended = self.intended.unwrap_or(self.offered);
        let overall = self.offered.max(intended);
        let bad = self.offered.abs_diff(self.forwarded) + self.offered.abs_diff(intended);
        if overall == 0 {
            0.0
        } else {
            bad as f64 / overall as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lagging_generator_did_not_send_is_lost() {
        let lagged = Observation {
            intended: Some(1_000),
            ..Observation::new(900, 900)
        };
        assert_eq!(lagged.loss_ratio(), 0.1);
        assert_eq!(Observation::new(900, 900).loss_ratio(), 0.0);
        assert_eq!(Observation::new(1_000, 995).loss_ratio(), 0.005);
        assert_eq!(Observation::new(0, 0).loss_ratio(), 0.0);
    }

    #[test]
    fn packets_that_arrive_twice_are_no_success() {
        assert_eq!(Observation::new(1_000, 1_100).loss_ratio(), 0.1);
    }
}
