//! A series as SVG: a dot a run, steps of the means between change points, and lines where it
//! changed. Colours are the page's; nothing is told by colour alone: a change has its words, and a
//! new environment a dashed line.

use super::{Change, Series, Trend};
use crate::compare::words::{point, significant};
use crate::svg::{Anchor, Svg, round};

/// Size in pixels: a phone shows it about as large as it is.
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 24.0;

const INK: &str = "var(--ink)";
const MUTED: &str = "var(--muted)";
const GRID: &str = "var(--grid)";

struct Plot {
    low: f64,
    high: f64,
    runs: usize,
}

impl Plot {
    fn of(series: &Series, runs: usize) -> Self {
        let values = || series.values.iter().map(|value| value.value);
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        // What hardly varies is not to look as if it did: at least 2 % of the value are seen.
        let room = (0.1 * (high - low)).max(0.01 * high.abs()).max(1e-12);
        let least = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Self {
            low: (low - room).max(least),
            high: high + room,
            runs,
        }
    }

    fn x(&self, run: f64) -> f64 {
        let width = WIDTH - LEFT - RIGHT - 12.0;
        LEFT + 6.0 + width * run / self.runs.saturating_sub(1).max(1) as f64
    }

    fn y(&self, value: f64) -> f64 {
        let height = HEIGHT - TOP - BOTTOM;
        TOP + height * (1.0 - (value - self.low) / (self.high - self.low))
    }
}

/// The figure. `links` are the reports of the history's runs, where there are some.
pub(super) fn svg(trend: &Trend, series: &Series, id: &str, links: &[Option<String>]) -> String {
    let plot = Plot::of(series, trend.runs.len());
    let mut svg = Svg::new();
    open(&mut svg, series, id);
    axes(&mut svg, &plot, trend);
    for environment in series.environments.iter().skip(1) {
        if let Some(value) = series.values.get(environment.first) {
            let x = plot.x(value.run as f64 - 0.5);
            svg.open("g", &[]);
            svg.text("title", &[], "a new environment begins");
            dashed(&mut svg, x);
            svg.close("g");
        }
    }
    means(&mut svg, &plot, series);
    dots(&mut svg, &plot, trend, series, links);
    for change in &series.changes {
        mark(&mut svg, &plot, series, change);
    }
    svg.close("svg");
    svg.finish()
}

fn open(svg: &mut Svg, series: &Series, id: &str) {
    let (title, words) = (format!("{id}-title"), format!("{id}-words"));
    svg.open(
        "svg",
        &[
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("viewBox", &format!("0 0 {WIDTH} {HEIGHT}")),
            ("width", &WIDTH),
            ("height", &HEIGHT),
            ("role", &"group"),
            ("aria-labelledby", &format!("{title} {words}")),
            ("font-size", &12),
        ],
    );
    let name = point(&series.point);
    svg.text("title", &[("id", &title)], &name);
    let changes: Vec<String> = series
        .changes
        .iter()
        .map(|change| format!("{} at {}", change.words(), change.run))
        .collect();
    let described = match changes.len() {
        0 => format!("{} runs without a change", series.values.len()),
        _ => format!(
            "{} runs; changes: {}",
            series.values.len(),
            changes.join(", ")
        ),
    };
    svg.text("desc", &[("id", &words)], &described);
    let unit = match series.unit.as_str() {
        "1" => String::new(),
        unit => unit.to_owned(),
    };
    svg.words((2.0, 14.0), Anchor::Start, MUTED, &unit);
}

fn axes(svg: &mut Svg, plot: &Plot, trend: &Trend) {
    for tick in ticks(plot.low, plot.high) {
        let y = plot.y(tick);
        svg.line((LEFT, y), (WIDTH - RIGHT, y), GRID, 1.0);
        let words = significant(tick);
        let words = match words.contains('.') {
            true => words.trim_end_matches('0').trim_end_matches('.'),
            false => &words,
        };
        svg.words((LEFT - 5.0, y + 4.0), Anchor::End, MUTED, words);
    }
    let base = HEIGHT - BOTTOM;
    svg.line((LEFT, base), (WIDTH - RIGHT, base), MUTED, 1.0);
    let day = |started: &str| started.split('T').next().unwrap_or_default().to_owned();
    let below = base + 16.0;
    if let Some(first) = trend.runs.first() {
        svg.words((LEFT, below), Anchor::Start, MUTED, &day(&first.started));
    }
    if let Some(last) = trend.runs.last().filter(|_| trend.runs.len() > 1) {
        let at = (WIDTH - RIGHT, below);
        svg.words(at, Anchor::End, MUTED, &day(&last.started));
    }
}

