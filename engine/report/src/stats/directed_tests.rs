use proptest::prelude::*;

use super::*;
use crate::stats::Bootstrap;
use crate::stats::simulate::normal;

fn side(values: &[f64]) -> Side {
    Side {
        values: values.to_vec(),
        step: 0.0,
    }
}

fn alone(values: &[f64], scale: Scale) -> Units {
    Units::new(&side(values), None, scale).unwrap()
}

const fn region(low: Option<f64>, high: Option<f64>, closed: bool) -> Region {
    Region { low, high, closed }
}

/// Whatever the border, three equal values have the p of three equal signs, and on the border that of
/// a coin.
#[test]
fn no_variance_is_no_certainty() {
    let at_least = |c| region(Some(c), None, true);
    for scale in [Scale::Log, Scale::Linear] {
        let three = alone(&[0.3; 3], scale);
        assert_eq!(three.decide(at_least(0.1)).p, 0.125);
        assert_eq!(three.decide(at_least(0.5)).p, 0.125);
        assert_eq!(three.decide(at_least(0.3)).p, 0.5);
        let many = alone(&[0.3; 30], scale);
        assert_eq!(many.decide(at_least(0.3)).p, 0.5, "on the border");
        assert!(many.decide(at_least(0.1)).p < 1e-8);
    }
    // Both sides wholly busy: six pairs don't say that neither costs more.
    let busy = Units::new(&side(&[100.0; 6]), Some(&side(&[100.0; 6])), Scale::Log).unwrap();
    let more = region(Some(1.0), None, false);
    assert_eq!(
        busy.decide(more),
        Decision {
            inside: false,
            p: 0.5
        }
    );
}

#[test]
fn what_is_no_number_is_no_unit() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(
            Units::new(&side(&[1.0, bad, 1.0]), None, Scale::Linear),
            None
        );
        let right = side(&[1.0, bad, 1.0]);
        assert_eq!(Units::new(&side(&[1.0; 3]), Some(&right), Scale::Log), None);
    }
    assert_eq!(Units::new(&side(&[1.0]), None, Scale::Log), None);
    assert_eq!(
        Units::new(&side(&[1.0; 2]), Some(&side(&[1.0; 3])), Scale::Log),
        None
    );
}

/// p of one side, by any t table: mean 3, standard error sqrt(0.5), four degrees of freedom.
#[test]
fn each_border_has_a_test_of_one_side() {
    let five = alone(&[1.0, 2.0, 3.0, 4.0, 5.0], Scale::Linear);
    let border = 3.0 - 2.131_847 * 0.5_f64.sqrt();
    let found = five.decide(region(Some(border), None, true));
    assert!(found.inside && (found.p - 0.05).abs() < 1e-6, "{found:?}");
    // The same from outside, and with a second border far away.
    let border = 3.0 + 2.131_847 * 0.5_f64.sqrt();
    for high in [None, Some(border + 1e6)] {
        let found = five.decide(region(Some(border), high, true));
        assert!(!found.inside && (found.p - 0.05).abs() < 1e-6, "{found:?}");
    }
    // A region that is a point is left on both sides.
    let found = five.decide(region(Some(border), Some(border), true));
    assert!((found.p - 0.1).abs() < 1e-6, "{found:?}");
}

#[test]
fn ratios_of_positive_values_are_geometric() {
    let units = Units::new(&side(&[2.0, 8.0]), Some(&side(&[1.0, 1.0])), Scale::Log).unwrap();
    assert!((units.ratio().unwrap() - 4.0).abs() < 1e-12);
    // A value of 0 has no logarithm.
    let units = Units::new(&side(&[0.0, 8.0]), None, Scale::Log).unwrap();
    assert_eq!(units.ratio(), Some(4.0));
}

/// Eleven blocks a window are known to within a block: a mean of many equal windows is not better.
#[test]
fn a_step_is_no_matter_of_repetitions() {
    let blocks = Side {
        values: vec![11.0; 30],
        step: 1.0,
    };
    let units = Units::new(&blocks, None, Scale::Log).unwrap();
    let near = units.decide(region(Some(10.7), None, true));
    assert!(near.inside && near.p > 0.05, "{near:?}");
    let far = units.decide(region(Some(9.0), None, true));
    assert!(far.inside && far.p < 1e-5, "{far:?}");
}

