//! A side of the lockstep without a processor, on which vexp stands.
//!
//! Its clock goes from border to border as its owner says: what it does takes no virtual time. The files that it makes are
//! what machines' emulators are coupled by; see [`Topology`].

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

use crate::channel::{
    Channel, LINK_MAGIC, LINKS, LONGEST, NEVER, RECORD, SIDE_MAGIC, State, chain, read_name,
    serialisation,
};
use crate::map::{LinkFile, SideFile};
use crate::observe::Observer;
use crate::topology::{Topology, VEXP, check_head, link_file, side_file};
use crate::wait::{Waiting, ring};

/// A frame that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When: absolute virtual nanoseconds.
    pub at: u64,
    /// By which of this side's links; see [`Side::links`].
    pub link: usize,
    /// From the destination address on, without its checksum.
    pub bytes: Vec<u8>,
}

/// An error of the lockstep.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum LinkError {
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {why}")]
    Format { path: PathBuf, why: String },
    #[error("a lockstep can't have {0}")]
    Topology(String),
    #[error(
        "virtual time {at} ns is too early: machines may be at {earliest} ns already; choose that or later"
    )]
    TooEarly { at: u64, earliest: u64 },
    #[error(
        "{side} made no progress for {seconds} s of real time: it is known to {known} ns of virtual time, and waited for \
         at {wanted} ns; its console or emulator log says why, or the computer is too busy for the patience given"
    )]
    Silent {
        side: String,
        seconds: u64,
        known: u64,
        wanted: u64,
    },
    #[error("the emulator of {side} died at about {now} ns of virtual time; its log may say why")]
    Died { side: String, now: u64 },
    #[error(
        "the emulator of {side} ended at about {now} ns of virtual time, while it was waited for"
    )]
    Ended { side: String, now: u64 },
    #[error(
        "{side} left the lockstep at about {now} ns of virtual time: {cause}; its emulator's log has the line"
    )]
    Failed {
        side: String,
        now: u64,
        cause: &'static str,
    },
    #[error(
        "{side} was inside a guest of its own when it should stop at {at} ns of virtual time, and could not get out without \
         the others; resume, and stop at another time"
    )]
    InsideGuest { side: String, at: u64 },
    #[error("{0}")]
    Abandoned(String),
}

impl LinkError {
    pub(crate) fn file(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        Self::File {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn format(path: &Path, why: String) -> Self {
        let path = path.to_owned();
        Self::Format { path, why }
    }
}

/// One of a side's links, as the side sees it.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) file: LinkFile,
    /// Which end it is.
    end: usize,
    /// The side at the other end.
    pub(crate) peer: SideFile,
    pub(crate) peer_name: String,
    pub(crate) delay: u64,
    pub(crate) rate: u64,
    queue: u64,
    /// Where its ring's head was when the other side was last woken.
    rung: u64,
}

impl Port {
    fn open(folder: &Path, name: String, end: usize) -> Result<Self, LinkError> {
        let file = open_link(&folder.join(&name))?;
        let fields = file.fields();
        let peer_name = read_name(&fields.sides[1 - (end & 1)]);
        let peer = open_side(&side_file(folder, &peer_name))?;
        let (delay, rate) = (fields.delay.load(Relaxed), fields.rate.load(Relaxed));
        let queue = fields.queue.load(Relaxed);
        let name = name.trim_end_matches(".link").to_owned();
        let rate = rate.max(1);
        Ok(Self {
            name,
            file,
            end,
            peer,
            peer_name,
            delay,
            rate,
            queue,
            rung: 0,
        })
    }

    /// The channel that this side writes.
    pub(crate) fn out(&self) -> &Channel {
        self.file.channel(self.end)
    }

    /// The channel that this side reads.
    pub(crate) fn into(&self) -> &Channel {
        self.file.channel(1 - self.end)
    }

    /// Every frame that arrives here before this time is in the ring.
    pub(crate) fn known(&self) -> u64 {
        let into = self.into();
        let promise = into.promise.load(SeqCst);
        let seen = into.promise_seen.load(SeqCst);
        let again = into.promise.load(SeqCst);
        let horizon = into.horizon.load(SeqCst);
        let holds = promise == again && seen == self.out().head.load(Relaxed);
        if holds { horizon.max(promise) } else { horizon }
    }

