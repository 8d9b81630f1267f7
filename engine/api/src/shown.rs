//! Text of strangers as people see it: what would move a cursor, change the direction of writing or begin a line
//! of its own is written out, as JSON writes it (RFC 8259, section 7).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// Whether a character makes what stands around it look like something else: a control character, a line
/// separator, or one that turns the direction of writing (Unicode Standard Annex 9: embeddings, overrides,
/// isolates).
pub fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || turns(c)
}

/// Whether a character turns the direction of writing.
pub fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes a character out: `\u001b`.
pub fn written_out(c: char) -> String {
    match c {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        c => {
            let mut text = String::new();
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
            text
        }
    }
}

/// The text with characters written out that fit `such`.
pub fn without(text: &str, such: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&such) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| match such(c) {
        true => Cow::Owned(written_out(c)),
        false => Cow::Owned(c.to_string()),
    });
    Cow::Owned(shown.collect())
}

/// Text on one line.
pub fn line(text: &str) -> Cow<'_, str> {
    without(text, misleads)
}

/// A path on one line. What is no UTF-8 in it is shown as U+FFFD.
pub fn path(path: &Path) -> String {
    line(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_written_out_and_the_rest_stays() {
        assert!(matches!(line("é\u{1f600} \"x\""), Cow::Borrowed(_)));
        let hostile = "a\nerror: \u{1b}[2J\u{9b}31m\u{202e}cod\u{2066}\u{2028}\t";
        let shown = "a\\nerror: \\u001b[2J\\u009b31m\\u202ecod\\u2066\\u2028\\t";
        assert_eq!(line(hostile), shown);
        assert_eq!(path(Path::new("runs/x\nrow")), "runs/x\\nrow");
        // It is what JSON takes for these characters.
        let json = format!("\"{shown}\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }
}
