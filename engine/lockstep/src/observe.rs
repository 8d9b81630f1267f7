//! Follows every frame on every link from vexp's side, without a word to any machine: what two runs are compared by.
//!
//! A machine may be ahead of this side by its control link's delay, and its counters with it. What is behind this side by
//! as much is settled: no machine can send anything any more that arrives before. So frames are counted up to a *cut*, and
//! two runs that are equal have equal counts and hashes at each. Frames stay in their ring for a while after they were
//! delivered, which is where they are read. A ring that was overwritten before is said ([`Traffic::whole`]).

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use vexp_api::trace::STRIDE;

use crate::channel::{LONGEST, RECORD, chain, read_name, serialisation};
use crate::map::LinkFile;
use crate::side::{Port, Side};

/// What a direction of a link has carried: all frames that arrive before the last cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Link.
    pub link: String,
    /// The side that sends.
    pub from: String,
    /// The side that receives.
    pub to: String,
    /// Frames since the lockstep's start.
    pub frames: u64,
    /// The hash over each one's arrival, length and content.
    pub hash: u64,
    /// Two hexadecimal digits of the hash after each frame that was counted by the last [`Side::advance`] and whose
    /// number is a multiple of [`STRIDE`].
    pub marks: String,
    /// Whether each frame was seen. From the first one on that was not, nothing more is counted.
    pub whole: bool,
}

/// Follows all channels.
#[derive(Debug)]
pub(crate) struct Observer {
    /// How far a machine can be behind, in ns.
    lag: u64,
    /// What arrives before is counted.
    cut: u64,
    followed: Vec<Followed>,
    frame: Vec<u8>,
}

#[derive(Debug)]
struct Followed {
    /// Which of the side's links, and which end writes.
    link: usize,
    end: usize,
    /// Bytes of the ring that were read.
    cursor: u64,
    traffic: Traffic,
}

impl Observer {
    /// Follows channels from where their readers are. No machine may have started.
    pub(crate) fn new(links: &[(String, LinkFile)], ports: &[Port]) -> Self {
        let lag = ports.iter().map(Port::lead).max().unwrap_or(0);
        let each = links.iter().enumerate().flat_map(|(link, (name, file))| {
            let [first, second] = [0, 1].map(|end| read_name(&file.fields().sides[end]));
            [(0, first.clone(), second.clone()), (1, second, first)].map(|(end, from, to)| {
                let channel = file.channel(end);
                Followed {
                    link,
                    end,
                    cursor: channel.tail.load(Relaxed),
                    traffic: Traffic {
                        link: name.clone(),
                        from,
                        to,
                        frames: channel.taken.load(Relaxed),
                        hash: channel.taken_hash.load(Relaxed),
                        marks: String::new(),
                        whole: true,
                    },
                }
            })
        });
        Self {
            lag,
            cut: 0,
            followed: each.collect(),
            frame: vec![0; LONGEST],
        }
    }

    /// Counts what is settled where this side is at `now`.
    pub(crate) fn observe(&mut self, links: &[(String, LinkFile)], now: u64) {
        let cut = now.saturating_sub(self.lag);
        self.cut = cut;
        for followed in &mut self.followed {
            followed.traffic.marks.clear();
            if let Some((_, file)) = links.get(followed.link) {
                while followed.next(file, cut, &mut self.frame) {}
            }
        }
    }
}

impl Followed {
    /// Counts the next frame, if it arrives before the cut.
    fn next(&mut self, file: &LinkFile, cut: u64, frame: &mut [u8]) -> bool {
        if !self.traffic.whole || self.cursor == file.channel(self.end).head.load(Acquire) {
            return false;
        }
        let mut record = [0; RECORD as usize];
        file.get(self.end, self.cursor, &mut record);
        let at = u64::from_le_bytes(record[..8].try_into().unwrap_or_default());
        let length = u32::from_le_bytes(record[8..12].try_into().unwrap_or_default()) as usize;
        // Looked at after what it guards was read, here and below.
        if self.is_overwritten(file) || length > LONGEST {
            self.traffic.whole = false;
            return false;
        }
        if at >= cut {
            return false;
        }
        let frame = &mut frame[..length];
        file.get(self.end, self.cursor + RECORD, frame);
        if self.is_overwritten(file) {
            self.traffic.whole = false;
            return false;
        }
        self.cursor += RECORD + (length as u64).next_multiple_of(8);
        let traffic = &mut self.traffic;
        traffic.frames += 1;
        traffic.hash = chain(traffic.hash, at, frame);
        if traffic.frames.is_multiple_of(STRIDE) {
            traffic
                .marks
                .push_str(&format!("{:02x}", short(traffic.hash) & 0xff));
        }
        true
    }

    /// Whether the sender may have begun to write over the next frame: it may be at work on its longest one.
    fn is_overwritten(&self, file: &LinkFile) -> bool {
        let head = file.channel(self.end).head.load(Acquire);
        let begun = head + RECORD + (LONGEST as u64).next_multiple_of(8);
        begun - self.cursor > file.ring()
    }
}

/// A hash in the 32 bits of a trace.
#[must_use]
pub fn short(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

impl Port {
    /// The least time from a frame's start at the other end to its arrival here.
    fn lead(&self) -> u64 {
        serialisation(0, self.rate) + self.delay
    }
}

impl Side {
    /// What each direction of each link has carried, as far as it is settled. It is the same whatever the computer does
    /// besides, where all machines have a link with this side.
    #[must_use]
    pub fn traffic(&self) -> Vec<&Traffic> {
        let followed = self.observer.followed.iter();
        followed.map(|followed| &followed.traffic).collect()
    }

    /// The last cut: all that arrives before this time, in virtual ns, is in [`Side::traffic`].
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.observer.cut
    }
}

#[cfg(test)]
mod tests;