    /// Promises that nothing is sent before `from`.
    fn publish(&mut self, from: u64) {
        let out = self.out();
        let begins = from.max(out.wire_free.load(Relaxed));
        let horizon = begins + serialisation(0, self.rate) + self.delay;
        if horizon > out.horizon.load(Relaxed) {
            out.horizon.store(horizon, SeqCst);
        }
        let head = out.head.load(Relaxed);
        let wanted = self.rung != head || horizon >= out.want.load(SeqCst);
        if wanted && self.peer.fields().asleep.load(SeqCst) != 0 {
            self.rung = head;
            ring(&self.peer);
        }
    }

    /// When the frame arrives, or nothing if the queue or the ring has no room for it.
    fn send(&self, now: u64, frame: &[u8]) -> Option<u64> {
        let out = self.out();
        let begins = now.max(out.wire_free.load(Relaxed));
        let head = out.head.load(Relaxed);
        let bytes = RECORD + (frame.len() as u64).next_multiple_of(8);
        let used = head - out.tail.load(Acquire);
        if begins - now > self.queue || frame.len() > LONGEST || used + bytes > self.file.ring() {
            out.queue_drops.fetch_add(1, Relaxed);
            return None;
        }
        let end = begins + serialisation(frame.len(), self.rate);
        let at = end + self.delay;
        if at < out.horizon.load(Relaxed) {
            out.broken.fetch_add(1, Relaxed);
        }
        out.wire_free.store(end, Relaxed);
        let mut record = [0; RECORD as usize];
        record[..8].copy_from_slice(&at.to_le_bytes());
        record[8..12].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        self.file.put(self.end, head, &record);
        self.file.put(self.end, head + RECORD, frame);
        out.sent.fetch_add(1, Relaxed);
        out.sent_bytes.fetch_add(frame.len() as u64, Relaxed);
        let hash = chain(out.sent_hash.load(Relaxed), at, frame);
        out.sent_hash.store(hash, Relaxed);
        out.head.store(head + bytes, SeqCst);
        Some(at)
    }

    /// The first frame that arrives before `until`, taken out of the ring. One before `now` is late.
    fn take(&self, now: u64, until: u64) -> Result<Option<(u64, Vec<u8>)>, LinkError> {
        let into = self.into();
        let tail = into.tail.load(Relaxed);
        if tail == into.head.load(Acquire) {
            return Ok(None);
        }
        let mut record = [0; RECORD as usize];
        self.file.get(1 - self.end, tail, &mut record);
        let at = u64::from_le_bytes(record[..8].try_into().unwrap_or_default());
        let length = u32::from_le_bytes(record[8..12].try_into().unwrap_or_default()) as usize;
        if length > LONGEST {
            let why = format!("its ring has a frame of {length} bytes; the longest is {LONGEST}");
            return Err(LinkError::format(self.file.path(), why));
        }
        if at >= until {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.file.get(1 - self.end, tail + RECORD, &mut bytes);
        if at < now {
            into.late.fetch_add(1, Relaxed);
        }
        into.taken.fetch_add(1, Relaxed);
        into.taken_bytes.fetch_add(length as u64, Relaxed);
        let hash = chain(into.taken_hash.load(Relaxed), at, &bytes);
        into.taken_hash.store(hash, Relaxed);
        let bytes_in_ring = RECORD + (length as u64).next_multiple_of(8);
        into.tail.store(tail + bytes_in_ring, Release);
        Ok(Some((at, bytes)))
    }
}

fn open_link(path: &Path) -> Result<LinkFile, LinkError> {
    let file = LinkFile::open(path)?;
    let fields = file.fields();
    let magic = (fields.magic.load(Acquire), LINK_MAGIC);
    check_head(path, magic, fields.version.load(Relaxed))?;
    Ok(file)
}

fn open_side(path: &Path) -> Result<SideFile, LinkError> {
    let file = SideFile::open(path)?;
    let fields = file.fields();
    let magic = (fields.magic.load(Acquire), SIDE_MAGIC);
    check_head(path, magic, fields.version.load(Relaxed))?;
    Ok(file)
}

/// A side without a processor.
#[derive(Debug)]
pub struct Side {
    me: SideFile,
    ports: Vec<Port>,
    names: Vec<String>,
    /// All sides but this one, and all links, by name.
    pub(crate) others: Vec<(String, SideFile)>,
    pub(crate) links: Vec<(String, LinkFile)>,
    pub(crate) observer: Observer,
    now: u64,
}

impl Side {
    /// Makes the files of all sides and links in an existing folder, which should be in memory (`/dev/shm` or another
    /// tmpfs), and stands on vexp's side of them, at the start.
    ///
    /// # Errors
    /// A topology that can't be; files that exist or can't be made.
    pub fn create(folder: &Path, topology: &Topology) -> Result<Self, LinkError> {
        topology.create(folder)?;
        Self::attach(folder, VEXP, topology.start_ns)
    }

