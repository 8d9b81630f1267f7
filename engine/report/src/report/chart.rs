//! Grouped, stacked bars with intervals as SVG.
//!
//! Colours are CSS variables of the page, so that the same figure is legible on a light and on a
//! dark one. Nothing is told by colour alone: bars stand in the legend's order, what the host costs
//! is hatched, neighbouring virtual machines differ in lightness, and every bar has its words.

use super::axis::{label, ticks};
use crate::stats::Interval;
use crate::svg::{Anchor, Svg, escape, round};

/// A figure: bars for each series, grouped.
pub(super) struct Chart {
    /// Unique on the page.
    pub(super) id: String,
    /// What and in which unit.
    pub(super) title: String,
    /// What it shows, for those who can't see it.
    pub(super) description: String,
    /// Names in the legend.
    pub(super) series: Vec<String>,
    /// Groups from left to right.
    pub(super) groups: Vec<Group>,
    /// A line all across.
    pub(super) reference: Option<Reference>,
    /// What the paper prints for the line, on the left axis, and as printed.
    pub(super) printed_reference: Option<Mark>,
    /// The left axis's value for 1 on the paper's axis; `None` if both are the same.
    pub(super) paper_scale: Option<f64>,
    /// The top, where the values have one.
    pub(super) most: Option<f64>,
}

/// A group of bars.
pub(super) struct Group {
    /// Below the axis.
    pub(super) label: String,
    /// From left to right.
    pub(super) bars: Vec<Bar>,
}

/// A bar.
#[derive(Default)]
pub(super) struct Bar {
    /// Which series.
    pub(super) series: usize,
    /// Its height; `None` if it could not be measured.
    pub(super) value: Option<f64>,
    /// What it is stacked of, from the base; empty if that is not known.
    pub(super) parts: Vec<Part>,
    /// Error bar.
    pub(super) interval: Option<Interval>,
    /// What the paper prints, on the left axis, and as printed.
    pub(super) printed: Option<Mark>,
    /// All of it in words.
    pub(super) words: String,
    /// Where its trials are described, on the page.
    pub(super) link: Option<String>,
}

/// A part of a bar.
pub(super) struct Part {
    /// Its height.
    pub(super) value: f64,
    /// Whether it is the host's.
    pub(super) host: bool,
}

/// A printed value.
pub(super) struct Mark {
    /// Height.
    pub(super) at: f64,
    /// As printed.
    pub(super) printed: String,
}

/// A line all across.
pub(super) struct Reference {
    /// In the legend.
    pub(super) label: String,
    /// Height.
    pub(super) value: f64,
    /// Where its trials are described, on the page.
    pub(super) link: Option<String>,
}

/// Series beyond these share colours from the front; the legend's order tells them apart.
const PALETTE: usize = 8;
/// Size in pixels: a phone shows it about as large as it is.
const WIDTH: f64 = 380.0;
const PLOT: f64 = 210.0;
const LEFT: f64 = 40.0;
/// Width of a letter, for the legend; generous, since the font is the reader's.
const LETTER: f64 = 6.9;
const LINE: f64 = 17.0;

const INK: &str = "var(--ink)";
const MUTED: &str = "var(--muted)";
const GRID: &str = "var(--grid)";
const SURFACE: &str = "var(--surface)";
const PAPER: &str = "var(--paper)";

fn colour(series: usize) -> String {
    format!("var(--s{})", series % PALETTE + 1)
}

/// Where values are in the picture.
struct Plot {
    top: f64,
    right: f64,
    most: f64,
}

impl Plot {
    fn y(&self, value: f64) -> f64 {
        self.top + PLOT * (1.0 - value / self.most)
    }

    fn base(&self) -> f64 {
        self.top + PLOT
    }
}

impl Chart {
    /// The figure. `page` is put before its links: nothing where it is inlined, else the name of
    /// the page that has it.
    pub(super) fn svg(&self, page: &str) -> String {
        let mut body = Svg::new();
        let plot = Plot {
            top: self.legend(&mut body) + 16.0,
            right: WIDTH
                - if self.paper_scale.is_some() {
                    40.0
                } else {
                    6.0
                },
            most: self.top(),
        };
        self.axes(&mut body, &plot);
        self.bars(&mut body, &plot, page);
        self.line(&mut body, &plot, page);
        let height = plot.base() + 24.0;
        self.framed(height, &body.finish())
    }

