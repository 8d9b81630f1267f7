//! How fast a source tries to send.

use serde::Deserialize;
use vexp_api::units::{BadQuantity, BitRate};

/// Ethernet, IPv4 and UDP headers of a datagram, bytes: what a link carries beside the payload.
const HEADERS: u64 = 14 + 20 + 8;
/// Payload of a UDP datagram that makes an IPv4 packet of 1500 bytes.
pub(super) const FULL_PACKET: u32 = 1472;

/// A rate of payload, as options have it: `"100Mb/s"`, or `"link"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Rate {
    /// What fills the slowest link on the way, headers included.
    Link,
    /// As it says.
    Payload(BitRate),
}

impl TryFrom<String> for Rate {
    type Error = BadQuantity;

    fn try_from(text: String) -> Result<Self, BadQuantity> {
        match text.as_str() {
            "link" => Ok(Self::Link),
            rate => rate.parse().map(Self::Payload),
        }
    }
}

impl Rate {
    /// Bits of payload per second, in datagrams with so many bytes of it.
    pub(super) fn bits(self, link: BitRate, length: u32) -> u64 {
        match self {
            Self::Payload(rate) => rate.bits_per_second(),
            Self::Link => {
                let payload = u128::from(length);
                let frame = payload + u128::from(HEADERS);
                let bits = u128::from(link.bits_per_second()) * payload / frame;
                u64::try_from(bits).unwrap_or(u64::MAX)
            }
        }
    }
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
}
