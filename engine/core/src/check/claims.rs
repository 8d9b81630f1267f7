//! A claim that no run of the study could ever test is a finding, not an untested claim hours later.

use vexp_api::ids::Name;
use vexp_api::spec::{Experiment, MetricRef, Operand};

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
    Processor,
}

fn sources(metric: &str) -> &'static [Source] {
    use Source::{Processor, Traffic};
    match metric {
        "throughput" | "throughput_aggregate" | "fair_share" | "jain_throughput" | "efficiency" => {
            &[Traffic("throughput")]
        }
        "offered_load" => &[Traffic("throughput_sent")],
        "packets_per_second" | "packets_aggregate" => &[Traffic("packets_per_second")],
        "loss" => &[Traffic("loss")],
        "latency" | "latency_p50" | "latency_p95" | "latency_p99" | "jitter"
        | "latency_relative" => &[Traffic("rtt")],
        "cpu_host" | "cpu_guest" | "cpu_total" | "cpu_relative" | "jain_cpu" => &[Processor],
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
        }
    }
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
    // A plugin that lists nothing may give anything.
    let gives: Vec<&str> = plugin.metrics().iter().map(|metric| metric.name).collect();
    if !gives.is_empty() && !gives.contains(&sample) {
        let message = format!(
            "`{tool}`, the traffic of `{}`, gives no `{}`",
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

/// Whether any monitor accounts for processor time on the platform.
fn processor(
    cx: &Cx<'_>,
    of: &MetricRef,
    experiment: &Experiment,
    (at, own): Places<'_>,
    findings: &mut Findings<'_>,
) {
    let platform = cx.study.platforms.get(&of.platform);
    let Some(plugin) =
        platform.and_then(|platform| cx.registry.hypervisors().get(platform.hypervisor.as_str()))
    else {
        return;
    };
    let traits = plugin.traits();
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
