//! Which sides a lockstep has, and which links between them.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use crate::channel::{
    self, HASH_START, LINK_MAGIC, LINKS, LONGEST, NAME, NEVER, NICS, SIDE_MAGIC, VERSION,
    serialisation, write_name,
};
use crate::map::{LinkFile, SideFile};
use crate::side::LinkError;

/// The name of the side on which vexp stands.
pub const VEXP: &str = "vexp";

/// Parameters of a link, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSpec {
    /// From a frame's end at the sender to its arrival, in nanoseconds. At least the topology's quantum.
    pub delay_ns: u64,
    /// Bits a second, 1 kb/s to 100 Gb/s.
    pub rate_bps: u64,
    /// The longest time that a frame waits for the wire, in nanoseconds; one that would wait longer is dropped.
    pub queue_ns: u64,
    /// The e1000 that a [`Nic`] names stops its transmitter while more than this waits for the wire, in nanoseconds.
    pub pause_ns: u64,
    /// The longest time that a frame waits in the switch that joins several [`Nic`]s, in nanoseconds; one that would wait
    /// longer is dropped.
    pub buffer_ns: u64,
}

/// What a port of a switch can hold, in bits: 512 KiB, as gigabit switches of the paper's time have.
const BUFFER_BITS: u64 = 8 * 512 * 1024;

impl LinkSpec {
    /// A link for measurements: 20 µs.
    #[must_use]
    pub fn data(rate_bps: u64) -> Self {
        Self {
            delay_ns: 20_000,
            rate_bps,
            queue_ns: 12_000_000,
            pause_ns: 100_000,
            buffer_ns: BUFFER_BITS * 1_000_000_000 / rate_bps.max(1_000),
        }
    }

    /// A link by which vexp controls a machine: 1 Gb/s and 5 ms.
    #[must_use]
    pub fn control() -> Self {
        Self {
            delay_ns: 5_000_000,
            ..Self::data(1_000_000_000)
        }
    }

    /// Bytes of a ring that always has room: what can wait for the wire and be on it, and what the other side can be behind
    /// by, with the records' heads.
    fn ring(&self) -> u64 {
        let time = u128::from(self.queue_ns + self.buffer_ns + 3 * self.delay_ns + 2_000_000);
        let bytes = time * u128::from(self.rate_bps) / 8_000_000_000;
        let bytes = bytes * 3 / 2 + 4 * LONGEST as u128;
        u64::try_from(bytes)
            .unwrap_or(u64::MAX / 4)
            .next_power_of_two()
    }
}

/// Where a link enters a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The machine's name, which is its side's.
    pub machine: String,
    /// The QEMU hub that the NIC is plugged into (`-netdev hubport,hubid=`). Each NIC has a hub of its own.
    pub hub: u32,
    /// The `id=` of the e1000 whose transmitter waits while the wire is busy, so that the guest's ring fills as on a real
    /// NIC. Without it, what the link can't queue is dropped.
    pub paused: Option<String>,
    /// The machine has several NICs here, each with a wire of the link's rate to a switch, which has one to the other end.
    pub switched: Option<Switched>,
}

/// Several NICs behind a switch. Number n, from 0, is plugged into the n-th hub from the [`Nic`]'s on, and its `id=` is the
/// [`Nic`]'s with `-n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    /// How many, 1 to 24.
    pub nics: u32,
    /// The MAC address of the first as a number; those of the others follow.
    pub first_mac: u64,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The side on which vexp stands.
    Vexp,
    /// A machine.
    Nic(Nic),
}

impl End {
    /// The name of the side that it belongs to.
    #[must_use]
    pub fn side(&self) -> &str {
        match self {
            Self::Vexp => VEXP,
            Self::Nic(nic) => &nic.machine,
        }
    }
}

/// A link between two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Names its file: letters, digits, `-` and `_`.
    pub name: String,
    /// Its parameters.
    pub spec: LinkSpec,
    /// Where it ends.
    pub ends: [End; 2],
}

