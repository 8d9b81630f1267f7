//! Every name that refers to something must refer to something that there is, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use vexp_api::ids::Name;
use vexp_api::metric;
use vexp_api::plugin::MeasureKind;
use vexp_api::spec::{Assertion, Claim, Experiment, MeasureUse, MetricRef, Operand};

use super::Cx;
use super::findings::Findings;
use super::nearest::help;
use crate::load::FieldPath;

pub(super) fn check(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    platforms(cx, findings);
    for (name, experiment) in &cx.study.experiments {
        let path = FieldPath::of(&["experiments", name.as_str()]);
        self::experiment(cx, experiment, &path, findings);
    }
    efforts(cx, findings);
    testbeds(cx, findings);
    let engines: Vec<_> = cx.registry.batch_engines().keys().copied().collect();
    for name in cx.study.batch.keys() {
        let path = FieldPath::of(&["batch", name.as_str()]);
        resolve_key("batch engine", name, &engines, &path, findings);
    }
    published(cx, findings);
    claims(cx, findings);
}

/// Reports a name that is not among `known`.
pub(super) fn resolve(
    what: &str,
    name: &Name,
    known: &[&str],
    path: &FieldPath,
    findings: &mut Findings<'_>,
) -> bool {
    let ok = known.contains(&name.as_str());
    if !ok {
        let message = format!("there is no {what} `{name}`");
        let help = help(name.as_str(), known, &format!("{what}s"));
        findings.rule("unknown-name", path, message, Some(help), &[]);
        findings.taint(path.clone());
    }
    ok
}

/// The same for the name of a field.
fn resolve_key(
    what: &str,
    name: &Name,
    known: &[&str],
    path: &FieldPath,
    findings: &mut Findings<'_>,
) {
    if !known.contains(&name.as_str()) {
        let help = help(name.as_str(), known, &format!("{what}s"));
        findings.unknown_key(path, format!("there is no {what} `{name}`"), help);
    }
}

pub(super) fn keys<T>(map: &BTreeMap<Name, T>) -> Vec<&str> {
    map.keys().map(Name::as_str).collect()
}

/// Reports elements that stand in a list twice.
pub(super) fn unique<T: Ord + Display>(
    what: &str,
    items: impl IntoIterator<Item = T>,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) {
    let mut seen: BTreeMap<T, usize> = BTreeMap::new();
    for (i, item) in items.into_iter().enumerate() {
        match seen.get(&item) {
            None => {
                seen.insert(item, i);
            }
            Some(first) => {
                let message = format!("the {what} `{item}` stands here twice");
                let first = path.index(*first);
                let help = Some("leave one of them out".to_owned());
                let because = [(&first, "first here")];
                findings.rule("duplicate", &path.index(i), message, help, &because);
            }
        }
    }
}

fn platforms(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    let hypervisors: Vec<_> = cx.registry.hypervisors().keys().copied().collect();
    let profiles = keys(&cx.study.hardware);
    for (name, platform) in &cx.study.platforms {
        let path = FieldPath::of(&["platforms", name.as_str()]);
        let at = path.key("hypervisor");
        resolve(
            "hypervisor",
            &platform.hypervisor,
            &hypervisors,
            &at,
            findings,
        );
        for (role, profile) in &platform.hardware {
            let at = path.key("hardware").key(role.as_str());
            resolve("hardware profile", profile, &profiles, &at, findings);
        }
    }
}

fn measure(
    cx: &Cx<'_>,
    used: &MeasureUse,
    kind: MeasureKind,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) {
    let known: Vec<_> = cx
        .registry
        .measures()
        .iter()
        .filter(|(_, plugin)| plugin.kind() == kind)
        .map(|(name, _)| *name)
        .collect();
    let what = match kind {
        MeasureKind::Traffic => "traffic generator",
        MeasureKind::Monitor => "monitor",
    };
    resolve(what, &used.tool, &known, &path.key("tool"), findings);
}

