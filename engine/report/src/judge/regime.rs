//! Whether a claim can be seen in a run at all: decided before its direction is looked at, by what the
//! study declares (`needs`) and by what can be attained on the run's machines.

mod computers;
mod declared;

use std::collections::BTreeSet;

use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::plan::Calibration;
use vexp_api::sample::Unit;
use vexp_api::spec::{Assertion, Calibrate, Claim, Condition, MetricRef, Operand, Role};

pub(super) use declared::Declared;
use declared::HARDWARE;

use super::assertion::{Judged, Lookup, region};
use super::reason::{describe, digits};
use crate::frame::Frames;
use crate::stats::Region;

/// From which share of all processors on a machine counts as saturated.
const SATURATED: f64 = 0.97;

/// Share of its rate at which a link counts as filled: TCP with frames of 1500 bytes has 94 % of it.
const FILLED: f64 = 0.9;

/// What keeps a claim from being seen.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// Today's software differs on purpose from that of the claim.
    Software,
    /// The testbed does not have what the claim is about.
    Testbed,
    /// The machine ends before the claim does.
    Machine,
    /// A condition of the measurement was missed.
    Condition,
    /// A positive control did not show what it always shows.
    Control,
}

impl CauseKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [
        Self::Software,
        Self::Testbed,
        Self::Machine,
        Self::Condition,
        Self::Control,
    ];

    /// A heading for claims with such a cause.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Software => "today's software differs on purpose",
            Self::Testbed => "the testbed does not have what the claim is about",
            Self::Machine => "the machine ends before the claim does",
            Self::Condition => "a condition of the measurement was missed",
            Self::Control => "a positive control did not show what it must",
        }
    }
}

/// Why a claim can't be seen in a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
pub struct Cause {
    /// Kind.
    pub kind: CauseKind,
    /// What stands in the way.
    pub what: String,
    /// What would lift it.
    pub lift: String,
}

/// A control decides nothing but whether the claim could be seen, and so needs no correction.
const CONTROL: f64 = super::ALPHA;

/// A control that shows the contrary of what it must.
pub(super) fn failed_control(control: &Judged) -> Option<Cause> {
    let decision = control.decision()?;
    (!decision.inside && decision.p <= CONTROL).then(|| Cause {
        kind: CauseKind::Control,
        what: format!("a positive control fails: {}", control.words()),
        lift: "a machine on which the control holds".to_owned(),
    })
}

/// How sure it is that a control holds.
pub(super) fn control_p(control: &Judged) -> f64 {
    match control.decision() {
        Some(decision) if decision.inside => decision.p,
        _ => 1.0,
    }
}

/// Everything but controls that keeps a claim from being seen, each once, sorted.
pub(super) fn causes(claim: &Claim, lookup: &Lookup<'_>) -> Vec<Cause> {
    let frames = lookup.frames();
    let about = Declared {
        claim,
        run: &frames.run,
    };
    let cx = Cx {
        about,
        claim,
        lookup,
        frames,
    };
    let mut found = BTreeSet::new();
    found.extend(cx.about.causes());
    cx.calibration(&mut found);
    cx.conditions(&mut found);
    found.extend(computers::mixed(claim, &frames.run));
    for test in &claim.tests {
        found.extend(cx.attainable(test));
    }
    found.into_iter().collect()
}

struct Cx<'a> {
    about: Declared<'a>,
    claim: &'a Claim,
    lookup: &'a Lookup<'a>,
    frames: &'a Frames,
}

type Found = BTreeSet<Cause>;

impl<'a> Cx<'a> {
    /// A link rate that was to be found and was not is no condition that was met.
    fn calibration(&self, found: &mut Found) {
        let run = &self.frames.run;
        let overlay = run.study.testbeds.get(&run.plan.testbed);
        let link = overlay.and_then(|overlay| overlay.link.as_ref());
        let asked = link.and_then(|link| link.calibrate.as_ref());
        if let (Some(asked), Some(calibration)) = (asked, &run.plan.calibration)
            && let Some(what) = missed(asked, calibration)
            && !self.claim.tests.is_empty()
        {
            found.insert(Cause {
                kind: CauseKind::Condition,
                what,
                lift: "a link rate that the study declares, or a computer on which it is reached"
                    .to_owned(),
            });
        }
    }

    fn conditions(&self, found: &mut Found) {
        for condition in &self.claim.needs.holds {
            for (experiment, platform, vms) in self.about.points() {
                found.extend(match condition {
                    Condition::Unsaturated => self.saturated(experiment, platform, vms),
                    Condition::LinkFilled => self.link_not_filled(experiment),
                    Condition::HardwareVirtualization => None,
                });
            }
        }
        if let Some(share) = self.claim.needs.offered {
            for (experiment, platform, vms) in self.about.points() {
                found.extend(self.lagging(share, experiment, platform, vms));
            }
        }
    }