/// The sides of a lockstep and the links between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Virtual time before which the sides aren't coupled (machines boot at full speed) and frames are dropped.
    pub start_ns: u64,
    /// The longest step of a busy machine between two looks at the others, in nanoseconds. It changes no result.
    pub quantum_ns: u64,
    /// Real time that a machine's wait lasts without progress of the side that is waited for. It doesn't run while vexp does
    /// something else than waiting for machines. A process that ended is noticed within a second, whatever this is.
    pub patience: Duration,
    /// All links; each machine has one with vexp.
    pub links: Vec<Link>,
}

impl Topology {
    /// The names of all sides, vexp's first, then in the order in which links name them.
    pub(crate) fn sides(&self) -> Vec<&str> {
        let mut sides = vec![VEXP];
        for side in self
            .links
            .iter()
            .flat_map(|link| link.ends.iter().map(End::side))
        {
            if !sides.contains(&side) {
                sides.push(side);
            }
        }
        sides
    }

    /// The links of a side, with the number of the side's end.
    fn links_of<'a>(&'a self, side: &'a str) -> impl Iterator<Item = (&'a Link, usize)> {
        self.links.iter().flat_map(move |link| {
            let ends = link.ends.iter().enumerate();
            ends.filter(move |(_, end)| end.side() == side)
                .map(move |(number, _)| (link, number))
        })
    }

    fn check(&self) -> Result<(), LinkError> {
        if self.quantum_ns == 0 {
            return Err(LinkError::Topology("a quantum of 0 ns".into()));
        }
        let mut names: Vec<&str> = self.links.iter().map(|link| link.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(LinkError::Topology(format!(
                "two links are named {}",
                twice[0]
            )));
        }
        for name in names.into_iter().chain(self.sides()) {
            check_name(name)?;
        }
        for link in &self.links {
            self.check_link(link)
                .map_err(|why| LinkError::Topology(format!("link {}: {why}", link.name)))?;
        }
        for side in self.sides() {
            let controls = |(link, _): (&Link, usize)| link.ends.contains(&End::Vexp);
            if side != VEXP && !self.links_of(side).any(controls) {
                let why =
                    format!("machine {side} without a link with vexp, which could not stop it");
                return Err(LinkError::Topology(why));
            }
            let count = self.links_of(side).count();
            if count > LINKS {
                return Err(LinkError::Topology(format!(
                    "{side} has {count} links; the most is {LINKS}"
                )));
            }
        }
        Ok(())
    }

    fn check_link(&self, link: &Link) -> Result<(), String> {
        let LinkSpec {
            delay_ns,
            rate_bps,
            queue_ns,
            pause_ns,
            buffer_ns,
        } = link.spec;
        if delay_ns < self.quantum_ns {
            let quantum = self.quantum_ns;
            return Err(format!(
                "a delay of {delay_ns} ns is below the quantum of {quantum} ns; raise it, or lower that"
            ));
        }
        if !(1_000..=100_000_000_000).contains(&rate_bps) {
            return Err(format!(
                "a rate of {rate_bps} b/s is not within 1 kb/s and 100 Gb/s"
            ));
        }
        if delay_ns.max(queue_ns).max(buffer_ns) > 10_000_000_000 || pause_ns > queue_ns {
            return Err(format!(
                "a delay of {delay_ns} ns, a queue of {queue_ns} ns, a switch's of {buffer_ns} ns and a pause at {pause_ns} ns: the most is 10 s, and the pause is within the queue"
            ));
        }
        for end in &link.ends {
            let End::Nic(nic) = end else { continue };
            let nics = nic.switched.map_or(1, |switched| switched.nics);
            if !(1..=NICS as u32).contains(&nics) {
                let machine = &nic.machine;
                return Err(format!(
                    "{nics} NICs of {machine}; 1 to {NICS} are possible"
                ));
            }
        }
        if link.ends[0].side() == link.ends[1].side() {
            return Err(format!("both its ends are at {}", link.ends[0].side()));
        }
        Ok(())
    }

    /// Makes all files.
    pub(crate) fn create(&self, folder: &Path) -> Result<(), LinkError> {
        self.check()?;
        for link in &self.links {
            self.create_link(folder, link)?;
        }
        for side in self.sides() {
            self.create_side(folder, side)?;
        }
        Ok(())
    }

    fn create_link(&self, folder: &Path, link: &Link) -> Result<(), LinkError> {
        let file = LinkFile::create(&link_file(folder, &link.name), link.spec.ring())?;
        let fields = file.fields();
        fields.version.store(VERSION, Relaxed);
        fields.delay.store(link.spec.delay_ns, Relaxed);
        fields.rate.store(link.spec.rate_bps, Relaxed);
        fields.queue.store(link.spec.queue_ns, Relaxed);
        fields.pause.store(link.spec.pause_ns, Relaxed);
        fields.ring.store(file.ring(), Relaxed);
        fields.buffer.store(link.spec.buffer_ns, Relaxed);
        let lead = serialisation(0, link.spec.rate_bps) + link.spec.delay_ns;
        for (number, end) in link.ends.iter().enumerate() {
            write_name(&fields.sides[number], end.side());
            let channel = file.channel(number);
            channel.horizon.store(self.start_ns + lead, Relaxed);
            channel.sent_hash.store(HASH_START, Relaxed);
            channel.taken_hash.store(HASH_START, Relaxed);
            channel.want.store(NEVER, Relaxed);
        }
        fields.magic.store(LINK_MAGIC, Release);
        Ok(())
    }

    fn create_side(&self, folder: &Path, side: &str) -> Result<(), LinkError> {
        let file = SideFile::create(&side_file(folder, side))?;
        let fields = file.fields();
        fields.version.store(VERSION, Relaxed);
        fields.start.store(self.start_ns, Relaxed);
        fields.quantum.store(self.quantum_ns, Relaxed);
        let patience = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX / 2);
        fields.patience.store(patience, Relaxed);
        fields.stop_at.store(NEVER, Relaxed);
        let mut count = 0;
        for ((link, end), place) in self.links_of(side).zip(&fields.links) {
            write_name(&place.file, &format!("{}.link", link.name));
            place.end.store(end as u32, Relaxed);
            if let End::Nic(nic) = &link.ends[end] {
                place.hub.store(nic.hub, Relaxed);
                write_name(&place.nic, nic.paused.as_deref().unwrap_or_default());
                place
                    .nics
                    .store(nic.switched.map_or(1, |all| all.nics), Relaxed);
                let first_mac = nic.switched.map_or(0, |all| all.first_mac);
                place.first_mac.store(first_mac, Relaxed);
            }
            count += 1;
        }
        fields.link_count.store(count, Relaxed);
        fields.magic.store(SIDE_MAGIC, Release);
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), LinkError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() + ".link".len() >= NAME || !name.bytes().all(good) {
        let most = NAME - ".link".len() - 1;
        return Err(LinkError::Topology(format!(
            "{name:?} is no name of 1 to {most} letters, digits, - and _"
        )));
    }
    Ok(())
}

