//! How fast a source tries to send.

use serde::Deserialize;
use vexp_api::plugin::Offer;
use vexp_api::units::{BadQuantity, BitRate};

/// Ethernet, IPv4 and UDP headers of a datagram, bytes: what a link carries beside the payload.
const HEADERS: u64 = 14 + 20 + 8;
/// Payload of a UDP datagram that makes an IPv4 packet of 1500 bytes.
pub(super) const FULL_PACKET: u32 = 1472;

/// A rate of payload, as options have it: `"100Mb/s"`, `"link"`, or `"50% of link"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Rate {
    /// What fills the slowest link on the way, headers included.
    Link,
    /// So many millionths of that.
    Share(u32),
    /// As it says.
    Payload(BitRate),
}

/// A text that is no rate.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRate {
    /// A share that is none.
    #[error("`{0}` is no share of the link: expected 0.0001% to 1000%, as \"50% of link\"")]
    Share(String),
    /// A rate with its unit that is none.
    #[error(transparent)]
    Quantity(#[from] BadQuantity),
}

impl TryFrom<String> for Rate {
    type Error = BadRate;

    fn try_from(text: String) -> Result<Self, BadRate> {
        if text == "link" {
            return Ok(Self::Link);
        }
        let Some(share) = text.strip_suffix("of link") else {
            return Ok(Self::Payload(text.parse()?));
        };
        let percent = share.trim_end().strip_suffix('%').map(str::trim_end);
        let percent = percent.and_then(crate::text::decimal);
        let millionths = percent.map(|percent| (percent * 1e4).round());
        match millionths.filter(|share| (1.0..=1e7).contains(share)) {
            Some(share) => Ok(Self::Share(share as u32)),
            None => Err(BadRate::Share(text)),
        }
    }
}

impl Rate {
    /// Bits of payload per second, in datagrams with so many bytes of it.
    pub(super) fn bits(self, link: BitRate, length: u32) -> u64 {
        match self {
            Self::Payload(rate) => rate.bits_per_second(),
            Self::Link => of_link(link, length, WHOLE),
            Self::Share(millionths) => of_link(link, length, millionths),
        }
    }
}

impl Rate {
    /// The same for those who compare it with what was sent.
    pub(super) fn offer(self, link: BitRate, length: u32) -> Offer {
        Offer {
            bits_per_second: self.bits(link, length),
            of_link: matches!(self, Self::Link | Self::Share(_)),
        }
    }
}

/// All of the link, in millionths.
const WHOLE: u32 = 1_000_000;

/// Bits of payload per second that take so many millionths of a link.
fn of_link(link: BitRate, length: u32, millionths: u32) -> u64 {
    let payload = u128::from(length);
    let frame = payload + u128::from(HEADERS);
    let bits = u128::from(link.bits_per_second()) * payload / frame;
    let bits = bits * u128::from(millionths) / u128::from(WHOLE);
    u64::try_from(bits).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_is_what_fits_with_headers() {
        let link: BitRate = "957Mb/s".parse().unwrap();
        let rate = |text: &str| Rate::try_from(text.to_owned());
        assert_eq!(rate("100Mb/s").unwrap().bits(link, 18), 100_000_000);
        let full = rate("link").unwrap().bits(link, FULL_PACKET);
        assert_eq!(full, 957_000_000 * 1472 / 1514);
        assert!(rate("fast").is_err() && rate("100").is_err());
    }

    #[test]
    fn a_share_of_the_link_is_scaled_with_it() {
        let rate = |text: &str| Rate::try_from(text.to_owned());
        let link = |text: &str| -> BitRate { text.parse().unwrap() };
        let half = rate("50% of link").unwrap();
        for (whole, expected) in [("1514Mb/s", 736_000_000), ("151.4Mb/s", 73_600_000)] {
            assert_eq!(half.bits(link(whole), FULL_PACKET), expected);
        }
        assert_eq!(
            rate("100 % of link").unwrap().bits(link("1514Mb/s"), 1472),
            1_472_000_000
        );
        assert_eq!(rate("2.5% of link").unwrap(), Rate::Share(25_000));
        for bad in [
            "0% of link",
            "-5% of link",
            "% of link",
            "5 of link",
            "1001% of link",
            "nan% of link",
        ] {
            let error = rate(bad).unwrap_err().to_string();
            assert!(error.contains("share of the link"), "{bad}: {error}");
        }
    }
}
