//! Recorded output of versions and options that vexp does not order itself.

use super::Iperf3;
use crate::testing::{check_damage, of, parse, stranger};
use vexp_api::plugin::ParseError;
use vexp_api::sample::Sample;

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/iperf3-", $file))
    };
}

fn read(text: &str) -> Result<Vec<Sample>, ParseError> {
    parse(&Iperf3, &stranger("iperf3"), text.as_bytes(), "")
}

/// Rates of a metric, Mb/s, to one decimal.
fn rates(text: &str, metric: &str) -> Vec<f64> {
    let samples = read(text).unwrap_or_else(|error| panic!("{error}"));
    let of = of(&samples, metric).into_iter();
    of.map(|(_, _, rate)| (rate * 10.0).round() / 10.0)
        .collect()
}

#[test]
fn files_of_versions_that_do_not_mark_the_sender_are_read() {
    let sent = recorded!("3.6/tcp.client.json");
    assert_eq!(rates(sent, "throughput_sent"), [54.3, 50.0, 45.4]);
    assert!(rates(sent, "throughput").is_empty());
    let samples = read(sent).unwrap();
    // One that stands alone begins at 0.
    let first = of(&samples, "throughput_sent")[0];
    assert!(first.0.abs() < 1e-3 && (first.1 - 1.0).abs() < 1e-3);
    assert_eq!(
        rates(recorded!("3.6/tcp.server.json"), "throughput").len(),
        3
    );
    let udp = read(recorded!("3.6/udp.server.json")).unwrap();
    assert_eq!(of(&udp, "packets_per_second").len(), 3);
    assert_eq!(of(&udp, "loss")[0].2, 0.0);
    let udp = read(recorded!("3.6/udp.client.json")).unwrap();
    assert_eq!(of(&udp, "packets_sent_per_second").len(), 3);
}

#[test]
fn data_that_went_the_other_way_is_what_its_side_counted() {
    for text in [
        recorded!("3.6/reverse.client.json"),
        recorded!("3.12/reverse.client.json"),
    ] {
        assert_eq!(rates(text, "throughput").len(), 3);
        assert!(rates(text, "throughput_sent").is_empty());
    }
    let server = read(recorded!("3.6/reverse.server.json")).unwrap();
    assert_eq!(of(&server, "throughput_sent").len(), 3);
    assert_eq!(of(&server, "retransmits")[0].2, 4.0);
    let udp = read(recorded!("3.6/udp-reverse.client.json")).unwrap();
    assert_eq!(of(&udp, "packets_per_second").len(), 2);
    assert_eq!(of(&udp, "loss").len(), 1);
}

/// The ways went through links of 50 and 40 Mb/s.
#[test]
fn both_ways_of_a_test_are_read_and_told_apart() {
    let cases: [(&str, &str, &str, &str); 5] = [
        (
            "3.7",
            "both sums by one name",
            recorded!("3.7/bidir.client.json"),
            recorded!("3.7/bidir.server.json"),
        ),
        (
            "3.9",
            "both sums by one name",
            recorded!("3.9/bidir.client.json"),
            recorded!("3.9/bidir.server.json"),
        ),
        (
            "3.12",
            "",
            recorded!("3.12/bidir.client.json"),
            recorded!("3.12/bidir.server.json"),
        ),
        (
            "3.16",
            "",
            recorded!("3.16/bidir.client.json"),
            recorded!("3.16/bidir.server.json"),
        ),
        (
            "3.12",
            "-P 2",
            recorded!("3.12/parallel-bidir.client.json"),
            recorded!("3.12/parallel-bidir.server.json"),
        ),
    ];
    for (version, what, client, server) in cases {
        for (text, metric, range) in [
            (client, "throughput_sent", 40.0..65.0),
            (client, "reverse.throughput", 30.0..40.0),
            (server, "throughput", 35.0..50.0),
            (server, "reverse.throughput_sent", 30.0..60.0),
        ] {
            let found = rates(text, metric);
            assert!(found.len() >= 2, "{version} {what} {metric}: {found:?}");
            assert!(
                found.iter().all(|rate| range.contains(rate)),
                "{version} {what} {metric}: {found:?}"
            );
        }
        assert!(rates(client, "throughput").is_empty(), "{version}");
        let retransmits = of(&read(client).unwrap(), "retransmits").len();
        assert_eq!(retransmits, rates(client, "throughput_sent").len());
    }
    let exact = rates(recorded!("3.12/bidir.client.json"), "reverse.throughput");
    assert_eq!(exact, [36.9, 37.3, 36.5]);
    let udp = read(recorded!("3.12/udp-bidir.client.json")).unwrap();
    for metric in ["packets_sent_per_second", "reverse.packets_per_second"] {
        assert_eq!(of(&udp, metric).len(), 2, "{metric}");
    }
    assert_eq!(of(&udp, "reverse.loss").len(), 1);
    let omitted = rates(
        recorded!("3.12/omit-bidir.client.json"),
        "reverse.throughput",
    );
    assert_eq!(omitted.len(), 3);
}