    fn framed(&self, height: f64, body: &str) -> String {
        let mut svg = Svg::new();
        let (title, words) = (format!("{}-title", self.id), format!("{}-words", self.id));
        svg.open(
            "svg",
            &[
                ("xmlns", &"http://www.w3.org/2000/svg"),
                ("viewBox", &format!("0 0 {WIDTH} {}", round(height))),
                ("width", &WIDTH),
                ("height", &round(height)),
                ("role", &"group"),
                ("aria-labelledby", &format!("{title} {words}")),
                ("font-size", &12),
            ],
        );
        svg.text("title", &[("id", &title)], &self.title);
        svg.text("desc", &[("id", &words)], &self.description);
        svg.open("defs", &[]);
        svg.open(
            "pattern",
            &[
                ("id", &self.hatch()),
                ("width", &5),
                ("height", &5),
                ("patternUnits", &"userSpaceOnUse"),
                ("patternTransform", &"rotate(45)"),
            ],
        );
        svg.line((0.0, 0.0), (0.0, 5.0), SURFACE, 4.0);
        svg.close("pattern");
        svg.close("defs");
        format!("{}{body}</svg>", svg.finish())
    }

    fn hatch(&self) -> String {
        format!("{}-hatch", self.id)
    }

    /// Draws title and legend, and gives the height that they take.
    fn legend(&self, svg: &mut Svg) -> f64 {
        let bold: [(&str, &dyn std::fmt::Display); 5] = [
            ("x", &2),
            ("y", &13),
            ("font-size", &13),
            ("font-weight", &600),
            ("fill", &INK),
        ];
        svg.text("text", &bold, &self.title);
        let mut pen = Pen { x: 2.0, y: 30.0 };
        for (i, name) in self.series.iter().enumerate() {
            let (x, y) = pen.entry(svg, name);
            swatch(svg, (x, y), &colour(i), None);
        }
        let parts = || self.all_bars().flat_map(|bar| &bar.parts);
        if parts().any(|part| part.host) {
            let (x, y) = pen.entry(svg, "host");
            swatch(svg, (x, y), MUTED, Some(&self.hatch()));
        }
        if self.all_bars().any(|bar| guests(bar) > 1) {
            let (x, y) = pen.entry(svg, "each VM");
            for (i, opacity) in [1.0, 0.55].into_iter().enumerate() {
                shade(
                    svg,
                    (x, y - 5.0 * i as f64 + 5.0, 10.0, 4.5),
                    MUTED,
                    opacity,
                );
            }
        }
        if let Some(reference) = &self.reference {
            let (x, y) = pen.entry(svg, &reference.label);
            dashes(svg, (x - 1.0, y + 5.0), x + 11.0);
        }
        let printed: Vec<&str> = self.marks().map(|mark| mark.printed.as_str()).collect();
        if !printed.is_empty() {
            let words = format!("paper prints {}", printed.join(", "));
            let (x, y) = pen.entry(svg, &words);
            diamond(svg, (x + 5.0, y + 5.0));
        }
        pen.y + 12.0
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        let bars = self.all_bars().filter_map(|bar| bar.printed.as_ref());
        self.printed_reference.iter().chain(bars)
    }

    fn axes(&self, svg: &mut Svg, plot: &Plot) {
        let left = ticks(plot.most, 6.0);
        for tick in &left {
            let y = plot.y(*tick);
            svg.line((LEFT, y), (plot.right, y), GRID, 1.0);
            let at = (LEFT - 5.0, y + 4.0);
            svg.words(at, Anchor::End, MUTED, &label(*tick, &left));
        }
        let Some(scale) = self.paper_scale else {
            return;
        };
        let right = ticks(plot.most / scale, 6.0);
        for tick in &right {
            let y = plot.y(tick * scale);
            svg.line((plot.right, y), (plot.right + 4.0, y), PAPER, 1.0);
            let at = (plot.right + 6.0, y + 4.0);
            svg.words(at, Anchor::Start, PAPER, &label(*tick, &right));
        }
        let above = plot.top - 10.0;
        svg.words((LEFT - 5.0, above), Anchor::End, MUTED, "here");
        svg.words((WIDTH - 2.0, above), Anchor::End, PAPER, "paper");
    }

