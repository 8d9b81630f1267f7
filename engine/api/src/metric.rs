//! The metrics of a study: what published values and claims can refer to, and what the report
//! computes. Names, symbols and formulas follow Table I and equations 1 and 2 of Anhalt and
//! Vicat-Blanc Primet, *Analysis and Experimental Evaluation of Network Data-Plane Virtualization
//! Mechanisms*.

use crate::sample::Unit;

/// Which direction is an improvement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// A metric of a point of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name, as specs and tables have it.
    pub name: &'static str,
    /// Symbol, as the publication has it; of our own where it has none.
    pub symbol: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Which direction is an improvement.
    pub better: Better,
    /// Whether every virtual machine has a value of its own, beside the one of all of them.
    pub per_vm: bool,
    /// The formula in words and symbols, for reports.
    pub formula: &'static str,
    /// Where it is defined: `Table I`, `equation 2`, or `vexp`.
    pub source: &'static str,
}

impl Metric {
    /// Least and most that it can be, whatever is measured.
    pub fn possible(&self) -> (f64, f64) {
        let most = match self.name {
            "jain_throughput" | "jain_cpu" => 1.0,
            "loss" | "loss_counters" => 100.0,
            _ => f64::INFINITY,
        };
        (0.0, most)
    }

    /// Whether it is a ratio to what classical Linux has in the same experiment and repetition.
    pub fn is_relative(&self) -> bool {
        self.formula.contains("classical Linux")
    }

    /// Whether it has no largest value: what varies around such a value is skewed, and its ratios are
    /// compared by their logarithms.
    pub fn skewed(&self) -> bool {
        self.possible().1.is_infinite() && self.unit != Unit::Count
    }
}

/// A metric of all virtual machines together.
const fn whole(
    name: &'static str,
    symbol: &'static str,
    unit: Unit,
    better: Better,
    formula: &'static str,
    source: &'static str,
) -> Metric {
    Metric {
        name,
        symbol,
        unit,
        better,
        per_vm: false,
        formula,
        source,
    }
}

/// A metric of each virtual machine.
const fn each(
    name: &'static str,
    symbol: &'static str,
    unit: Unit,
    better: Better,
    formula: &'static str,
    source: &'static str,
) -> Metric {
    Metric {
        per_vm: true,
        ..whole(name, symbol, unit, better, formula, source)
    }
}

