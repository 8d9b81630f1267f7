//! The standard Type 1 fonts that every reader of PDF has: their widths, and text in their encoding.
//!
//! Widths are those of Adobe's Core 14 AFM files, in thousandths of the size; the encoding is WinAnsiEncoding
//! (ISO 32000-1, Annex D).

/// A font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Font {
    /// Helvetica.
    Plain,
    /// Helvetica-Bold.
    Bold,
    /// Courier.
    Code,
}

impl Font {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Bold, Self::Code];

    /// What PDF calls it.
    pub(super) const fn base(self) -> &'static str {
        match self {
            Self::Plain => "Helvetica",
            Self::Bold => "Helvetica-Bold",
            Self::Code => "Courier",
        }
    }

    /// Its name among a page's resources.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "F1",
            Self::Bold => "F2",
            Self::Code => "F3",
        }
    }

    fn width_of(self, byte: u8) -> u16 {
        let table = match self {
            Self::Plain => &HELVETICA,
            Self::Bold => &HELVETICA_BOLD,
            Self::Code => return 600,
        };
        let at = usize::from(byte).checked_sub(32);
        at.and_then(|at| table.get(at)).copied().unwrap_or_default()
    }

    /// Points that encoded text takes at a size.
    pub(super) fn width(self, encoded: &[u8], size: f32) -> f32 {
        let thousandths: u32 = encoded
            .iter()
            .map(|byte| u32::from(self.width_of(*byte)))
            .sum();
        thousandths as f32 * size / 1000.0
    }
}

/// Text in WinAnsiEncoding. What it lacks is written with letters that it has, and never left out.
pub(super) fn encoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match (byte(c), instead(c)) {
            (Some(byte), _) => bytes.push(byte),
            (None, Some(instead)) => bytes.extend(instead.bytes()),
            (None, None) if c.is_whitespace() => bytes.push(b' '),
            (None, None) if c.is_control() => bytes.push(b'?'),
            // As Unicode names it, so that nothing is lost: U+4E2D.
            (None, None) => bytes.extend(format!("U+{:04X}", u32::from(c)).bytes()),
        }
    }
    bytes
}

/// The byte of a letter that the encoding has.
fn byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x20..=0x7e | 0xa0..=0xff => u8::try_from(code).ok(),
        _ => {
            let at = HIGH.iter().position(|high| *high == c)?;
            u8::try_from(at + 0x80).ok()
        }
    }
}

/// 0x80 to 0x9f; what is not used there is NUL.
const HIGH: [char; 32] = [
    '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0', '‘',
    '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
];

/// What is written for a letter that the encoding lacks.
fn instead(c: char) -> Option<&'static str> {
    Some(match c {
        '→' | '⟶' => "->",
        '←' => "<-",
        '↔' => "<->",
        '⇒' => "=>",
        '≥' => ">=",
        '≤' => "<=",
        '≠' => "!=",
        '≈' | '≃' => "~",
        '−' | '‐' | '‑' => "-",
        '∞' => "infinity",
        '√' => "sqrt",
        '∑' => "sum",
        '∆' | 'Δ' => "Delta",
        'α' => "alpha",
        'β' => "beta",
        'γ' => "gamma",
        'δ' => "delta",
        'ε' => "epsilon",
        'λ' => "lambda",
        'μ' => "u",
        'π' => "pi",
        'σ' => "sigma",
        'τ' => "tau",
        'φ' => "phi",
        'ω' => "omega",
        'Ω' => "Ohm",
        '′' => "'",
        '″' => "\"",
        '✓' | '✔' => "yes",
        '✗' | '✘' => "no",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ő' => "o",
        'ű' => "u",
        'ł' => "l",
        'Ł' => "L",
        'ą' | 'ă' | 'ā' => "a",
        'ę' | 'ě' | 'ē' => "e",
        'ć' | 'č' => "c",
        'Ć' | 'Č' => "C",
        'ń' | 'ň' => "n",
        'ś' | 'ş' => "s",
        'Ś' | 'Ş' => "S",
        'ź' | 'ż' => "z",
        'Ź' | 'Ż' => "Z",
        'ğ' => "g",
        'ı' | 'ī' => "i",
        'İ' => "I",
        'ř' => "r",
        'ť' | 'ţ' => "t",
        'ů' | 'ū' => "u",
        'đ' | 'ď' => "d",
        '\u{2009}' | '\u{202f}' | '\u{2007}' => " ",
        _ => return None,
    })
}

