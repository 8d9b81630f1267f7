//! What measures would refuse when they are started is a finding of `check`, in its place.

use std::collections::BTreeSet;
use std::time::Duration;

use vexp_api::plugin::{Blame, Intent, Refusal};
use vexp_api::record::Part;
use vexp_api::spec::{Effort, Experiment, MeasureUse};

use super::Cx;
use super::findings::Findings;
use crate::load::FieldPath;
use crate::run::trial_window;

/// `contract` names the fields of options that plugins' contracts have refused already.
pub(super) fn check(cx: &Cx<'_>, contract: &[&str], findings: &mut Findings<'_>) {
    // One mistake is said once, whatever experiments meet it.
    let mut said = BTreeSet::new();
    for (name, experiment) in &cx.study.experiments {
        let path = FieldPath::of(&["experiments", name.as_str()]);
        alone(cx, experiment, &path, findings);
        for used in uses(experiment, &path) {
            let at = used.at.key("options");
            let refused = |field: &&str| field.starts_with(&at.to_string());
            if contract.iter().any(refused) {
                continue;
            }
            for (effort, times) in efforts(cx, name.as_str()) {
                for refusal in refusals(cx, &used, experiment, times) {
                    let place = match &refusal.of {
                        Blame::Option(option) if option.is_empty() => at.clone(),
                        Blame::Option(option) => at.key(option.as_str()),
                        Blame::WarmUp => time(effort, "warm_up"),
                        Blame::Window => time(effort, "window"),
                    };
                    if said.insert((place.to_string(), refusal.message.clone())) {
                        report(&used, &place, &refusal, findings);
                    }
                }
            }
        }
    }
}

fn time(effort: &str, field: &str) -> FieldPath {
    FieldPath::of(&["efforts", effort]).key(field)
}

fn report(used: &Use<'_>, place: &FieldPath, refusal: &Refusal, findings: &mut Findings<'_>) {
    let message = format!("`{}` refuses this: {}", used.of.tool, refusal.message);
    let help = match refusal.of {
        Blame::Option(_) => format!("its options: vexp help {}", used.of.tool),
        Blame::WarmUp | Blame::Window => "change it in the effort".to_owned(),
    };
    let tool = used.at.key("tool");
    let because = [(&tool, "the tool")];
    findings.rule("refused", place, message, Some(help), &because);
}

/// A tool of an experiment.
struct Use<'a> {
    part: Part,
    of: &'a MeasureUse,
    at: FieldPath,
}

fn uses<'a>(experiment: &'a Experiment, path: &FieldPath) -> Vec<Use<'a>> {
    let one = |part, of, at| Use { part, of, at };
    let mut all = vec![one(Part::Traffic, &experiment.traffic, path.key("traffic"))];
    let load = experiment.load.iter();
    all.extend(load.map(|load| one(Part::Load, load, path.key("load"))));
    let monitors = path.key("monitors");
    for (i, monitor) in experiment.monitors.iter().enumerate() {
        all.push(one(Part::Monitor, monitor, monitors.index(i)));
    }
    all
}

/// Efforts that have an experiment, by name; one of which nothing is refused if there is none.
fn efforts<'a>(cx: &'a Cx<'_>, experiment: &str) -> Vec<(&'a str, Option<&'a Effort>)> {
    let has = |effort: &Effort| {
        let chosen = effort.experiments.as_ref();
        chosen.is_none_or(|chosen| chosen.iter().any(|name| *name == *experiment))
    };
    let efforts = cx.study.efforts.iter();
    let found: Vec<_> = efforts
        .filter(|(_, effort)| has(effort))
        .map(|(name, effort)| (name.as_str(), Some(effort)))
        .collect();
    if found.is_empty() {
        return vec![("", None)];
    }
    found
}

fn refusals(
    cx: &Cx<'_>,
    used: &Use<'_>,
    experiment: &Experiment,
    effort: Option<&Effort>,
) -> Vec<Refusal> {
    let Some(plugin) = cx.registry.measures().get(used.of.tool.as_str()) else {
        return Vec::new();
    };
    let chosen = effort.and_then(|effort| effort.vms.as_ref());
    let counts = experiment.vms.iter().copied();
    let counts = counts.filter(|vms| chosen.is_none_or(|chosen| chosen.contains(vms)));
    let (warm_up, window) = match effort {
        Some(effort) => (effort.warm_up.duration(), effort.window.duration()),
        None => (Duration::from_secs(1), Duration::from_secs(60)),
    };
    let refused = plugin.refuses(&Intent {
        part: used.part,
        options: &used.of.options,
        flows: counts.max().unwrap_or(1),
        warm_up,
        window: trial_window(used.part, window),
    });
    let of_options = |refusal: &Refusal| matches!(refusal.of, Blame::Option(_));
    let refused = refused.into_iter();
    refused
        .filter(|refusal| effort.is_some() || of_options(refusal))
        .collect()
}

/// Load is on the guests beside the one that is measured.
fn alone(cx: &Cx<'_>, experiment: &Experiment, path: &FieldPath, findings: &mut Findings<'_>) {
    let guests = experiment.platforms.iter().any(|name| {
        let platform = cx.study.platforms.get(name);
        platform.is_none_or(|platform| platform.guest.is_some())
    });
    if experiment.load.is_some() && !(guests && experiment.vms.iter().any(|vms| *vms > 1)) {
        let message = "load runs on the guests beside the one that is measured, and there are none";
        let help = Some("give `vms` of 2 or more, on a platform with guests".to_owned());
        let vms = path.key("vms");
        let because = [(&vms, "the VM counts")];
        let at = path.key("load");
        findings.rule("load-alone", &at, message.to_owned(), help, &because);
    }
}
