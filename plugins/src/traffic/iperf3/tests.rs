use std::net::IpAddr;

use serde_json::{Value, json};
use vexp_api::record::Artefact;
use vexp_api::sample::{NodeRole, Unit};

use super::options::Iperf3Options;
use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, name, of, parse};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/iperf3-3.18/", $file))
    };
}

fn client() -> Artefact {
    Artefact {
        flow: Some(name("vm1")),
        ..artefact("iperf3", "client", ("vm1", NodeRole::Guest))
    }
}

fn server() -> Artefact {
    let mut server = Artefact {
        flow: Some(name("vm1")),
        ..artefact("iperf3", "server", ("peer1", NodeRole::Peer))
    };
    server.about.insert(name("vm1"), NodeRole::Guest);
    server
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6 * b.abs().max(1.0)
}

#[test]
fn the_server_says_what_arrived() {
    let (text, times) = (
        recorded!("tcp.server.json"),
        recorded!("tcp.server.json.times"),
    );
    let samples = parse(&Iperf3, &server(), text.as_bytes(), times).unwrap();
    let rates = of(&samples, "throughput");
    // Four measured seconds; two omitted before them, and the fragment of 4 ms at the end is part
    // of the last.
    assert_eq!(rates.len(), 4);
    assert!(near(rates[0].2, 191.686_789_548));
    assert!(near(rates[3].1, 1.000_318_050 + 0.004_358_999_9));
    let last = (23_855_104.0 + 131_072.0) * 8.0 / 1e6 / rates[3].1;
    assert!(near(rates[3].2, last));
    // The earliest that the measured part can have begun: the line of the third second came at
    // 5.716316 s, and ended 3.000678 s after it had begun.
    let base = [
        3.716540 - 1.001008,
        4.715630 - 2.000033,
        5.716316 - 3.000678,
        6.720892 - 4.005355,
    ]
    .into_iter()
    .fold(f64::MAX, f64::min);
    assert!(near(rates[0].0, base + 1.001_008 - 1.001_057_028_770_446_8));
    assert!(
        samples
            .iter()
            .all(|s| s.node == *"vm1" && s.role == NodeRole::Guest)
    );
    assert!(of(&samples, "retransmits").is_empty() && of(&samples, "loss").is_empty());
}

#[test]
fn the_client_says_what_was_sent() {
    let (text, times) = (
        recorded!("tcp.client.json"),
        recorded!("tcp.client.json.times"),
    );
    let samples = parse(&Iperf3, &client(), text.as_bytes(), times).unwrap();
    assert_eq!(of(&samples, "throughput_sent").len(), 4);
    assert_eq!(of(&samples, "retransmits").len(), 4);
    assert!(of(&samples, "throughput").is_empty());
}

#[test]
fn plain_json_reads_the_same_without_times_of_lines() {
    let samples = parse(
        &Iperf3,
        &server(),
        recorded!("tcp-plain.server.json").as_bytes(),
        "",
    );
    let rates = of(&samples.unwrap(), "throughput");
    assert_eq!(rates.len(), 3);
    let end = rates[2].0 + rates[2].1;
    assert!(
        near(end, 20.0),
        "the last interval ends when the program does: {end}"
    );
    let text = recorded!("tcp-plain.client.json");
    assert_eq!(
        parse(&Iperf3, &client(), text.as_bytes(), "")
            .unwrap()
            .len(),
        6
    );
}

#[test]
fn udp_has_loss_and_packets() {
    let text = recorded!("udp-loss.server.json");
    let samples = parse(&Iperf3, &server(), text.as_bytes(), "").unwrap();
    let loss = of(&samples, "loss");
    assert_eq!(loss.len(), 1);
    assert!(near(
        loss[0].2,
        100.0 * 38.0 / (17341 + 17335 + 17360 + 80) as f64
    ));
    assert_eq!(of(&samples, "packets_per_second").len(), 3);
    let none = parse(
        &Iperf3,
        &server(),
        recorded!("udp.server.json").as_bytes(),
        "",
    )
    .unwrap();
    assert_eq!(of(&none, "loss")[0].2, 0.0);
    let sent = parse(
        &Iperf3,
        &client(),
        recorded!("udp.client.json").as_bytes(),
        "",
    )
    .unwrap();
    assert!(of(&sent, "retransmits").is_empty() && of(&sent, "loss").is_empty());
}

