//! The link rate at which classical Linux's traffic costs what the publication says.
//!
//! Each trial of a calibration gives a point: goodput in Mb/s and processor time in percent of one
//! processor. The cost at rest and the cost per Mb/s are a line through the points by least squares;
//! where the line has the cost that is asked for is the goodput that is looked for. This is inverse
//! prediction (calibration), and its interval is Fieller's: E. C. Fieller, *Some Problems in Interval
//! Estimation*, J. R. Stat. Soc. B 16(2), 1954; N. Draper, H. Smith, *Applied Regression Analysis*,
//! 3rd edition, 1998, section 3.2. It takes the trials as independent, which trials on one machine
//! are only nearly.
//!
//! A machine whose processors are all busy costs no more however much it is asked for: such trials
//! say nothing about the line and are left out of it.
//!
//! Costs are per goodput, for that is what the publication gives; a link's rate has headers in it
//! too. So the goodput is turned into a rate by what full links were seen to carry.

use statrs::distribution::{ContinuousCDF as _, StudentsT};
use vexp_api::plan::Calibration;
use vexp_api::record::Part;
use vexp_api::sample::NodeRole;
use vexp_api::spec::Calibrate;
use vexp_api::units::BitRate;

use crate::frame::{Frames, TrialFrame};
use crate::stats::{self, LEVEL};

/// A link that carries this share of its rate as goodput is full. TCP over Ethernet has 0.94 to
/// 0.96, UDP with small packets less.
const FULL: f64 = 0.85;

/// Processors that are busy for this share of the time are at their end.
const BUSY: f64 = 0.95;

/// What a trial of a calibration showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Rate of the link, Mb/s.
    pub link: f64,
    /// Goodput, Mb/s.
    pub goodput: f64,
    /// Processor time, percent of one processor.
    pub cpu: f64,
}

/// Why trials give no link rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// There is no line through them.
    #[error("{0} usable trials at {1} link rates: three trials and two rates are needed at least")]
    TooFew(usize, usize),
    /// They are too scattered.
    #[error("the trials are too scattered to say that processor time grows with the rate")]
    NoSlope,
    /// The reference point is not bound by the link.
    #[error("no link was full: the reference point can't fill the slowest of them")]
    NotFull,
    /// The cost is less than what the machine needs at rest.
    #[error("the machine at rest costs more than what is asked for")]
    AtRest,
}

/// The observations of a calibration's trials. A trial without processor time is left out.
pub fn observations(frames: &Frames) -> Vec<Observation> {
    let all = frames.trials.iter();
    all.filter_map(|frame| {
        let mut blocks = frames.run.plan.blocks.iter();
        let block = blocks.find(|block| block.trials.iter().any(|t| t.id == frame.trial.id))?;
        let slowest = block.machine.nics.iter().map(|nic| nic.rate).min()?;
        Some(Observation {
            link: slowest.mbps(),
            goodput: mean_of(frame, Part::Traffic, "throughput")?,
            cpu: mean_of(frame, Part::Monitor, "cpu")?,
        })
    })
    .collect()
}

/// Mean of a metric of the host over the window.
fn mean_of(frame: &TrialFrame, part: Part, metric: &str) -> Option<f64> {
    let samples = || {
        let rows = frame.rows.iter().filter(|row| row.part == part);
        rows.map(|row| &row.sample)
            .filter(|sample| sample.role == NodeRole::Host && sample.metric == *metric)
    };
    let time: f64 = samples().map(|sample| sample.dt).sum();
    let area: f64 = samples().map(|sample| sample.dt * sample.value).sum();
    (time > 0.0).then(|| area / time)
}

/// The factor on link rates at which the reference point costs `asked.cpu` of `processors`
/// processors, rounded to two significant digits and kept within the bounds. `nominal` is the rate
/// that the study gives the link.
///
/// # Errors
/// [`CalibrationError`], if the observations don't say.
pub fn calibrated(
    seen: &[Observation],
    asked: &Calibrate,
    nominal: BitRate,
    processors: u32,
) -> Result<Calibration, CalibrationError> {
    let points: Vec<(f64, f64)> = seen.iter().map(|o| (o.goodput, o.cpu)).collect();
    let busy = BUSY * 100.0 * f64::from(processors);
    let below: Vec<(f64, f64)> = (points.iter().copied())
        .filter(|(_, cpu)| *cpu < busy)
        .collect();
    let line = Line::through(&below)?;
    let cost = asked.cpu * 100.0 * f64::from(processors);
    if cost <= line.at(0.0) {
        return Err(CalibrationError::AtRest);
    }
    let full = seen.iter().filter(|o| o.goodput >= FULL * o.link);
    let shares: Vec<f64> = full.map(|o| o.link / o.goodput).collect();
    let overhead = stats::mean(&shares).ok_or(CalibrationError::NotFull)?;
    let factor = |goodput: f64| goodput * overhead / nominal.mbps();
    let found = factor(line.inverse(cost));
    let (low, high) = line.interval(cost);
    let used = two_digits(found).clamp(asked.least, asked.most);
    Ok(Calibration {
        factor: used,
        interval: (factor(low), factor(high)),
        cpu_per_mbps: line.slope,
        cpu: asked.cpu,
        note: note(found, used, asked, seen, nominal),
        points,
    })
}