    fn bars(&self, svg: &mut Svg, plot: &Plot, page: &str) {
        let width = (plot.right - LEFT) / self.groups.len().max(1) as f64;
        for (i, group) in self.groups.iter().enumerate() {
            let bars = group.bars.len().max(1) as f64;
            // A few bars alone are not to fill the figure.
            let step = (0.84 * width / bars).min(34.0);
            let middle = LEFT + width * (i as f64 + 0.5);
            for (j, bar) in group.bars.iter().enumerate() {
                let left = middle - step * bars / 2.0 + step * j as f64;
                linked(svg, page, bar.link.as_deref(), |svg| {
                    svg.text("title", &[], &bar.words);
                    self.bar(svg, plot, bar, left, step);
                });
            }
            let at = (middle, plot.base() + 17.0);
            svg.words(at, Anchor::Middle, INK, &group.label);
        }
        let base = plot.base();
        svg.line((LEFT, base), (plot.right, base), MUTED, 1.0);
    }

    fn bar(&self, svg: &mut Svg, plot: &Plot, bar: &Bar, left: f64, step: f64) {
        let width = step * 0.84;
        let middle = left + width / 2.0;
        let fill = colour(bar.series);
        match bar.value {
            None => svg.words((middle, plot.base() - 4.0), Anchor::Middle, MUTED, "–"),
            Some(value) if bar.parts.is_empty() => {
                let y = plot.y(value);
                shade(svg, (left, y, width, plot.base() - y), &fill, 1.0);
            }
            Some(_) => self.stack(svg, plot, bar, (left, width)),
        }
        if let Some(Interval { low, high }) = bar.interval {
            let (low, high) = (plot.y(low.max(0.0)), plot.y(high.min(plot.most)));
            let cap = (width * 0.22).min(4.0);
            for (stroke, wide) in [(SURFACE, 3.5), (INK, 1.3)] {
                svg.line((middle, low), (middle, high), stroke, wide);
                for y in [low, high] {
                    svg.line((middle - cap, y), (middle + cap, y), stroke, wide);
                }
            }
        }
        if let Some(mark) = &bar.printed {
            diamond(svg, (left + width - 2.0, plot.y(mark.at)));
        }
    }

    fn stack(&self, svg: &mut Svg, plot: &Plot, bar: &Bar, (left, width): (f64, f64)) {
        let fill = colour(bar.series);
        let (mut below, mut guest) = (0.0, 0);
        for part in &bar.parts {
            let (top, bottom) = (plot.y(below + part.value), plot.y(below));
            let area = (left, top, width, bottom - top);
            let opacity = if !part.host && guest % 2 == 1 {
                0.55
            } else {
                1.0
            };
            shade(svg, area, &fill, opacity);
            if part.host {
                let (x, y, w, h) = (round(left), round(top), round(width), round(area.3));
                svg.element(
                    "rect",
                    &[
                        ("x", &x),
                        ("y", &y),
                        ("width", &w),
                        ("height", &h),
                        ("fill", &format!("url(#{})", self.hatch())),
                        ("fill-opacity", &0.55),
                    ],
                );
            } else {
                guest += 1;
            }
            if below > 0.0 {
                svg.line((left, bottom), (left + width, bottom), SURFACE, 1.0);
            }
            below += part.value;
        }
    }

    fn line(&self, svg: &mut Svg, plot: &Plot, page: &str) {
        if let Some(reference) = &self.reference {
            linked(svg, page, reference.link.as_deref(), |svg| {
                svg.text("title", &[], &reference.label);
                let y = plot.y(reference.value);
                dashes(svg, (LEFT, y), plot.right);
            });
        }
        if let Some(mark) = &self.printed_reference {
            diamond(svg, (plot.right, plot.y(mark.at)));
        }
    }

