//! Quantities with units. A bare number where a unit is due does not parse, and no value wraps or
//! is rounded: `1.5Gb/s` is exact, `0.3b/s` is refused.

use std::fmt;
use std::time::Duration;

/// Why a quantity could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    /// There is no number at the front.
    #[error("`{text}` does not begin with a number: expected {expected}")]
    NoNumber {
        /// What was written.
        text: String,
        /// Examples of what is allowed.
        expected: &'static str,
    },
    /// A bare number.
    #[error("`{text}` has no unit: expected {expected}")]
    NoUnit {
        /// What was written.
        text: String,
        /// Examples of what is allowed.
        expected: &'static str,
    },
    /// The unit is unknown.
    #[error("`{unit}` is not a unit here: expected {expected}")]
    UnknownUnit {
        /// The unit that was written.
        unit: String,
        /// Examples of what is allowed.
        expected: &'static str,
    },
    /// Not a whole number of the smallest unit, or more than 2^64 of it.
    #[error("`{text}` is not a whole number of {base} below 2^64")]
    Inexact {
        /// What was written.
        text: String,
        /// The smallest unit.
        base: &'static str,
    },
}

/// A kind of quantity: its units as (name, number of base units), largest first.
struct Kind {
    units: &'static [(&'static str, u64)],
    base: &'static str,
    expected: &'static str,
}

const BIT_RATE: Kind = Kind {
    units: &[
        ("Tb/s", 1_000_000_000_000),
        ("Gb/s", 1_000_000_000),
        ("Mb/s", 1_000_000),
        ("kb/s", 1_000),
        ("b/s", 1),
    ],
    base: "bits per second",
    expected: "a rate such as \"1Gb/s\", \"200Mb/s\" or \"64kb/s\"",
};

const BYTES: Kind = Kind {
    units: &[
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
        ("B", 1),
    ],
    base: "bytes",
    expected: "a size such as \"2GiB\", \"512MiB\" or \"1500B\"",
};

const TIME: Kind = Kind {
    units: &[
        ("h", 3_600_000_000_000),
        ("min", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ],
    base: "nanoseconds",
    expected: "a time such as \"30s\", \"500ms\" or \"2min\"",
};

const FREQUENCY: Kind = Kind {
    units: &[
        ("GHz", 1_000_000_000),
        ("MHz", 1_000_000),
        ("kHz", 1_000),
        ("Hz", 1),
    ],
    base: "hertz",
    expected: "a frequency such as \"2.33GHz\" or \"800MHz\"",
};

fn parse(text: &str, kind: &Kind) -> Result<u64, BadQuantity> {
    let (text_owned, expected) = (|| text.to_owned(), kind.expected);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start_matches(' '));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(BadQuantity::NoNumber {
            text: text_owned(),
            expected,
        });
    }
    if unit.is_empty() {
        return Err(BadQuantity::NoUnit {
            text: text_owned(),
            expected,
        });
    }
    let &(_, scale) = kind
        .units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| BadQuantity::UnknownUnit {
            unit: unit.to_owned(),
            expected,
        })?;
    exact(whole, fraction, scale).ok_or_else(|| BadQuantity::Inexact {
        text: text_owned(),
        base: kind.base,
    })
}

/// `whole.fraction * scale`, where that is a whole number below 2^64.
fn exact(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
    let fraction = fraction.trim_end_matches('0');
    let power = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(u128::from(scale))?;
    (scaled % power == 0)
        .then(|| u64::try_from(scaled / power).ok())
        .flatten()
}

/// The value in the largest unit that divides it, so that the text parses back to the same value.
fn show(value: u64, kind: &Kind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let unit = kind
        .units
        .iter()
        .find(|(_, scale)| value != 0 && value.is_multiple_of(*scale));
    match unit {
        Some((name, scale)) => f.pad(&format!("{}{name}", value / scale)),
        None => f.pad(&format!("{value}{}", kind.units[kind.units.len() - 1].0)),
    }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $getter:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u64);

        impl $name {
            /// From a number of base units.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number of base units.
            pub const fn $getter(self) -> u64 {
                self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadQuantity;

            fn from_str(text: &str) -> Result<Self, BadQuantity> {
                parse(text, &$kind).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadQuantity;

            fn try_from(text: String) -> Result<Self, BadQuantity> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(self.0, &$kind, f)
            }
        }
    };
}

quantity!(
    /// Bits per second, decimal prefixes: `1Gb/s` is 10^9 b/s.
    BitRate, BIT_RATE, bits_per_second
);
quantity!(
    /// Bytes; `KiB`, `MiB`, `GiB` are powers of 1024, `kB`, `MB`, `GB` powers of 1000.
    ByteSize, BYTES, bytes
);
quantity!(
    /// A length of time in whole nanoseconds.
    TimeSpan, TIME, nanos
);
quantity!(
    /// A clock frequency.
    Frequency, FREQUENCY, hertz
);

impl BitRate {
    /// In Mb/s, for display and for samples.
    pub fn mbps(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl ByteSize {
    /// Whole mebibytes, rounded down.
    pub const fn mib(self) -> u64 {
        self.0 >> 20
    }
}

impl TimeSpan {
    /// From whole seconds; more than 584 years is clamped.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// In seconds.
    pub fn secs_f64(self) -> f64 {
        self.duration().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_units() {
        assert_eq!(
            "1Gb/s".parse::<BitRate>().unwrap().bits_per_second(),
            1_000_000_000
        );
        assert_eq!(
            "1.5Gb/s".parse::<BitRate>().unwrap().to_string(),
            "1500Mb/s"
        );
        assert_eq!("2 GiB".parse::<ByteSize>().unwrap().mib(), 2048);
        assert_eq!("500ms".parse::<TimeSpan>().unwrap().secs_f64(), 0.5);
        assert_eq!(
            "2.33GHz".parse::<Frequency>().unwrap().hertz(),
            2_330_000_000
        );
        assert_eq!(BitRate::new(0).to_string(), "0b/s");
    }

    #[test]
    fn refuses_what_is_not_exact() {
        use BadQuantity as B;
        assert!(matches!("30".parse::<TimeSpan>(), Err(B::NoUnit { .. })));
        assert!(matches!("fast".parse::<BitRate>(), Err(B::NoNumber { .. })));
        assert!(matches!("-1s".parse::<TimeSpan>(), Err(B::NoNumber { .. })));
        assert!(matches!(
            "1..5s".parse::<TimeSpan>(),
            Err(B::NoNumber { .. })
        ));
        assert!(matches!(
            "1GB/s".parse::<BitRate>(),
            Err(B::UnknownUnit { .. })
        ));
        assert!(matches!(
            "0.3b/s".parse::<BitRate>(),
            Err(B::Inexact { .. })
        ));
        assert!(matches!(
            "99999999999Gb/s".parse::<BitRate>(),
            Err(B::Inexact { .. })
        ));
    }
}
