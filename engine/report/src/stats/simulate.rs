//! Made-up series for tests: what is true is known.

use super::Bootstrap;

/// A standard normal number (Box and Muller).
pub(crate) fn normal(random: &mut Bootstrap) -> f64 {
    let (a, b) = (1.0 - random.uniform(), random.uniform());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Values around 0 with variance 1, each correlated by `phi` with the one before.
pub(crate) fn autoregressive(random: &mut Bootstrap, n: usize, phi: f64) -> Vec<f64> {
    let mut value = normal(random);
    (0..n)
        .map(|_| {
            value = phi * value + (1.0 - phi * phi).sqrt() * normal(random);
            value
        })
        .collect()
}