fn experiment(cx: &Cx<'_>, experiment: &Experiment, path: &FieldPath, findings: &mut Findings<'_>) {
    measure(
        cx,
        &experiment.traffic,
        MeasureKind::Traffic,
        &path.key("traffic"),
        findings,
    );
    if let Some(load) = &experiment.load {
        measure(cx, load, MeasureKind::Traffic, &path.key("load"), findings);
    }
    let monitors = path.key("monitors");
    for (i, used) in experiment.monitors.iter().enumerate() {
        measure(cx, used, MeasureKind::Monitor, &monitors.index(i), findings);
    }
    let tools = experiment.monitors.iter().map(|used| &used.tool);
    unique("monitor", tools, &monitors, findings);
    let at = path.key("platforms");
    list(
        "platform",
        &experiment.platforms,
        &keys(&cx.study.platforms),
        &at,
        findings,
    );
    unique("VM count", &experiment.vms, &path.key("vms"), findings);
}

fn list(what: &str, names: &[Name], known: &[&str], path: &FieldPath, findings: &mut Findings<'_>) {
    for (i, name) in names.iter().enumerate() {
        resolve(what, name, known, &path.index(i), findings);
    }
    unique(what, names, path, findings);
}

fn efforts(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    let platforms = keys(&cx.study.platforms);
    let experiments = keys(&cx.study.experiments);
    let counts: BTreeSet<u32> = cx
        .study
        .experiments
        .values()
        .flat_map(|experiment| experiment.vms.iter().copied())
        .collect();
    for (name, effort) in &cx.study.efforts {
        let path = FieldPath::of(&["efforts", name.as_str()]);
        if let Some(names) = &effort.platforms {
            list(
                "platform",
                names,
                &platforms,
                &path.key("platforms"),
                findings,
            );
        }
        if let Some(names) = &effort.experiments {
            list(
                "experiment",
                names,
                &experiments,
                &path.key("experiments"),
                findings,
            );
        }
        let at = path.key("vms");
        for (i, vms) in effort.vms.iter().flatten().enumerate() {
            if !counts.contains(vms) {
                let all: Vec<_> = counts.iter().map(u32::to_string).collect();
                let message = format!("no experiment has {vms} VMs");
                let help = Some(format!("VM counts: {}", all.join(", ")));
                findings.rule("unknown-name", &at.index(i), message, help, &[]);
            }
        }
        unique("VM count", effort.vms.iter().flatten(), &at, findings);
    }
}

fn testbeds(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    let testbeds: Vec<_> = cx.registry.testbeds().keys().copied().collect();
    let hypervisors: Vec<_> = cx.registry.hypervisors().keys().copied().collect();
    let profiles = keys(&cx.study.hardware);
    for (name, overlay) in &cx.study.testbeds {
        let path = FieldPath::of(&["testbeds", name.as_str()]);
        resolve_key("testbed", name, &testbeds, &path, findings);
        let at = path.key("software");
        for (i, rule) in overlay.software.iter().enumerate() {
            let at = at.index(i);
            let hypervisor = at.key("hypervisor");
            resolve(
                "hypervisor",
                &rule.hypervisor,
                &hypervisors,
                &hypervisor,
                findings,
            );
            let boots = (cx.registry.testbeds().get(name.as_str()))
                .is_none_or(|plugin| plugin.boots_images());
            if boots && rule.image.is_none() {
                let message = format!("testbed `{name}` boots machines and needs an image");
                let help = Some("name the image that has this version".to_owned());
                findings.rule("no-image", &at, message, help, &[]);
            }
            if !boots && rule.image.is_some() {
                let message = format!("machines of testbed `{name}` run what is installed on them");
                let help = Some("leave the image out".to_owned());
                findings.rule("no-image", &at.key("image"), message, help, &[]);
            }
            let asked = cx.study.platforms.values().any(|platform| {
                platform.hypervisor == rule.hypervisor && platform.version == rule.version
            });
            if !asked {
                let message = format!("no platform asks for {} {}", rule.hypervisor, rule.version);
                findings.warn(
                    "unused-rule",
                    &at.key("version"),
                    message,
                    "leave the rule out",
                );
            }
        }
        let rules = overlay
            .software
            .iter()
            .map(|rule| format!("{} {}", rule.hypervisor, rule.version));
        unique("rule for", rules, &at, findings);
        for profile in overlay.hardware.keys() {
            let at = path.key("hardware").key(profile.as_str());
            resolve_key("hardware profile", profile, &profiles, &at, findings);
        }
    }
}

