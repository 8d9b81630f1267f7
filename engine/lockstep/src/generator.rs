//! A weightless generator of exact load: frames that a machine's emulator sends at exact times, as if its NIC had, without
//! an instruction of any guest.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::channel::{PHASES, Phase as Shared, TEMPLATE, TEMPLATES};
use crate::map::LinkFile;
use crate::side::{LinkError, Side};

/// A phase of a generator: frames at equal intervals.
///
/// A frame begins with its template, and zeros follow. Its bytes 42 to 49 are its number in the phase, 50 to 57 the
/// time at which it was sent in virtual nanoseconds, both little-endian: the first bytes of a UDP payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// When the first frame is sent, in virtual nanoseconds.
    pub start_ns: u64,
    /// How many frames.
    pub count: u64,
    /// Between two frames, in thousandths of a nanosecond.
    pub interval_ps: u64,
    /// Of a frame without its checksum, in bytes: 60 to 1,514.
    pub length: u32,
    /// Ethernet, IPv4 and UDP headers, 42 bytes each (the UDP checksum 0); frames take them in turn. 1 to 8.
    pub templates: Vec<[u8; HEADERS]>,
}

/// Bytes of an Ethernet, an IPv4 and a UDP header.
pub const HEADERS: usize = 42;

impl Phase {
    fn check(&self, earliest: u64) -> Result<(), LinkError> {
        if self.start_ns < earliest {
            return Err(LinkError::TooEarly {
                at: self.start_ns,
                earliest,
            });
        }
        let why = if self.interval_ps == 0 {
            "an interval of 0".to_owned()
        } else if !(60..=1514).contains(&self.length) {
            format!("frames of {} bytes; 60 to 1514 can be", self.length)
        } else if !(1..=TEMPLATES).contains(&self.templates.len()) {
            format!(
                "{} templates; 1 to {TEMPLATES} can be",
                self.templates.len()
            )
        } else {
            return Ok(());
        };
        Err(LinkError::Topology(format!(
            "a phase of a generator with {why}"
        )))
    }

    fn write(&self, to: &Shared) {
        to.start.store(self.start_ns, Relaxed);
        to.count.store(self.count, Relaxed);
        to.interval_ps.store(self.interval_ps, Relaxed);
        to.length.store(self.length, Relaxed);
        to.templates.store(self.templates.len() as u32, Relaxed);
        to.sent.store(0, Relaxed);
        for (template, place) in self.templates.iter().zip(&to.template) {
            let bytes = template
                .iter()
                .copied()
                .chain(std::iter::repeat_n(0, TEMPLATE - HEADERS));
            for (byte, place) in bytes.zip(place) {
                place.store(byte, Relaxed);
            }
        }
    }
}

impl Side {
    /// Gives a machine's generator on a link its phases, in place of those it had, which must have ended.
    ///
    /// # Errors
    /// A phase that begins before [`Side::earliest`] or can't be; more than 16 phases; a link or machine that isn't there.
    pub fn generate(
        &mut self,
        link: &str,
        machine: &str,
        phases: &[Phase],
    ) -> Result<(), LinkError> {
        let earliest = self.earliest();
        let (file, end) = self.end_of(link, machine)?;
        phases.iter().try_for_each(|phase| phase.check(earliest))?;
        if phases.len() > PHASES {
            let why = format!(
                "{} phases of a generator; the most is {PHASES}",
                phases.len()
            );
            return Err(LinkError::Topology(why));
        }
        let side = self.others.iter().find(|(name, _)| name == machine);
        file.channel(end).phase_count.store(0, SeqCst);
        for (index, phase) in phases.iter().enumerate() {
            phase.write(file.phase(end, index));
        }
        file.channel(end)
            .phase_count
            .store(phases.len() as u64, SeqCst);
        if let Some((_, side)) = side {
            side.fields().generators.fetch_add(1, SeqCst);
        }
        Ok(())
    }

    /// How many frames each phase of a machine's generator on a link has sent.
    ///
    /// # Errors
    /// A link or machine that isn't there.
    pub fn generated(&self, link: &str, machine: &str) -> Result<Vec<u64>, LinkError> {
        let (file, end) = self.end_of(link, machine)?;
        let count = (file.channel(end).phase_count.load(SeqCst) as usize).min(PHASES);
        Ok((0..count)
            .map(|index| file.phase(end, index).sent.load(SeqCst))
            .collect())
    }

    fn end_of(&self, link: &str, machine: &str) -> Result<(&LinkFile, usize), LinkError> {
        let file = self
            .links
            .iter()
            .find(|(name, _)| name == link)
            .map(|(_, file)| file);
        let found = file.and_then(|file| {
            let mut ends = file
                .fields()
                .sides
                .iter()
                .map(|side| crate::channel::read_name(side));
            Some((file, ends.position(|side| side == machine)?))
        });
        found.ok_or_else(|| LinkError::Topology(format!("no end of a link {link} at {machine}")))
    }
}
