//! A claim that no run of the study could ever test is a finding, not an untested claim hours later.

use vexp_api::ids::Name;
use vexp_api::plugin::HypervisorTraits;
use vexp_api::spec::{Effort, Experiment, MeasureUse, MetricRef, Operand};

use super::Cx;
use super::findings::Findings;
use crate::load::FieldPath;

pub(super) fn check(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    for (name, claim) in &cx.study.claims {
        let path = FieldPath::of(&["claims", name.as_str()]);
        let parts = [
            (&claim.tests, path.key("tests")),
            (&claim.needs.controls, path.key("needs").key("controls")),
        ];
        for (tests, path) in parts {
            for (i, test) in tests.iter().enumerate() {
                let at = path.index(i);
                measurable(cx, &test.left, &at.key("left"), findings);
                if let Operand::Metric { of, .. } = &test.right {
                    measurable(cx, of, &at.key("right").key("of"), findings);
                }
            }
        }
    }
}

/// Metrics that are relative to classical Linux in the same experiment.
const RELATIVE: [&str; 3] = ["efficiency", "cpu_relative", "latency_relative"];

/// What a metric is made of: a sample of the traffic's, or a monitor's.
enum Source {
    Traffic(&'static str),
    /// The processor time of a point.
    Processor,
    /// That of its guests.
    Guests,
    /// A sample of some monitor.
    Monitor(&'static str),
}

fn sources(metric: &str) -> &'static [Source] {
    use Source::{Guests, Monitor, Processor, Traffic};
    match metric {
        "throughput" | "throughput_aggregate" | "fair_share" | "jain_throughput" | "efficiency" => {
            &[Traffic("throughput")]
        }
        "offered_load" => &[Traffic("throughput_sent")],
        "packets_per_second" | "packets_aggregate" => &[Traffic("packets_per_second")],
        "loss" => &[Traffic("loss")],
        "latency" | "latency_p50" | "latency_p95" | "latency_p99" | "jitter"
        | "latency_relative" => &[Traffic("rtt")],
        "cpu_host" | "cpu_total" | "cpu_relative" => &[Processor],
        "cpu_guest" | "jain_cpu" => &[Processor, Guests],
        "cpu_peers" => &[Monitor("cpu_peers")],
        // Of the counters of every hop.
        "loss_counters" | "dropped" => &[Monitor("softnet_dropped")],
        "cpu_per_mbps" => &[Processor, Traffic("throughput")],
        _ => &[],
    }
}

fn measurable(cx: &Cx<'_>, of: &MetricRef, path: &FieldPath, findings: &mut Findings<'_>) {
    let Some(experiment) = cx.study.experiments.get(&of.experiment) else {
        return;
    };
    if !experiment.platforms.contains(&of.platform) {
        return;
    }
    let at = path.key("metric");
    let own = FieldPath::of(&["experiments", of.experiment.as_str()]);
    for source in sources(of.metric.as_str()) {
        match source {
            Source::Traffic(sample) => traffic(cx, of, experiment, sample, (&at, &own), findings),
            Source::Processor => processor(cx, of, experiment, (&at, &own), findings),
            Source::Guests => guests(cx, of, experiment, (&at, &own), findings),
            Source::Monitor(sample) => monitor(cx, of, experiment, sample, (&at, &own), findings),
        }
    }
    loaded(of, experiment, (&path.key("vms"), &own), findings);
    planned(cx, of, path, findings);
    if RELATIVE.contains(&of.metric.as_str()) {
        reference(cx, of, experiment, (&at, &own), findings);
    }
}

type Places<'a> = (&'a FieldPath, &'a FieldPath);

fn traffic(
    cx: &Cx<'_>,
    of: &MetricRef,
    experiment: &Experiment,
    sample: &str,
    (at, own): Places<'_>,
    findings: &mut Findings<'_>,
) {
    let tool = &experiment.traffic.tool;
    let Some(plugin) = cx.registry.measures().get(tool.as_str()) else {
        return;
    };
    // A plugin that can't say what it gives may give anything.
    let Some(gives) = plugin.gives(&experiment.traffic.options) else {
        return;
    };
    if !gives.iter().any(|given| given == sample) {
        let message = format!(
            "`{tool}`, the traffic of `{}`, gives no `{}` with these options",
            of.experiment, of.metric
        );
        let help = Some(format!("its samples: {}", gives.join(", ")));
        let traffic = own.key("traffic");
        findings.rule(
            "untestable",
            at,
            message,
            help,
            &[(&traffic, "its traffic")],
        );
    }
}

/// What the hypervisor of a metric's platform is like; `None` if the study or the binary has no such one, which is
/// another finding.
fn traits(cx: &Cx<'_>, of: &MetricRef) -> Option<HypervisorTraits> {
    let platform = cx.study.platforms.get(&of.platform)?;
    let plugin = cx
        .registry
        .hypervisors()
        .get(platform.hypervisor.as_str())?;
    Some(plugin.traits())
}

/// Whether any monitor accounts for processor time on the platform.
fn processor(
    cx: &Cx<'_>,
    of: &MetricRef,
    experiment: &Experiment,
    (at, own): Places<'_>,
    findings: &mut Findings<'_>,
) {
    let Some(traits) = traits(cx, of) else {
        return;
    };
    let accounts = |tool: &Name| super::calibration::accounts(cx, tool, &traits);
    if !experiment.monitors.iter().any(|used| accounts(&used.tool)) {
        let message = format!(
            "no monitor of `{}` gives the processor time of `{}`",
            of.experiment, of.platform
        );
        let help = Some("add a monitor to the experiment, such as { tool = \"sar\" }".to_owned());
        let monitors = own.key("monitors");
        findings.rule(
            "untestable",
            at,
            message,
            help,
            &[(&monitors, "its monitors")],
        );
    }
}

/// Whether any monitor tells the guests' processor time apart, and there are guests.
fn guests(
    cx: &Cx<'_>,
    of: &MetricRef,
    experiment: &Experiment,
    (at, own): Places<'_>,
    findings: &mut Findings<'_>,
) {
    let mut untestable = |message: String, help: &str| {
        let monitors = own.key("monitors");
        let because = [(&monitors, "its monitors")];
        let help = Some(help.to_owned());
        findings.rule("untestable", at, message, help, &because);
    };
    if of.vms == 0 {
        let message = format!(
            "`{}` is of guests, and `{}` has none",
            of.metric, of.platform
        );
        return untestable(message, "choose a platform with guests, or cpu_total");
    }
    let Some(traits) = traits(cx, of) else {
        return;
    };
    let sees = |tool: &Name| {
        let measure = cx.registry.measures().get(tool.as_str());
        measure.is_none_or(|measure| measure.sees_guests())
            && super::calibration::accounts(cx, tool, &traits)
    };
    if !experiment.monitors.iter().any(|used| sees(&used.tool)) {
        let message = format!(
            "no monitor of `{}` tells the guests of `{}` apart",
            of.experiment, of.platform
        );
        untestable(message, "add one that does: xentop on Xen, pidstat on KVM");
    }
}

/// Whether any monitor gives a sample.
fn monitor(
    cx: &Cx<'_>,
    of: &MetricRef,
    experiment: &Experiment,
    sample: &str,
    (at, own): Places<'_>,
    findings: &mut Findings<'_>,
) {
    let may = |used: &MeasureUse| {
        let measure = cx.registry.measures().get(used.tool.as_str());
        let given = measure.and_then(|measure| measure.gives(&used.options));
        given.is_none_or(|given| given.iter().any(|name| name == sample))
    };
    if experiment.monitors.iter().any(may) {
        return;
    }
    let message = format!("no monitor of `{}` gives `{}`", of.experiment, of.metric);
    let measures = cx.registry.measures().iter();
    let some: Vec<&str> = measures
        .filter(|(_, measure)| measure.metrics().iter().any(|metric| metric.name == sample))
        .map(|(name, _)| *name)
        .collect();
    let help = match some[..] {
        [] => "no monitor of this vexp does".to_owned(),
        _ => format!("monitors that do: {}", some.join(", ")),
    };
    let monitors = own.key("monitors");
    let because = [(&monitors, "its monitors")];
    findings.rule("untestable", at, message, Some(help), &because);
}

/// With load there must be another guest to load.
fn loaded(
    of: &MetricRef,
    experiment: &Experiment,
    (at, own): Places<'_>,
    findings: &mut Findings<'_>,
) {
    if experiment.load.is_some() && of.vms < 2 {
        let message = format!(
            "`{}` loads the other guests, and with {} VMs there is none",
            of.experiment, of.vms
        );
        let help = Some("choose a point with 2 VMs or more".to_owned());
        let load = own.key("load");
        findings.rule("untestable", at, message, help, &[(&load, "the load")]);
    }
}

/// Whether some effort has the point.
fn planned(cx: &Cx<'_>, of: &MetricRef, path: &FieldPath, findings: &mut Findings<'_>) {
    let has = |effort: &Effort| {
        let chosen =
            |list: &Option<Vec<Name>>, name| list.as_ref().is_none_or(|list| list.contains(name));
        let vms = effort.vms.as_ref();
        chosen(&effort.experiments, &of.experiment)
            && chosen(&effort.platforms, &of.platform)
            && (of.vms == 0 || vms.is_none_or(|vms| vms.contains(&of.vms)))
    };
    if !cx.study.efforts.values().any(has) {
        let message = format!(
            "no effort has the point of `{}` on `{}` with {} VMs",
            of.experiment, of.platform, of.vms
        );
        let help = Some("a claim about it is never tested: add the point to an effort".to_owned());
        findings.rule("untestable", path, message, help, &[]);
    }
}

/// Exactly one platform of the experiment is classical Linux.
fn reference(
    cx: &Cx<'_>,
    of: &MetricRef,
    experiment: &Experiment,
    (at, own): Places<'_>,
    findings: &mut Findings<'_>,
) {
    let classical = |name: &&Name| {
        let platform = cx.study.platforms.get(*name);
        platform.is_some_and(|platform| platform.hypervisor == *"linux")
    };
    let found: Vec<&str> = (experiment.platforms.iter().filter(classical))
        .map(Name::as_str)
        .collect();
    let (message, help) = match found[..] {
        [] => (
            format!(
                "`{}` is relative to classical Linux, which `{}` does not run on",
                of.metric, of.experiment
            ),
            "add a platform with hypervisor `linux` to the experiment".to_owned(),
        ),
        [one] if one == of.platform.as_str() => (
            format!(
                "`{}` is relative to classical Linux, and `{one}` is that",
                of.metric
            ),
            "choose another platform, or a metric that is not relative".to_owned(),
        ),
        [_] => return,
        _ => (
            format!(
                "`{}` is relative to classical Linux, and which one is ambiguous: {}",
                of.metric,
                found.join(", ")
            ),
            "compare with one of them by a ratio: vexp.times 1 (vexp.at …)".to_owned(),
        ),
    };
    let platforms = own.key("platforms");
    findings.rule(
        "untestable",
        at,
        message,
        Some(help),
        &[(&platforms, "its platforms")],
    );
}
