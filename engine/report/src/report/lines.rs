//! Lines over a numeric axis as SVG: for sweeps, and for more series than there are colours.
//!
//! Lines are told apart by colour, sign and dashes together, so that no two of them look alike: see
//! [`style`].

use super::axis::{label, ticks};
use super::chart::{
    Chart, GRID, INK, LEFT, MUTED, PALETTE, PLOT, Pen, Reference, SURFACE, WIDTH, colour, dashes,
    framed, linked, wrapped,
};
use crate::stats::Interval;
use crate::svg::{Anchor, Svg, round};

/// A figure of lines.
pub(super) struct Lines {
    /// Unique on the page.
    pub(super) id: String,
    /// What and in which unit.
    pub(super) title: String,
    /// What it shows, for those who can't see it.
    pub(super) description: String,
    /// What the horizontal axis says.
    pub(super) across: String,
    /// Places of the horizontal axis's ticks; round ones if there are none.
    pub(super) ticks: Vec<f64>,
    /// Whether the horizontal axis is logarithmic, for what is skewed.
    pub(super) logarithmic: bool,
    /// The lines.
    pub(super) lines: Vec<Line>,
    /// A line all across.
    pub(super) reference: Option<Reference>,
}

/// A line.
pub(super) struct Line {
    /// In the legend.
    pub(super) title: String,
    /// From left to right.
    pub(super) dots: Vec<Dot>,
}

/// A point of a line.
pub(super) struct Dot {
    /// Where.
    pub(super) x: f64,
    /// How high.
    pub(super) y: f64,
    /// Error bar.
    pub(super) interval: Option<Interval>,
    /// All of it in words.
    pub(super) words: String,
    /// Where its trials are described, on the page.
    pub(super) link: Option<String>,
}

/// Height of the horizontal axis's numbers and words.
const BELOW: f64 = 42.0;
/// Width of a digit of the axes' numbers.
const DIGIT: f64 = 7.0;
/// Half the size of a sign.
const SIGN: f64 = 4.2;

/// Where values are in the picture.
struct Plot {
    top: f64,
    right: f64,
    /// The left end of the horizontal axis; 0 unless it is logarithmic.
    least: f64,
    most: (f64, f64),
}

impl Plot {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let width = self.right - LEFT;
        let part = if self.least > 0.0 {
            (x.max(self.least) / self.least).ln() / (self.most.0 / self.least).ln()
        } else {
            x / self.most.0
        };
        (
            LEFT + width * part,
            self.top + PLOT * (1.0 - y / self.most.1),
        )
    }
}

impl Lines {
    /// The bars of a figure as lines over the number of virtual machines.
    pub(super) fn of(chart: &Chart) -> Self {
        let line = |(slot, title): (usize, &String)| {
            let bars = chart.groups.iter().flat_map(|group| {
                let bars = group.bars.iter().filter(|bar| bar.series == slot);
                bars.map(|bar| (group.vms, bar))
            });
            let dots = bars.filter_map(|(vms, bar)| {
                Some(Dot {
                    x: f64::from(vms),
                    y: bar.value?,
                    interval: bar.interval,
                    words: bar.words.clone(),
                    link: bar.link.clone(),
                })
            });
            Line {
                title: title.clone(),
                dots: dots.collect(),
            }
        };
        Self {
            id: chart.id.clone(),
            title: chart.title.clone(),
            description: chart.description.clone(),
            across: "virtual machines".to_owned(),
            ticks: chart
                .groups
                .iter()
                .map(|group| f64::from(group.vms))
                .collect(),
            logarithmic: false,
            lines: chart.series.iter().enumerate().map(line).collect(),
            reference: chart.reference.clone(),
        }
    }

    /// The figure; see [`Chart::svg`].
    pub(super) fn svg(&self, page: &str) -> String {
        let mut body = Svg::new();
        let plot = Plot {
            top: self.legend(&mut body) + 16.0,
            right: WIDTH - 14.0,
            least: self.least(),
            most: self.most(),
        };
        self.axes(&mut body, &plot);
        for (slot, line) in self.lines.iter().enumerate() {
            draw(&mut body, &plot, (slot, line), page);
        }
        if let Some(reference) = &self.reference {
            linked(&mut body, page, reference.link.as_deref(), |svg| {
                svg.text("title", &[], &reference.label);
                dashes(svg, plot.at(plot.least, reference.value), plot.right);
            });
        }
        let height = plot.top + PLOT + BELOW;
        framed(
            (&self.id, &self.title, &self.description),
            height,
            &body.finish(),
        )
    }

