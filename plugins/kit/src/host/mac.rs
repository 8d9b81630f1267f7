//! MAC addresses, which go into configuration files and command lines.

use vexp_api::plugin::PluginError;
use vexp_api::site::GuestSlot;

/// Six pairs of lower-case hexadecimal digits: nothing that a configuration file could
/// take for syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mac(String);

impl Mac {
    /// Reads six pairs of hexadecimal digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let pairs: Vec<&str> = text.split(':').collect();
        let good = pairs.len() == 6
            && pairs
                .iter()
                .all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
        good.then(|| Self(text.to_ascii_lowercase()))
    }

    /// In lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address with `fe` in front: higher than any that a machine's own NIC has.
    pub fn high(&self) -> String {
        format!("fe{}", &self.0[2..])
    }

    /// The last four pairs without colons: unique on a host, and short enough to be part of an
    /// interface's name.
    pub fn short(&self) -> String {
        self.0[6..].replace(':', "")
    }
}

/// MAC address and bridge of each of a guest's NICs.
pub fn nics<'a>(guest: &'a GuestSlot, step: &str) -> Result<Vec<(Mac, &'a str)>, PluginError> {
    guest
        .nics
        .iter()
        .map(|nic| {
            let mac = Mac::parse(&nic.mac).ok_or_else(|| {
                let message = format!("`{}` is not a MAC address", nic.mac.escape_debug());
                PluginError::new(step, guest.node.name.as_str(), message)
            })?;
            Ok((mac, nic.bridge.as_str()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Mac;

    #[test]
    fn takes_nothing_but_mac_addresses() {
        let mac = Mac::parse("52:54:00:0A:00:01").unwrap();
        assert_eq!(
            (mac.as_str(), mac.short().as_str()),
            ("52:54:00:0a:00:01", "000a0001")
        );
        assert_eq!(mac.high(), "fe:54:00:0a:00:01");
        for bad in [
            "",
            "52:54:00:0a:00",
            "52:54:00:0a:00:01:02",
            "52:54:00:0a:00:0g",
            "52:54:00:0a:00:1",
            "52:54:00:0a:00:01\"]",
            "52:54:00:0a:00:$(id)",
            "52:54:00:0a:00:01,script=/bin/sh",
        ] {
            assert!(Mac::parse(bad).is_none(), "{bad:?}");
        }
    }
}
