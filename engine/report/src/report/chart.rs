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
    /// Whose printed values are drawn: `paper` or `study`.
    pub(super) whose: &'static str,
}

/// A group of bars.
pub(super) struct Group {
    /// Number of virtual machines.
    pub(super) vms: u32,
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
#[derive(Clone)]
pub(super) struct Reference {
    /// In the legend.
    pub(super) label: String,
    /// Height.
    pub(super) value: f64,
    /// Where its trials are described, on the page.
    pub(super) link: Option<String>,
}

/// Colours. Figures with more series are of lines, which signs and dashes tell apart as well.
pub(super) const PALETTE: usize = 8;
/// Size in pixels: a phone shows it about as large as it is.
pub(super) const WIDTH: f64 = 380.0;
pub(super) const PLOT: f64 = 210.0;
pub(super) const LEFT: f64 = 40.0;
/// Width of a letter, for the legend; generous, since the font is the reader's.
const LETTER: f64 = 6.9;
const LINE: f64 = 17.0;

pub(super) const INK: &str = "var(--ink)";
pub(super) const MUTED: &str = "var(--muted)";
pub(super) const GRID: &str = "var(--grid)";
pub(super) const SURFACE: &str = "var(--surface)";
const PAPER: &str = "var(--paper)";

pub(super) fn colour(series: usize) -> String {
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
        if self.series.len() > PALETTE {
            return super::lines::Lines::of(self).svg(page);
        }
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
        let words = (
            self.id.as_str(),
            self.title.as_str(),
            self.description.as_str(),
        );
        framed(words, height, &body.finish())
    }

    fn hatch(&self) -> String {
        hatch(&self.id)
    }

    /// Draws title and legend, and gives the height that they take.
    fn legend(&self, svg: &mut Svg) -> f64 {
        let mut pen = Pen::below(wrapped(svg, &self.title));
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
            let words = format!("{} prints {}", self.whose, printed.join(", "));
            let (x, y) = pen.entry(svg, &words);
            diamond(svg, (x + 5.0, y + 5.0));
        }
        pen.bottom()
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
        svg.words((WIDTH - 2.0, above), Anchor::End, PAPER, self.whose);
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
            // Where there is no room for "16 VMs", the number says it.
            let words = match super::format::vms(group.vms) {
                words if LETTER * words.chars().count() as f64 > width => group.vms.to_string(),
                words => words,
            };
            svg.words(at, Anchor::Middle, INK, &words);
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

/// The frame of a figure: its id, its title and what it shows.
pub(super) fn framed(
    (id, about, description): (&str, &str, &str),
    height: f64,
    body: &str,
) -> String {
    let mut svg = Svg::new();
    let (title, words) = (format!("{id}-title"), format!("{id}-words"));
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
    svg.text("title", &[("id", &title)], about);
    svg.text("desc", &[("id", &words)], description);
    svg.open("defs", &[]);
    svg.open(
        "pattern",
        &[
            ("id", &hatch(id)),
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

fn hatch(id: &str) -> String {
    format!("{id}-hatch")
}

/// Words in lines of at most so many letters, cut between words where that can be.
fn folded(words: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in words.split_whitespace() {
        let letters_of: Vec<char> = word.chars().collect();
        for piece in letters_of.chunks(letters.max(1)) {
            let piece: String = piece.iter().collect();
            let last = lines.last_mut();
            match last {
                Some(line) if line.is_empty() => *line = piece,
                Some(line) if line.chars().count() + 1 + piece.chars().count() <= letters => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

/// Writes a figure's title, in as many lines as it takes, and gives the lowest line's place.
pub(super) fn wrapped(svg: &mut Svg, title: &str) -> f64 {
    // Bold letters are wider.
    let letters = ((WIDTH - 4.0) / (LETTER * 1.12)) as usize;
    let mut y = 13.0 - LINE;
    for line in folded(title, letters) {
        y += LINE;
        let bold: [(&str, &dyn std::fmt::Display); 5] = [
            ("x", &2),
            ("y", &round(y)),
            ("font-size", &13),
            ("font-weight", &600),
            ("fill", &INK),
        ];
        svg.text("text", &bold, &line);
    }
    y
}

/// Where the next entry of the legend stands.
pub(super) struct Pen {
    x: f64,
    y: f64,
}

impl Pen {
    /// Below a line.
    pub(super) fn below(y: f64) -> Self {
        Self {
            x: 2.0,
            y: y + LINE,
        }
    }

    /// The height that all entries take.
    pub(super) fn bottom(&self) -> f64 {
        self.y + 12.0
    }

    /// Writes the words of an entry, and gives the place of its sign.
    pub(super) fn entry(&mut self, svg: &mut Svg, words: &str) -> (f64, f64) {
        self.wide(svg, words, 14.0)
    }

    /// The same with a sign of that width. Words that are too long for a line take several.
    pub(super) fn wide(&mut self, svg: &mut Svg, words: &str, sign: f64) -> (f64, f64) {
        let width = |words: &str| sign + LETTER * words.chars().count() as f64 + 10.0;
        if self.x > 2.0 && self.x + width(words) > WIDTH {
            (self.x, self.y) = (2.0, self.y + LINE);
        }
        let at = (self.x, self.y - 10.0);
        let letters = ((WIDTH - sign - 4.0) / LETTER) as usize;
        let lines = folded(words, letters);
        for (i, line) in lines.iter().enumerate() {
            if i > 0 {
                self.y += LINE;
            }
            svg.words((self.x + sign, self.y), Anchor::Start, INK, line);
        }
        self.x += lines.last().map_or(0.0, |line| width(line));
        at
    }
}

pub(super) fn linked(svg: &mut Svg, page: &str, link: Option<&str>, draw: impl FnOnce(&mut Svg)) {
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

pub(super) fn dashes(svg: &mut Svg, (x, y): (f64, f64), to: f64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_none_is_lost() {
        assert_eq!(folded("one two three", 7), ["one two", "three"]);
        assert_eq!(folded("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        let long = "a label that is much too long for a single line of a figure on a phone";
        assert_eq!(folded(long, 20).join(" "), long);
        assert!(folded(long, 20).iter().all(|line| line.len() <= 20));
    }

    #[test]
    fn more_series_than_colours_are_lines() {
        let chart = |count: usize| Chart {
            id: "f".to_owned(),
            title: "Loss, %".to_owned(),
            description: String::new(),
            series: (0..count).map(|i| format!("series {i}")).collect(),
            groups: [1, 16]
                .map(|vms| Group {
                    vms,
                    bars: (0..count)
                        .map(|series| Bar {
                            series,
                            value: Some(1.0),
                            ..Bar::default()
                        })
                        .collect(),
                })
                .into(),
            reference: None,
            printed_reference: None,
            paper_scale: None,
            most: None,
            whose: "paper",
        };
        assert!(!chart(8).svg("").contains("<polyline"));
        let lines = chart(15).svg("");
        assert_eq!(lines.matches("<polyline").count(), 30);
        assert!(lines.contains(">virtual machines</text>"));
    }
}
