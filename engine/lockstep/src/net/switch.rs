//! A learning switch between the control links and vexp itself.

use std::collections::BTreeMap;

type Mac = [u8; 6];

/// Most addresses that are learned; frames to others are flooded.
const MOST: usize = 4096;

/// Where a frame goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct To {
    pub(super) links: Vec<usize>,
    pub(super) own: bool,
}

/// Which address is on which link.
#[derive(Debug)]
pub(super) struct Switch {
    links: usize,
    own: Mac,
    known: BTreeMap<Mac, usize>,
}

impl Switch {
    pub(super) fn new(links: usize, own: Mac) -> Self {
        Self {
            links,
            own,
            known: BTreeMap::new(),
        }
    }

    /// A frame that arrived on a link. What is shorter than a header is dropped, as is what no link can have sent.
    pub(super) fn heard(&mut self, link: usize, frame: &[u8]) -> To {
        let (Some(to), Some(from)) = (address(frame, 0), address(frame, 6)) else {
            return To::default();
        };
        if link >= self.links || from == self.own {
            return To::default();
        }
        let room = self.known.len() < MOST || self.known.contains_key(&from);
        if !is_group(from) && room {
            self.known.insert(from, link);
        }
        if to == self.own {
            return To {
                links: Vec::new(),
                own: true,
            };
        }
        To {
            links: self.towards(to, Some(link)),
            own: is_group(to),
        }
    }

    /// Links for a frame of vexp's own.
    pub(super) fn said(&self, frame: &[u8]) -> Vec<usize> {
        address(frame, 0).map_or_else(Vec::new, |to| self.towards(to, None))
    }

    fn towards(&self, to: Mac, except: Option<usize>) -> Vec<usize> {
        let known = self.known.get(&to).filter(|_| !is_group(to));
        let links = match known {
            Some(link) => *link..*link + 1,
            None => 0..self.links,
        };
        links.filter(|link| Some(*link) != except).collect()
    }
}

/// Broadcast or multicast.
fn is_group(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

/// An address in a frame that has a whole header.
fn address(frame: &[u8], at: usize) -> Option<Mac> {
    frame.get(..14)?.get(at..at + 6)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const A: Mac = [2, 0, 0, 0, 0, 0xa];
    const B: Mac = [2, 0, 0, 0, 0, 0xb];

    fn frame(to: Mac, from: Mac) -> Vec<u8> {
        [&to[..], &from[..], &[8, 0, 1, 2]].concat()
    }

    #[test]
    fn frames_go_where_their_receiver_was_heard() {
        let mut switch = Switch::new(3, OWN);
        // Nobody is known: everywhere.
        assert_eq!(switch.said(&frame(A, OWN)), [0, 1, 2]);
        let to = switch.heard(1, &frame([0xff; 6], A));
        assert_eq!((to.links, to.own), (vec![0, 2], true));
        assert_eq!(switch.said(&frame(A, OWN)), [1]);
        let to = switch.heard(2, &frame(OWN, B));
        assert_eq!((to.links, to.own), (vec![], true));
        // Between two machines.
        let to = switch.heard(2, &frame(A, B));
        assert_eq!((to.links, to.own), (vec![1], false));
        // Behind the bridge of the machine that sent it: not back.
        let to = switch.heard(1, &frame(A, [2, 0, 0, 0, 0, 0xc]));
        assert_eq!((to.links, to.own), (vec![], false));
    }

    #[test]
    fn what_no_machine_can_have_sent_is_dropped() {
        let mut switch = Switch::new(2, OWN);
        assert_eq!(switch.heard(0, &[0xff; 13]), To::default());
        assert_eq!(switch.heard(0, &frame(A, OWN)), To::default());
        assert_eq!(switch.heard(2, &frame(A, B)), To::default());
        // A group's address is never learned as a sender's.
        let group = [3, 0, 0, 0, 0, 9];
        switch.heard(0, &frame(OWN, group));
        assert_eq!(switch.said(&frame(group, OWN)), [0, 1]);
    }

    #[test]
    fn a_machine_that_invents_addresses_fills_no_memory() {
        let mut switch = Switch::new(2, OWN);
        for n in 0..10_000u16 {
            let [high, low] = n.to_be_bytes();
            switch.heard(0, &frame(OWN, [2, 1, 0, 0, high, low]));
        }
        assert_eq!(switch.known.len(), MOST);
        switch.heard(1, &frame(OWN, [2, 1, 0, 0, 0, 0]));
        assert_eq!(switch.said(&frame([2, 1, 0, 0, 0, 0], OWN)), [1]);
    }

    #[test]
    fn any_bytes_are_a_frame_to_somewhere_or_to_nowhere() {
        let mut switch = Switch::new(3, OWN);
        let whole = frame(A, B);
        let switch = std::cell::RefCell::new(&mut switch);
        vexp_testkit::hostile::on_changes(200, &whole, |bytes| {
            let to = switch.borrow_mut().heard(1, bytes);
            assert!(to.links.iter().all(|link| *link < 3 && *link != 1));
            assert!(switch.borrow().said(bytes).iter().all(|link| *link < 3));
        });
    }
}
