//! Numbers as people read them, and the CSV file.

use std::fmt::Write as _;

use vexp_api::sample::Unit;

use crate::metrics::MetricValue;
use crate::stats::Interval;

/// A value with as many decimals as its unit deserves, the same for all values of a column.
pub(super) fn number(value: f64, unit: Unit) -> String {
    let decimals = match unit {
        Unit::MbPerS | Unit::CpuPercent | Unit::Percent => 1,
        Unit::PacketsPerS | Unit::Bytes | Unit::Count => 0,
        Unit::Ms | Unit::One | Unit::CpuPercentPerMbPerS => 3,
    };
    // No "-0.0".
    let value = if value == 0.0 { 0.0 } else { value };
    format!("{value:.decimals$}")
}

/// `[low, high]`.
pub(super) fn interval(interval: Interval, unit: Unit) -> String {
    format!(
        "[{}, {}]",
        number(interval.low, unit),
        number(interval.high, unit)
    )
}

/// A value with its interval, without its unit.
pub(super) fn with_interval(of: &MetricValue) -> String {
    let value = number(of.value, of.unit);
    match of.interval {
        Some(found) => format!("{value} {}", interval(found, of.unit)),
        None => value,
    }
}

/// A unit after a number: nothing for ratios.
pub(super) fn unit_after(unit: Unit) -> String {
    match unit {
        Unit::One => String::new(),
        unit => format!(" {unit}"),
    }
}

/// A factor without the noise of its binary form.
pub(super) fn factor(factor: f64) -> String {
    ((factor * 1e4).round() / 1e4).to_string()
}

/// A published number as the paper has it: nothing is added to it.
pub(super) fn as_printed(value: f64) -> String {
    value.to_string()
}

/// All metrics, RFC 4180. Numbers are written so that they read back exactly.
pub(super) fn csv(metrics: &[MetricValue]) -> String {
    let mut text = String::from(
        "experiment,platform,vms,node,metric,unit,value,low,high,basis,repetitions,samples,outliers\r\n",
    );
    for m in metrics {
        let bound =
            |of: fn(Interval) -> f64| m.interval.map(|i| of(i).to_string()).unwrap_or_default();
        let node = m.node.as_ref().map_or("", |node| node.as_str());
        // Names, units and numbers hold no comma and no quote. Writing to a String cannot fail.
        let _ = write!(
            text,
            "{},{},{},{node},{},{},{},{},{},{},{},{},{}\r\n",
            m.point.experiment,
            m.point.platform,
            m.point.vms,
            m.metric,
            m.unit,
            m.value,
            bound(|i| i.low),
            bound(|i| i.high),
            m.basis.as_str(),
            m.repetitions,
            m.samples,
            m.outliers,
        );
    }
    text
}

/// `1 VM`, `2 VMs`, and for 0 `without VMs`.
pub(super) fn vms(n: u32) -> String {
    match n {
        0 => "without VMs".to_owned(),
        1 => "1 VM".to_owned(),
        n => format!("{n} VMs"),
    }
}

/// `with 1 VM`, and for 0 `without VMs`.
pub(super) fn with_vms(n: u32) -> String {
    match n {
        0 => vms(0),
        n => format!("with {}", vms(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_restored_with_guests_or_without() {
        let all = [0, 1, 2].map(with_vms);
        assert_eq!(all, ["without VMs", "with 1 VM", "with 2 VMs"]);
    }

    #[test]
    fn decimals_depend_on_the_unit_alone() {
        assert_eq!(number(938.04, Unit::MbPerS), "938.0");
        assert_eq!(number(0.9, Unit::One), "0.900");
        assert_eq!(number(109_685.0, Unit::PacketsPerS), "109685");
        assert_eq!(number(-0.0, Unit::Percent), "0.0");
        assert_eq!(as_printed(938.0), "938");
        assert_eq!(as_printed(3.8515), "3.8515");
    }
}
