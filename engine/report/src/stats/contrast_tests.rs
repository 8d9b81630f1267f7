use proptest::prelude::*;

use super::*;

#[test]
fn what_would_be_enough_is_enough_and_one_less_is_not() {
    // A mean of 10 whose units vary by 2.
    let of = |n: usize| {
        let spread = (2.0 * (n as f64 - 1.0) / n as f64).sqrt();
        let values: Vec<f64> = (0..n)
            .map(|i| {
                if i % 2 == 0 {
                    10.0 + spread
                } else {
                    10.0 - spread
                }
            })
            .collect();
        Contrast::of_units(&values, None).unwrap()
    };
    let above = |low| Region {
        low: Some(low),
        high: None,
        closed: false,
    };
    let few = of(4);
    assert!(few.decide(above(8.5)).p > 0.001);
    let n = few.units_for(above(8.5), 0.001, 1000).unwrap();
    let n = n as usize + n as usize % 2;
    assert!(of(n).decide(above(8.5)).p <= 0.001);
    assert!(of(n - 2).decide(above(8.5)).p > 0.001);
    assert_eq!(
        few.units_for(above(1.0), 0.05, 1000),
        Some(4),
        "there are enough"
    );
    assert_eq!(few.units_for(above(10.0), 0.05, 1000), None);
}
use crate::stats::t_interval;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-7 * b.abs().max(1.0)
}

fn region(low: Option<f64>, high: Option<f64>, closed: bool) -> Region {
    Region { low, high, closed }
}

#[test]
fn against_numbers_it_is_a_t_interval() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0];
    let contrast = Contrast::of_units(&values, None).unwrap();
    let (found, expected) = (contrast.usual().unwrap(), t_interval(&values).unwrap());
    assert!(close(found.low, expected.low) && close(found.high, expected.high));
    assert_eq!(contrast.ratio(), Some(3.0));
    assert_eq!(Contrast::of_units(&[1.0], None), None);
}

#[test]
fn what_pairs_share_is_no_difference() {
    // Both sides vary by 10 %, but together: apart, their intervals overlap widely.
    let (left, right) = ([200.1, 219.9, 180.0], [100.0, 110.0, 90.0]);
    let contrast = Contrast::of_units(&left, Some(&right)).unwrap();
    assert!(contrast.p(2.0) > 0.5 && contrast.p(2.1) < 0.01);
    let decision = contrast.decide(region(Some(1.9), Some(2.1), true));
    assert!(decision.inside && decision.p < 0.01, "{decision:?}");
}

#[test]
fn what_may_be_nothing_has_no_ratio() {
    let contrast = Contrast::of_units(&[5.0, 6.0, 7.0], Some(&[0.0, 0.0, 0.1])).unwrap();
    assert_eq!(contrast.usual(), None);
    // That it is far more than twice of it is sure all the same.
    let decision = contrast.decide(region(Some(2.0), None, false));
    assert!(decision.inside && decision.p < 0.05, "{decision:?}");
}

#[test]
fn borders_belong_to_closed_regions_only() {
    let constant = Contrast::of_units(&[2.0, 2.0, 2.0], None).unwrap();
    let told = |low, high, closed| constant.decide(region(low, high, closed));
    for (low, high) in [(Some(2.0), None), (None, Some(2.0)), (Some(2.0), Some(2.0))] {
        assert_eq!(
            told(low, high, true),
            Decision {
                inside: true,
                p: 0.0
            }
        );
        assert_eq!(
            told(low, high, false),
            Decision {
                inside: false,
                p: 0.0
            }
        );
    }
    assert_eq!(
        told(Some(1.0), Some(3.0), false),
        Decision {
            inside: true,
            p: 0.0
        }
    );
    assert_eq!(
        told(Some(2.5), None, true),
        Decision {
            inside: false,
            p: 0.0
        }
    );
}

#[test]
fn linearized_values_have_the_ratio_of_the_sums_as_mean() {
    let units = linearized(&[(1.0, 1.0), (10.0, 5.0)]).unwrap();
    assert!(close(mean(&units).unwrap(), 11.0 / 6.0));
    assert_eq!(linearized(&[(4.0, 1.0), (7.0, 1.0)]).unwrap(), [4.0, 7.0]);
    assert_eq!(linearized(&[(4.0, 0.0)]), None);
    assert_eq!(linearized(&[]), None);
}

