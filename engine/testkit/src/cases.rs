//! How many cases a property is tried on, and which.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The variable that makes properties look for new cases: how many times as many as usual.
const FUZZ: &str = "VEXP_FUZZ";
/// What cases are drawn from: the paper's year.
const SEED: u64 = 2009;

/// As many cases as that, the same ones each time, so that a test fails for what was changed and for
/// nothing else. With [`FUZZ`] it looks at others, and at that many times as many: `make fuzz`.
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
            cases: usual.cases.saturating_mul(times),
            max_global_rejects: usual.max_global_rejects.saturating_mul(times),
            ..usual
        },
    }
}