/// Fieller's set is half a line where the right side may be nothing and the left is not.
#[test]
fn half_a_line_is_an_interval() {
    let (left, right) = (side(&[9.0, 10.0, 11.0]), side(&[0.1, 1.0, 2.2]));
    let units = Units::new(&left, Some(&right), Scale::Linear).unwrap();
    let found = units.interval(0.025).unwrap();
    assert!(found.high.is_infinite() && found.low > 0.0, "{found:?}");
    // Below its end the ratio is ruled out, above it is not.
    let p = |c: f64| units.decide(region(Some(c), None, true));
    assert!(p(found.low * 0.99).inside && p(found.low * 0.99).p <= 0.125);
    let right = side(&[-3.0, 0.1, 3.0]);
    let nothing = Units::new(&side(&[-1.0, 0.0, 1.1]), Some(&right), Scale::Linear).unwrap();
    assert_eq!(nothing.interval(0.025), None);
}

/// With a coefficient of variation of 0.6, six units, at a level of 5 % and of 5 % of thirty claims: on
/// the linear scale it is far more.
#[test]
fn lognormal_units_keep_their_level() {
    let mut random = Bootstrap::new(1, "directed lognormal");
    let sigma = (1.0_f64 + 0.36).ln().sqrt();
    let rounds = 4000;
    for (n, alpha) in [(6, 0.05), (12, 0.01), (12, 0.05 / 30.0)] {
        let mut wrong = [0; 2];
        for _ in 0..rounds {
            let values: Vec<f64> = (0..n)
                .map(|_| (sigma * normal(&mut random)).exp())
                .collect();
            let units = alone(&values, Scale::Log);
            let found = [
                units.decide(region(Some(1.0), None, true)),
                units.decide(region(None, Some(1.0), true)),
            ];
            for (wrong, found) in wrong.iter_mut().zip(found) {
                *wrong += i32::from(!found.inside && found.p <= alpha);
            }
        }
        let tolerated = alpha + 3.0 * (alpha * (1.0 - alpha) / f64::from(rounds)).sqrt();
        for wrong in wrong {
            let rate = f64::from(wrong) / f64::from(rounds);
            assert!(rate <= tolerated, "{n} {alpha}: {rate} > {tolerated}");
        }
    }
}

proptest! {
    #![proptest_config(vexp_testkit::cases(256))]

    /// The interval at α is what no test of one side at α rules out, and what would be enough is.
    #[test]
    fn intervals_and_tests_agree(
        values in prop::collection::vec(0.5_f64..2.0, 12..20),
        log in any::<bool>(),
        alpha in 0.001_f64..0.2,
    ) {
        let units = alone(&values, if log { Scale::Log } else { Scale::Linear });
        let found = units.interval(alpha).unwrap();
        prop_assert!(found.low <= units.ratio().unwrap() && units.ratio().unwrap() <= found.high);
        for (c, ruled_out) in [(found.low * 0.999, true), (found.low * 1.001, false)] {
            let decided = units.decide(region(Some(c), None, true));
            prop_assume!(decided.inside);
            prop_assert_eq!(decided.p <= alpha, ruled_out && decided.p > signs(values.len()) * 0.99);
        }
    }

    #[test]
    fn p_is_never_less_than_that_of_signs(
        values in prop::collection::vec(0.5_f64..2.0, 2..9),
        c in 0.1_f64..4.0,
    ) {
        let units = alone(&values, Scale::Log);
        let found = units.decide(region(Some(c), Some(c * 1.1), true));
        prop_assert!(found.p >= signs(values.len()) && found.p <= 1.0);
    }
}

#[test]
fn so_many_units_have_signs_enough() {
    assert_eq!(least_units(0.05), 5);
    assert_eq!(least_units(0.05 / 31.0), 10);
    assert_eq!(signs(3), 0.125);
}

#[test]
fn what_would_be_enough_is_enough() {
    let four = alone(&[0.9, 1.0, 1.1, 1.0], Scale::Log);
    let above = region(Some(0.5), None, true);
    // t is sure of it with few, signs are not.
    assert_eq!(four.units_for(above, 0.001, 1000), Some(10));
    assert_eq!(
        four.units_for(region(Some(1.0), None, true), 0.05, 50),
        None
    );
}