    fn legend(&self, svg: &mut Svg) -> f64 {
        let mut pen = Pen::below(wrapped(svg, &self.title));
        for (slot, line) in self.lines.iter().enumerate() {
            let (x, y) = pen.wide(svg, &line.title, 34.0);
            let at = |x| (x, y + 5.0);
            stroke(svg, &[at(x), at(x + 28.0)], slot);
            sign(svg, at(x + 14.0), slot);
        }
        if let Some(reference) = &self.reference {
            let (x, y) = pen.entry(svg, &reference.label);
            dashes(svg, (x - 1.0, y + 5.0), x + 11.0);
        }
        pen.bottom()
    }

    fn axes(&self, svg: &mut Svg, plot: &Plot) {
        let left = ticks(plot.most.1, 6.0);
        for tick in &left {
            let (_, y) = plot.at(plot.least, *tick);
            svg.line((LEFT, y), (plot.right, y), GRID, 1.0);
            svg.words(
                (LEFT - 5.0, y + 4.0),
                Anchor::End,
                MUTED,
                &label(*tick, &left),
            );
        }
        let round = ticks(plot.most.0, 6.0);
        let below = match (self.logarithmic, self.ticks.is_empty()) {
            (true, _) => decades(plot.least, plot.most.0),
            (false, true) => round.clone(),
            (false, false) => self.ticks.clone(),
        };
        let mut taken = f64::NEG_INFINITY;
        for tick in below {
            let (x, y) = plot.at(tick, 0.0);
            svg.line((x, y), (x, y + 4.0), MUTED, 1.0);
            let words = match self.ticks.is_empty() && !self.logarithmic {
                true => label(tick, &round),
                false => tick.to_string(),
            };
            // A number that would touch the one before it is left out; its tick stays.
            let half = DIGIT * words.len() as f64 / 2.0;
            if x - half > taken + DIGIT {
                svg.words((x, y + 17.0), Anchor::Middle, INK, &words);
                taken = x + half;
            }
        }
        let (_, base) = plot.at(plot.least, 0.0);
        svg.line((LEFT, base), (plot.right, base), MUTED, 1.0);
        let middle = f64::midpoint(LEFT, plot.right);
        svg.words((middle, base + 35.0), Anchor::Middle, INK, &self.across);
    }

    /// Where a logarithmic axis begins: the least value; 0 elsewhere.
    fn least(&self) -> f64 {
        let dots = self.lines.iter().flat_map(|line| &line.dots);
        let least = dots
            .map(|dot| dot.x)
            .filter(|x| *x > 0.0)
            .fold(f64::INFINITY, f64::min);
        match self.logarithmic && least.is_finite() {
            true => least / 1.08,
            false => 0.0,
        }
    }

    /// The ends of both axes.
    fn most(&self) -> (f64, f64) {
        let dots = || self.lines.iter().flat_map(|line| &line.dots);
        let x = dots().map(|dot| dot.x).chain(self.ticks.iter().copied());
        let high = |dot: &Dot| {
            dot.interval
                .map_or(dot.y, |interval| interval.high.max(dot.y))
        };
        let lines = self.reference.iter().map(|reference| reference.value);
        let top = |most: f64| if most > 0.0 { most * 1.08 } else { 1.0 };
        (
            top(x.fold(0.0, f64::max)),
            top(dots().map(high).chain(lines).fold(0.0, f64::max)),
        )
    }
}

/// 1, 2 and 5 times the powers of ten from `least` to `most`; powers alone where they are many.
fn decades(least: f64, most: f64) -> Vec<f64> {
    let from = least.log10().floor() as i32;
    let to = most.log10().ceil() as i32;
    let steps: &[f64] = if to - from > 4 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let all = (from..=to).flat_map(|power| {
        // By way of its text: the decimal that people read.
        let text = move |step: f64| format!("{step}e{power}").parse().unwrap_or(step);
        steps.iter().map(move |step| text(*step))
    });
    all.filter(|tick| (least..=most).contains(tick)).collect()
}

fn draw(svg: &mut Svg, plot: &Plot, (slot, line): (usize, &Line), page: &str) {
    let at: Vec<(f64, f64)> = line.dots.iter().map(|dot| plot.at(dot.x, dot.y)).collect();
    stroke(svg, &at, slot);
    for (dot, (x, y)) in line.dots.iter().zip(at) {
        linked(svg, page, dot.link.as_deref(), |svg| {
            svg.text("title", &[], &dot.words);
            if let Some(Interval { low, high }) = dot.interval {
                let (_, low) = plot.at(dot.x, low.max(0.0));
                let (_, high) = plot.at(dot.x, high.min(plot.most.1));
                for (ink, wide) in [(SURFACE, 3.0), (colour(slot).as_str(), 1.2)] {
                    svg.line((x, low), (x, high), ink, wide);
                    for end in [low, high] {
                        svg.line((x - 3.0, end), (x + 3.0, end), ink, wide);
                    }
                }
            }
            sign(svg, (x, y), slot);
        });
    }
}