    fn value(&self, metric: &str, experiment: &Name, platform: &Name, vms: u32) -> Option<f64> {
        let of = MetricRef {
            metric: Name::new(metric).ok()?,
            experiment: experiment.clone(),
            platform: platform.clone(),
            vms,
            node: None,
        };
        self.lookup.value(&of)
    }

    fn saturated(&self, experiment: &Name, platform: &Name, vms: u32) -> Option<Cause> {
        let used = self.value("cpu_total", experiment, platform, vms)?;
        let all = 100.0 * f64::from(self.about.machine(experiment, platform)?.cpus);
        (used >= SATURATED * all).then(|| Cause {
            kind: CauseKind::Machine,
            what: format!(
                "all processors are busy on {}: {} of {all} %",
                at(experiment, platform, vms),
                digits(used)
            ),
            lift: "a slower link, or a faster machine".to_owned(),
        })
    }

    /// Classical Linux in the same experiment, whether or not a test names it.
    fn link_not_filled(&self, experiment: &Name) -> Option<Cause> {
        let run = &self.frames.run;
        let mut trials = run.plan.trials();
        let classical = trials.find(|trial| {
            trial.experiment == *experiment && trial.vms == 0 && run.is_classical(&trial.platform)
        })?;
        let platform = &classical.platform;
        let reached = self.value("throughput_aggregate", experiment, platform, 0)?;
        let rate = self
            .about
            .machine(experiment, platform)?
            .nics
            .first()?
            .rate
            .mbps();
        (reached < FILLED * rate).then(|| Cause {
            kind: CauseKind::Machine,
            what: format!(
                "classical Linux does not fill the link in {experiment}: {} of {} Mb/s",
                digits(reached),
                digits(rate)
            ),
            lift: "a slower link, or a faster machine".to_owned(),
        })
    }

    fn lagging(&self, share: f64, experiment: &Name, platform: &Name, vms: u32) -> Option<Cause> {
        let offered = self.value("offered_load", experiment, platform, vms)?;
        let machine = self.about.machine(experiment, platform)?;
        // What a router forwards comes from a machine of its own for each flow.
        let role = self.frames.run.study.experiments.get(experiment)?.role;
        let sources = if role == Role::Router { vms.max(1) } else { 1 };
        let rate = machine.nics.first()?.rate.mbps() * f64::from(sources);
        (offered < share * rate).then(|| Cause {
            kind: CauseKind::Condition,
            what: format!(
                "the generator lags on {}: it offers {} of {} Mb/s",
                at(experiment, platform, vms),
                digits(offered),
                digits(share * rate)
            ),
            lift: "a faster generator, or a slower link".to_owned(),
        })
    }

    /// Whether what can be attained here lies on both sides of what is claimed. The largest value of
    /// processor time is all of the machine's; a ratio to a measured value has one that follows.
    fn attainable(&self, test: &Assertion) -> Option<Cause> {
        let most = self.most(&test.left)?;
        let least = self.least(&test.left);
        let (claimed, scale) = match &test.right {
            Operand::Number(number) => (*number, 1.0),
            Operand::Metric { of, times } => (*times, self.lookup.value(of)?),
        };
        if scale <= 0.0 {
            return None;
        }
        let range = (least / scale, most / scale);
        let asked = region(test.relation, claimed, test.margin);
        let problem = match attained(range, asked) {
            Attained::Both => return None,
            Attained::None => "cannot be what is claimed",
            Attained::All => "is what is claimed, whatever is measured",
        };
        let right = match &test.right {
            Operand::Number(_) => String::new(),
            Operand::Metric { of, .. } => format!(" times {}", describe(of)),
        };
        Some(Cause {
            kind: CauseKind::Machine,
            what: format!(
                "{} {problem}: here it can be {} to {}{right}, and claimed is {}",
                describe(&test.left),
                digits(range.0),
                digits(range.1),
                words(asked)
            ),
            lift: format!("a machine with more processors: {HARDWARE}"),
        })
    }

    fn most(&self, of: &MetricRef) -> Option<f64> {
        let metric = metric::find(of.metric.as_str())?;
        let (_, possible) = metric.possible();
        let all = match metric.unit {
            Unit::CpuPercent => {
                let machine = self.about.machine(&of.experiment, &of.platform)?;
                let all = 100.0 * f64::from(machine.cpus);
                let own = machine.guest.filter(|_| metric.name == "cpu_guest");
                own.map_or(all, |guest| all.min(100.0 * f64::from(guest.vcpus)))
            }
            _ => f64::INFINITY,
        };
        let most = possible.min(all);
        most.is_finite().then_some(most)
    }

