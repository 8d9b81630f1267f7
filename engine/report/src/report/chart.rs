//! Grouped bars with intervals as SVG.
//!
//! plotters writes colours as `#RRGGBB`. Ours are stand-ins that become CSS variables afterwards,
//! so that the same figure is legible on a light and on a dark page.

use std::fmt::Write as _;

use plotters::prelude::{
    ChartBuilder, Circle, Color as _, DrawingArea, IntoDrawingArea as _, IntoFont as _,
    PathElement, RGBColor, Rectangle, SVGBackend, Text, TextStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::stats::Interval;

/// A figure could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the figure `{figure}`: {message}")]
pub struct ChartError {
    figure: String,
    message: String,
}

/// A figure: bars for each series, grouped.
pub(super) struct Chart {
    /// What and in which unit.
    pub(super) title: String,
    /// Names in the legend.
    pub(super) series: Vec<String>,
    /// Groups from left to right.
    pub(super) groups: Vec<Group>,
    /// A line all across.
    pub(super) reference: Option<Reference>,
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
pub(super) struct Bar {
    /// Which series.
    pub(super) series: usize,
    /// Its height; `None` if it was planned and could not be measured.
    pub(super) value: Option<f64>,
    /// The height up to which it is solid, if it has two parts.
    pub(super) solid: Option<f64>,
    /// Error bar.
    pub(super) interval: Option<Interval>,
    /// Points beside the error bar.
    pub(super) dots: Vec<f64>,
}

/// A line all across.
pub(super) struct Reference {
    /// In the legend.
    pub(super) label: String,
    /// Height.
    pub(super) value: f64,
}

/// Series beyond these share colours from the front; the legend's order tells them apart.
const PALETTE: usize = 8;
const INK: RGBColor = RGBColor(10, 0, 1);
const MUTED: RGBColor = RGBColor(10, 0, 2);
const GRID: RGBColor = RGBColor(10, 0, 3);
const SURFACE: RGBColor = RGBColor(10, 0, 4);

const fn colour(series: usize) -> RGBColor {
    RGBColor(11, 0, (series % PALETTE) as u8)
}

/// Size in pixels: a phone shows it about as large as it is.
const SIZE: (u32, u32) = (380, 290);
const FONT: (&str, i32) = ("sans-serif", 12);
/// Width of a letter of [`FONT`], for the legend; generous, since the font is the reader's.
const LETTER: i32 = 7;
const LINE: i32 = 17;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Chart {
    /// The figure for inlining.
    pub(super) fn svg(&self) -> Result<String, ChartError> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|message| ChartError {
            figure: self.title.clone(),
            message,
        })?;
        Ok(dress(&svg, &self.title))
    }

    fn draw(&self, svg: &mut String) -> Result<(), String> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let top = self.legend(&root)?;
        let most = self.top();
        let width = self.groups.len().max(1) as f64;
        let mut chart = ChartBuilder::on(&root)
            .margin_top(top)
            .margin_right(6)
            .x_label_area_size(24)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..width, 0.0..most)
            .map_err(text)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(GRID.mix(0.0))
            .bold_line_style(GRID)
            .axis_style(GRID)
            .y_labels(6)
            .y_label_style(style(MUTED, HPos::Right, VPos::Center))
            .y_label_formatter(&|y| axis_label(*y, most))
            .draw()
            .map_err(text)?;
        for (i, group) in self.groups.iter().enumerate() {
            let bars = group.bars.len().max(1) as f64;
            // A few bars alone are not to fill the figure.
            let step = (0.84 / bars).min(0.1 * width);
            let first = i as f64 + 0.5 - step * bars / 2.0;
            for (j, bar) in group.bars.iter().enumerate() {
                let left = first + step * j as f64;
                self.bar(&mut chart, bar, left, step)?;
            }
            let at = chart.plotting_area().map_coordinate(&(i as f64 + 0.5, 0.0));
            let label = style(INK, HPos::Center, VPos::Top);
            root.draw(&Text::new(group.label.clone(), (at.0, at.1 + 7), label))
                .map_err(text)?;
        }
        let base = PathElement::new([(0.0, 0.0), (width, 0.0)], MUTED.stroke_width(1));
        chart.plotting_area().draw(&base).map_err(text)?;
        if let Some(reference) = &self.reference {
            let line = plotters::series::DashedLineSeries::new(
                [(0.0, reference.value), (width, reference.value)],
                5,
                4,
                INK.stroke_width(1),
            );
            chart.draw_series(line).map_err(text)?;
        }
        root.present().map_err(text)
    }

    fn bar(&self, chart: &mut Plot<'_, '_>, bar: &Bar, left: f64, step: f64) -> Result<(), String> {
        let area = chart.plotting_area();
        let right = left + step * 0.86;
        // Dots stand beside the error bar, not on it.
        let middle = left + step * if bar.dots.is_empty() { 0.43 } else { 0.25 };
        let fill = colour(bar.series);
        let Some(value) = bar.value else {
            let label = style(MUTED, HPos::Center, VPos::Bottom);
            let at = (middle, 0.0);
            return area.draw(&Text::new("n/a", at, label)).map_err(text);
        };
        let solid = bar.solid.unwrap_or(value);
        let light = Rectangle::new([(left, solid), (right, value)], fill.mix(0.4).filled());
        let dark = Rectangle::new([(left, 0.0), (right, solid)], fill.filled());
        area.draw(&light).map_err(text)?;
        area.draw(&dark).map_err(text)?;
        if let Some(Interval { low, high }) = bar.interval {
            let cap = step * 0.13;
            for line in [
                [(middle, low), (middle, high)],
                [(middle - cap, low), (middle + cap, low)],
                [(middle - cap, high), (middle + cap, high)],
            ] {
                area.draw(&PathElement::new(line, INK.stroke_width(1)))
                    .map_err(text)?;
            }
        }
        for dot in &bar.dots {
            let at = (left + step * 0.58, *dot);
            area.draw(&Circle::new(at, 4, SURFACE.filled()))
                .map_err(text)?;
            area.draw(&Circle::new(at, 3, INK.filled())).map_err(text)?;
        }
        Ok(())
    }

    /// Draws title and legend, and gives the height that they take.
    fn legend(&self, root: &Area<'_>) -> Result<i32, String> {
        let title = TextStyle::from((FONT.0, 13, plotters::style::FontStyle::Bold).into_font())
            .color(&INK)
            .pos(Pos::new(HPos::Left, VPos::Top));
        root.draw(&Text::new(self.title.clone(), (2, 2), title))
            .map_err(text)?;
        let (mut x, mut y) = (2, 24);
        let names = self.series.iter().map(String::as_str);
        let reference = self.reference.iter().map(|r| r.label.as_str());
        for (i, name) in names.chain(reference).enumerate() {
            let width = 14 + LETTER * name.chars().count() as i32 + 12;
            if x > 2 && x + width > SIZE.0 as i32 {
                (x, y) = (2, y + LINE);
            }
            if i < self.series.len() {
                let swatch = Rectangle::new([(x, y), (x + 10, y + 10)], colour(i).filled());
                root.draw(&swatch).map_err(text)?;
            } else {
                for dash in [x - 1, x + 7] {
                    let line = [(dash, y + 5), (dash + 4, y + 5)];
                    let line = PathElement::new(line, INK.stroke_width(1));
                    root.draw(&line).map_err(text)?;
                }
            }
            let label = style(INK, HPos::Left, VPos::Center);
            let label = Text::new(name.to_owned(), (x + 14, y + 5), label);
            root.draw(&label).map_err(text)?;
            x += width;
        }
        Ok(y + LINE + 8)
    }

    fn top(&self) -> f64 {
        let bars = self.groups.iter().flat_map(|group| &group.bars);
        let values = bars.flat_map(|bar| {
            let high = bar.interval.map(|interval| interval.high);
            bar.value
                .into_iter()
                .chain(high)
                .chain(bar.dots.iter().copied())
        });
        let reference = self.reference.iter().map(|reference| reference.value);
        let most = values.chain(reference).fold(0.0, f64::max);
        match self.most {
            Some(most) => most * 1.04,
            None if most > 0.0 => most * 1.12,
            None => 1.0,
        }
    }
}