/// Signs of points, as paths around (0, 0).
const SIGNS: [&str; PALETTE] = [
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -4.6l4.6 8h-9.2z",
    "M0 -5l5 5l-5 5l-5 -5z",
    "M0 4.6l4.6 -8h-9.2z",
    "M-1.6 -4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
    "M-4.6 -2.6l2 -2l2.6 2.6l2.6 -2.6l2 2l-2.6 2.6l2.6 2.6l-2 2l-2.6 -2.6l-2.6 2.6l-2 -2l2.6 -2.6z",
    "M-5 -1.8h10v3.6h-10z",
];
/// Dashes of lines.
const DASHES: [&str; 4] = ["none", "7 3", "2 3", "9 3 2 3"];

/// Colour, sign and dashes of a line. Signs and dashes alone tell 32 lines apart, for those who see no colours;
/// all three tell 64.
fn style(slot: usize) -> (usize, &'static str, &'static str) {
    let round = slot / PALETTE;
    (
        slot % PALETTE,
        SIGNS[(slot + round) % SIGNS.len()],
        DASHES[round % DASHES.len()],
    )
}

fn stroke(svg: &mut Svg, points: &[(f64, f64)], slot: usize) {
    let (_, _, dashes) = style(slot);
    let points: Vec<String> = (points.iter())
        .map(|(x, y)| format!("{},{}", round(*x), round(*y)))
        .collect();
    svg.element(
        "polyline",
        &[
            ("points", &points.join(" ")),
            ("fill", &"none"),
            ("stroke", &colour(slot)),
            ("stroke-width", &1.8),
            ("stroke-dasharray", &dashes),
        ],
    );
}

fn sign(svg: &mut Svg, (x, y): (f64, f64), slot: usize) {
    let (_, path, _) = style(slot);
    svg.element(
        "path",
        &[
            ("d", &path),
            (
                "transform",
                &format!("translate({} {})", round(x), round(y)),
            ),
            ("fill", &colour(slot)),
            ("stroke", &SURFACE),
            ("stroke-width", &(SIGN / 5.0)),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Lines {
        let line = |slot: usize| Line {
            title: format!(
                "{} byte packets over a router with a long name",
                64 << (slot % 5)
            ),
            dots: (1..=5)
                .map(|step| Dot {
                    x: f64::from(step) * 20.0,
                    y: f64::from(step) * 10.0 + slot as f64,
                    interval: None,
                    words: "words".to_owned(),
                    link: None,
                })
                .collect(),
        };
        Lines {
            id: "f".to_owned(),
            title: "Throughput, Mb/s".to_owned(),
            description: "A sweep".to_owned(),
            across: "offered load, Mb/s".to_owned(),
            ticks: Vec::new(),
            logarithmic: false,
            lines: (0..count).map(line).collect(),
            reference: None,
        }
    }

    #[test]
    fn no_two_lines_look_alike() {
        let mut seen = std::collections::BTreeSet::new();
        for slot in 0..64 {
            assert!(seen.insert(style(slot)), "{slot}");
        }
        // Also where colours can't be told apart.
        let without: std::collections::BTreeSet<_> =
            (0..32).map(|slot| (style(slot).1, style(slot).2)).collect();
        assert_eq!(without.len(), 32);
    }

    #[test]
    fn skewed_values_have_a_logarithmic_axis() {
        assert_eq!(
            decades(0.9, 120.0),
            [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        );
        assert_eq!(decades(0.02, 300.0), [0.1, 1.0, 10.0, 100.0]);
        let svg = Lines {
            logarithmic: true,
            ..lines(2)
        }
        .svg("");
        assert!(svg.contains(">50</text>") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn numbers_of_an_axis_do_not_touch() {
        let mut many = lines(2);
        many.ticks = vec![1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 25.0, 64.0, 128.0];
        let svg = many.svg("");
        let shown = |tick: u32| svg.contains(&format!(">{tick}</text>"));
        assert!(![2, 4, 24].into_iter().any(shown), "{svg}");
        assert!([1, 8, 16, 25, 64, 128].into_iter().all(shown), "{svg}");
    }

    /// For eyes: `VEXP_CHART_OUT=FILE cargo test --lib a_chart_to_look_at -- --ignored`.
    #[test]
    #[ignore = "writes a chart for somebody who looks at it"]
    fn a_chart_to_look_at() {
        let out = std::env::var_os("VEXP_CHART_OUT").unwrap();
        let chart = crate::report::chart::standalone(&lines(15).svg(""));
        std::fs::write(out, chart).unwrap();
    }

    #[test]
    fn the_axis_is_numeric_and_every_line_has_its_words() {
        let svg = lines(15).svg("");
        assert_eq!(svg.matches("<polyline").count(), 30, "legend and plot");
        assert_eq!(svg.matches("long name").count(), 15);
        for words in ["offered load, Mb/s", ">20</text>", ">100</text>"] {
            assert!(svg.contains(words), "{words}");
        }
        assert!(!svg.contains("NaN"));
    }
}