#[rustfmt::skip]
const HELVETICA: [u16; 224] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584, 350,
    556, 350, 222, 556, 333, 1000, 556, 556, 333, 1000, 667, 333, 1000, 350, 611, 350,
    350, 222, 222, 333, 333, 350, 556, 1000, 333, 1000, 500, 333, 944, 350, 500, 667,
    278, 333, 556, 556, 556, 556, 260, 556, 333, 737, 370, 556, 584, 333, 737, 333,
    400, 584, 333, 333, 333, 556, 537, 278, 333, 333, 365, 556, 834, 834, 834, 611,
    667, 667, 667, 667, 667, 667, 1000, 722, 667, 667, 667, 667, 278, 278, 278, 278,
    722, 722, 778, 778, 778, 778, 778, 584, 778, 722, 722, 722, 722, 667, 667, 611,
    556, 556, 556, 556, 556, 556, 889, 500, 556, 556, 556, 556, 278, 278, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 584, 611, 556, 556, 556, 556, 500, 556, 500,
];

#[rustfmt::skip]
const HELVETICA_BOLD: [u16; 224] = [
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611,
    975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556,
    333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611,
    611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584, 350,
    556, 350, 278, 556, 500, 1000, 556, 556, 333, 1000, 667, 333, 1000, 350, 611, 350,
    350, 278, 278, 500, 500, 350, 556, 1000, 333, 1000, 556, 333, 944, 350, 500, 667,
    278, 333, 556, 556, 556, 556, 280, 556, 333, 737, 370, 556, 584, 333, 737, 333,
    400, 584, 333, 333, 333, 611, 556, 278, 333, 333, 365, 556, 834, 834, 834, 611,
    722, 722, 722, 722, 722, 722, 1000, 722, 667, 667, 667, 667, 278, 278, 278, 278,
    722, 722, 778, 778, 778, 778, 778, 584, 778, 722, 722, 722, 722, 667, 667, 611,
    556, 556, 556, 556, 556, 556, 889, 556, 556, 556, 556, 556, 278, 278, 278, 278,
    611, 611, 611, 611, 611, 611, 611, 584, 611, 611, 611, 611, 611, 556, 611, 556,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_encoding_lacks_is_written_and_not_left_out() {
        assert_eq!(encoded("a–é€"), [b'a', 0x96, 0xe9, 0x80]);
        let text = |text| String::from_utf8(encoded(text)).unwrap();
        assert_eq!(text("a → b ≥ c"), "a -> b >= c");
        assert_eq!(text("μs"), "us");
        assert_eq!(text("中"), "U+4E2D");
        assert_eq!(text("a\tb\u{7}"), "a b?");
    }

    #[test]
    fn widths_are_those_of_the_fonts() {
        // Sums over the printed lines of Adobe's files: digits are of one width, W is the widest capital.
        assert_eq!(Font::Plain.width(b"0123456789", 1000.0), 5560.0);
        assert_eq!(Font::Plain.width(b"Wil", 1000.0), 944.0 + 222.0 + 222.0);
        assert_eq!(Font::Bold.width(b"Wil", 1000.0), 944.0 + 278.0 + 278.0);
        assert_eq!(Font::Code.width(b"Wil", 1000.0), 1800.0);
        // Every byte that text is encoded to has a width.
        for c in (' '..='~').chain('\u{a0}'..='ÿ').chain(HIGH) {
            if let Some(byte) = byte(c).filter(|_| c != '\0') {
                assert!(
                    Font::Plain.width_of(byte) > 0 && Font::Bold.width_of(byte) > 0,
                    "{c}"
                );
            }
        }
    }
}