    fn all_bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    fn top(&self) -> f64 {
        let values = self.all_bars().flat_map(|bar| {
            let high = bar.interval.map(|interval| interval.high);
            bar.value.into_iter().chain(high)
        });
        let lines = self.reference.iter().map(|reference| reference.value);
        let marks = self.marks().map(|mark| mark.at);
        let most = values.chain(lines).chain(marks).fold(0.0, f64::max);
        match self.most {
            Some(most) => most * 1.04,
            None if most > 0.0 => most * 1.08,
            None => 1.0,
        }
    }
}

fn guests(bar: &Bar) -> usize {
    bar.parts.iter().filter(|part| !part.host).count()
}

/// Where the next entry of the legend stands.
struct Pen {
    x: f64,
    y: f64,
}

impl Pen {
    /// Writes the words of an entry, and gives the place of its sign.
    fn entry(&mut self, svg: &mut Svg, words: &str) -> (f64, f64) {
        let width = 14.0 + LETTER * words.chars().count() as f64 + 10.0;
        if self.x > 2.0 && self.x + width > WIDTH {
            (self.x, self.y) = (2.0, self.y + LINE);
        }
        let at = (self.x, self.y - 10.0);
        svg.words((self.x + 14.0, self.y), Anchor::Start, INK, words);
        self.x += width;
        at
    }
}

fn linked(svg: &mut Svg, page: &str, link: Option<&str>, draw: impl FnOnce(&mut Svg)) {
    let name = if link.is_some() { "a" } else { "g" };
    match link {
        Some(link) => svg.open(name, &[("href", &format!("{page}#{link}"))]),
        None => svg.open(name, &[]),
    }
    draw(svg);
    svg.close(name);
}

fn shade(svg: &mut Svg, (x, y, width, height): (f64, f64, f64, f64), fill: &str, opacity: f64) {
    let (x, y, width, height) = (round(x), round(y), round(width), round(height.max(0.0)));
    let mut attributes: Vec<(&str, &dyn std::fmt::Display)> = vec![
        ("x", &x),
        ("y", &y),
        ("width", &width),
        ("height", &height),
        ("fill", &fill),
    ];
    if opacity < 1.0 {
        attributes.push(("fill-opacity", &opacity));
    }
    svg.element("rect", &attributes);
}

fn swatch(svg: &mut Svg, (x, y): (f64, f64), fill: &str, hatch: Option<&str>) {
    shade(svg, (x, y, 10.0, 10.0), fill, 1.0);
    if let Some(hatch) = hatch {
        shade(svg, (x, y, 10.0, 10.0), &format!("url(#{hatch})"), 0.55);
    }
}

fn dashes(svg: &mut Svg, (x, y): (f64, f64), to: f64) {
    let (x, y, to) = (round(x), round(y), round(to));
    svg.element(
        "line",
        &[
            ("x1", &x),
            ("y1", &y),
            ("x2", &to),
            ("y2", &y),
            ("stroke", &INK),
            ("stroke-width", &1.3),
            ("stroke-dasharray", &"5 3"),
        ],
    );
}

fn diamond(svg: &mut Svg, (x, y): (f64, f64)) {
    let path = format!(
        "M{} {}l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
        round(x),
        round(y - 4.5)
    );
    svg.element(
        "path",
        &[
            ("d", &path),
            ("fill", &PAPER),
            ("stroke", &SURFACE),
            ("stroke-width", &1),
        ],
    );
}

/// The figure as a file of its own: it brings the colours that the page would give it.
pub(super) fn standalone(svg: &str) -> String {
    let css = include_str!("../../../../reports/style.css");
    // The palettes stand between these marks of the style sheet, first light, then dark.
    let part = |from: &str| {
        let start = css.split_once(from).map_or("", |(_, rest)| rest);
        start.split_once("/* end */").map_or("", |(part, _)| part)
    };
    let style = format!(
        "svg{{{}background:var(--surface);font-family:sans-serif}}\
         @media(prefers-color-scheme:dark){{svg{{{}}}}}",
        part("/* light */").trim(),
        part("/* dark */").trim(),
    );
    let style = format!("<style>{}</style><defs>", escape(&style));
    svg.replacen("<defs>", &style, 1)
}
