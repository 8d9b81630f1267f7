//! Samples → those of the measured window.
//!
//! Monitors start before the traffic and end after it, and traffic runs through a warm-up that is
//! not measured. A sample belongs to the window if at least [`INSIDE`] of its interval lies in it;
//! a point (a ping reply) if it lies in it. Nothing is cut in pieces: a sample is a mean over its
//! interval, and what part of it fell into the window can't be known.

use crate::record::Window;
use crate::sample::Sample;

/// The part of a sample's interval that must lie in the window. With intervals of a second it
/// lets a sample stick out by a quarter of one, so that a window of 3 s holds 2 or 3 of them
/// whatever the phase.
pub const INSIDE: f64 = 0.75;

/// The part of the window that a series of intervals must cover to stand for it. A monitor whose
/// intervals are just under half as long as the window may have but one of them inside; a tool
/// that died early in the window has less.
pub const COVERAGE: f64 = 1.0 / 3.0;

/// Slack for points and rounding, seconds.
const SLACK_S: f64 = 1e-3;

/// How a sample lies to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is a sample of the window.
    Inside,
    /// Its interval is longer than the window and holds all of it: a summary of the whole
    /// measure, such as ping's loss.
    Around,
    /// Before or after the window, or too much of it is.
    Outside,
}

/// Where a sample lies.
pub fn place(sample: &Sample, window: Window) -> Place {
    let (start, end) = (sample.t, sample.t + sample.dt);
    if sample.dt <= 0.0 {
        let inside = start >= window.start_s - SLACK_S && start <= window.end_s + SLACK_S;
        return if inside {
            Place::Inside
        } else {
            Place::Outside
        };
    }
    let overlap = end.min(window.end_s) - start.max(window.start_s);
    if overlap >= INSIDE * sample.dt - SLACK_S {
        Place::Inside
    } else if start <= window.start_s + SLACK_S && end >= window.end_s - SLACK_S {
        Place::Around
    } else {
        Place::Outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::sample::{NodeRole, Unit};

    fn at(t: f64, dt: f64) -> Place {
        let name = |text| Name::new(text).unwrap();
        let sample = Sample {
            node: name("vm1"),
            role: NodeRole::Guest,
            metric: name("cpu"),
            unit: Unit::CpuPercent,
            t,
            dt,
            value: 1.0,
        };
        place(
            &sample,
            Window {
                start_s: 10.0,
                end_s: 13.0,
            },
        )
    }

    #[test]
    fn intervals_may_stick_out_by_a_quarter() {
        assert_eq!(at(10.0, 1.0), Place::Inside);
        assert_eq!(at(9.75, 1.0), Place::Inside);
        assert_eq!(at(9.7, 1.0), Place::Outside);
        assert_eq!(at(12.25, 1.0), Place::Inside);
        assert_eq!(at(12.3, 1.0), Place::Outside);
        assert_eq!(at(20.0, 1.0), Place::Outside);
    }

    #[test]
    fn points_lie_in_or_out() {
        assert_eq!(at(10.0, 0.0), Place::Inside);
        assert_eq!(at(13.0, 0.0), Place::Inside);
        assert_eq!(at(9.9, 0.0), Place::Outside);
        assert_eq!(at(13.1, 0.0), Place::Outside);
    }

    #[test]
    fn summaries_of_more_than_the_window_are_told_apart() {
        assert_eq!(at(8.0, 6.0), Place::Around);
        assert_eq!(at(10.0, 3.0), Place::Inside);
        assert_eq!(at(11.0, 6.0), Place::Outside);
    }
}