#[test]
fn parallel_streams_are_added_up() {
    let samples = parse(
        &Iperf3,
        &server(),
        recorded!("tcp-parallel.server.json").as_bytes(),
        "",
    );
    let rates = of(&samples.unwrap(), "throughput");
    assert_eq!(rates.len(), 3);
    assert!(
        rates
            .iter()
            .all(|(_, _, rate)| (180.0..200.0).contains(rate)),
        "{rates:?}"
    );
}

/// The recorded server's output with one change.
fn changed(from: &str, to: &str) -> String {
    let text = recorded!("tcp.server.json");
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let text = recorded!("tcp.server.json");
    let without = |line: usize| -> String {
        let lines = text.lines().enumerate().filter(|(n, _)| n + 1 != line);
        lines.map(|(_, line)| format!("{line}\n")).collect()
    };
    let plain = recorded!("tcp-plain.server.json");
    let cases: Vec<(&str, String, Option<usize>, &str)> = vec![
        ("empty", String::new(), None, "printed nothing"),
        (
            "error event",
            recorded!("refused.client.json").into(),
            Some(1),
            "Connection refused",
        ),
        (
            "error member",
            recorded!("refused-plain.client.json").into(),
            Some(11),
            "Connection refused",
        ),
        ("no end", without(9), Some(8), "is cut"),
        ("no start", without(1), Some(8), "is cut"),
        (
            "printed twice",
            format!("{text}{text}"),
            Some(10),
            "run twice",
        ),
        (
            "start twice",
            format!("{}\n{text}", text.lines().next().unwrap()),
            Some(2),
            "run twice",
        ),
        ("plain twice", format!("{plain}{plain}"), None, "run twice"),
        ("interval lost", without(5), Some(5), "lines are missing"),
        (
            "nan",
            changed("191686789.54853263", "nan"),
            Some(4),
            "not a JSON event",
        ),
        (
            "null",
            with_sums(4..=4, |sum| sum["bits_per_second"] = Value::Null),
            Some(4),
            "sum.bits_per_second",
        ),
        (
            "-nan",
            changed("1.0010570287704468", "-nan"),
            Some(4),
            "not a JSON event",
        ),
        (
            "string",
            changed("\"omit\":2,\"duration\":4", "\"omit\":2,\"duration\":\"4\""),
            Some(1),
            "duration",
        ),
        (
            "zero-length test",
            changed("\"duration\":4", "\"duration\":0"),
            Some(1),
            "no length",
        ),
        (
            "negative test",
            changed("\"duration\":4", "\"duration\":-4"),
            Some(1),
            "no length",
        ),
        (
            "cut short",
            changed("\"duration\":4", "\"duration\":30"),
            Some(7),
            "only 4.0 s of 30 s",
        ),
        (
            "unknown event",
            changed("\"event\":\"interval\"", "\"event\":\"intervall\""),
            Some(2),
            "intervall",
        ),
        (
            "other side",
            changed("accepted_connection", "connecting_to"),
            Some(1),
            "other side",
        ),
        (
            "neither side",
            changed("accepted_connection", "x"),
            Some(1),
            "client or a server",
        ),
        (
            "total differs",
            changed(
                "\"sum_received\":{\"start\":0,\"end\":4.005355,\"seconds\":4.005355,\"bytes\":95813632",
                "\"sum_received\":{\"start\":0,\"end\":4.005355,\"seconds\":4.005355,\"bytes\":15813632",
            ),
            Some(7),
            "add up",
        ),
    ];
    for (what, text, line, says) in cases {
        let error = parse(&Iperf3, &server(), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert!(line.is_none() || error.line == line, "{what}: {error}");
        assert!(error.file.starts_with("raw/"), "{what}");
    }
}

/// The recorded server's output with the sums of some lines changed.
fn with_sums(lines: std::ops::RangeInclusive<usize>, change: impl Fn(&mut Value)) -> String {
    recorded!("tcp.server.json")
        .lines()
        .enumerate()
        .map(|(n, line)| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            let mut data = event["data"].take();
            if lines.contains(&(n + 1)) {
                change(&mut data["sum"]);
            }
            // The member `event` in front, as iperf3 writes it.
            format!("{{\"event\":{},\"data\":{data}}}\n", event["event"])
        })
        .collect()
}

