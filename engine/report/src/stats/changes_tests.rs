use super::*;
use crate::stats::Bootstrap;
use crate::stats::aa::Count;
use crate::stats::simulate::normal;

fn otava(series: &[f64], window: usize, alpha: f64, magnitude: f64) -> Vec<usize> {
    let settings = Settings {
        method: Method::Otava,
        window,
        alpha,
        magnitude,
        persistence: 0,
    };
    let points = change_points(series, &settings);
    points.iter().map(|point| point.index).collect()
}

fn corrected(series: &[f64], alpha: f64, magnitude: f64) -> Vec<usize> {
    let settings = Settings {
        method: Method::Corrected,
        window: 50,
        alpha,
        magnitude,
        persistence: 3,
    };
    let points = change_points(series, &settings);
    points.iter().map(|point| point.index).collect()
}

fn tigerbeetle() -> Vec<f64> {
    let text = include_str!("../../tests/data/series/tigerbeetle.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(str::split_whitespace);
    words.map(|word| word.parse().unwrap()).collect()
}

/// What Apache Otava's `tests/tigerbeetle_test.py` expects: α, least magnitude, points; windows of
/// 30 values.
#[test]
fn otavas_expectations_on_tigerbeetle() {
    let series = tigerbeetle();
    assert_eq!(series.len(), 365);
    let cases: [(f64, f64, &[usize]); 11] = [
        (0.01, 0.05, &[15, 71]),
        (0.05, 0.05, &[15, 71]),
        (0.1, 0.05, &[10, 11, 15, 71, 363]),
        (0.2, 0.05, &[10, 11, 15, 71]),
        (
            0.1,
            0.01,
            &[
                10, 11, 15, 28, 29, 35, 37, 48, 49, 61, 71, 95, 117, 131, 142, 148, 165, 169, 192,
                206, 212, 260, 265, 268, 278, 282, 363,
            ],
        ),
        (
            0.2,
            0.0,
            &[
                3, 6, 7, 10, 11, 13, 15, 16, 28, 29, 35, 37, 39, 41, 44, 48, 49, 56, 58, 61, 65,
                66, 69, 71, 74, 76, 82, 95, 108, 117, 125, 126, 129, 131, 136, 137, 142, 148, 165,
                169, 187, 190, 192, 197, 200, 212, 220, 241, 243, 246, 247, 249, 250, 260, 265,
                266, 268, 278, 282, 288, 305, 306, 325, 330, 337, 338, 340, 347, 349, 363,
            ],
        ),
        (
            0.1,
            0.0,
            &[
                3, 6, 10, 11, 15, 16, 28, 29, 35, 37, 39, 41, 44, 48, 49, 61, 71, 95, 117, 131,
                142, 148, 165, 169, 192, 206, 212, 260, 265, 268, 278, 282, 288, 305, 363,
            ],
        ),
        (
            0.01,
            0.0,
            &[
                15, 26, 61, 71, 95, 117, 131, 142, 148, 165, 169, 192, 212, 260,
            ],
        ),
        (
            0.001,
            0.0,
            &[15, 61, 71, 95, 117, 131, 142, 148, 192, 212, 260],
        ),
        (0.0001, 0.0, &[71, 95, 117, 131, 142, 148, 192, 212]),
        (0.00001, 0.0, &[71, 95, 131, 192, 212]),
    ];
    for (alpha, magnitude, expected) in cases {
        assert_eq!(
            otava(&series, 30, alpha, magnitude),
            expected,
            "{alpha} {magnitude}"
        );
    }
}

/// What its `tests/analysis_test.py`, `series_test.py` and `change_point_divisive_test.py` expect
/// (windows of 50 values and α = 0.001 where they don't say).
#[test]
fn otavas_expectations_on_short_series() {
    let single = [
        1.02, 0.95, 0.99, 1.00, 1.12, 1.00, 1.01, 0.98, 1.01, 0.96, 0.50, 0.51, 0.48, 0.48, 0.55,
        0.50, 0.49, 0.51, 0.50, 0.49,
    ];
    assert_eq!(otava(&single, 10, 0.0001, 0.0), [10]);
    let one = [
        1.02, 0.95, 0.99, 1.00, 1.12, 0.90, 0.50, 0.51, 0.48, 0.48, 0.55,
    ];
    let two = [
        2.02, 2.03, 2.01, 2.04, 1.82, 1.85, 1.79, 1.81, 1.80, 1.76, 1.78,
    ];
    assert_eq!(
        (otava(&one, 50, 0.001, 0.0), otava(&two, 50, 0.001, 0.0)),
        (vec![6], vec![4])
    );
    assert_eq!(
        (otava(&one, 50, 0.001, 0.2), otava(&two, 50, 0.001, 0.2)),
        (vec![6], vec![])
    );
    let zeros = [
        0.0, 0.0, 0.0, 1.00, 1.12, 0.90, 0.50, 0.51, 0.48, 0.48, 0.55,
    ];
    let found = otava(&zeros, 50, 0.001, 0.0);
    assert_eq!((found.len(), found[0]), (2, 3));
    let steps = [(1.0, 5), (5.0, 8), (9.0, 8), (3.0, 9)];
    let steps = steps.map(|(value, n)| vec![value; n]).concat();
    assert_eq!(otava(&steps, 50, 0.05, 0.0), [5, 13, 21]);
    let sequence = [
        0.3, 2.4, 1.5, -0.9, -0.5, 99.7, 98.3, 99.1, 149.0, 149.7, 149.5, 149.1, 148.8, 150.0,
    ];
    assert_eq!(otava(&sequence, 50, 0.01, 0.0), [5, 8]);
}

#[test]
fn otavas_test_of_two_groups() {
    // Its test_significance_tester: no difference, and one.
    let before = [1.00, 1.02, 1.05, 0.95, 0.98];
    assert!((student(&before, &before, false) - 1.0).abs() < 0.01);
    assert!(student(&before, &[0.80, 0.82, 0.85, 0.79, 0.77], false) < 0.001);
    // By n instead of n - 1, differences of five and five values are 12 % more sure of themselves.
    let after = [0.97, 0.99, 1.02, 0.92, 0.95];
    assert!(student(&before, &after, false) < student(&before, &after, true));
    assert_eq!(student(&[1.0], &[2.0], true), 1.0);
    assert_eq!(student(&[1.0, 1.0], &[1.0], true), 1.0);
    assert_eq!(student(&[1.0, 1.0], &[2.0], true), 0.0);
}

#[test]
fn steps_are_found_and_single_values_are_none() {
    let mut random = Bootstrap::new(3, "changes");
    let mut series: Vec<f64> = (0..40).map(|_| 100.0 + normal(&mut random)).collect();
    assert_eq!(corrected(&series, 0.01, 0.02), [0; 0]);
    series[20] = 50.0;
    series[30] = 150.0;
    assert_eq!(corrected(&series, 0.01, 0.02), [0; 0]);
    series[20..].iter_mut().for_each(|value| *value = 110.0);
    assert_eq!(corrected(&series, 0.01, 0.02), [20]);
    assert_eq!(corrected(&series, 0.01, 0.2), [0; 0]);
    // A value that is far away makes tests around it duller, and moves no point.
    let usual = std::mem::replace(&mut series[10], 50.0);
    assert_eq!(corrected(&series, 0.01, 0.02), [20]);
    assert_eq!(corrected(&series[..23], 0.01, 0.02), [0; 0]);
    series[10] = usual;
    // Two new values are none yet that last, three are.
    assert_eq!(corrected(&series[..22], 0.01, 0.02), [0; 0]);
    assert_eq!(corrected(&series[..23], 0.01, 0.02), [20]);
    assert_eq!(corrected(&[1.0; 30], 0.01, 0.0), [0; 0]);
    assert_eq!(corrected(&[], 0.01, 0.0), [0; 0]);
    assert_eq!(corrected(&[1.0, 2.0], 0.01, 0.0), [0; 0]);
}

/// Series of independent normal values without a change: how many have a change point.
fn alarms(length: usize, settings: &Settings, series: u32) -> Count {
    let mut random = Bootstrap::new(5, "no changes");
    let mut count = Count::default();
    for _ in 0..series {
        let values: Vec<f64> = (0..length).map(|_| 100.0 + normal(&mut random)).collect();
        count.comparisons += 1;
        count.alarms += u32::from(!change_points(&values, settings).is_empty());
    }
    count
}

#[test]
fn alarms_where_nothing_changes() {
    let corrected = Settings {
        method: Method::Corrected,
        window: 50,
        alpha: 0.01,
        magnitude: 0.0,
        persistence: 3,
    };
    let otava = Settings {
        method: Method::Otava,
        ..corrected
    };
    for (length, series) in [(7, 1000), (15, 1000), (30, 500), (60, 200), (150, 100)] {
        for (name, settings) in [("corrected", &corrected), ("as in Otava", &otava)] {
            let count = alarms(length, settings, series);
            let tolerated = count.tolerated(settings.alpha);
            println!(
                "| {length} runs, {name} | {series} | {:.1} % | {:.1} % |",
                100.0 * count.rate(),
                100.0 * tolerated
            );
            let fine = count.rate() <= tolerated;
            assert!(fine || settings.method == Method::Otava, "{length} {name}");
        }
    }
}
