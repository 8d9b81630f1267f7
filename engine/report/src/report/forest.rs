//! All claims in one picture: of each that was measured, what decides it by what is claimed, with the
//! interval that its verdict stands on.
//!
//! The axis is logarithmic and shared: 1 is the value that is claimed. A band shows what the claim allows.
//! Shapes tell verdicts apart, so that the picture can be printed in black.

use std::fmt::Display;

use crate::judge::{ClaimVerdict, Compared, Test, TestOutcome, Verdict};
use crate::svg::{Anchor, Svg, round};

const WIDTH: f64 = 720.0;
/// Where the axis begins and ends.
const PLOT: (f64, f64) = (64.0, 430.0);
const ROW: f64 = 20.0;
const TOP: f64 = 34.0;
/// The ends of the axis: what lies beyond is drawn at them, with an arrow.
const RANGE: (f64, f64) = (0.25, 4.0);
const TICKS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

const INK: &str = "var(--ink)";
const MUTED: &str = "var(--muted)";
const GRID: &str = "var(--grid)";
const PAPER: &str = "var(--paper)";

/// The assertion of a claim that decides it: the first that fails, else the first that is open, else the
/// one that holds by the least.
pub(super) fn decisive(claim: &ClaimVerdict) -> Option<&Test> {
    let of = |wanted: fn(&TestOutcome) -> bool| {
        let mut tests = claim.tests.iter();
        tests.find(move |test| wanted(&test.outcome))
    };
    let p = |test: &&Test| test.compared.as_ref().and_then(|c| c.p).unwrap_or(1.0);
    of(|outcome| *outcome == TestOutcome::Fails)
        .or_else(|| of(|outcome| matches!(outcome, TestOutcome::Open { .. })))
        .or_else(|| {
            let holding = claim.tests.iter();
            let holding = holding.filter(|test| test.outcome == TestOutcome::Holds);
            holding.max_by(|a, b| p(a).total_cmp(&p(b)))
        })
}

/// A claim that can be drawn.
struct Row<'a> {
    claim: &'a ClaimVerdict,
    compared: &'a Compared,
    value: f64,
}

/// The picture, and how many claims it shows; `None` if there are none. `testbed` is what it was measured
/// on.
pub(super) fn svg(claims: &[ClaimVerdict], testbed: &str) -> Option<String> {
    let mut rows: Vec<Row<'_>> = claims
        .iter()
        .filter(|claim| claim.verdict != Verdict::NotTested)
        .filter_map(|claim| {
            let compared = decisive(claim)?.compared.as_ref()?;
            let value = compared.value?;
            (compared.claimed > 0.0 && value >= 0.0).then_some(Row {
                claim,
                compared,
                value,
            })
        })
        .collect();
    rows.sort_by_key(|row| row.claim.verdict);
    if rows.is_empty() {
        return None;
    }
    let height = TOP + ROW * rows.len() as f64 + 44.0;
    let mut svg = Svg::new();
    svg.open(
        "svg",
        &[
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("viewBox", &format!("0 0 {WIDTH} {height}")),
            ("width", &WIDTH),
            ("height", &height),
            ("role", &"img"),
            ("aria-labelledby", &"forest-title"),
            ("font-size", &12),
        ],
    );
    let title = format!("Claims, measured on testbed {testbed} by what is claimed");
    svg.text("title", &[("id", &"forest-title")], &title);
    axis(&mut svg, rows.len());
    for (i, row) in rows.iter().enumerate() {
        draw(&mut svg, row, TOP + ROW * (i as f64 + 0.5));
    }
    svg.close("svg");
    Some(svg.finish())
}

/// Where a ratio to what is claimed stands, and whether it lies beyond the axis.
fn x(ratio: f64) -> f64 {
    let (low, high) = RANGE;
    let part = (ratio.clamp(low, high) / low).ln() / (high / low).ln();
    PLOT.0 + (PLOT.1 - PLOT.0) * part
}

fn axis(svg: &mut Svg, rows: usize) {
    let bottom = TOP + ROW * rows as f64;
    for tick in TICKS {
        let at = x(tick);
        let (stroke, width) = if tick == 1.0 {
            (PAPER, 1.4)
        } else {
            (GRID, 1.0)
        };
        svg.line((at, TOP - 4.0), (at, bottom), stroke, width);
        svg.words(
            (at, bottom + 16.0),
            Anchor::Middle,
            MUTED,
            &format!("{tick}"),
        );
    }
    let middle = f64::midpoint(PLOT.0, PLOT.1);
    let below = (middle, bottom + 34.0);
    svg.words(below, Anchor::Middle, MUTED, "measured / claimed");
    svg.words((x(1.0), TOP - 10.0), Anchor::Middle, PAPER, "claimed");
    svg.words(
        (PLOT.1 + 14.0, TOP - 10.0),
        Anchor::Start,
        MUTED,
        "here, claimed, verdict",
    );
}

