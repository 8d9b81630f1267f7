//! The reference point of a link's calibration must be one that can be measured.

use vexp_api::ids::Name;
use vexp_api::plugin::HypervisorTraits;
use vexp_api::sample::Unit;
use vexp_api::spec::{Calibrate, LinkScale};

use super::Cx;
use super::findings::Findings;
use super::references::{keys, resolve};
use super::rules::{finest, scaled};
use crate::load::FieldPath;

pub(super) fn check(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    for (name, overlay) in &cx.study.testbeds {
        let path = FieldPath::of(&["testbeds", name.as_str(), "link"]);
        if let Some(link) = &overlay.link
            && let Some(calibrate) = &link.calibrate
        {
            bounds(link, calibrate, &path, findings);
            rates(cx, calibrate, &path, findings);
            point(cx, calibrate, &path.key("calibrate"), findings);
        }
    }
}

/// The search begins at the factor, and must not leave the bounds.
fn bounds(link: &LinkScale, calibrate: &Calibrate, path: &FieldPath, findings: &mut Findings<'_>) {
    let at = path.key("calibrate");
    let (least, most, factor) = (at.key("least"), at.key("most"), path.key("factor"));
    if calibrate.least >= calibrate.most {
        let message = format!("{} is not less than {}", calibrate.least, calibrate.most);
        let help = Some("between the bounds there must be something to find".to_owned());
        let because = [(&most, "the upper bound")];
        findings.rule("calibrate-bounds", &least, message, help, &because);
    } else if !(calibrate.least..=calibrate.most).contains(&link.factor) {
        let message = format!(
            "the search can't begin at {}: it is out of bounds",
            link.factor
        );
        let help = Some(format!(
            "allowed: {} to {}",
            calibrate.least, calibrate.most
        ));
        let because = [(&least, "the lower bound"), (&most, "the upper bound")];
        findings.rule("calibrate-bounds", &factor, message, help, &because);
    }
}

/// Whatever factor is found must scale every rate to whole bits per second.
fn rates(cx: &Cx<'_>, calibrate: &Calibrate, path: &FieldPath, findings: &mut Findings<'_>) {
    for (name, hardware) in &cx.study.hardware {
        for (i, nic) in hardware.nics.iter().enumerate() {
            let step = finest(calibrate.least);
            if scaled(nic.rate, step).is_none() {
                let nics = FieldPath::of(&["hardware", name.as_str(), "nics"]);
                let rate = nics.index(i).key("rate");
                let at = path.key("calibrate").key("least");
                let message = format!("{} can't be scaled in steps of {step}", nic.rate);
                let help = Some("choose a larger lower bound".to_owned());
                findings.rule("link-factor", &at, message, help, &[(&rate, "the rate")]);
                return;
            }
        }
    }
}

fn point(cx: &Cx<'_>, calibrate: &Calibrate, path: &FieldPath, findings: &mut Findings<'_>) {
    let (at_experiment, at_platform) = (path.key("experiment"), path.key("platform"));
    let experiments = keys(&cx.study.experiments);
    let platforms = keys(&cx.study.platforms);
    resolve(
        "experiment",
        &calibrate.experiment,
        &experiments,
        &at_experiment,
        findings,
    );
    resolve(
        "platform",
        &calibrate.platform,
        &platforms,
        &at_platform,
        findings,
    );
    let (Some(experiment), Some(platform)) = (
        cx.study.experiments.get(&calibrate.experiment),
        cx.study.platforms.get(&calibrate.platform),
    ) else {
        return;
    };
    let own = FieldPath::of(&["experiments", calibrate.experiment.as_str()]);
    if !experiment.platforms.contains(&calibrate.platform) {
        let names: Vec<_> = experiment.platforms.iter().map(Name::as_str).collect();
        let message = format!(
            "experiment `{}` does not run on platform `{}`",
            calibrate.experiment, calibrate.platform
        );
        let help = Some(format!("it runs on: {}", names.join(", ")));
        let platforms = own.key("platforms");
        let because = [(&platforms, "its platforms")];
        findings.rule("not-in-matrix", &at_platform, message, help, &because);
        return;
    }
    let Some(plugin) = cx.registry.hypervisors().get(platform.hypervisor.as_str()) else {
        return;
    };
    let traits = plugin.traits();
    if traits.guests {
        let message = format!("platform `{}` has guests", calibrate.platform);
        let help = Some("calibrate on a platform without guests, such as linux".to_owned());
        findings.rule("calibrate-platform", &at_platform, message, help, &[]);
        return;
    }
    let monitors = experiment.monitors.iter();
    if !monitors
        .into_iter()
        .any(|used| accounts(cx, &used.tool, &traits))
    {
        let message = format!(
            "no monitor of experiment `{}` gives the processor time of platform `{}`",
            calibrate.experiment, calibrate.platform
        );
        let help = Some("add a monitor to the experiment: { tool = \"sar\" }".to_owned());
        let monitors = own.key("monitors");
        let because = [(&monitors, "its monitors")];
        findings.rule("calibrate-monitor", &at_experiment, message, help, &because);
    }
}

/// Whether a monitor gives processor time on a hypervisor with these traits.
pub(super) fn accounts(cx: &Cx<'_>, tool: &Name, traits: &HypervisorTraits) -> bool {
    let offered_by_some = cx.registry.hypervisors().values();
    let special = offered_by_some
        .into_iter()
        .any(|plugin| plugin.traits().monitors.contains(&tool.as_str()));
    let here = !special || traits.monitors.contains(&tool.as_str());
    let plugin = cx.registry.measures().get(tool.as_str());
    here && plugin.is_some_and(|plugin| {
        let metrics = plugin.metrics().iter();
        metrics
            .into_iter()
            .any(|metric| metric.name == "cpu" && metric.unit == Unit::CpuPercent)
    })
}