    /// Stands on vexp's side of a restored snapshot: a copy of the files of sides that stopped. Their emulators are
    /// started anew, with `-incoming`. The copy is changed.
    ///
    /// # Errors
    /// Files that aren't there, or aren't of a lockstep.
    pub fn open(folder: &Path, patience: Duration) -> Result<Self, LinkError> {
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX / 2);
        for (_, side) in all(folder, ".side", open_side)? {
            let fields = side.fields();
            fields.patience.store(patience, Relaxed);
            fields.state.store(State::Created as u32, Relaxed);
            fields.cause.store(0, Relaxed);
            fields.asleep.store(0, Relaxed);
            fields.attending.store(0, Relaxed);
            fields.stop_at.store(NEVER, Relaxed);
        }
        for (_, link) in all(folder, ".link", open_link)? {
            for end in [0, 1] {
                let channel = link.channel(end);
                channel.promise.store(0, Relaxed);
                channel.want.store(NEVER, Relaxed);
                channel.blocked.store(0, Relaxed);
            }
        }
        let now = open_side(&side_file(folder, VEXP))?
            .fields()
            .now
            .load(Relaxed);
        Self::attach(folder, VEXP, now)
    }

    pub(crate) fn attach(folder: &Path, name: &str, now: u64) -> Result<Self, LinkError> {
        let me = open_side(&side_file(folder, name))?;
        let count = (me.fields().link_count.load(Relaxed) as usize).min(LINKS);
        let ports = me.fields().links[..count].iter().map(|link| {
            let end = (link.end.load(Relaxed) & 1) as usize;
            Port::open(folder, read_name(&link.file), end)
        });
        let ports: Vec<Port> = ports.collect::<Result<_, _>>()?;
        let names = ports.iter().map(|port| port.name.clone()).collect();
        let mut others = all(folder, ".side", open_side)?;
        others.retain(|(other, _)| other != name);
        let links = all(folder, ".link", open_link)?;
        let observer = Observer::new(&links, &ports);
        me.lock()?;
        me.fields().now.store(now, Relaxed);
        me.fields().state.store(State::Running as u32, Release);
        Ok(Self {
            me,
            ports,
            names,
            others,
            links,
            observer,
            now,
        })
    }

    /// Virtual nanoseconds: all that arrives before is known and was given out.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The names of this side's links, in the topology's order; [`Frame::link`] counts them.
    #[must_use]
    pub fn links(&self) -> &[String] {
        &self.names
    }

    /// Sends a frame, without its checksum, now. It arrives after those before it have left, it has been serialised, and
    /// the link's delay has passed. What the link's queue has no room for is dropped and counted.
    pub fn send(&mut self, link: usize, frame: &[u8]) {
        if let Some(port) = self.ports.get(link) {
            port.send(self.now, frame);
        }
    }