#[test]
fn tests_of_bytes_and_of_blocks_and_without_intervals_are_read() {
    assert_eq!(
        rates(recorded!("3.12/bytes.client.json"), "throughput_sent"),
        [54.4, 48.0]
    );
    assert_eq!(
        rates(recorded!("3.12/bytes.server.json"), "throughput").len(),
        2
    );
    assert!(rates(recorded!("3.12/blocks.client.json"), "throughput_sent").len() >= 2);
    for (text, metric) in [
        (recorded!("3.12/no-interval.client.json"), "throughput_sent"),
        (recorded!("3.16/no-interval.client.json"), "throughput_sent"),
        (
            recorded!("3.12/udp-no-interval.client.json"),
            "packets_sent_per_second",
        ),
        (
            recorded!("3.12/bidir-no-interval.client.json"),
            "reverse.throughput",
        ),
    ] {
        let found = of(&read(text).unwrap(), metric);
        assert_eq!(found.len(), 1, "{metric}");
        assert!((found[0].1 - 2.0).abs() < 0.02, "{metric}: {found:?}");
    }
    let cut = recorded!("3.12/bytes.client.json").replace("10485760,", "20485760,");
    let error = read(&cut).unwrap_err();
    assert!(
        error.message.contains("10485760 B of 20485760 B were sent"),
        "{error}"
    );
}

#[test]
fn a_counter_that_went_wrong_is_an_error_with_its_place() {
    let text = recorded!("3.12/bidir.client.json");
    for wrong in [
        "4294967294",
        "18446744073709551614",
        "2147483648",
        "1300000000",
    ] {
        let changed = text.replace("\"retransmits\":\t0", &format!("\"retransmits\":\t{wrong}"));
        assert_ne!(changed, text);
        let error = read(&changed).unwrap_err();
        assert!(error.message.contains("retransmits is"), "{error}");
        assert!(error.line.is_some(), "{error}");
    }
    let udp = recorded!("3.12/udp-bidir.client.json");
    let changed = udp.replace("\"lost_packets\":\t0", "\"lost_packets\":\t-2147483649");
    assert_ne!(changed, udp);
    assert!(read(&changed).unwrap_err().message.contains("lost_packets"));
}

#[test]
fn what_is_printed_for_people_is_refused_with_the_option() {
    let text = "Connecting to host 198.18.0.2, port 5201\n";
    let error = read(text).unwrap_err();
    assert!(error.message.contains("-J or --json-stream"), "{error}");
}

#[test]
fn damaged_files_of_other_versions_give_no_wrong_number() {
    for text in [
        recorded!("3.7/bidir.client.json"),
        recorded!("3.12/bidir.server.json"),
    ] {
        check_damage(&Iperf3, &stranger("iperf3"), text.as_bytes(), "");
    }
}
