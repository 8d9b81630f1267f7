//! Text that a terminal shows and does not obey: what is printed may come from a study, or from a program
//! on another machine.

use std::borrow::Cow;

use vexp_api::shown::{misleads, written_out};

/// The text with every character that misleads but line ends and tabs written out, as JSON writes it. Where there may be colours,
/// sequences that set them (SGR, ECMA-48 8.3.117) stay: they are our own, and change nothing else.
pub(super) fn plain(text: &str, colours: bool) -> Cow<'_, str> {
    let harmless = |c: char| !misleads(c) || matches!(c, '\n' | '\t');
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = colour(rest).filter(|_| colours);
        let length = colour.unwrap_or(c.len_utf8());
        if harmless(c) || colour.is_some() {
            shown.push_str(&rest[..length]);
        } else {
            shown.push_str(&written_out(c));
        }
        rest = &rest[length..];
    }
    Cow::Owned(shown)
}

/// Bytes of the sequence that sets colours, if the text begins with one.
fn colour(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\x1b[")?;
    let end = inner.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    inner[end..]
        .starts_with('m')
        .then_some("\x1b[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_told_nothing_but_colours() {
        let kept = "a\tb\nc é\u{1f600}\n";
        assert!(matches!(plain(kept, false), Cow::Borrowed(text) if text == kept));
        let ours = "\x1b[31;1merror\x1b[0m";
        assert_eq!(plain(ours, true), ours);
        assert_eq!(plain(ours, false), "\\u001b[31;1merror\\u001b[0m");
        let hostile = "\x1b]0;title\x07\x1b[2J\x1b[1;1H\r\u{9b}31m\u{202e}\x1b[";
        let shown = "\\u001b]0;title\\u0007\\u001b[2J\\u001b[1;1H\\r\\u009b31m\\u202e\\u001b[";
        assert_eq!(plain(hostile, true), shown);
    }
}