/// A metric must be known, its point must be in the matrix, and its virtual machine must run there.
pub(super) fn metric_ref(
    cx: &Cx<'_>,
    of: &MetricRef,
    path: &FieldPath,
    findings: &mut Findings<'_>,
) {
    let metrics: Vec<_> = metric::METRICS.iter().map(|metric| metric.name).collect();
    resolve(
        "metric",
        &of.metric,
        &metrics,
        &path.key("metric"),
        findings,
    );
    let experiments = keys(&cx.study.experiments);
    let platforms = keys(&cx.study.platforms);
    let (at_experiment, at_platform) = (path.key("experiment"), path.key("platform"));
    let known = resolve(
        "experiment",
        &of.experiment,
        &experiments,
        &at_experiment,
        findings,
    ) & resolve("platform", &of.platform, &platforms, &at_platform, findings);
    let (true, Some(experiment), Some(platform)) = (
        known,
        cx.study.experiments.get(&of.experiment),
        cx.study.platforms.get(&of.platform),
    ) else {
        return;
    };
    // What the experiment says may be wrong itself.
    let experiment_path = FieldPath::of(&["experiments", of.experiment.as_str()]);
    let platforms = experiment_path.key("platforms");
    if !experiment.platforms.contains(&of.platform) {
        let names: Vec<_> = experiment.platforms.iter().map(Name::as_str).collect();
        let message = format!(
            "experiment `{}` does not run on platform `{}`",
            of.experiment, of.platform
        );
        let help = Some(format!("it runs on: {}", names.join(", ")));
        let because = [(&platforms, "its platforms")];
        findings.rule("not-in-matrix", &at_platform, message, help, &because);
        return;
    }
    let at = path.key("vms");
    let Some(plugin) = cx.registry.hypervisors().get(platform.hypervisor.as_str()) else {
        return;
    };
    let (ok, allowed) = if plugin.traits().guests {
        let all: Vec<_> = experiment.vms.iter().map(u32::to_string).collect();
        (experiment.vms.contains(&of.vms), all.join(", "))
    } else {
        (of.vms == 0, "0, for it has no guests".to_owned())
    };
    if !ok {
        let message = format!(
            "experiment `{}` has no point with {} VMs on platform `{}`",
            of.experiment, of.vms, of.platform
        );
        let vms = experiment_path.key("vms");
        let help = Some(format!("VM counts there: {allowed}"));
        findings.rule(
            "not-in-matrix",
            &at,
            message,
            help,
            &[(&vms, "its VM counts")],
        );
        return;
    }
    if let Some(node) = &of.node {
        virtual_machine(of, node, path, findings);
    }
}

/// Reports a metric that no virtual machine has alone.
pub(super) fn resolve_per_vm(name: &Name, path: &FieldPath, findings: &mut Findings<'_>) {
    if metric::find(name.as_str()).is_some_and(|metric| !metric.per_vm) {
        let own = metric::METRICS.iter().filter(|metric| metric.per_vm);
        let own: Vec<_> = own.map(|metric| metric.name).collect();
        let message = format!("`{name}` is of all virtual machines together, not of one");
        let help = Some(format!("metrics of one: {}", own.join(", ")));
        findings.rule("metric-node", path, message, help, &[]);
    }
}

fn virtual_machine(of: &MetricRef, node: &Name, path: &FieldPath, findings: &mut Findings<'_>) {
    resolve_per_vm(&of.metric, &path.key("metric"), findings);
    if !(1..=of.vms).any(|i| *node == *format!("vm{i}")) {
        let at = path.key("node");
        let vms = path.key("vms");
        let message = format!("there is no virtual machine `{node}` at this point");
        let help = Some(match of.vms {
            0 => "leave `node` out: the platform has no guests".to_owned(),
            1 => "there is: vm1".to_owned(),
            most => format!("there are: vm1 to vm{most}"),
        });
        findings.rule(
            "unknown-name",
            &at,
            message,
            help,
            &[(&vms, "the VM count")],
        );
    }
}