#[test]
fn refuses_intervals_that_contradict_themselves() {
    let cases: [(&str, &str, Value); 7] = [
        ("no positive length", "seconds", json!(0)),
        ("no positive length", "seconds", json!(-1.0)),
        ("no positive length", "end", json!(0.00001)),
        ("end less its start", "seconds", json!(2.0)),
        ("before the test", "start", json!(-0.5)),
        ("its rate", "bits_per_second", json!(0)),
        ("the other way", "sender", json!(true)),
    ];
    for (says, field, value) in cases {
        let text = with_sums(4..=4, |sum| sum[field] = value.clone());
        let error = parse(&Iperf3, &server(), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{field}={value}: {error}");
        assert_eq!(error.line, Some(4), "{field}={value}: {error}");
    }
    let silent = with_sums(4..=8, |sum| {
        sum["bytes"] = json!(0);
        sum["bits_per_second"] = json!(0);
    });
    let error = parse(&Iperf3, &server(), silent.as_bytes(), "").unwrap_err();
    assert!(error.message.contains("not one byte"), "{error}");
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    let (text, times) = (
        recorded!("tcp.server.json"),
        recorded!("tcp.server.json.times"),
    );
    check_every_cut(&Iperf3, &server(), text.as_bytes(), times);
    check_damage(&Iperf3, &server(), text.as_bytes(), times);
    let text = recorded!("tcp-plain.client.json");
    check_every_cut(&Iperf3, &client(), text.as_bytes(), "");
    let mut cut = server();
    cut.truncated = true;
    assert!(parse(&Iperf3, &cut, text.as_bytes(), "").is_err());
    assert!(parse(&Iperf3, &server(), b"\xff{}", "").is_err());
}

fn options(value: Value) -> Iperf3Options {
    crate::options::read(value.as_object().unwrap()).unwrap()
}

#[test]
fn command_lines() {
    let to: IpAddr = "198.18.0.9".parse().unwrap();
    let link = "1514Mb/s".parse().unwrap();
    let tcp = options(json!({}));
    assert_eq!(
        tcp.client(to, 5201, 4, link).to_string(),
        "iperf3 -c 198.18.0.9 -p 5201 -t 4 -i 0.25 --json-stream"
    );
    assert_eq!(
        tcp.server(5201, 30).to_string(),
        "iperf3 -s -1 -p 5201 -i 0.25 --idle-timeout 30 --json-stream"
    );
    let udp = options(json!({"protocol": "udp", "rate": "100Mb/s", "parallel": 4, "length": 64}));
    assert_eq!(udp.protocol, Protocol::Udp);
    assert_eq!(
        udp.client(to, 5202, 3, link).to_string(),
        "iperf3 -c 198.18.0.9 -p 5202 -t 3 -i 0.25 --json-stream -u -b 25000000 -l 64 -P 4"
    );
}

#[test]
fn link_fills_the_slowest_link() {
    let (to, link) = ("198.18.0.9".parse().unwrap(), "1514Mb/s".parse().unwrap());
    let command = |value| options(value).client(to, 5201, 3, link).to_string();
    let udp = command(json!({"protocol": "udp", "rate": "link"}));
    assert!(udp.ends_with("-u -b 1472000000 -l 1472"), "{udp}");
    // TCP does so by itself.
    let tcp = command(json!({"rate": "link"}));
    assert!(tcp.ends_with("--json-stream"), "{tcp}");
}

#[test]
fn nothing_moved_is_0_where_the_summary_says_so() {
    let silent = with_sums(1..=8, |sum| {
        sum["bytes"] = json!(0);
        sum["bits_per_second"] = json!(0);
    });
    let agreed: String = silent
        .lines()
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            if event["event"] == "end" {
                event["data"]["sum_received"]["bytes"] = json!(0);
            }
            format!(
                "{{\"event\":{},\"data\":{}}}\n",
                event["event"], event["data"]
            )
        })
        .collect();
    let samples = parse(&Iperf3, &server(), agreed.as_bytes(), "").unwrap();
    let rates = of(&samples, "throughput");
    assert_eq!(rates.len(), 4);
    assert!(rates.iter().all(|(_, _, rate)| *rate == 0.0), "{rates:?}");
    assert!(parse(&Iperf3, &server(), silent.as_bytes(), "").is_err());
}

#[test]
fn refuses_bad_options() {
    for bad in [
        json!({"protocol": "udp"}),
        json!({"rate": "0b/s"}),
        json!({"parallel": 0}),
        json!({"length": 0}),
        json!({"port": 80}),
    ] {
        assert!(options(bad.clone()).check().is_err(), "{bad}");
    }
    for bad in [
        json!({"protocl": "udp"}),
        json!({"rate": "0"}),
        json!({"rate": 5}),
    ] {
        let read = crate::options::read::<Iperf3Options>(bad.as_object().unwrap());
        assert!(read.is_err(), "{bad}");
    }
}

