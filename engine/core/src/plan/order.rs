//! Random orders that are the same on every machine and in every version.

use vexp_api::digest::Hasher;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
/// 2014), seeded from a study's seed and what is to be ordered. The algorithm is part of the plan's
/// format: changing it changes every plan.
pub(super) struct Rng(u64);

impl Rng {
    /// A generator of its own for each `label`, so that an order does not depend on what else is
    /// ordered.
    pub(super) fn new(seed: u64, label: &str) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(label.as_bytes());
        let digest = hasher.finish();
        let state = digest.hex().bytes().take(16).fold(0, |state: u64, digit| {
            let value = if digit.is_ascii_digit() {
                digit - b'0'
            } else {
                digit - b'a' + 10
            };
            (state << 4) | u64::from(value)
        });
        Self(state)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, all equally likely: draws that would favour small ones are repeated.
    fn below(&mut self, bound: u64) -> u64 {
        let rest = (u64::MAX % bound + 1) % bound;
        loop {
            let draw = self.next();
            if draw <= u64::MAX - rest {
                return draw % bound;
            }
        }
    }

    /// Fisher–Yates.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            // Both fit: `below` gives at most `i`.
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        // The first outputs of SplitMix64 for the state 1234567, as published with the reference
        // implementation (prng.di.unimi.it/splitmix64.c).
        let mut rng = Rng(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn orders_are_permutations_of_their_own() {
        let order = |label: &str| {
            let mut items: Vec<u32> = (0..20).collect();
            Rng::new(1, label).shuffle(&mut items);
            items
        };
        let mut sorted = order("a");
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        assert_eq!(order("a"), order("a"));
        assert_ne!(order("a"), order("b"));
    }

    #[test]
    fn every_place_is_equally_likely() {
        // 6000 shuffles of 3: each of the 6 orders 1000 times, give or take 5 standard deviations.
        let mut seen = std::collections::BTreeMap::new();
        for i in 0..6000 {
            let mut items = [0, 1, 2];
            Rng::new(7, &i.to_string()).shuffle(&mut items);
            *seen.entry(items).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|n| (850..1150).contains(n)), "{seen:?}");
    }
}
