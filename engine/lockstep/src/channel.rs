//! The layout of the shared memory by which sides of a lockstep talk: the same as in `emulator/layout.h`.
//!
//! Each side has a file, `NAME.side`: how it is coupled, where its clock is, and a bell (a futex) that wakes it. Each link
//! has a file, `NAME.link`: its parameters, and for each direction a channel, which is a ring of frames and a promise. All
//! times are absolute virtual nanoseconds. A frame stays in its ring until it is delivered, so that a copy of the files of
//! sides that stopped holds everything in flight.
//!
//! | a channel's | says |
//! |---|---|
//! | `horizon` | every frame that arrives before it is in the ring |
//! | `promise` | the same, as long as the reader has sent nothing beyond `promise_seen` on its own channel |
//! | `want`, `blocked` | the horizon that the sleeping reader waits for; whether it can't do without |

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// First word of a side's file.
pub(crate) const SIDE_MAGIC: u64 = u64::from_le_bytes(*b"vexpside");
/// First word of a link's file.
pub(crate) const LINK_MAGIC: u64 = u64::from_le_bytes(*b"vexplink");
/// Changes with each change of this layout.
pub(crate) const VERSION: u32 = 2;
/// Bytes of a name, its final zero among them.
pub(crate) const NAME: usize = 64;
/// The most links that a side has.
pub(crate) const LINKS: usize = 16;
/// The most NICs that a machine has at a link.
pub(crate) const NICS: usize = 24;
/// The most phases that a generator has.
pub(crate) const PHASES: usize = 16;
/// The most destinations of a phase.
pub(crate) const TEMPLATES: usize = 8;
/// The first bytes of a generated frame: Ethernet, IPv4 and UDP headers.
pub(crate) const TEMPLATE: usize = 64;
/// Bytes before a link's first channel.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a channel before its ring, and where its generator's phases are among them.
pub(crate) const CHANNEL: usize = 3 * PAGE;
pub(crate) const PHASES_AT: usize = 2048;
/// Bytes of a side's file.
pub(crate) const SIDE_FILE: usize = 4 * PAGE;
/// Bytes before each frame in a ring: when it arrives, and its length.
pub(crate) const RECORD: u64 = 16;
/// The longest frame, in bytes: more than any that a guest's offloads make.
pub(crate) const LONGEST: usize = 65_600;
/// A time that never comes.
pub(crate) const NEVER: u64 = i64::MAX as u64;
/// The shortest frame on a wire, in bytes, and what a frame occupies besides: preamble, checksum, gap.
const SHORTEST: u64 = 60;
const AROUND: u64 = 24;
/// The hash of no frame.
pub(crate) const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// What a side does, as its file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    /// Its process has not begun.
    Created = 0,
    /// Its clock is before the lockstep's start, or goes on.
    Running = 1,
    /// It stands at the time that it was told to stop at.
    Stopped = 2,
    /// Its process ended as it should.
    Ended = 3,
    /// It gave up: see `cause`.
    Failed = 4,
}

impl State {
    pub(crate) fn of(word: u32) -> Self {
        match word {
            0 => Self::Created,
            1 => Self::Running,
            2 => Self::Stopped,
            3 => Self::Ended,
            _ => Self::Failed,
        }
    }
}

/// One end of a link, in its machine's file.
#[repr(C)]
pub(crate) struct SideLink {
    /// The link's file, in the same folder.
    pub(crate) file: [AtomicU8; NAME],
    /// QEMU's id of the e1000 whose transmitter back-pressure stops; empty if none. Of several NICs, what stands before
    /// `-NUMBER` in their ids.
    pub(crate) nic: [AtomicU8; NAME],
    /// Which of the link's ends: 0 or 1. It writes the channel of this number.
    pub(crate) end: AtomicU32,
    /// The QEMU hub that the first NIC is plugged into; the others follow.
    pub(crate) hub: AtomicU32,
    /// How many NICs.
    pub(crate) nics: AtomicU32,
    spare0: AtomicU32,
    /// The first NIC's MAC address as a number, of which the others' follow; 0 where there is one NIC, which gets all.
    pub(crate) first_mac: AtomicU64,
    spare1: [AtomicU32; 10],
}

