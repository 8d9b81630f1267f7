use serde_json::{Value, json};
use vexp_api::record::Artefact;
use vexp_api::sample::NodeRole;

use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, name, of, parse};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/iperf-2.2.1/", $file))
    };
}

fn side(stream: &str) -> Artefact {
    Artefact {
        flow: Some(name("vm1")),
        ..artefact("iperf", stream, ("peer1", NodeRole::Peer))
    }
}

fn values(stream: &str, text: &str, metric: &str) -> Vec<f64> {
    let samples = parse(&Iperf, &side(stream), text.as_bytes(), "").unwrap();
    of(&samples, metric).iter().map(|sample| sample.2).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9 * b.abs().max(1.0)
}

#[test]
fn tcp_has_a_value_each_second_and_not_what_came_after() {
    let (text, times) = (
        recorded!("tcp.server.txt"),
        recorded!("tcp.server.txt.times"),
    );
    let samples = parse(&Iperf, &side("server"), text.as_bytes(), times).unwrap();
    let rates = of(&samples, "throughput");
    assert_eq!(rates.len(), 4);
    let first = text
        .lines()
        .find(|line| line.contains(" 0.0000-1.0000 "))
        .unwrap();
    let bytes: f64 = first
        .split_ascii_whitespace()
        .nth(4)
        .unwrap()
        .parse()
        .unwrap();
    assert!(near(rates[0].2, bytes * 8.0 / 1e6), "{rates:?}");
    assert!(near(rates[1].0 - rates[0].0, 1.0) && rates[0].1 == 1.0);
    // The first second can't have ended after its line had arrived.
    let line = text.lines().position(|line| line == first).unwrap();
    let arrival: f64 = times.lines().nth(line).unwrap().parse().unwrap();
    assert!(rates[0].0 + 1.0 <= arrival + 1e-6);
    let sent = values("client", recorded!("tcp.client.txt"), "throughput_sent");
    let again = values("client", recorded!("tcp.client.txt"), "retransmits");
    assert_eq!((sent.len(), again.len()), (4, 4));
}

#[test]
fn udp_has_loss_and_packets_on_both_sides() {
    let text = recorded!("udp-loss.server.txt");
    let counts: Vec<(f64, f64)> = text
        .lines()
        .filter(|line| line.contains(" sec ") && !line.contains(" 0.0000-4"))
        .map(|line| {
            let word = line.split_ascii_whitespace().find(|word| {
                word.contains('/') && !word.contains("sec") && word.split('/').count() == 2
            });
            let (lost, total) = word.unwrap().split_once('/').unwrap();
            (lost.parse().unwrap(), total.parse().unwrap())
        })
        .collect();
    let lost: f64 = counts.iter().map(|(lost, _)| lost).sum();
    let total: f64 = counts.iter().map(|(_, total)| total).sum();
    let loss = values("server", text, "loss");
    assert_eq!(loss.len(), 1);
    assert!(near(loss[0], 100.0 * lost / total), "{loss:?} {counts:?}");
    assert!((20.0..40.0).contains(&loss[0]), "{loss:?}");
    let arrived = values("server", text, "packets_per_second");
    assert!(near(arrived[0], counts[0].1 - counts[0].0));
    let sent = values(
        "client",
        recorded!("udp-loss.client.txt"),
        "packets_sent_per_second",
    );
    assert_eq!(sent.len(), 4);
    // 80 Mb/s in datagrams of 1470 B are 6803.
    assert!(
        sent.iter().all(|rate| (6700.0..6900.0).contains(rate)),
        "{sent:?}"
    );
}

#[test]
fn a_connection_over_which_nothing_comes_any_more_has_zeros() {
    let rates = values("server", recorded!("tcp-stalled.server.txt"), "throughput");
    assert_eq!(rates.len(), 14);
    assert!(rates[..4].iter().all(|rate| *rate > 0.0));
    assert!(rates[4..].iter().all(|rate| *rate == 0.0));
    let sent = values(
        "client",
        recorded!("tcp-stalled.client.txt"),
        "throughput_sent",
    );
    assert_eq!(sent[7], 0.0);
}

