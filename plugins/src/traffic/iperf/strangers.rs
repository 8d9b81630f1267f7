//! Recorded output of a version and of options that vexp does not order itself.

use vexp_api::plugin::ParseError;
use vexp_api::sample::Sample;

use super::Iperf;
use crate::testing::{check_damage, of, parse, stranger};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/iperf-2.1.8/", $file))
    };
}

fn read(text: &str) -> Result<Vec<Sample>, ParseError> {
    parse(&Iperf, &stranger("iperf"), text.as_bytes(), "")
}

fn values(text: &str, metric: &str) -> Vec<f64> {
    let samples = read(text).unwrap_or_else(|error| panic!("{error}"));
    of(&samples, metric).iter().map(|sample| sample.2).collect()
}

#[test]
fn udp_clients_and_trip_times_of_2_1_are_read() {
    let sent = values(recorded!("udp.client.txt"), "packets_sent_per_second");
    assert_eq!(sent, [892.0, 892.0, 891.0]);
    let server = values(recorded!("udp.server.txt"), "packets_per_second");
    assert_eq!(server[..2], [900.0, 892.0]);
    assert_eq!(
        values(recorded!("udp-trip.client.txt"), "throughput_sent").len(),
        2
    );
    assert_eq!(
        values(recorded!("udp-trip.server.txt"), "packets_per_second"),
        [893.0, 892.0]
    );
    let tcp = values(recorded!("tcp-trip.server.txt"), "throughput");
    assert_eq!(tcp, [47.9584, 47.818_752]);
    assert_eq!(values(recorded!("tcp.client.txt"), "retransmits"), [0.0; 3]);
}

#[test]
fn streams_are_added_up() {
    let sent = values(recorded!("tcp-parallel.client.txt"), "throughput_sent");
    // The two lines `[SUM]`: 60818368 and 48234496 bits/sec.
    assert_eq!(sent, [60.818_368, 48.234_496]);
    assert_eq!(
        values(recorded!("tcp-parallel.client.txt"), "retransmits"),
        [76.0, 0.0]
    );
    let arrived = values(recorded!("tcp-parallel.server.txt"), "throughput");
    assert_eq!(arrived, [48.132_48, 47.204_8]);
    let udp = values(recorded!("udp-parallel.server.txt"), "packets_per_second");
    assert_eq!(udp, [894.0, 892.0]);
    assert_eq!(
        values(
            recorded!("udp-parallel.client.txt"),
            "packets_sent_per_second"
        ),
        [892.0; 2]
    );
}

#[test]
fn short_intervals_are_read() {
    let samples = read(recorded!("tcp-half.server.txt")).unwrap();
    let rates = of(&samples, "throughput");
    assert_eq!(rates.len(), 4);
    assert_eq!((rates[1].0, rates[1].1), (0.5, 0.5));
}

#[test]
fn what_is_not_read_is_refused_with_the_options_that_would_be() {
    for (text, says) in [
        (
            recorded!("tcp-csv.client.txt"),
            "CSV does not say which side",
        ),
        (
            recorded!("udp-csv.server.txt"),
            "CSV does not say which side",
        ),
        (
            recorded!("tcp-plain.client.txt"),
            "run iperf with -e -i 1 -f b",
        ),
        (recorded!("tcp-mbits.server.txt"), "run iperf with -f b"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.message.contains(says), "{error}");
        assert!(error.line.is_some(), "{error}");
    }
    let wrong = recorded!("tcp.client.txt").replace("51/0          0 ", "51/0 4294967294 ");
    assert_ne!(wrong, recorded!("tcp.client.txt"));
    assert!(
        read(&wrong)
            .unwrap_err()
            .message
            .contains("a counter went wrong")
    );
}

#[test]
fn damaged_files_give_no_wrong_number() {
    for text in [
        recorded!("udp-parallel.server.txt"),
        recorded!("tcp-parallel.client.txt"),
    ] {
        check_damage(&Iperf, &stranger("iperf"), text.as_bytes(), "");
    }
}