/// A side's file.
#[repr(C)]
pub(crate) struct SideFields {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU32,
    pub(crate) link_count: AtomicU32,
    pub(crate) start: AtomicU64,
    pub(crate) quantum: AtomicU64,
    /// Milliseconds of real time that a wait lasts without progress of the other side.
    pub(crate) patience: AtomicU64,
    /// For tests: the first border from this time on is a microsecond late; 0 for none.
    pub(crate) fault_late: AtomicU64,
    spare0: [AtomicU64; 2],
    /// Counted up, and its sleepers woken, when the side should look again.
    pub(crate) bell: AtomicU32,
    pub(crate) asleep: AtomicU32,
    pub(crate) state: AtomicU32,
    /// Why it failed: the exit code.
    pub(crate) cause: AtomicU32,
    /// Where its clock was last seen.
    pub(crate) now: AtomicU64,
    /// Of vexp's side: 1 while it waits for others. While it does something else, all may wait for it without a deadline.
    pub(crate) attending: AtomicU64,
    spare1: [AtomicU64; 4],
    /// Written by vexp's side: stop here.
    pub(crate) stop_at: AtomicU64,
    /// Written by vexp's side: counted up when the generators' phases are there.
    pub(crate) generators: AtomicU64,
    spare2: [AtomicU64; 6],
    pub(crate) borders: AtomicU64,
    pub(crate) late_borders: AtomicU64,
    /// Virtual nanoseconds that all its processors were idle.
    pub(crate) idle: AtomicU64,
    pub(crate) waits: AtomicU64,
    /// Real nanoseconds that it waited.
    pub(crate) waited: AtomicU64,
    /// Times that it slept in a wait.
    pub(crate) sleeps: AtomicU64,
    /// VMRUN instructions that were cured.
    pub(crate) vmruns: AtomicU64,
    spare3: [AtomicU64; 1],
    pub(crate) links: [SideLink; LINKS],
}

/// Frames at exact times, as if the NIC had sent them.
#[repr(C)]
pub(crate) struct Phase {
    pub(crate) start: AtomicU64,
    pub(crate) count: AtomicU64,
    /// Time between two frames, in thousandths of a nanosecond.
    pub(crate) interval_ps: AtomicU64,
    pub(crate) length: AtomicU32,
    pub(crate) templates: AtomicU32,
    /// Frames that it has sent.
    pub(crate) sent: AtomicU64,
    spare: [AtomicU64; 3],
    /// Their first bytes, which take turns.
    pub(crate) template: [[AtomicU8; TEMPLATE]; TEMPLATES],
}

/// The head of a link's file.
#[repr(C)]
pub(crate) struct LinkFields {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU32,
    spare0: AtomicU32,
    pub(crate) delay: AtomicU64,
    /// Bits a second.
    pub(crate) rate: AtomicU64,
    /// The longest time that a frame waits for the wire; one that would wait longer is dropped.
    pub(crate) queue: AtomicU64,
    /// Back-pressure stops a transmitter while more than this waits for the wire.
    pub(crate) pause: AtomicU64,
    /// Bytes of each ring: a power of two.
    pub(crate) ring: AtomicU64,
    /// The longest time that a frame waits in the switch that joins several NICs; one that would wait longer is dropped.
    pub(crate) buffer: AtomicU64,
    /// The sides at its ends.
    pub(crate) sides: [[AtomicU8; NAME]; 2],
}

/// What one NIC has on its own wire.
#[repr(C)]
pub(crate) struct NicWire {
    /// When the last frame's end leaves the NIC.
    free: AtomicU64,
    /// Back-pressure: 0 off, 1 to be stopped, 2 stopped; and when that changes next.
    pressed: AtomicU64,
    pressed_until: AtomicU64,
    spare: AtomicU64,
}

