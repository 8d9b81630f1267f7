//! How numbers, times and lines are written.

/// Characters that are shown of a line or a command.
const LONGEST: usize = 90;

/// A number with a comma before each three digits.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as seconds with milliseconds.
pub(super) fn seconds(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e9)
}

/// The beginning of a text that may have lines, on one line.
pub(super) fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().nth(LONGEST) {
        None => line,
        Some(_) => format!("{} …", line.chars().take(LONGEST).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_lines_an_end() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(seconds(1_235_000_000), "1.235");
        assert_eq!(cut("a\n  b"), "a b");
        assert_eq!(cut(&"x".repeat(200)).chars().count(), LONGEST + 2);
    }
}