fn published(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    let path = FieldPath::of(&["published"]);
    for (i, value) in cx.study.published.iter().enumerate() {
        let at = path.index(i);
        metric_ref(cx, &value.of, &at.key("of"), findings);
        if let Some(metric) = metric::find(value.of.metric.as_str())
            && metric.unit != value.unit
        {
            let message = format!("`{}` is not in {}", metric.name, value.unit);
            let help = Some(format!("its unit is \"{}\"", metric.unit));
            let metric = at.key("of").key("metric");
            let because = [(&metric, "the metric")];
            findings.rule("metric-unit", &at.key("unit"), message, help, &because);
        }
    }
    let points = cx.study.published.iter().map(|value| {
        let of = &value.of;
        let node = of.node.as_ref().map(|node| format!(", {node}"));
        format!(
            "{} of {} on {}, {} VMs{}",
            of.metric,
            of.experiment,
            of.platform,
            of.vms,
            node.unwrap_or_default()
        )
    });
    unique("value of", points, &path, findings);
}

fn claims(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    for (name, claim) in &cx.study.claims {
        let path = FieldPath::of(&["claims", name.as_str()]);
        let tests = path.key("tests");
        if claim.tests.is_empty() && claim.note.is_none() {
            let message = format!("claim `{name}` has no tests, and no note says why");
            let help = Some("add tests, or a note that says why it can't be tested".to_owned());
            let note = path.key("note");
            if !findings.is_tainted(&note) {
                findings.rule("untested-claim", &path, message, help, &[]);
            }
        }
        assertions(cx, &claim.tests, &tests, findings);
        needs(cx, claim, &path, findings);
    }
}

fn assertions(cx: &Cx<'_>, all: &[Assertion], path: &FieldPath, findings: &mut Findings<'_>) {
    for (i, test) in all.iter().enumerate() {
        let at = path.index(i);
        metric_ref(cx, &test.left, &at.key("left"), findings);
        if let Operand::Metric { of, .. } = &test.right {
            let right = at.key("right").key("of");
            metric_ref(cx, of, &right, findings);
            compare_units(&test.left, of, &at, findings);
        }
    }
}

/// What a claim needs must be about what it tests, or nothing ever asks for it.
fn needs(cx: &Cx<'_>, claim: &Claim, path: &FieldPath, findings: &mut Findings<'_>) {
    let at = path.key("needs");
    assertions(cx, &claim.needs.controls, &at.key("controls"), findings);
    let platforms: BTreeSet<&str> = (claim.tests.iter())
        .flat_map(|test| {
            let right = match &test.right {
                Operand::Metric { of, .. } => Some(of.platform.as_str()),
                Operand::Number(_) => None,
            };
            std::iter::once(test.left.platform.as_str()).chain(right)
        })
        .collect();
    let platforms: Vec<&str> = platforms.into_iter().collect();
    let tests = path.key("tests");
    for (i, need) in claim.needs.versions.iter().enumerate() {
        let version = at.key("versions").index(i);
        let platform = version.key("platform");
        if resolve(
            "platform",
            &need.platform,
            &keys(&cx.study.platforms),
            &platform,
            findings,
        ) && !claim.tests.is_empty()
            && !platforms.contains(&need.platform.as_str())
        {
            let message = format!("no test of the claim is about platform `{}`", need.platform);
            let help = Some(format!("its platforms: {}", platforms.join(", ")));
            let because = [(&tests, "its tests")];
            findings.rule("unused-need", &platform, message, help, &because);
        }
        if !need.below.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("`{}` is not a version", need.below);
            let help = Some("write its numbers, such as \"3.2\"".to_owned());
            findings.rule("version", &version.key("below"), message, help, &[]);
        }
    }
    let holds = claim.needs.holds.iter().map(|condition| condition.as_str());
    unique("condition", holds, &at.key("holds"), findings);
}

fn compare_units(left: &MetricRef, right: &MetricRef, at: &FieldPath, findings: &mut Findings<'_>) {
    let units = (
        metric::find(left.metric.as_str()),
        metric::find(right.metric.as_str()),
    );
    if let (Some(left), Some(right)) = units
        && left.unit != right.unit
    {
        let path = at.key("right").key("of").key("metric");
        let message = format!("{} can't be compared with {}", right.unit, left.unit);
        let help = Some(format!(
            "the left side, `{}`, is in {}",
            left.name, left.unit
        ));
        let first = at.key("left").key("metric");
        findings.rule(
            "metric-unit",
            &path,
            message,
            help,
            &[(&first, "the left side")],
        );
    }
}
