//! Recorded output of other pings, and of options that vexp does not order itself.

use std::time::{Duration, Instant};

use serde_json::json;
use vexp_api::plugin::ParseError;
use vexp_api::sample::Sample;

use super::Ping;
use crate::testing::{check_damage, of, parse, stranger};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/", $file))
    };
}

fn read(text: &str) -> Result<Vec<Sample>, ParseError> {
    parse(&Ping, &stranger("ping"), text.as_bytes(), "")
}

fn values(samples: &[Sample], metric: &str) -> Vec<f64> {
    of(samples, metric).iter().map(|sample| sample.2).collect()
}

#[test]
fn replies_without_stamps_have_no_time_unless_something_tells() {
    for (text, first, last) in [
        (recorded!("iputils-20221126/plain.txt"), 0.153, 0.067),
        (recorded!("iputils-20221126/pattern.txt"), 0.036, 0.067),
        (recorded!("busybox-1.35.0/reply.txt"), 0.195, 0.235),
        (recorded!("inetutils-2.4/reply.txt"), 0.146, 0.245),
    ] {
        let samples = read(text).unwrap();
        let rtts = of(&samples, "rtt");
        assert_eq!((rtts.len(), rtts[0].2, rtts[3].2), (4, first, last));
        assert!(rtts.iter().all(|(t, dt, _)| t.is_nan() && *dt == 0.0));
        assert_eq!(values(&samples, "loss"), [0.0]);

        let mut told = stranger("ping");
        told.options.insert("interval".to_owned(), json!("200ms"));
        let samples = parse(&Ping, &told, text.as_bytes(), "").unwrap();
        let rtts = of(&samples, "rtt");
        assert!((rtts[3].0 - 0.6).abs() < 1e-9, "{rtts:?}");

        let times: String = (0..text.lines().count())
            .map(|n| format!("{n}.5\n"))
            .collect();
        let samples = parse(&Ping, &stranger("ping"), text.as_bytes(), &times).unwrap();
        let rtts = of(&samples, "rtt");
        assert_eq!(rtts[1].0 - rtts[0].0, 1.0);
    }
    let routes = read(recorded!("iputils-20221126/route.txt")).unwrap();
    assert_eq!(values(&routes, "rtt"), [0.025, 0.061, 0.068]);
    let adaptive = read(recorded!("iputils-20221126/adaptive.txt")).unwrap();
    assert_eq!(values(&adaptive, "rtt").len(), 5);
}

/// BSD's lines by its ping.c; iputils' and macOS' `pr_pack` have the same reply with `icmp_seq`.
#[test]
fn lines_of_bsd_built_from_its_source_are_read() {
    let text = "PING 192.0.2.1 (192.0.2.1): 56 data bytes\n\
        64 bytes from 192.0.2.1: icmp_seq=0 ttl=64 time=0.044 ms\n\
        Request timeout for icmp_seq 1\n\
        36 bytes from 192.0.2.9: Destination Host Unreachable\n\
        Vr HL TOS  Len   ID Flg  off TTL Pro  cks      Src      Dst\n \
        4  5  00 5400 a1b2   0 0000  40  01 0000 192.0.2.2  192.0.2.1\n\n\
        --- 192.0.2.1 ping statistics ---\n\
        3 packets transmitted, 1 packets received, 66.7% packet loss\n\
        round-trip min/avg/max/stddev = 0.044/0.044/0.044/0.000 ms\n";
    let samples = read(text).unwrap();
    assert_eq!(values(&samples, "rtt"), [0.044]);
    assert!((values(&samples, "loss")[0] - 200.0 / 3.0).abs() < 1e-9);
}

#[test]
fn a_summary_alone_gives_its_extremes_and_the_loss() {
    for (text, mean) in [
        (recorded!("iputils-20221126/quiet.txt"), 0.055),
        (recorded!("iputils-20221126/flood.txt"), 0.003),
        (recorded!("busybox-1.35.0/reply-quiet.txt"), 0.173),
        (recorded!("inetutils-2.4/reply-quiet.txt"), 0.073),
    ] {
        let samples = read(text).unwrap();
        assert_eq!(samples.len(), 4);
        assert_eq!(values(&samples, "rtt_mean"), [mean]);
        assert!(values(&samples, "rtt").is_empty());
        assert!(values(&samples, "rtt_min") < values(&samples, "rtt_max"));
    }
    for text in [
        recorded!("iputils-20221126/quiet-lost.txt"),
        recorded!("busybox-1.35.0/reply-lost.txt"),
        recorded!("inetutils-2.4/reply-lost.txt"),
    ] {
        let samples = read(text).unwrap();
        assert_eq!((samples.len(), values(&samples, "loss")), (1, vec![100.0]));
    }
}

#[test]
fn probes_too_small_for_a_time_are_refused_with_the_reason() {
    for text in [
        recorded!("iputils-20221126/small.txt"),
        recorded!("busybox-1.35.0/reply-small.txt"),
        recorded!("inetutils-2.4/reply-small.txt"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.message.contains("16 bytes or more (-s)"), "{error}");
        assert_eq!(error.line, Some(2));
    }
}

/// So many replies in a row, as iputils prints them: after probe 65535 comes probe 0, which was recorded.
fn replies(count: u32) -> String {
    let mut text = "PING 198.18.5.2 (198.18.5.2) 56(84) bytes of data.\n".to_owned();
    for n in 1..=count {
        let (seconds, micros) = (1_796_035_000 + n / 500, 2000 * (n % 500));
        let sequence = n % 65_536;
        text.push_str(&format!(
            "[{seconds}.{micros:06}] 64 bytes from 198.18.5.2: icmp_seq={sequence} ttl=64 time=0.013 ms\n"
        ));
    }
    text + &format!(
        "\n--- 198.18.5.2 ping statistics ---\n\
         {count} packets transmitted, {count} received, 0% packet loss, time 133000ms\n\
         rtt min/avg/max/mdev = 0.001/0.011/0.489/0.012 ms\n"
    )
}

#[test]
fn numbers_of_probes_wrap() {
    let text = replies(140_000);
    let samples = read(&text).unwrap();
    let rtts = of(&samples, "rtt");
    assert_eq!(rtts.len(), 140_000);
    assert!((rtts[139_999].0 - rtts[0].0 - 279.998).abs() < 1e-3);
    // Twice more than the number can come around.
    let twice = text.replace("icmp_seq=7 ", "icmp_seq=8 ");
    let error = read(&twice).unwrap_err();
    assert!(
        error.message.contains("probe 8 is answered twice"),
        "{error}"
    );
}

/// A quadratic parser takes minutes for these.
#[test]
fn many_replies_take_time_in_proportion() {
    let text = replies(300_000);
    let begun = Instant::now();
    assert_eq!(read(&text).unwrap().len(), 300_001);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn a_round_trip_longer_than_any_ping_waits_is_an_error() {
    let text =
        recorded!("busybox-1.35.0/reply.txt").replace("time=0.097", "time=18446744073709551.6");
    let error = read(&text).unwrap_err();
    assert!(
        error.message.contains("longer than any ping waits"),
        "{error}"
    );
    assert_eq!(error.line, Some(3));
}

#[test]
fn damaged_files_of_others_give_no_wrong_number() {
    for text in [
        recorded!("busybox-1.35.0/reply.txt"),
        recorded!("inetutils-2.4/reply-lost.txt"),
        recorded!("iputils-20221126/route.txt"),
    ] {
        check_damage(&Ping, &stranger("ping"), text.as_bytes(), "");
    }
}