/// What a reader must know about the factor.
fn note(
    found: f64,
    used: f64,
    asked: &Calibrate,
    seen: &[Observation],
    nominal: BitRate,
) -> Option<String> {
    if used != two_digits(found) {
        let bound = if found < asked.least { "least" } else { "most" };
        return Some(format!(
            "{} was found and cut to {used}, the {bound} that the study allows",
            two_digits(found)
        ));
    }
    let factors = || seen.iter().map(|o| o.link / nominal.mbps());
    let (low, high) = factors().fold((f64::INFINITY, 0.0_f64), |(low, high), factor| {
        (low.min(factor), high.max(factor))
    });
    (found < low || found > high)
        .then(|| format!("extrapolated: trials were made at factors from {low} to {high}"))
}

/// To two significant digits.
fn two_digits(value: f64) -> f64 {
    // By way of its text: the decimal that people read.
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// A line by least squares, with what its intervals need.
struct Line {
    slope: f64,
    mean_x: f64,
    mean_y: f64,
    /// Σ (x - mean)².
    spread: f64,
    n: f64,
    /// Student's t times the residuals' standard deviation.
    ts: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Result<Self, CalibrationError> {
        let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let mut distinct = xs.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        let too_few = CalibrationError::TooFew(points.len(), distinct.len());
        if points.len() < 3 || distinct.len() < 2 {
            return Err(too_few);
        }
        let mean_x = stats::mean(&xs).ok_or(too_few)?;
        let mean_y = stats::mean(&ys).ok_or(too_few)?;
        let n = points.len() as f64;
        let spread: f64 = xs.iter().map(|x| (x - mean_x).powi(2)).sum();
        let products = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y));
        let slope = products.sum::<f64>() / spread;
        let residuals = points
            .iter()
            .map(|(x, y)| (y - mean_y) - slope * (x - mean_x));
        let deviation = (residuals.map(|r| r * r).sum::<f64>() / (n - 2.0)).sqrt();
        let t = StudentsT::new(0.0, 1.0, n - 2.0).map_err(|_| too_few)?;
        let line = Self {
            slope,
            mean_x,
            mean_y,
            spread,
            n,
            ts: t.inverse_cdf((1.0 + LEVEL) / 2.0) * deviation,
        };
        // Where the slope's own interval has 0 in it, Fieller's is unbounded.
        if slope > 0.0 && line.bounded() > 0.0 {
            Ok(line)
        } else {
            Err(CalibrationError::NoSlope)
        }
    }

    fn at(&self, x: f64) -> f64 {
        self.mean_y + self.slope * (x - self.mean_x)
    }

    fn inverse(&self, y: f64) -> f64 {
        self.mean_x + (y - self.mean_y) / self.slope
    }

    /// slope² - t² s² / spread: positive if the slope differs from 0.
    fn bounded(&self) -> f64 {
        self.slope.powi(2) - self.ts.powi(2) / self.spread
    }

    /// Where the band of the line has `y`: the roots of
    /// (slope u - d)² = t² s² (1/n + u²/spread), with u = x - mean and d = y - mean.
    fn interval(&self, y: f64) -> (f64, f64) {
        let d = y - self.mean_y;
        let a = self.bounded();
        let middle = self.slope * d / a;
        let inside = a / self.n + d.powi(2) / self.spread;
        let half = self.ts * inside.max(0.0).sqrt() / a;
        (self.mean_x + middle - half, self.mean_x + middle + half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vexp_api::ids::Name;

    const GIGA: BitRate = BitRate::new(1_000_000_000);

    fn asked(cpu: f64, least: f64, most: f64) -> Calibrate {
        Calibrate {
            experiment: Name::new("send-tcp").unwrap(),
            platform: Name::new("linux").unwrap(),
            cpu,
            least,
            most,
        }
    }

    /// Trials at these link rates in Mb/s that carry 0.95 of it and cost 2 + 0.2 a Mb/s, and `off`
    /// more or less in turn.
    fn seen(links: &[f64], off: f64) -> Vec<Observation> {
        let signs = [1.0, -1.0, 0.0].into_iter().cycle();
        let trials = links.iter().flat_map(|link| [link; 3]).zip(signs);
        trials
            .map(|(link, sign)| Observation {
                link: *link,
                goodput: 0.95 * link,
                cpu: 2.0 + 0.2 * 0.95 * link + sign * off,
            })
            .collect()
    }

    #[test]
    fn an_exact_line_gives_the_rate_that_it_must() {
        let trials = seen(&[50.0, 100.0, 200.0], 0.0);
        let found = calibrated(&trials, &asked(0.32, 0.05, 0.4), GIGA, 1).unwrap();
        // 2 + 0.2 x = 32 at x = 150 Mb/s of goodput, which a link of 150 / 0.95 carries.
        assert_eq!(found.factor, 0.16);
        let exact = 0.150 / 0.95;
        assert!((found.interval.0 - exact).abs() < 1e-9, "{found:?}");
        assert!((found.interval.1 - exact).abs() < 1e-9, "{found:?}");
        assert!((found.cpu_per_mbps - 0.2).abs() < 1e-9);
        assert_eq!((found.points.len(), found.note), (9, None));
    }

    #[test]
    fn a_textbook_line_has_its_interval() {
        // x = 1..5, y = 2, 4, 5, 4, 5: slope 0.6, mean (3, 4), Σ(x-3)² = 10, s² = 0.8,
        // t(0.975, 3) = 3.182446: g = t² s² / (slope² 10) > 1, so there is no interval.
        let flat: Vec<_> = (1..=5)
            .map(f64::from)
            .zip([2.0, 4.0, 5.0, 4.0, 5.0])
            .collect();
        assert!(matches!(
            Line::through(&flat),
            Err(CalibrationError::NoSlope)
        ));
        // y = 1, 3, 2, 5, 4 + 4 (x - 1): slope 4.8, mean y 11, s² = 3.6 / 3 = 1.2.
        let y = [1.0, 7.0, 10.0, 17.0, 20.0];
        let steep: Vec<_> = (1..=5).map(f64::from).zip(y).collect();
        let line = Line::through(&steep).unwrap();
        assert!((line.slope - 4.8).abs() < 1e-12);
        assert!((line.inverse(15.8) - 4.0).abs() < 1e-12);
        // The band of the line at each end of the interval has the value that was looked for.
        let (low, high) = line.interval(15.8);
        let ts = 3.182_446_3 * 1.2_f64.sqrt();
        let band = |x: f64| ts * (0.2 + (x - 3.0).powi(2) / 10.0).sqrt();
        assert!((line.at(low) + band(low) - 15.8).abs() < 1e-6);
        assert!((line.at(high) - band(high) - 15.8).abs() < 1e-6);
    }

    #[test]
    fn bounds_cut_and_say_so() {
        let trials = seen(&[50.0, 100.0, 200.0], 0.1);
        let low = calibrated(&trials, &asked(0.32, 0.05, 0.1), GIGA, 1).unwrap();
        assert_eq!(low.factor, 0.1);
        assert!(low.note.unwrap().contains("cut to 0.1, the most"));
        let high = calibrated(&trials, &asked(0.05, 0.05, 0.1), GIGA, 1).unwrap();
        assert_eq!(high.factor, 0.05);
        assert!(high.note.unwrap().contains("the least"));
        let far = calibrated(&trials, &asked(0.32, 0.05, 0.4), GIGA, 2).unwrap();
        assert_eq!(far.factor, 0.33);
        assert!(far.note.unwrap().starts_with("extrapolated"));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let want = asked(0.32, 0.05, 0.4);
        let of = |trials: &[Observation]| calibrated(trials, &want, GIGA, 1).unwrap_err();
        assert_eq!(of(&[]), CalibrationError::TooFew(0, 0));
        assert_eq!(of(&seen(&[100.0], 0.0)), CalibrationError::TooFew(3, 1));
        assert_eq!(of(&seen(&[50.0, 100.0], 40.0)), CalibrationError::NoSlope);
        let mut slow = seen(&[50.0, 100.0, 200.0], 0.0);
        for trial in &mut slow {
            trial.link *= 2.0;
        }
        assert_eq!(of(&slow), CalibrationError::NotFull);
        let mut busy = seen(&[50.0, 100.0, 200.0], 0.0);
        for trial in &mut busy {
            trial.cpu += 40.0;
        }
        assert_eq!(of(&busy), CalibrationError::AtRest);
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(256))]

        /// Whatever the line: the estimate lies in its interval, the factor within the bounds, and
        /// more scatter never makes the interval narrower.
        #[test]
        fn estimates_lie_in_their_intervals(
            off in 0.0_f64..1.0,
            more in 0.0_f64..1.0,
            cpu in 0.05_f64..0.6,
        ) {
            let of = |off| calibrated(&seen(&[50.0, 100.0, 200.0], off), &asked(cpu, 0.05, 0.4), GIGA, 1);
            let (found, wider) = (of(off).unwrap(), of(off + more).unwrap());
            prop_assert!((0.05..=0.4).contains(&found.factor));
            let exact = (cpu * 100.0 - 2.0) / 0.2 / 0.95 / 1000.0;
            let width = |c: &Calibration| c.interval.1 - c.interval.0;
            // `off` adds up to nothing at each rate, so the line stays the same.
            prop_assert!(found.interval.0 <= exact + 1e-9 && exact <= found.interval.1 + 1e-9);
            prop_assert!(width(&wider) >= width(&found) - 1e-12);
        }
    }
}