/// One direction of a link.
#[repr(C)]
pub(crate) struct Channel {
    pub(crate) horizon: AtomicU64,
    pub(crate) promise: AtomicU64,
    pub(crate) promise_seen: AtomicU64,
    /// Bytes ever put into the ring.
    pub(crate) head: AtomicU64,
    /// When the last frame's end leaves the sender, or the switch that joins its NICs.
    pub(crate) wire_free: AtomicU64,
    spare0: [AtomicU64; 2],
    pub(crate) pauses: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) sent_hash: AtomicU64,
    /// Dropped because the queue was full.
    pub(crate) queue_drops: AtomicU64,
    /// Dropped because they were sent before the start.
    pub(crate) early_drops: AtomicU64,
    /// Frames that arrive earlier than the sender had promised: a run with one isn't valid.
    pub(crate) broken: AtomicU64,
    /// Dropped because the switch had no room.
    pub(crate) switch_drops: AtomicU64,
    spare1: AtomicU64,
    // The reader writes from here on.
    /// Bytes ever taken out of the ring.
    pub(crate) tail: AtomicU64,
    pub(crate) want: AtomicU64,
    pub(crate) blocked: AtomicU64,
    pub(crate) taken: AtomicU64,
    pub(crate) taken_bytes: AtomicU64,
    pub(crate) taken_hash: AtomicU64,
    /// Dropped because the reader's NIC had no room.
    pub(crate) nic_drops: AtomicU64,
    /// Delivered after their time: a run with one isn't valid.
    pub(crate) late: AtomicU64,
    spare2: [AtomicU64; 8],
    /// Phases of the generator that sends in this direction; vexp's side writes it.
    pub(crate) phase_count: AtomicU64,
    spare3: [AtomicU64; 7],
    /// The emulator's, as those before `tail`.
    wires: [NicWire; NICS],
}

const _: () = {
    assert!(size_of::<SideLink>() == 192);
    assert!(offset_of!(SideFields, bell) == 64);
    assert!(offset_of!(SideFields, stop_at) == 128);
    assert!(offset_of!(SideFields, borders) == 192);
    assert!(offset_of!(SideFields, links) == 256);
    assert!(size_of::<SideFields>() == 256 + LINKS * 192);
    assert!(size_of::<SideFields>() <= SIDE_FILE);
    assert!(size_of::<Phase>() == 64 + TEMPLATES * TEMPLATE);
    assert!(offset_of!(LinkFields, sides) == 64);
    assert!(size_of::<LinkFields>() == 64 + 2 * NAME);
    assert!(offset_of!(Channel, tail) == 128);
    assert!(offset_of!(Channel, phase_count) == 256);
    assert!(offset_of!(Channel, wires) == 320);
    assert!(size_of::<Channel>() == 320 + NICS * 32);
    assert!(PHASES_AT >= size_of::<Channel>());
    assert!(PHASES_AT + PHASES * size_of::<Phase>() <= CHANNEL);
};

/// Nanoseconds that a frame occupies the wire, at `rate` bits a second.
pub(crate) fn serialisation(length: usize, rate: u64) -> u64 {
    ((length as u64).max(SHORTEST) + AROUND) * 8_000_000_000 / rate
}

/// The frame's hash after those of the ones before it.
pub(crate) fn chain(hash: u64, at: u64, frame: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(0x0100_0000_01b3);
        mixed ^ (mixed >> 29)
    };
    let hash = mix(mix(hash, at), frame.len() as u64);
    frame.chunks(8).fold(hash, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(hash, u64::from_le_bytes(word))
    })
}

/// A name as it stands in shared memory.
pub(crate) fn write_name(to: &[AtomicU8], name: &str) {
    let bytes = name.as_bytes().iter().copied().chain(std::iter::repeat(0));
    for (place, byte) in to.iter().zip(bytes) {
        place.store(byte, Ordering::Relaxed);
    }
}

pub(crate) fn read_name(from: &[AtomicU8]) -> String {
    let bytes = from.iter().map(|byte| byte.load(Ordering::Relaxed));
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