fn draw(svg: &mut Svg, row: &Row<'_>, y: f64) {
    let of = |value: f64| value / row.compared.claimed;
    let link = format!("#claim-{}", row.claim.claim);
    svg.open("a", &[("href", &link)]);
    svg.words((4.0, y + 4.0), Anchor::Start, INK, row.claim.claim.as_str());
    let band = |border: Option<f64>, open: f64| x(border.map_or(open, of));
    let (low, high) = (
        band(row.compared.low, RANGE.0),
        band(row.compared.high, RANGE.1),
    );
    rect(
        svg,
        (low, y - 6.0, (high - low).max(1.5), 12.0),
        PAPER,
        0.16,
    );
    let interval = row.compared.adjusted.or(row.compared.interval);
    if let Some(interval) = interval {
        let (from, to) = (x(of(interval.low)), x(of(interval.high)));
        svg.line((from, y), (to, y), INK, 1.4);
        if of(interval.low) < RANGE.0 {
            svg.words((from - 2.0, y + 4.0), Anchor::End, INK, "‹");
        }
        if of(interval.high) > RANGE.1 {
            svg.words((to + 2.0, y + 4.0), Anchor::Start, INK, "›");
        }
    }
    mark(svg, row.claim.verdict, (x(of(row.value)), y));
    svg.words((PLOT.1 + 14.0, y + 4.0), Anchor::Start, INK, &words(row));
    svg.close("a");
}

fn words(row: &Row<'_>) -> String {
    let digits = crate::judge::digits;
    let claimed = match (row.compared.low, row.compared.high) {
        (Some(low), Some(high)) => format!("{} to {}", digits(low), digits(high)),
        (Some(low), None) => format!("> {}", digits(low)),
        (None, Some(high)) => format!("< {}", digits(high)),
        (None, None) => "anything".to_owned(),
    };
    let value = digits(row.value);
    format!("{value}; {claimed}; {}", row.claim.verdict)
}

/// Full for what is decided, hollow for what is not; a circle for what agrees, a square for what does not.
fn mark(svg: &mut Svg, verdict: Verdict, (at, y): (f64, f64)) {
    let (colour, full) = match verdict {
        Verdict::Reproduced => ("var(--good)", true),
        Verdict::NotReproduced => ("var(--bad)", true),
        Verdict::Inconclusive => ("var(--open)", false),
        Verdict::OutOfRegime | Verdict::NotTested => ("var(--regime)", false),
    };
    let fill: &dyn Display = if full { &colour } else { &"var(--surface)" };
    match verdict {
        Verdict::NotReproduced | Verdict::OutOfRegime => svg.element(
            "rect",
            &[
                ("x", &round(at - 4.0)),
                ("y", &round(y - 4.0)),
                ("width", &8),
                ("height", &8),
                ("fill", fill),
                ("stroke", &colour),
                ("stroke-width", &1.5),
            ],
        ),
        _ => svg.element(
            "circle",
            &[
                ("cx", &round(at)),
                ("cy", &round(y)),
                ("r", &4.5),
                ("fill", fill),
                ("stroke", &colour),
                ("stroke-width", &1.5),
            ],
        ),
    }
}

fn rect(svg: &mut Svg, (x, y, width, height): (f64, f64, f64, f64), fill: &str, opacity: f64) {
    let (x, y, width, height) = (round(x), round(y), round(width), round(height));
    svg.element(
        "rect",
        &[
            ("x", &x),
            ("y", &y),
            ("width", &width),
            ("height", &height),
            ("fill", &fill),
            ("fill-opacity", &opacity),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_stand_on_a_logarithmic_axis() {
        let middle = f64::midpoint(PLOT.0, PLOT.1);
        assert!((x(1.0) - middle).abs() < 1e-9);
        assert_eq!(
            (x(0.25), x(0.0), x(f64::INFINITY)),
            (PLOT.0, PLOT.0, PLOT.1)
        );
        assert!((x(2.0) - middle - (middle - x(0.5))).abs() < 1e-9);
    }

    #[test]
    fn nothing_measured_gives_no_picture() {
        assert_eq!(svg(&[], "virtual"), None);
    }
}
