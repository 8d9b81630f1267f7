//! Writing SVG and other XML: elements, attributes and text, all escaped.

use std::fmt::{Display, Write as _};

/// A document under way.
pub(crate) struct Svg(String);

/// Where a text stands to its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

impl Svg {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }

    /// `<name a="…">`
    pub(crate) fn open(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        self.start(name, attributes);
        self.0.push('>');
    }

    /// `</name>`
    pub(crate) fn close(&mut self, name: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "</{name}>");
    }

    /// `<name a="…"/>`
    pub(crate) fn element(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        self.start(name, attributes);
        self.0.push_str("/>");
    }

    /// `<name a="…">text</name>`
    pub(crate) fn text(&mut self, name: &str, attributes: &[(&str, &dyn Display)], text: &str) {
        self.open(name, attributes);
        self.0.push_str(&escape(text));
        self.close(name);
    }

    /// Words at a point.
    pub(crate) fn words(&mut self, (x, y): (f64, f64), anchor: Anchor, fill: &str, text: &str) {
        let (x, y) = (round(x), round(y));
        let anchor = anchor.as_str();
        self.text(
            "text",
            &[
                ("x", &x),
                ("y", &y),
                ("text-anchor", &anchor),
                ("fill", &fill),
            ],
            text,
        );
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let (x1, y1, x2, y2) = (round(x1), round(y1), round(x2), round(y2));
        self.element(
            "line",
            &[
                ("x1", &x1),
                ("y1", &y1),
                ("x2", &x2),
                ("y2", &y2),
                ("stroke", &stroke),
                ("stroke-width", &width),
            ],
        );
    }

    fn start(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            // Writing to a String cannot fail.
            let _ = write!(self.0, " {key}=\"{}\"", escape(&value.to_string()));
        }
    }
}

/// A length with a digit after the point: a tenth of a pixel is seen by nobody.
pub(crate) fn round(length: f64) -> f64 {
    // No "-0".
    (length * 10.0).round() / 10.0 + 0.0
}

/// Text that XML shows as it is, in elements and in attributes. Characters that XML 1.0 has no
/// place for are left out.
pub(crate) fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            '"' => shown.push_str("&quot;"),
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => {}
            c if vexp_api::shown::turns(c) => shown.push_str(&vexp_api::shown::written_out(c)),
            '\u{fffe}' | '\u{ffff}' => {}
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_is_escaped() {
        let mut svg = Svg::new();
        svg.text("title", &[("id", &"a\"b")], "1 < 2 & \u{7}\"x\"");
        assert_eq!(
            svg.finish(),
            "<title id=\"a&quot;b\">1 &lt; 2 &amp; &quot;x&quot;</title>"
        );
    }

    #[test]
    fn lengths_are_short() {
        assert_eq!(round(-0.01).to_string(), "0");
        assert_eq!(round(12.345).to_string(), "12.3");
    }
}
