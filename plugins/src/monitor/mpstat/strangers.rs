//! Recorded output of intervals and options that vexp does not order itself.

use vexp_api::plugin::ParseError;
use vexp_api::sample::Sample;

use super::Mpstat;
use crate::testing::{of, parse, stranger};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/sysstat-12.6.1/", $file))
    };
}

fn read(text: &str) -> Result<Vec<Sample>, ParseError> {
    parse(&Mpstat, &stranger("mpstat"), text.as_bytes(), "")
}

fn times(text: &str) -> Vec<(f64, f64)> {
    let samples = read(text).unwrap_or_else(|error| panic!("{error}"));
    let busy = of(&samples, "cpu0.busy").into_iter();
    busy.map(|(t, dt, _)| (t, dt)).collect()
}

#[test]
fn lengths_are_those_of_mpstats_own_clock() {
    assert_eq!(
        times(recorded!("mpstat-5s.txt")),
        [(0.0, 5.0), (5.0, 5.0), (10.0, 5.0)]
    );
    assert_eq!(times(recorded!("mpstat-offline.txt")).len(), 2);
}

#[test]
fn a_mean_since_the_machine_was_started_is_refused() {
    let error = read(recorded!("mpstat-boot.txt")).unwrap_err();
    assert!(
        error
            .message
            .contains("a mean since the machine was started"),
        "{error}"
    );
    assert_eq!(error.line, Some(4));
}

#[test]
fn json_and_times_since_1970_are_read() {
    assert_eq!(
        times(recorded!("mpstat.json")),
        [(0.0, 2.0), (2.0, 2.0), (4.0, 2.0)]
    );
    let json = read(recorded!("mpstat.json")).unwrap();
    // "usr": 4.02, "nice": 89.95.
    assert!((of(&json, "cpu0.usr")[0].2 - 93.97).abs() < 1e-9);
    // As `mpstat -U` of 12.7 prints them: its write_stats.
    let epoch = recorded!("mpstat-5s.txt")
        .replace("10:51:05", "1796035865")
        .replace("10:51:10", "1796035870")
        .replace("10:51:15", "1796035875")
        .replace("10:51:20", "1796035880");
    assert_eq!(times(&epoch), times(recorded!("mpstat-5s.txt")));
}

#[test]
fn one_moment_of_json_needs_the_option() {
    let text = recorded!("mpstat.json");
    let first = text.find("\"timestamp\"").unwrap();
    let second = text[first + 1..].find("\"timestamp\"").unwrap() + first + 1;
    let end = text.rfind("\n\t\t\t\t}").unwrap();
    let last = text[..second].rfind("},").unwrap();
    let one = format!("{}{}", &text[..last], &text[end + 1..]);
    let error = read(&one).unwrap_err();
    assert!(error.message.contains("give --interval"), "{error}");
    let mut told = stranger("mpstat");
    told.options.insert("interval".to_owned(), "2s".into());
    let samples = parse(&Mpstat, &told, one.as_bytes(), "").unwrap();
    assert_eq!(of(&samples, "cpu1.busy")[0].1, 2.0);
}

#[test]
fn a_mean_of_all_processors_is_refused_with_the_option() {
    let error = read(recorded!("mpstat-mean.txt")).unwrap_err();
    assert!(
        error.message.contains("mpstat -P ALL prints each"),
        "{error}"
    );
}

/// As a locale such as German's has them.
#[test]
fn a_decimal_comma_is_refused_with_the_reason() {
    let commas = recorded!("mpstat-5s.txt").replace('.', ",");
    let error = read(&commas).unwrap_err();
    assert!(error.message.contains("LC_ALL=C"), "{error}");
    assert_eq!(error.line, Some(4));
}