    /// Goes to `until`: promises to the others that this side sends nothing before, waits until all that arrives here
    /// before is known, and gives it, ordered by time, then link. Nothing happens if `until` has passed.
    ///
    /// `patience` is real time without any progress of a side that is waited for. `abandoned` is asked ten times a second
    /// while it waits, and ends the wait with the reason that it gives.
    ///
    /// # Errors
    /// A side that ended, failed or made no progress; what `abandoned` says; a damaged ring.
    pub fn advance(
        &mut self,
        until: u64,
        patience: Duration,
        abandoned: &dyn Fn() -> Option<String>,
    ) -> Result<Vec<Frame>, LinkError> {
        let until = until.clamp(self.now, NEVER / 2);
        for port in &mut self.ports {
            port.publish(until);
        }
        self.me.fields().now.store(until, Relaxed);
        let waiting = Waiting {
            me: &self.me,
            ports: &self.ports,
            patience,
            abandoned,
        };
        waiting.until_known(until)?;
        let mut frames = Vec::new();
        for (link, port) in self.ports.iter().enumerate() {
            while let Some((at, bytes)) = port.take(self.now, until)? {
                frames.push(Frame { at, link, bytes });
            }
        }
        frames.sort_by_key(|frame| (frame.at, frame.link));
        self.now = until;
        self.observer.observe(&self.links, until);
        Ok(frames)
    }

    /// The earliest time that no machine can have passed: the least for [`Side::stop_at`] and for generators.
    #[must_use]
    pub fn earliest(&self) -> u64 {
        let horizons = self
            .ports
            .iter()
            .map(|port| port.out().horizon.load(Relaxed));
        horizons.max().unwrap_or(self.now).max(self.now)
    }

    /// Goes to `at` as [`Side::advance`] does, with all machines, and waits until all have stopped there. The lockstep's
    /// folder can then be copied, and the machines saved by `migrate`. A machine that is inside a guest of its own at that
    /// time goes on for as long as it may without the others, until it is outside, since QEMU restores no state from within.
    ///
    /// To go on instead, call [`Side::resume`], then `cont` the machines that it names.
    ///
    /// # Errors
    /// As for [`Side::advance`]; a time before [`Side::earliest`].
    pub fn stop_at(
        &mut self,
        at: u64,
        patience: Duration,
        abandoned: &dyn Fn() -> Option<String>,
    ) -> Result<Vec<Frame>, LinkError> {
        let earliest = self.earliest();
        if at < earliest {
            return Err(LinkError::TooEarly { at, earliest });
        }
        for (_, side) in &self.others {
            side.fields().stop_at.store(at, SeqCst);
        }
        let frames = self.advance(at, patience, abandoned)?;
        let waiting = Waiting {
            me: &self.me,
            ports: &self.ports,
            patience,
            abandoned,
        };
        for (name, side) in &self.others {
            waiting.until_stopped(name, side)?;
        }
        Ok(frames)
    }

    /// For tests of what a late border leads to: a machine's first border from this virtual time on is a microsecond late.
    ///
    /// # Errors
    /// A machine that isn't there.
    pub fn force_late(&self, machine: &str, from_ns: u64) -> Result<(), LinkError> {
        let side = self.others.iter().find(|(name, _)| name == machine);
        let (_, side) = side.ok_or_else(|| LinkError::Topology(format!("no machine {machine}")))?;
        side.fields().fault_late.store(from_ns, SeqCst);
        Ok(())
    }

    /// Lets machines go on that were told to stop. Gives the names of those that did stop: each needs `cont`. (One that is
    /// still inside a guest answers no QMP: it waits for this side's next [`Side::advance`].)
    pub fn resume(&mut self) -> Vec<String> {
        let mut stopped = Vec::new();
        for (name, side) in &self.others {
            side.fields().stop_at.store(NEVER, SeqCst);
            if State::of(side.fields().state.load(SeqCst)) == State::Stopped {
                stopped.push(name.clone());
            }
        }
        stopped
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.me.fields().state.store(State::Ended as u32, SeqCst);
        for port in &self.ports {
            ring(&port.peer);
        }
    }
}

/// The folder's files whose names end so, opened, by name.
fn all<T>(
    folder: &Path,
    suffix: &str,
    open: impl Fn(&Path) -> Result<T, LinkError>,
) -> Result<Vec<(String, T)>, LinkError> {
    let error = |source| LinkError::file("list", folder, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(suffix)) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    let opened = names.into_iter().map(|name| {
        let path = if suffix == ".link" {
            link_file(folder, &name)
        } else {
            side_file(folder, &name)
        };
        Ok((name, open(&path)?))
    });
    opened.collect()
}

#[cfg(test)]
mod tests;
