//! Who has which address in a lab.

use std::net::{IpAddr, Ipv4Addr};

use vexp_api::site::DataAddress;

/// Number of the control network in MAC addresses.
const CONTROL: u8 = 0xff;
/// Most guests.
pub(in crate::testbed) const MOST: u32 = 64;
/// Most peers, on all data networks together.
pub(in crate::testbed) const MOST_PEERS: u32 = 128;

/// A node of a lab, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testbed) enum Who {
    /// The lab itself, where workers stand.
    Lab,
    /// The machine under test.
    Host,
    /// Guest, from 0.
    Guest(u32),
    /// Peer, from 0, on whichever data network.
    Peer(u32),
    /// The emulator of all peers on a data network, where they have one.
    Peers(u8),
}

impl Who {
    /// The last byte of its addresses: 1, 2, 10 to 73, 100 to 227, 240 to 254.
    fn last(self) -> u8 {
        let offset =
            |base: u8, n: u32, most: u32| base + u8::try_from(n.min(most - 1)).unwrap_or(0);
        match self {
            Self::Lab => 1,
            Self::Host => 2,
            Self::Guest(n) => offset(10, n, MOST),
            Self::Peer(n) => offset(100, n, MOST_PEERS),
            Self::Peers(net) => 240 + net.min(14),
        }
    }

    /// Address on the control network, 198.19.255.0/24.
    pub(in crate::testbed) fn control(self) -> IpAddr {
        Ipv4Addr::new(198, 19, 255, self.last()).into()
    }

    /// Address on data network `net`, 198.18.`net`.0/24.
    pub(in crate::testbed) fn data(self, net: u8) -> DataAddress {
        DataAddress {
            address: Ipv4Addr::new(198, 18, net, self.last()).into(),
            prefix: 24,
        }
    }

    /// MAC address on the control network.
    pub(in crate::testbed) fn control_mac(self) -> String {
        self.mac(CONTROL)
    }

    /// MAC address on a network; `52:54:00` is QEMU's prefix of locally administered ones.
    pub(in crate::testbed) fn mac(self, net: u8) -> String {
        format!("52:54:00:00:{net:02x}:{:02x}", self.last())
    }

    /// The same as a number, whose highest byte is the address's first.
    pub(in crate::testbed) fn mac_number(self, net: u8) -> u64 {
        0x5254_0000_0000 | u64::from(net) << 8 | u64::from(self.last())
    }
}

/// `address/prefix`.
pub(in crate::testbed) fn cidr(data: DataAddress) -> String {
    format!("{}/{}", data.address, data.prefix)
}

/// Data network `net`, as routes have it.
pub(in crate::testbed) fn network(net: u8) -> String {
    format!("198.18.{net}.0/24")
}

/// `address/24` on the control network.
pub(in crate::testbed) fn control_cidr(who: Who) -> String {
    format!("{}/24", who.control())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_addresses_differ() {
        let nodes = [Who::Lab, Who::Host]
            .into_iter()
            .chain((0..MOST).map(Who::Guest))
            .chain((0..MOST_PEERS).map(Who::Peer))
            .chain((0..15).map(Who::Peers));
        let macs: Vec<String> = nodes.map(Who::control_mac).collect();
        assert_eq!(macs.iter().collect::<BTreeSet<_>>().len(), macs.len());
    }
}