    /// Fairness among N is at least 1/N.
    fn least(&self, of: &MetricRef) -> f64 {
        match of.metric.as_str() {
            "jain_throughput" | "jain_cpu" => 1.0 / f64::from(of.vms.max(1)),
            _ => 0.0,
        }
    }
}

/// The sides of an assertion that are metrics.
pub(super) fn sides(test: &Assertion) -> impl Iterator<Item = &MetricRef> {
    let right = match &test.right {
        Operand::Metric { of, .. } => Some(of),
        Operand::Number(_) => None,
    };
    std::iter::once(&test.left).chain(right)
}

fn at(experiment: &Name, platform: &Name, vms: u32) -> String {
    match vms {
        0 => format!("{platform} in {experiment}"),
        1 => format!("{platform} with 1 VM in {experiment}"),
        n => format!("{platform} with {n} VMs in {experiment}"),
    }
}

/// What of a range lies in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attained {
    Both,
    None,
    All,
}

fn attained((least, most): (f64, f64), region: Region) -> Attained {
    let low = region.low.unwrap_or(f64::NEG_INFINITY);
    let high = region.high.unwrap_or(f64::INFINITY);
    let (above, below) = match region.closed {
        true => (most < low, least > high),
        false => (most <= low, least >= high),
    };
    let inside = match region.closed {
        true => least >= low && most <= high,
        false => least > low && most < high,
    };
    match (above || below, inside) {
        (true, _) => Attained::None,
        (false, true) => Attained::All,
        (false, false) => Attained::Both,
    }
}

fn words(region: Region) -> String {
    match (region.low, region.high) {
        (Some(low), Some(high)) => format!("{} to {}", digits(low), digits(high)),
        (Some(low), None) => format!("more than {}", digits(low)),
        (None, Some(high)) => format!("less than {}", digits(high)),
        (None, None) => "anything".to_owned(),
    }
}

/// What a calibration missed: it was cut at a bound, and the rate that was asked for lies beyond.
fn missed(asked: &Calibrate, found: &Calibration) -> Option<String> {
    let (low, high) = found.interval;
    let cut = (found.factor <= asked.least && high < asked.least)
        || (found.factor >= asked.most && low > asked.most);
    cut.then(|| {
        format!(
            "the link rate at which {} on `{}` costs {} % of all processors was not reached: it lies at a \
             factor of {} to {}, and {} was used",
            asked.experiment,
            asked.platform,
            digits(100.0 * found.cpu),
            digits(low),
            digits(high),
            digits(found.factor)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region_of(low: Option<f64>, high: Option<f64>, closed: bool) -> Region {
        Region { low, high, closed }
    }

    #[test]
    fn both_sides_of_a_border_must_be_attainable() {
        let range = (0.0, 1.12);
        // A ratio of 3.02 where 1.12 is the most possible.
        let about = region_of(Some(2.9), Some(3.1), true);
        assert_eq!(attained(range, about), Attained::None);
        assert_eq!(
            attained(range, region_of(Some(0.5), None, true)),
            Attained::Both
        );
        assert_eq!(
            attained(range, region_of(None, Some(2.0), true)),
            Attained::All
        );
        assert_eq!(
            attained(range, region_of(Some(1.12), None, false)),
            Attained::None
        );
        assert_eq!(
            attained(range, region_of(Some(1.12), None, true)),
            Attained::Both
        );
        assert_eq!(
            attained((0.5, 1.0), region_of(Some(0.95), None, true)),
            Attained::Both
        );
    }

    #[test]
    fn a_calibration_that_was_cut_is_missed() {
        let asked: Calibrate = serde_json::from_value(serde_json::json!({
            "experiment": "send-tcp", "platform": "linux", "cpu": 0.32, "least": 0.05, "most": 0.4,
        }))
        .unwrap();
        let found = |factor, interval| Calibration {
            factor,
            interval,
            cpu_per_mbps: 0.5,
            cpu: 0.32,
            points: Vec::new(),
            note: None,
        };
        assert_eq!(missed(&asked, &found(0.1, (0.09, 0.11))), None);
        assert_eq!(missed(&asked, &found(0.05, (0.04, 0.06))), None);
        let told = missed(&asked, &found(0.05, (0.03, 0.04))).unwrap();
        assert!(told.contains("0.03 to 0.04, and 0.05 was used"), "{told}");
        assert!(missed(&asked, &found(0.4, (0.5, 0.7))).is_some());
    }
}
