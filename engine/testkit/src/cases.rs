//! How many cases a property is tried on, and which.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The variable that makes properties look for new cases: how many times as many as usual.
const FUZZ: &str = "VEXP_FUZZ";
/// The variable that names what they are drawn from then, to try them again.
const FUZZ_SEED: &str = "VEXP_FUZZ_SEED";
/// What cases are drawn from: the paper's year.
const SEED: u64 = 2009;

/// As many cases as that, the same ones each time, so that a test fails for what was changed and for
/// nothing else. With [`FUZZ`] it looks at others, and at that many times as many: `make fuzz`. What a failing
/// test has printed then says how they are tried again.
#[expect(clippy::panic, reason = "tests")]
pub fn cases(usual: u32) -> ProptestConfig {
    let fuzz = std::env::var(FUZZ)
        .ok()
        .map(|times| match times.parse::<u32>() {
            Ok(times @ 1..) => times,
            _ => panic!("{FUZZ}={times}: how many times as many cases? A whole number, as 100"),
        });
    let usual = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(usual)
    };
    match fuzz {
        None => ProptestConfig {
            rng_seed: RngSeed::Fixed(SEED),
            ..usual
        },
        Some(times) => ProptestConfig {
            rng_seed: RngSeed::Fixed(fuzz_seed(times)),
            cases: usual.cases.saturating_mul(times),
            max_global_rejects: usual.max_global_rejects.saturating_mul(times),
            ..usual
        },
    }
}

/// What new cases are drawn from.
#[expect(clippy::panic, clippy::print_stderr, reason = "tests")]
fn fuzz_seed(times: u32) -> u64 {
    let named = std::env::var(FUZZ_SEED).ok();
    let named = named.map(|seed| match seed.parse() {
        Ok(seed) => seed,
        Err(_) => panic!("{FUZZ_SEED}={seed} is no number"),
    });
    let seed = named.unwrap_or_else(|| {
        use std::hash::{BuildHasher as _, RandomState};
        RandomState::new().hash_one(std::process::id())
    });
    // The harness shows it where the test fails.
    eprintln!(
        "these cases again: {FUZZ}={times} {FUZZ_SEED}={seed} cargo test, with this test's name"
    );
    seed
}