#[test]
fn what_began_in_the_warm_up_is_left_out() {
    let text = recorded!("tcp.server.txt");
    let mut late = side("server");
    late.warm_up_s = 2.0;
    let samples = parse(&Iperf, &late, text.as_bytes(), "").unwrap();
    assert_eq!(of(&samples, "throughput").len(), 2);
    late.warm_up_s = 60.0;
    let error = parse(&Iperf, &late, text.as_bytes(), "").unwrap_err();
    assert!(error.message.contains("before its warm-up"), "{error}");
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let text = recorded!("tcp.server.txt");
    let change = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let line_of = |what: &str| {
        text.lines()
            .position(|line| line.contains(what))
            .map(|n| n + 1)
    };
    let cut: String = text
        .lines()
        .take(11)
        .map(|line| format!("{line}\n"))
        .collect();
    let cases: Vec<(&str, &str, String, Option<usize>, &str)> = vec![
        ("server", "empty", String::new(), None, "no connection"),
        (
            "client",
            "refused",
            recorded!("refused.client.txt").into(),
            None,
            "no connection",
        ),
        (
            "server",
            "nobody came",
            recorded!("udp-lost.server.txt").into(),
            None,
            "no connection",
        ),
        (
            "client",
            "other side",
            text.into(),
            None,
            "the other side's",
        ),
        (
            "server",
            "twice",
            format!("{text}{text}"),
            None,
            "second heading",
        ),
        ("server", "cut", cut, None, "is cut"),
        (
            "server",
            "lost interval",
            change(" 1.0000-2.0000 ", " 1.5000-2.0000 "),
            line_of(" 1.0000-2.0000 "),
            "the one before ended",
        ),
        (
            "server",
            "nan",
            change(" 1.0000-2.0000 ", " 1.0000-nan "),
            line_of(" 1.0000-2.0000 "),
            "not an interval",
        ),
        (
            "server",
            "other unit",
            text.replace(" bits/sec", " Mbits/sec"),
            line_of(" 0.0000-1.0000 "),
            "not an interval",
        ),
        (
            "server",
            "no -e",
            change("Reads=Dist", ""),
            line_of("Reads=Dist"),
            "not a heading",
        ),
    ];
    for (stream, what, text, line, says) in cases {
        let error = parse(&Iperf, &side(stream), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert!(line.is_none() || error.line == line, "{what}: {error}");
    }
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    for (stream, text) in [
        ("server", recorded!("tcp.server.txt")),
        ("client", recorded!("udp-loss.client.txt")),
        ("server", recorded!("udp.server.txt")),
    ] {
        check_every_cut(&Iperf, &side(stream), text.as_bytes(), "");
        check_damage(&Iperf, &side(stream), text.as_bytes(), "");
    }
}

fn options(value: Value) -> IperfOptions {
    crate::options::read(value.as_object().unwrap()).unwrap()
}

#[test]
fn command_lines_and_bad_options() {
    let (to, link) = ("198.18.0.9".parse().unwrap(), "1514Mb/s".parse().unwrap());
    let tcp = options(json!({}));
    assert_eq!(
        tcp.client(to, 5001, 4, link).to_string(),
        "iperf -c 198.18.0.9 -t 4 -p 5001 -e -i 1 -f b"
    );
    assert_eq!(
        tcp.server(5001, 64).to_string(),
        "iperf -s -P 1 -t 64 -p 5001 -e -i 1 -f b"
    );
    let udp = options(json!({"protocol": "udp", "rate": "link"}));
    assert_eq!(
        udp.client(to, 5001, 4, link).to_string(),
        "iperf -c 198.18.0.9 -t 4 -p 5001 -e -i 1 -f b -u -l 1472 -b 1472000000"
    );
    for bad in [
        json!({"protocol": "udp"}),
        json!({"rate": "1Mb/s"}),
        json!({"protocol": "udp", "rate": "0b/s"}),
        json!({"protocol": "udp", "rate": "link", "length": 100_000}),
        json!({"length": 8}),
        json!({"port": 80}),
    ] {
        assert!(options(bad.clone()).check().is_err(), "{bad}");
    }
}

mod start {
    use std::time::Duration;

    use vexp_api::spec::Role;
    use vexp_testkit::{FakeShell, context};

    use super::*;
    use crate::testing::{flow, request};
    use crate::traffic::ports::recorded::UDP_BOUND;

    #[tokio::test]
    async fn servers_before_clients_and_both_are_kept() {
        let (text, sent) = (recorded!("udp.server.txt"), recorded!("udp.client.txt"));
        let look = "$ cat /proc/net/udp /proc/net/udp6\n";
        let free = UDP_BOUND.replace(":1389 ", ":1388 ");
        let sink = format!(
            "{look}{free}$ iperf -s -P 1 -t 65 -p 5001 -e -i 1 -f b -u -l 1472\n{text}{look}{UDP_BOUND}"
        );
        let client = "$ iperf -c 198.18.0.2 -t 5 -p 5001 -e -i 1 -f b -u -l 1472 -b 30000000\n";
        let sink = FakeShell::replay(name("peer1"), &sink);
        let source = FakeShell::replay(name("vm1"), &format!("{client}{sent}"));
        let mut request = request(Role::Sender, vec![flow(&source, &sink)]);
        request.window = Duration::from_secs(4);
        request.options = json!({"protocol": "udp", "rate": "30Mb/s"})
            .as_object()
            .unwrap()
            .clone();
        let running = Iperf.start(&request, &context()).await.unwrap();
        let finished = running.finish().await.unwrap();
        sink.finish().unwrap();
        source.finish().unwrap();
        let paths: Vec<&str> = finished
            .artefacts
            .iter()
            .map(|one| one.artefact.path.as_str())
            .collect();
        assert_eq!(
            paths,
            ["raw/vm1.iperf.server.txt", "raw/vm1.iperf.client.txt"]
        );
    }
}
