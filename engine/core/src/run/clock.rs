//! Whose time a worker keeps: this computer's, or that of machines in virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plugin::Witness;
use vexp_api::trace::Trace;

use super::pause::{Pauses, Watch};
pub use super::traced::Commands;

/// Bytes for a node's random number generator: as many as its key has, twice.
const ENTROPY: usize = 64;

/// The present moment: tokio's, which is the machines' where a worker stands in virtual time.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A worker's clock.
#[derive(Clone)]
pub enum Clock {
    /// This computer's.
    Computer,
    /// The machines' own. What chance decides elsewhere follows from the seed.
    Machines {
        /// Says whether they kept to the rules.
        witness: Arc<dyn Witness>,
        /// The repetition's seed.
        seed: u64,
        /// What is run on them.
        commands: Commands,
    },
}

impl Clock {
    /// Starts to look out for what spoils a trial.
    pub(super) fn watch(&self, emulator: Option<u32>) -> Lookout<'_> {
        match self {
            Self::Computer => Lookout::Pauses(Watch::start(emulator)),
            Self::Machines { witness, .. } => {
                // What came before is another trial's.
                let _ = witness.doubt();
                Lookout::Witness(&**witness)
            }
        }
    }

    /// The time that a restored machine is to have, in seconds since 1970. `None` where its own has gone on
    /// as it should.
    pub(super) fn wall(&self) -> Option<f64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        matches!(self, Self::Computer).then(|| now.unwrap_or_default().as_secs_f64())
    }

    /// Random numbers for a node.
    ///
    /// # Errors
    /// `/dev/urandom` can't be read.
    pub(super) fn entropy(&self, node: &Name) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Computer => {
                let mut bytes = vec![0; ENTROPY];
                std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
                Ok(bytes)
            }
            Self::Machines { seed, .. } => {
                let digest = Digest::of(format!("entropy {seed} {node}").as_bytes());
                Ok(digest.hex().as_bytes()[..ENTROPY].to_vec())
            }
        }
    }

    /// Begins a trial's trace, where time is virtual.
    pub(super) fn begin_trace(&self) {
        if let Self::Machines {
            witness, commands, ..
        } = self
        {
            drop(commands.take());
            witness.begin_trace();
        }
    }

    /// The trace since then.
    pub(super) fn end_trace(&self, epoch_ns: u64) -> Option<Trace> {
        let Self::Machines {
            witness, commands, ..
        } = self
        else {
            return None;
        };
        let traffic = witness.end_trace()?;
        Some(Trace::new(traffic, commands.take(), epoch_ns))
    }

    /// The machines' time since their power-on; 0 where they have none of their own.
    pub(super) fn ns(&self) -> u64 {
        match self {
            Self::Computer => 0,
            Self::Machines { witness, .. } => witness.now_ns(),
        }
    }

    /// Whether it is that of machines in virtual time.
    pub(super) fn is_virtual(&self) -> bool {
        matches!(self, Self::Machines { .. })
    }

    /// How long a trial waits before it starts, below 100 ms, so that repetitions differ in how their flows
    /// meet the machine's timers. Nothing where chance sees to that.
    pub(super) fn offset(&self, trial: &Name) -> Duration {
        match self {
            Self::Computer => Duration::ZERO,
            Self::Machines { seed, .. } => {
                let digest = Digest::of(format!("offset {seed} {trial}").as_bytes());
                let number = u64::from_str_radix(&digest.hex()[..8], 16).unwrap_or(0);
                Duration::from_micros(number % 100_000)
            }
        }
    }
}

/// Looks out for what spoils a trial.
pub(super) enum Lookout<'a> {
    Pauses(Watch),
    Witness(&'a dyn Witness),
}

impl Lookout<'_> {
    /// Why the trial is invalid, if it is.
    pub(super) fn end(self) -> Option<String> {
        match self {
            Self::Pauses(watch) => Pauses::invalid(watch.end()),
            Self::Witness(witness) => witness.doubt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Quiet;

    impl Witness for Quiet {
        fn doubt(&self) -> Option<String> {
            None
        }

        fn now_ns(&self) -> u64 {
            0
        }
    }

    #[test]
    fn chance_follows_from_the_seed() {
        let clock = |seed| Clock::Machines {
            witness: Arc::new(Quiet),
            seed,
            commands: Commands::default(),
        };
        let (node, trial) = (Name::new("vm1").unwrap(), Name::new("t.r1").unwrap());
        let all = |seed| {
            (
                clock(seed).entropy(&node).unwrap(),
                clock(seed).offset(&trial),
            )
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(clock(1).offset(&trial) < Duration::from_millis(100));
        assert_eq!(clock(1).wall(), None);
        assert_eq!(Clock::Computer.offset(&trial), Duration::ZERO);
        assert_ne!(
            Clock::Computer.entropy(&node).unwrap(),
            Clock::Computer.entropy(&node).unwrap()
        );
    }
}