/// The file of a link.
pub(crate) fn link_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.link"))
}

/// The file of a side.
pub(crate) fn side_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.side"))
}

/// What follows `-plugin` on the command line of a machine's emulator. The paths are as the emulator sees them; `folder`
/// has the files that [`Side::create`](crate::side::Side::create) made, and `library` is [`LIBRARY`](crate::LIBRARY).
///
/// # Errors
/// A path that isn't UTF-8.
pub fn plugin_argument(library: &Path, folder: &Path, machine: &str) -> Result<String, LinkError> {
    let text = |path: &Path| {
        let path = path
            .to_str()
            .ok_or_else(|| LinkError::format(path, "its path isn't UTF-8".into()))?;
        // A comma ends an option's value; two are one.
        Ok::<_, LinkError>(path.replace(',', ",,"))
    };
    Ok(format!(
        "file={},side={}",
        text(library)?,
        text(&side_file(folder, machine))?
    ))
}

/// Reads what [`Topology::create`] wrote at the head of a file.
pub(crate) fn check_head(path: &Path, magic: (u64, u64), version: u32) -> Result<(), LinkError> {
    if magic.0 != magic.1 {
        return Err(LinkError::format(
            path,
            "it isn't a file of a lockstep".into(),
        ));
    }
    if version != channel::VERSION {
        let ours = channel::VERSION;
        return Err(LinkError::format(
            path,
            format!("its format is {version}; this vexp knows {ours}"),
        ));
    }
    Ok(())
}
