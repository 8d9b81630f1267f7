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
    /// Unit.
    pub unit: Unit,
    /// Which direction is an improvement.
    pub better: Better,
    /// The formula in words and symbols, for reports.
    pub formula: &'static str,
}

const fn metric(name: &'static str, unit: Unit, better: Better, formula: &'static str) -> Metric {
    Metric {
        name,
        unit,
        better,
        formula,
    }
}

/// All metrics, in the order in which reports show them.
pub const METRICS: &[Metric] = &[
    metric(
        "throughput",
        Unit::MbPerS,
        Better::Higher,
        "R_i: mean rate of virtual machine i over the window, at the receiving end",
    ),
    metric(
        "throughput_aggregate",
        Unit::MbPerS,
        Better::Higher,
        "R_aggregate = sum of R_i over all N virtual machines",
    ),
    metric(
        "fair_share",
        Unit::MbPerS,
        Better::Higher,
        "R_aggregate / N",
    ),
    metric(
        "efficiency",
        Unit::One,
        Better::Higher,
        "E_throughput = R_aggregate / R_classical, classical Linux in the same experiment",
    ),
    metric(
        "jain_throughput",
        Unit::One,
        Better::Higher,
        "(sum of R_i)^2 / (N * sum of R_i^2)",
    ),
    metric(
        "jain_cpu",
        Unit::One,
        Better::Higher,
        "(sum of C_i)^2 / (N * sum of C_i^2)",
    ),
    metric(
        "cpu_host",
        Unit::CpuPercent,
        Better::Lower,
        "CPU cost of dom0, or of the host without its guests where that is known",
    ),
    metric(
        "cpu_guest",
        Unit::CpuPercent,
        Better::Lower,
        "C_i: CPU cost of virtual machine i",
    ),
    metric(
        "cpu_total",
        Unit::CpuPercent,
        Better::Lower,
        "C_aggregate: CPU cost of the host and all virtual machines together",
    ),
    metric(
        "cpu_per_mbps",
        Unit::CpuPercentPerMbPerS,
        Better::Lower,
        "C_aggregate / R_aggregate",
    ),
    metric(
        "packets_per_second",
        Unit::PacketsPerS,
        Better::Higher,
        "packets of virtual machine i received per second of the window",
    ),
    metric(
        "loss",
        Unit::Percent,
        Better::Lower,
        "100 * (sent - received) / sent, packets of virtual machine i",
    ),
    metric(
        "latency",
        Unit::Ms,
        Better::Lower,
        "L_i: mean round-trip time of virtual machine i",
    ),
];

/// The metric of that name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_names() {
        for (i, metric) in METRICS.iter().enumerate() {
            assert!(crate::ids::Name::new(metric.name).is_ok());
            assert!(METRICS[..i].iter().all(|other| other.name != metric.name));
            assert_eq!(find(metric.name), Some(metric));
        }
        assert_eq!(find("speed"), None);
    }
}
