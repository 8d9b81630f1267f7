//! What the testbed scaled, and how the scale was found.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::frame::Frames;
use crate::report::format;

#[derive(Debug, Serialize)]
pub(super) struct Scale {
    machines: Vec<Machine>,
    /// Factor on link rates and why, as the study says.
    link: Option<Link>,
    calibration: Option<Calibration>,
}

/// A hardware profile, asked and used.
#[derive(Debug, Serialize)]
struct Machine {
    hardware: String,
    link_asked: String,
    link_used: String,
    link_factor: String,
    cpus_asked: u32,
    cpus_used: u32,
    cpus_factor: String,
}

#[derive(Debug, Serialize)]
struct Link {
    factor: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Calibration {
    experiment: Option<String>,
    platform: Option<String>,
    factor: String,
    interval: String,
    cost: String,
    share: String,
    points: Vec<(String, String)>,
    note: Option<String>,
}

pub(super) fn scale(frames: &Frames) -> Scale {
    let run = &frames.run;
    let link = run.study.testbeds.get(&run.plan.testbed);
    let link = link.and_then(|overlay| overlay.link.as_ref());
    let calibrate = link.and_then(|link| link.calibrate.as_ref());
    let percent = |share: f64| format!("{} %", format::factor(share * 100.0));
    Scale {
        machines: machines(frames),
        link: link.map(|link| Link {
            factor: format::factor(link.factor),
            reason: link.reason.clone(),
        }),
        calibration: run.plan.calibration.as_ref().map(|found| Calibration {
            experiment: calibrate.map(|asked| asked.experiment.to_string()),
            platform: calibrate.map(|asked| asked.platform.to_string()),
            factor: format::factor(found.factor),
            interval: format!(
                "[{}, {}]",
                format::factor(found.interval.0),
                format::factor(found.interval.1)
            ),
            cost: format::factor(found.cpu_per_mbps),
            share: percent(found.cpu),
            points: found
                .points
                .iter()
                .map(|(rate, cpu)| (format!("{rate:.1}"), format!("{cpu:.1}")))
                .collect(),
            note: found.note.clone(),
        }),
    }
}

fn machines(frames: &Frames) -> Vec<Machine> {
    let run = &frames.run;
    let mut seen = BTreeSet::new();
    let blocks = run.plan.blocks.iter();
    let machines = blocks
        .map(|block| &block.machine)
        .filter(|machine| seen.insert(&machine.hardware));
    let mut found: Vec<Machine> = machines
        .filter_map(|machine| {
            let asked = run.study.hardware.get(&machine.hardware)?;
            let (wanted, used) = (asked.nics.first()?.rate, machine.nics.first()?.rate);
            Some(Machine {
                hardware: machine.hardware.to_string(),
                link_asked: wanted.to_string(),
                link_used: used.to_string(),
                link_factor: format::factor(used.mbps() / wanted.mbps()),
                cpus_asked: asked.cpus,
                cpus_used: machine.cpus,
                cpus_factor: format::factor(f64::from(machine.cpus) / f64::from(asked.cpus)),
            })
        })
        .collect();
    found.sort_by(|a, b| a.hardware.cmp(&b.hardware));
    found
}