/// All metrics, in the order in which reports show them.
pub const METRICS: &[Metric] = &[
    each(
        "throughput",
        "R_i",
        Unit::MbPerS,
        Better::Higher,
        "bytes of virtual machine i that arrived in the window / its length, at the receiving end",
        "Table I",
    ),
    whole(
        "throughput_aggregate",
        "R_aggregate",
        Unit::MbPerS,
        Better::Higher,
        "sum of R_i over all N virtual machines",
        "Table I",
    ),
    whole(
        "fair_share",
        "R_aggregate / N",
        Unit::MbPerS,
        Better::Higher,
        "R_aggregate / N",
        "Table I",
    ),
    whole(
        "efficiency",
        "E_throughput",
        Unit::One,
        Better::Higher,
        "R_aggregate / R_classical, classical Linux in the same experiment and repetition",
        "equation 1",
    ),
    whole(
        "jain_throughput",
        "J(R)",
        Unit::One,
        Better::Higher,
        "(sum of R_i)^2 / (N * sum of R_i^2)",
        "equation 2",
    ),
    each(
        "offered_load",
        "S_i",
        Unit::MbPerS,
        Better::Higher,
        "rate at which the source of virtual machine i sent; of all together the sum",
        "vexp",
    ),
    each(
        "packets_per_second",
        "P_i",
        Unit::PacketsPerS,
        Better::Higher,
        "packets of virtual machine i that arrived / length of the window",
        "Table II",
    ),
    whole(
        "packets_aggregate",
        "P_aggregate",
        Unit::PacketsPerS,
        Better::Higher,
        "sum of P_i over all N virtual machines",
        "vexp",
    ),
    each(
        "loss",
        "-",
        Unit::Percent,
        Better::Lower,
        "100 * (sent - received) / sent, packets of virtual machine i as its tool counts them; of all together their lost over their sent packets",
        "Table II",
    ),
    whole(
        "loss_counters",
        "-",
        Unit::Percent,
        Better::Lower,
        "100 * (sent - received) / sent, by the counters of the network interfaces at both ends over the whole traffic",
        "vexp",
    ),
    whole(
        "dropped",
        "-",
        Unit::Count,
        Better::Lower,
        "packets that counters say were dropped over the whole traffic; with a node, those dropped there",
        "vexp",
    ),
    whole(
        "jain_cpu",
        "J(C)",
        Unit::One,
        Better::Higher,
        "(sum of C_i)^2 / (N * sum of C_i^2)",
        "equation 2",
    ),
    whole(
        "cpu_host",
        "C_host",
        Unit::CpuPercent,
        Better::Lower,
        "CPU cost of dom0, or of the host without its guests where that is known",
        "vexp",
    ),
    each(
        "cpu_guest",
        "C_i",
        Unit::CpuPercent,
        Better::Lower,
        "CPU cost of virtual machine i",
        "Table I",
    ),
    whole(
        "cpu_total",
        "C_aggregate",
        Unit::CpuPercent,
        Better::Lower,
        "CPU cost of the host and all virtual machines together",
        "Table I",
    ),
    whole(
        "cpu_peers",
        "-",
        Unit::CpuPercent,
        Better::Lower,
        "CPU time of the traffic peers' programs, with the interrupts that came while they ran, where they share the machine's processor (virtual time); it is part of C_aggregate",
        "vexp",
    ),
    whole(
        "cpu_per_mbps",
        "C_aggregate / R_aggregate",
        Unit::CpuPercentPerMbPerS,
        Better::Lower,
        "C_aggregate / R_aggregate",
        "vexp",
    ),
    whole(
        "cpu_relative",
        "C_aggregate / C_classical",
        Unit::One,
        Better::Lower,
        "C_aggregate / C_classical, classical Linux in the same experiment and repetition",
        "vexp",
    ),
    each(
        "latency",
        "L_i",
        Unit::Ms,
        Better::Lower,
        "mean round-trip time of virtual machine i",
        "Table I",
    ),
    each(
        "latency_p50",
        "-",
        Unit::Ms,
        Better::Lower,
        "median round-trip time of virtual machine i",
        "vexp",
    ),
    each(
        "latency_p95",
        "-",
        Unit::Ms,
        Better::Lower,
        "95th percentile of the round-trip times of virtual machine i",
        "vexp",
    ),
    each(
        "latency_p99",
        "-",
        Unit::Ms,
        Better::Lower,
        "99th percentile of the round-trip times of virtual machine i",
        "vexp",
    ),
    each(
        "jitter",
        "-",
        Unit::Ms,
        Better::Lower,
        "mean difference, without its sign, between one round-trip time of virtual machine i and the next",
        "vexp",
    ),
    whole(
        "latency_relative",
        "L / L_classical",
        Unit::One,
        Better::Lower,
        "mean of L_i / L_classical, classical Linux in the same experiment and repetition",
        "vexp",
    ),
];

/// The metric of that name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The table of all metrics, as `docs/metrics.md` has it.
pub fn markdown() -> String {
    let mut text = String::from(
        "| name | symbol | unit | better | of | formula | source |\n|---|---|---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let better = match metric.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
        };
        let of = if metric.per_vm {
            "each VM, and all"
        } else {
            "all VMs"
        };
        text.push_str(&format!(
            "| `{}` | {} | {} | {better} | {of} | {} | {} |\n",
            metric.name, metric.symbol, metric.unit, metric.formula, metric.source
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_largest_value_is_not_skewed() {
        let skewed = |name| find(name).is_some_and(Metric::skewed);
        assert!(skewed("latency") && skewed("efficiency") && skewed("cpu_total"));
        assert!(!skewed("jain_throughput") && !skewed("loss") && !skewed("dropped"));
    }

    #[test]
    fn names_are_unique_names() {
        for (i, metric) in METRICS.iter().enumerate() {
            assert!(crate::ids::Name::new(metric.name).is_ok());
            assert!(METRICS[..i].iter().all(|other| other.name != metric.name));
            assert_eq!(find(metric.name), Some(metric));
        }
        assert_eq!(find("speed"), None);
    }

    /// `VEXP_WRITE_DOCS=1 cargo test` writes the table anew.
    #[test]
    fn the_documentation_has_this_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let start = text.find("| name |").unwrap();
        let end = start
            + text[start..]
                .find("\n\n")
                .map_or(text.len() - start, |at| at + 1);
        let new = format!("{}{}{}", &text[..start], markdown(), &text[end..]);
        if std::env::var_os("VEXP_WRITE_DOCS").is_some() {
            std::fs::write(&path, &new).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), new);
    }
}
