//! Random numbers of a connection, drawn from a seed.
//!
//! SSH's keys and padding decide how many instructions the other side's cryptography takes. In virtual time a run must be
//! the same each time, so they follow from the run's seed, and whoever knows that knows them. That protects nothing, and
//! need not: such a connection never leaves the process and the emulators that it started.

use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;
use sha2::{Digest as _, Sha256};

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(Pcg64);

impl Random {
    /// The stream for one use: the run's seed, whose it is, and how many they had before.
    pub fn new(seed: u64, whose: &str, count: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"vexp random numbers\0");
        hash.update(seed.to_be_bytes());
        hash.update(count.to_be_bytes());
        hash.update(whose.as_bytes());
        Self(Pcg64::from_seed(hash.finalize().into()))
    }

    /// Another stream that follows from this one.
    pub(super) fn fork(&mut self) -> Self {
        Self(Pcg64::from_seed(self.array()))
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_follow_from_the_seed_and_differ_otherwise() {
        let first = |seed, whose, count| Random::new(seed, whose, count).array::<16>();
        assert_eq!(first(1, "host", 0), first(1, "host", 0));
        let others = [first(2, "host", 0), first(1, "vm1", 0), first(1, "host", 1)];
        assert!(!others.contains(&first(1, "host", 0)));
        // What a run has recorded must not change with a library.
        assert_eq!(first(7, "host", 0)[..4], [136, 182, 152, 44]);
    }
}
