//! Calibration of the link rate: which trials it needs, and what becomes of the factor.

use std::borrow::Cow;

use vexp_api::ids::Name;
use vexp_api::plan::{Block, Calibration, Plan};
use vexp_api::spec::{Calibrate, Effort, Overlay};
use vexp_api::units::TimeSpan;

use super::order::Rng;
use super::{Cx, PlanError, machine, overlay, reasons};
use crate::check::CheckedStudy;

/// Trials at each link rate: with three rates the line has nine points and seven degrees of freedom.
const TRIALS: u32 = 3;
/// TCP has left slow start long before at the rates that are emulated.
const WARM_UP: TimeSpan = TimeSpan::from_secs(1);
/// Monitors count in seconds, and the first and last of a window are cut.
const WINDOW: TimeSpan = TimeSpan::from_secs(5);

/// How the study asks to find the link rate of a testbed.
///
/// # Errors
/// [`PlanError::NoTestbed`]
pub fn calibrate<'a>(
    checked: &'a CheckedStudy,
    testbed: &Name,
) -> Result<Option<&'a Calibrate>, PlanError> {
    let link = overlay(checked, testbed)?.link.as_ref();
    Ok(link.and_then(|link| link.calibrate.as_ref()))
}

/// The trials of a calibration: the reference point at link rates around the one where the search
/// begins, a machine for each, in random order. `None` if the study does not ask for it.
///
/// # Errors
/// [`PlanError`], if the reference point can't be run on the testbed.
pub fn calibration_plan(checked: &CheckedStudy, testbed: &Name) -> Result<Option<Plan>, PlanError> {
    let overlay = overlay(checked, testbed)?;
    let Some(link) = &overlay.link else {
        return Ok(None);
    };
    let Some(calibrate) = &link.calibrate else {
        return Ok(None);
    };
    let effort = Effort {
        platforms: Some(vec![calibrate.platform.clone()]),
        experiments: Some(vec![calibrate.experiment.clone()]),
        vms: None,
        repetitions: TRIALS,
        boots: None,
        warm_up: WARM_UP,
        window: WINDOW,
        looks: Vec::new(),
    };
    let mut blocks = Vec::new();
    let mut excluded = std::collections::BTreeSet::new();
    for (boot, factor) in (1..).zip(factors(link.factor, calibrate)) {
        let cx = Cx {
            checked,
            overlay: Cow::Owned(with_factor(overlay, factor)),
            testbed,
            effort: &effort,
            looks: None,
        };
        let groups = cx.expand(&mut excluded)?;
        blocks.extend(one_block(cx.blocks(groups)?, boot, factor)?);
    }
    let excluded: Vec<_> = excluded.into_iter().collect();
    if blocks.is_empty() {
        return Err(PlanError::Nothing(reasons(&excluded)));
    }
    machine::size(&mut blocks);
    Rng::new(checked.study().seed, "calibration").shuffle(&mut blocks);
    // Blocks have links of several rates: none of them is a deviation from anything.
    let overlay = Overlay {
        link: None,
        ..overlay.clone()
    };
    let cx = Cx {
        checked,
        overlay: Cow::Owned(overlay),
        testbed,
        effort: &effort,
        looks: None,
    };
    let name = Name::new("calibration")?;
    Ok(Some(cx.finished(&name, None, blocks, excluded)))
}

/// Half the factor, the factor and twice the factor, within the bounds, each once.
fn factors(start: f64, calibrate: &Calibrate) -> Vec<f64> {
    let mut all: Vec<f64> = [0.5, 1.0, 2.0]
        .into_iter()
        .map(|times| two_digits(start * times).clamp(calibrate.least, calibrate.most))
        .collect();
    all.dedup();
    all
}

/// To two significant digits, so that a rate is a whole number of bits per second: see
/// `check::calibration`.
fn two_digits(value: f64) -> f64 {
    // By way of its text: the decimal that people read.
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// Trials of several machines that differ in the repetition only, on one machine. Repetitions go
/// on counting from rate to rate, for trials' names must differ.
fn one_block(blocks: Vec<Block>, boot: u32, factor: f64) -> Result<Option<Block>, PlanError> {
    let mut blocks = blocks.into_iter();
    let Some(mut block) = blocks.next() else {
        return Ok(None);
    };
    block.trials.extend(blocks.flat_map(|other| other.trials));
    block.repetition = boot;
    block.id = Name::new(format!(
        "{}.{}.link-{factor}",
        block.machine.platform, block.machine.hardware
    ))?;
    for trial in &mut block.trials {
        trial.repetition += (boot - 1) * TRIALS;
        trial.boot = boot;
        trial.id = Name::new(format!(
            "{}.{}.v{}.r{}",
            trial.experiment, trial.platform, trial.vms, trial.repetition
        ))?;
    }
    Ok(Some(block))
}

fn with_factor(overlay: &Overlay, factor: f64) -> Overlay {
    let mut overlay = overlay.clone();
    if let Some(link) = &mut overlay.link {
        link.factor = factor;
    }
    overlay
}

/// The overlay with the factor that was found, and a reason that says so. A study that does not ask
/// to find one keeps its own.
pub(super) fn apply(overlay: &Overlay, found: &Calibration) -> Overlay {
    let mut overlay = overlay.clone();
    if let Some(link) = &mut overlay.link
        && link.calibrate.is_some()
    {
        link.factor = found.factor;
        let found = "; how slow was found by calibration on the machine at hand";
        link.reason.push_str(found);
    }
    overlay
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_around_the_first_and_within_the_bounds() {
        let within = |least, most| Calibrate {
            experiment: Name::new("e").unwrap(),
            platform: Name::new("p").unwrap(),
            cpu: 0.32,
            least,
            most,
        };
        assert_eq!(factors(0.1, &within(0.02, 0.4)), [0.05, 0.1, 0.2]);
        assert_eq!(factors(0.1, &within(0.1, 0.15)), [0.1, 0.15]);
        assert_eq!(factors(0.26, &within(0.05, 0.4)), [0.13, 0.26, 0.4]);
    }
}
