//! Ticks of an axis.

/// Round values from 0 to `most`, about `wanted` of them: steps of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(most: f64, wanted: f64) -> Vec<f64> {
    if !(most > 0.0 && most.is_finite()) {
        return vec![0.0];
    }
    let power = 10_f64.powf((most / wanted).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps
        .into_iter()
        .find(|step| most / step <= wanted + 0.5)
        .unwrap_or(10.0 * power);
    let count = (most / step + 1e-9).floor() as usize;
    (0..=count).map(|i| step * i as f64).collect()
}

/// As few decimals as tell the ticks apart.
pub(super) fn label(value: f64, ticks: &[f64]) -> String {
    let step = ticks.get(1).copied().unwrap_or(1.0);
    let decimals = (0..6)
        .find(|decimals| {
            let scaled = step * 10_f64.powi(*decimals);
            (scaled - scaled.round()).abs() < 1e-6
        })
        .unwrap_or(6) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        let labels = |most| {
            let ticks = ticks(most, 6.0);
            ticks
                .iter()
                .map(|tick| label(*tick, &ticks))
                .collect::<Vec<_>>()
        };
        assert_eq!(labels(104.0), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(1.04), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            labels(0.125),
            ["0.00", "0.02", "0.04", "0.06", "0.08", "0.10", "0.12"]
        );
        assert_eq!(labels(0.0), ["0"]);
    }
}