fn sides() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((50.0_f64..150.0, 80.0_f64..120.0), 3..12)
}

proptest! {
    #![proptest_config(vexp_testkit::cases(256))]

    /// Other units of measurement change nothing but the ratio.
    #[test]
    fn ratios_scale(pairs in sides(), by in 0.01_f64..100.0) {
        let (left, right): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let scaled: Vec<f64> = left.iter().map(|x| x * by).collect();
        let one = Contrast::of_units(&left, Some(&right)).unwrap();
        let two = Contrast::of_units(&scaled, Some(&right)).unwrap();
        prop_assert!(close(two.ratio().unwrap(), one.ratio().unwrap() * by));
        if let Some((a, b)) = one.usual().zip(two.usual()) {
            prop_assert!(close(b.low, a.low * by) && close(b.high, a.high * by));
        }
    }

    /// The other ratio has the reciprocal interval.
    #[test]
    fn sides_can_be_swapped(pairs in sides()) {
        let (left, right): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let one = Contrast::of_units(&left, Some(&right)).unwrap().usual();
        let two = Contrast::of_units(&right, Some(&left)).unwrap().usual();
        if let Some((a, b)) = one.zip(two) && a.low > 0.0 {
            prop_assert!(close(b.low, 1.0 / a.high) && close(b.high, 1.0 / a.low));
        }
    }

    /// The interval at 1 - p touches the border of a region that is decided with p.
    #[test]
    fn decisions_invert_intervals(pairs in sides(), low in 0.5_f64..0.95, high in 1.05_f64..1.5) {
        let (left, right): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let contrast = Contrast::of_units(&left, Some(&right)).unwrap();
        let decision = contrast.decide(region(Some(low), Some(high), true));
        let ratio = contrast.ratio().unwrap();
        prop_assert_eq!(decision.inside, (low..=high).contains(&ratio));
        for (level, decided) in [(1.0 - decision.p * 1.02, true), (1.0 - decision.p * 0.98, false)] {
            let Some(found) = contrast.interval(level).filter(|_| level > 0.0) else { continue };
            let inside = found.low >= low && found.high <= high;
            let outside = found.high < low || found.low > high;
            prop_assert_eq!(if decision.inside { inside } else { outside }, decided);
        }
    }
}

#[test]
fn sides_that_were_measured_apart_have_welchs_interval() {
    // Means 3 and 6 with variances 2.5 / 5 and 10 / 5: t = 3 / sqrt(2.5).
    let (left, right) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 4.0, 6.0, 8.0, 10.0]);
    let contrast = Contrast::of_groups(&right, &left).unwrap();
    let t = 3.0 / 2.5_f64.sqrt();
    // The freedom is that of `right - 2 left`, whose variances are equal.
    assert!(close(contrast.freedom, 8.0), "{}", contrast.freedom);
    assert!(close(contrast.p(1.0), two_sided(t, 8.0)));
    let interval = contrast.usual().unwrap();
    assert!(
        interval.low > 0.8 && interval.low < 1.0 && interval.high > 4.0,
        "{interval:?}"
    );
}

#[test]
fn a_single_unit_is_taken_to_vary_as_the_others_do() {
    // Student's test of a single new value: t = (9 - 3) / (s sqrt(1 + 1/5)), s² = 2.5, freedom 4.
    let contrast = Contrast::of_groups(&[9.0], &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    assert!(close(contrast.freedom, 4.0));
    assert!(close(
        contrast.p(1.0),
        two_sided(6.0 / (2.5_f64 * 1.2).sqrt(), 4.0)
    ));
    assert_eq!(Contrast::of_groups(&[1.0], &[2.0]), None);
    let never = Contrast::of_groups(&[1.0], &[2.0, 2.0, 2.0]).unwrap();
    assert_eq!((never.p(1.0), never.p(0.5)), (0.0, 1.0));
}
