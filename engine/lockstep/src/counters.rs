//! What a lockstep counts, in shared memory: read at any time, without asking an emulator.

use std::sync::atomic::Ordering::Relaxed;

use crate::channel::{Channel, read_name};
use crate::side::Side;

/// One direction of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direction {
    /// The side that sends.
    pub from: String,
    /// The side that receives.
    pub to: String,
    /// Frames that were sent, their bytes, and the hash over each one's arrival, length and content.
    pub sent: u64,
    #[expect(missing_docs, reason = "see `sent`")]
    pub sent_bytes: u64,
    #[expect(missing_docs, reason = "see `sent`")]
    pub sent_hash: u64,
    /// The same of those that were delivered, and of those that the NIC had no room for.
    pub delivered: u64,
    #[expect(missing_docs, reason = "see `delivered`")]
    pub delivered_bytes: u64,
    #[expect(missing_docs, reason = "see `delivered`")]
    pub delivered_hash: u64,
    /// Frames dropped by the sender, because the link's queue was full.
    pub queue_drops: u64,
    /// Frames that the switch which joins several NICs had no room for.
    pub switch_drops: u64,
    /// Frames dropped by the sender, because it was before the lockstep's start.
    pub early_drops: u64,
    /// Frames dropped on arrival, because the receiver's NIC had no room.
    pub nic_drops: u64,
    /// Frames delivered after their time: a trial with one is invalid.
    pub late: u64,
    /// Frames sent to arrive before a time up to which the sender had promised none: a trial with one is invalid.
    pub broken: u64,
    /// Times that back-pressure stopped the sender's transmitter.
    pub pauses: u64,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCounters {
    /// Its name.
    pub name: String,
    /// From its first end, and from its second.
    pub directions: [Direction; 2],
}

/// A machine's emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineCounters {
    /// The machine's name.
    pub name: String,
    /// Virtual time at its last border, in nanoseconds.
    pub now_ns: u64,
    /// Borders that it reached.
    pub borders: u64,
    /// Borders that it reached too late: a trial with one is invalid.
    pub late_borders: u64,
    /// Virtual time over which all its processors idled, since it was started, in nanoseconds.
    pub idle_ns: u64,
    /// Borders at which it waited for another side, and sleeps in them. They differ from run to run.
    pub waits: u64,
    #[expect(missing_docs, reason = "see `waits`")]
    pub sleeps: u64,
    /// Real time of these waits, in nanoseconds.
    pub waited_ns: u64,
    /// VMRUN instructions.
    pub vmruns: u64,
}

/// All counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// All links, by name.
    pub links: Vec<LinkCounters>,
    /// All machines, by name.
    pub machines: Vec<MachineCounters>,
}

impl Counters {
    /// Late borders, late frames and broken promises: a trial with one isn't reproducible, and therefore invalid.
    #[must_use]
    pub fn late(&self) -> u64 {
        let borders = self.machines.iter().map(|machine| machine.late_borders);
        let directions = self.links.iter().flat_map(|link| &link.directions);
        borders
            .chain(directions.map(|direction| direction.late + direction.broken))
            .sum()
    }
}

fn direction(channel: &Channel, from: String, to: String) -> Direction {
    let read = |word: &std::sync::atomic::AtomicU64| word.load(Relaxed);
    Direction {
        from,
        to,
        sent: read(&channel.sent),
        sent_bytes: read(&channel.sent_bytes),
        sent_hash: read(&channel.sent_hash),
        delivered: read(&channel.taken),
        delivered_bytes: read(&channel.taken_bytes),
        delivered_hash: read(&channel.taken_hash),
        queue_drops: read(&channel.queue_drops),
        switch_drops: read(&channel.switch_drops),
        early_drops: read(&channel.early_drops),
        nic_drops: read(&channel.nic_drops),
        late: read(&channel.late),
        broken: read(&channel.broken),
        pauses: read(&channel.pauses),
    }
}

impl Side {
    /// All counters of all links and machines. They are exact when the machines stand still, and for what happened before
    /// [`Side::now`]: a machine may be ahead of it.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let links = self.links.iter().map(|(name, file)| {
            let [first, second] = [0, 1].map(|end| read_name(&file.fields().sides[end]));
            let there = direction(file.channel(0), first.clone(), second.clone());
            let back = direction(file.channel(1), second, first);
            LinkCounters {
                name: name.clone(),
                directions: [there, back],
            }
        });
        let machines = self.others.iter().map(|(name, file)| {
            let fields = file.fields();
            MachineCounters {
                name: name.clone(),
                now_ns: fields.now.load(Relaxed),
                borders: fields.borders.load(Relaxed),
                late_borders: fields.late_borders.load(Relaxed),
                idle_ns: fields.idle.load(Relaxed),
                waits: fields.waits.load(Relaxed),
                sleeps: fields.sleeps.load(Relaxed),
                waited_ns: fields.waited.load(Relaxed),
                vmruns: fields.vmruns.load(Relaxed),
            }
        });
        Counters {
            links: links.collect(),
            machines: machines.collect(),
        }
    }
}
