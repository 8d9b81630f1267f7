//! Who has which address (RFC 826).
//!
//! smoltcp asks for one address a second, whichever it is, and forgets answers after a minute: with many nodes each would
//! wait for the others. So the stack asks itself, once a second for each node that it waits for, and smoltcp's own
//! questions are dropped. What was learned is told to smoltcp again before it forgets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Addresses;

type Mac = [u8; 6];

const ARP: [u8; 2] = [8, 6];
const IPV4: [u8; 2] = [8, 0];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// Most nodes: as many as smoltcp can be told of.
const MOST: usize = 256;
/// Bytes of an Ethernet header, and of an IPv4 header up to its source's end.
const HEADER: usize = 14;
const SOURCE: usize = HEADER + 16;

/// Nodes that were heard.
#[derive(Debug)]
pub(super) struct Neighbours {
    own: (Mac, Ipv4Addr),
    prefix: u8,
    heard: BTreeMap<Ipv4Addr, Mac>,
}

impl Neighbours {
    pub(super) fn new(addresses: &Addresses) -> Self {
        Self {
            own: (addresses.mac, addresses.address),
            prefix: addresses.prefix,
            heard: BTreeMap::new(),
        }
    }

    /// Learns from a frame to vexp who sent it.
    pub(super) fn hear(&mut self, frame: &[u8]) {
        let Some(from) = array(frame, 6) else { return };
        let address = match array(frame, 12) {
            Some(ARP) => array::<4>(frame, 28),
            Some(IPV4) => array::<4>(frame, SOURCE - 4),
            _ => None,
        };
        let Some(address) = address.map(Ipv4Addr::from) else {
            return;
        };
        let known = self.heard.contains_key(&address);
        if self.is_near(address) && (known || self.heard.len() < MOST) {
            self.heard.insert(address, from);
        }
    }

    /// Whether an address is another node's on the same network.
    fn is_near(&self, address: Ipv4Addr) -> bool {
        let network = |address: Ipv4Addr| {
            let host_bits = 32 - u32::from(self.prefix.min(32));
            address.to_bits().checked_shr(host_bits).unwrap_or(0)
        };
        network(address) == network(self.own.1) && address != self.own.1
    }

    /// The question who has an address, unless that is known.
    pub(super) fn question(&self, address: Ipv4Addr) -> Option<Vec<u8>> {
        let (mac, own) = self.own;
        let unknown = !self.heard.contains_key(&address);
        unknown.then(|| arp(REQUEST, [0xff; 6], (mac, own), ([0; 6], address)))
    }

    /// Answers, as nodes would give them, that tell all that is known.
    pub(super) fn answers(&self) -> impl Iterator<Item = Vec<u8>> {
        let heard = self.heard.iter();
        heard.map(|(address, mac)| arp(REPLY, self.own.0, (*mac, *address), self.own))
    }
}

/// Whether a frame asks who has an address.
pub(super) fn is_question(frame: &[u8]) -> bool {
    array(frame, 12) == Some(ARP) && array(frame, 20) == Some(REQUEST.to_be_bytes())
}

fn arp(operation: u16, to: Mac, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&sender.0);
    frame.extend_from_slice(&ARP);
    // Ethernet, IPv4, and the lengths of their addresses.
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
    frame.extend_from_slice(&operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&address.octets());
    }
    frame
}

fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::addresses;
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 10);

    #[test]
    fn who_was_heard_is_not_asked_for() {
        let mut neighbours = Neighbours::new(&addresses(1));
        let question = neighbours.question(A).unwrap();
        assert!(is_question(&question));
        assert_eq!(question.len(), 42);
        let answer = arp(
            REPLY,
            neighbours.own.0,
            ([2, 0, 0, 0, 0, 9], A),
            neighbours.own,
        );
        assert!(!is_question(&answer));
        neighbours.hear(&answer);
        assert_eq!(neighbours.question(A), None);
        assert_eq!(neighbours.answers().collect::<Vec<_>>(), [answer]);
    }

    #[test]
    fn nobody_is_learned_who_can_not_be_on_the_network() {
        let mut neighbours = Neighbours::new(&addresses(1));
        for address in ["198.18.0.2", "198.19.255.1", "0.0.0.0"] {
            let sender = ([2, 0, 0, 0, 0, 9], address.parse().unwrap());
            neighbours.hear(&arp(REPLY, neighbours.own.0, sender, neighbours.own));
        }
        for length in 0..42 {
            let whole = arp(REPLY, neighbours.own.0, ([2; 6], A), neighbours.own);
            neighbours.hear(&whole[..length.min(31)]);
        }
        assert!(neighbours.heard.is_empty());
    }

    #[test]
    fn any_bytes_are_an_answer_or_none() {
        let neighbours = std::cell::RefCell::new(Neighbours::new(&addresses(1)));
        let own = neighbours.borrow().own;
        let answer = arp(REPLY, own.0, ([2, 0, 0, 0, 0, 9], A), own);
        vexp_testkit::hostile::on_changes(400, &answer, |bytes| {
            neighbours.borrow_mut().hear(bytes);
            let _ = is_question(bytes);
            assert!(neighbours.borrow().heard.len() <= MOST);
        });
    }
}