/// Round values between two, about five of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = high - low;
    if !(span > 0.0 && span.is_finite()) {
        return Vec::new();
    }
    let power = 10_f64.powf((span / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| span / step <= 5.5);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The mean of each stretch between change points, in each environment.
fn means(svg: &mut Svg, plot: &Plot, series: &Series) {
    for environment in 0..series.environments.len() {
        let own: Vec<usize> = (0..series.values.len())
            .filter(|i| series.values[*i].environment == environment)
            .collect();
        let changes = series.changes.iter().map(|change| change.at);
        let changes: Vec<usize> = changes.filter(|at| own.contains(at)).collect();
        let borders = [vec![0], changes, vec![usize::MAX]].concat();
        for pair in borders.windows(2) {
            let stretch: Vec<usize> = own
                .iter()
                .copied()
                .filter(|i| (pair[0]..pair[1]).contains(i))
                .collect();
            let values: Vec<f64> = stretch.iter().map(|i| series.values[*i].value).collect();
            let ends = stretch.first().zip(stretch.last());
            if let (Some((first, last)), Some(mean)) = (ends, crate::stats::mean(&values)) {
                let x = |i: usize| plot.x(series.values[i].run as f64);
                let y = plot.y(mean);
                svg.line((x(*first) - 4.0, y), (x(*last) + 4.0, y), "var(--s1)", 1.5);
            }
        }
    }
}

fn dots(svg: &mut Svg, plot: &Plot, trend: &Trend, series: &Series, links: &[Option<String>]) {
    for value in &series.values {
        let Some(run) = trend.runs.get(value.run) else {
            continue;
        };
        let link = links.get(value.run).and_then(Option::as_ref);
        let name = if link.is_some() { "a" } else { "g" };
        match link {
            Some(link) => svg.open(name, &[("href", link)]),
            None => svg.open(name, &[]),
        }
        let unit = series.unit;
        let words = format!("{} {unit}, {}", significant(value.value), run.run);
        svg.text("title", &[], &words);
        let (x, y) = (round(plot.x(value.run as f64)), round(plot.y(value.value)));
        svg.element(
            "circle",
            &[
                ("cx", &x),
                ("cy", &y),
                ("r", &2.6),
                ("fill", &"var(--s1)"),
                ("stroke", &"var(--surface)"),
                ("stroke-width", &0.8),
            ],
        );
        svg.close(name);
    }
}

fn dashed(svg: &mut Svg, x: f64) {
    let x = round(x);
    svg.element(
        "line",
        &[
            ("x1", &x),
            ("y1", &TOP),
            ("x2", &x),
            ("y2", &(HEIGHT - BOTTOM)),
            ("stroke", &MUTED),
            ("stroke-width", &1.2),
            ("stroke-dasharray", &"3 3"),
        ],
    );
}

/// A line where it changed, with how much above it.
fn mark(svg: &mut Svg, plot: &Plot, series: &Series, change: &Change) {
    let Some(value) = series.values.get(change.at) else {
        return;
    };
    let (colour, sign) = match change.worse {
        true => ("var(--bad)", "worse"),
        false => ("var(--good)", "better"),
    };
    let x = plot.x(value.run as f64 - 0.5);
    svg.open("g", &[]);
    let words = format!("{sign}: {} from {} on", change.words(), change.run);
    svg.text("title", &[], &words);
    svg.line((x, TOP), (x, HEIGHT - BOTTOM), colour, 1.6);
    // Words stay inside of the picture.
    let at = x.clamp(LEFT + 34.0, WIDTH - RIGHT - 34.0);
    svg.words((at, TOP - 5.0), Anchor::Middle, colour, &change.words());
    svg.line((x - 3.0, TOP), (x + 3.0, TOP), INK, 1.0);
    svg.close("g");
}