#[test]
fn metrics_have_units() {
    assert!(
        Iperf3
            .metrics()
            .iter()
            .all(|metric| name(metric.name) == *metric.name)
    );
    assert_eq!(THROUGHPUT.unit, Unit::MbPerS);
}

mod start {
    use std::time::Duration;

    use vexp_api::spec::Role;
    use vexp_testkit::{FakeShell, context};

    use super::*;
    use crate::testing::{flow, request};
    use crate::traffic::ports::recorded::{TCP_LET_GO, TCP_LISTENS};

    const LOOK: &str = "$ cat /proc/net/tcp /proc/net/tcp6\n";
    const SERVER: &str = "$ iperf3 -s -1 -p 5201 -i 0.25 --idle-timeout 30 --json-stream\n";

    #[tokio::test]
    async fn servers_before_clients_and_both_are_kept() {
        let (text, sent) = (recorded!("tcp.server.json"), recorded!("tcp.client.json"));
        let listens = format!("{LOOK}{TCP_LISTENS}");
        let free = format!("{LOOK}{TCP_LET_GO}");
        // The port is taken at first, and the server takes a moment to listen.
        let sink = format!("{listens}{free}{SERVER}{text}{free}{listens}");
        let client = "$ iperf3 -c 198.18.0.2 -p 5201 -t 6 -i 0.25 --json-stream\n";
        let sink = FakeShell::replay(name("peer1"), &sink);
        let source = FakeShell::replay(name("vm1"), &format!("{client}{sent}"));
        let mut request = request(Role::Sender, vec![flow(&source, &sink)]);
        request.warm_up = Duration::from_secs(2);
        request.window = Duration::from_secs(4);
        let running = Iperf3.start(&request, &context()).await.unwrap();
        let finished = running.finish().await.unwrap();
        sink.finish().unwrap();
        source.finish().unwrap();
        let artefacts: Vec<_> = finished.artefacts.iter().map(|one| &one.artefact).collect();
        let paths: Vec<&str> = artefacts.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(
            paths,
            ["raw/vm1.iperf3.server.json", "raw/vm1.iperf3.client.json"]
        );
        assert_eq!(artefacts[0].node, *"peer1");
        assert_eq!(artefacts[0].about[&name("vm1")], NodeRole::Guest);
        assert_eq!(finished.artefacts[0].bytes, text.as_bytes());
        assert_eq!(finished.artefacts[0].line_times.len(), 9);
        assert_eq!(artefacts[1].command, client[2..].trim_end());
    }

    #[tokio::test]
    async fn refuses_times_that_iperf3_can_not_keep() {
        let nothing = || FakeShell::replay(name("vm1"), "");
        let mut request = request(Role::Sender, vec![flow(&nothing(), &nothing())]);
        for (window, says) in [
            (Duration::from_millis(1500), "whole seconds only"),
            (Duration::ZERO, "the window is 0 s"),
        ] {
            request.window = window;
            let error = Iperf3.start(&request, &context()).await.err().unwrap();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[tokio::test]
    async fn a_client_that_can_not_be_started_is_an_error() {
        let sink = format!("{LOOK}{TCP_LET_GO}{SERVER}{LOOK}{TCP_LISTENS}");
        let sink = FakeShell::replay(name("peer1"), &sink);
        let source = FakeShell::replay(name("vm1"), "");
        let request = request(Role::Sender, vec![flow(&source, &sink)]);
        let error = Iperf3.start(&request, &context()).await.err().unwrap();
        assert!(error.to_string().contains("start iperf3 on vm1"), "{error}");
    }
}

#[test]
fn what_began_in_the_warm_up_is_left_out() {
    let (text, times) = (
        recorded!("tcp.server.json"),
        recorded!("tcp.server.json.times"),
    );
    let all = parse(&Iperf3, &server(), text.as_bytes(), times).unwrap();
    let warmed = |warm_up_s| {
        let server = Artefact {
            warm_up_s,
            ..server()
        };
        parse(&Iperf3, &server, text.as_bytes(), times)
    };
    let kept = warmed(1.0).unwrap();
    assert_eq!(of(&kept, "throughput"), of(&all, "throughput")[1..]);
    let error = warmed(60.0).unwrap_err();
    assert!(error.message.contains("before its warm-up"), "{error}");
}