type Plot<'a, 'b> = plotters::chart::ChartContext<
    'a,
    SVGBackend<'b>,
    plotters::coord::cartesian::Cartesian2d<
        plotters::coord::types::RangedCoordf64,
        plotters::coord::types::RangedCoordf64,
    >,
>;

fn style(colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    TextStyle {
        color: colour.to_backend_color(),
        ..TextStyle::from(FONT.into_font()).pos(Pos::new(h, v))
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// As few decimals as tell the labels of the axis apart.
fn axis_label(y: f64, most: f64) -> String {
    let decimals = match most {
        m if m > 8.0 => 0,
        m if m > 0.8 => 1,
        m if m > 0.08 => 2,
        _ => 3,
    };
    format!("{y:.decimals$}")
}

/// Gives colours to the page, a name to those who can't see, and takes the fixed size away.
fn dress(svg: &str, title: &str) -> String {
    let mut svg = svg.to_owned();
    for (stand_in, variable) in [
        (INK, "ink"),
        (MUTED, "muted"),
        (GRID, "grid"),
        (SURFACE, "surface"),
    ] {
        svg = svg.replace(&hex(stand_in), &format!("var(--{variable})"));
    }
    for series in 0..PALETTE {
        svg = svg.replace(&hex(colour(series)), &format!("var(--s{})", series + 1));
    }
    let mut name = String::from(" role=\"img\"><title>");
    for c in title.chars() {
        match c {
            '<' => name.push_str("&lt;"),
            '&' => name.push_str("&amp;"),
            c => name.push(c),
        }
    }
    name.push_str("</title>");
    svg.replacen('>', &name, 1)
}

fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// The figure as a file of its own: it brings the colours that the page would give it.
pub(super) fn standalone(svg: &str) -> String {
    let mut style = String::from("<style>");
    let css = include_str!("../../../../reports/style.css");
    // The palettes stand between these marks of the style sheet, first light, then dark.
    let part = |from: &str| {
        let start = css.split_once(from).map_or("", |(_, rest)| rest);
        start.split_once("/* end */").map_or("", |(part, _)| part)
    };
    // Writing to a String cannot fail.
    let _ = write!(
        style,
        "svg{{{}background:var(--surface)}}@media(prefers-color-scheme:dark){{svg{{{}}}}}</style>",
        part("/* light */").trim(),
        part("/* dark */").trim(),
    );
    svg.replacen("</title>", &format!("</title>{style}"), 1)
}
