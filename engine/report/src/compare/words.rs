//! What tables of a comparison have in common, wherever they are printed.

use super::{Comparison, Missing, Row, Verdict};
use crate::metrics::Point;
use crate::stats::Interval;

/// A number with four significant digits and no exponent.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.abs().to_string();
    }
    let exponent = value.abs().log10().floor();
    let decimals = (3.0 - exponent).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

/// `send-tcp.xen-3.1.v2`, as trials are named.
pub fn point(point: &Point) -> String {
    format!("{}.{}.v{}", point.experiment, point.platform, point.vms)
}

impl Row {
    /// `0.970 [0.950, 0.990]`, with the interval that the verdict stands on; `-` where there is no
    /// ratio.
    pub fn ratio_words(&self) -> String {
        let Some(ratio) = self.ratio else {
            return "-".to_owned();
        };
        match self.adjusted.or(self.interval) {
            Some(Interval { low, high }) => format!("{ratio:.3} [{low:.3}, {high:.3}]"),
            None => format!("{ratio:.3}"),
        }
    }

    /// `5 and 1 runs`.
    pub fn level_words(&self) -> String {
        let (base, new) = self.units;
        match self.level {
            super::Level::Samples => "samples".to_owned(),
            level if base == new => format!("{base} {}", level.as_str()),
            level => format!("{base} and {new} {}", level.as_str()),
        }
    }
}

impl Missing {
    /// One line on what is not there, and why.
    pub fn words(&self) -> String {
        let side = if self.in_base { "new" } else { "base" };
        let what = match &self.metrics[..] {
            [] => String::new(),
            metrics => format!(" {}", metrics.join(", ")),
        };
        let why = self.reason.as_ref().map(|reason| format!(" ({reason})"));
        let point = point(&self.point);
        format!("{point}{what}: not in {side}{}", why.unwrap_or_default())
    }
}

impl Comparison {
    /// `3 metrics: 1 worse, 2 equal`, or why nothing was judged.
    pub fn counts(&self) -> String {
        if let Some(reason) = &self.refused {
            return format!("nothing was judged: {reason}");
        }
        let counts: Vec<String> = Verdict::ALL
            .iter()
            .map(|verdict| (self.of(*verdict).count(), verdict.as_str()))
            .filter(|(n, _)| *n > 0)
            .map(|(n, verdict)| format!("{n} {verdict}"))
            .collect();
        match self.rows.len() {
            0 => "nothing that both have".to_owned(),
            n => format!("{n} metrics: {}", counts.join(", ")),
        }
    }

    /// What verdicts mean.
    pub fn legend(&self) -> String {
        format!(
            "new / base with the interval that the verdict stands on, corrected for all {} metrics: \
             equal inside of ±{} %, worse or better outside; at most {} % of comparisons of what does \
             not differ find anything",
            self.rows.len(),
            significant_percent(self.margin),
            significant_percent(self.alpha),
        )
    }
}

/// A share as percent without the noise of its binary form.
pub fn significant_percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}
