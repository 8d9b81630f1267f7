use serde_json::{Value, json};
use vexp_api::record::Artefact;
use vexp_api::sample::NodeRole;

use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, name, of, parse};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/netperf-2.7.1/", $file))
    };
}

fn client() -> Artefact {
    let mut client = Artefact {
        flow: Some(name("vm1")),
        ..artefact("netperf", "client", ("peer1", NodeRole::Peer))
    };
    client.about.insert(name("vm1"), NodeRole::Guest);
    client
}

fn value(text: &str, times: &str, metric: &str) -> f64 {
    let samples = parse(&Netperf, &client(), text.as_bytes(), times).unwrap();
    let found = of(&samples, metric);
    assert_eq!(found.len(), 1, "{metric}");
    found[0].2
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9 * b.abs().max(1.0)
}

#[test]
fn udp_has_what_both_sides_counted() {
    let (text, times) = (
        recorded!("udp-loss.client.txt"),
        recorded!("udp-loss.client.txt.times"),
    );
    let expected = [
        ("throughput", 22_144_768.0 * 8.0 / 3e6),
        ("throughput_sent", 36_593_920.0 * 8.0 / 3e6),
        ("packets_per_second", 15_044.0 / 3.0),
        ("packets_sent_per_second", 24_860.0 / 3.0),
        ("loss", 100.0 * (24_860.0 - 15_044.0) / 24_860.0),
    ];
    for (metric, wanted) in expected {
        let seen = value(text, times, metric);
        assert!(near(seen, wanted), "{metric}: {seen}, not {wanted}");
    }
    let samples = parse(&Netperf, &client(), text.as_bytes(), times).unwrap();
    assert_eq!(samples.len(), expected.len());
    assert!(
        samples
            .iter()
            .all(|s| s.node == *"vm1" && s.role == NodeRole::Guest)
    );
    assert_eq!(value(recorded!("udp.client.txt"), "", "loss"), 0.0);
    // Datagrams of 18 B are counted as those of 1472 B are.
    let small = value(recorded!("udp-small.client.txt"), "", "packets_per_second");
    assert!(near(small, 95_099.0 / 3.0));
}

#[test]
fn the_test_stands_where_the_sending_began() {
    // The program began at 10 s, and waited 4 s at its end for datagrams that never came.
    let arrivals = recorded!("udp-lost.client.txt.times");
    let shifted: String = arrivals
        .lines()
        .map(|time| format!("{:.9}\n", 10.0 + time.parse::<f64>().unwrap()))
        .collect();
    let text = recorded!("udp-lost.client.txt");
    let samples = parse(&Netperf, &client(), text.as_bytes(), &shifted).unwrap();
    let (t, dt, _) = of(&samples, "throughput")[0];
    assert!((10.0..10.1).contains(&t), "{t}");
    assert_eq!(dt, 3.0);
    // Without times of lines it is the program's start.
    let samples = parse(&Netperf, &client(), text.as_bytes(), "").unwrap();
    assert_eq!(of(&samples, "throughput")[0].0, 10.0);
}

#[test]
fn nothing_received_is_a_result_and_nothing_sent_is_none() {
    let lost = recorded!("udp-lost.client.txt");
    assert_eq!(value(lost, "", "throughput"), 0.0);
    assert_eq!(value(lost, "", "packets_per_second"), 0.0);
    assert_eq!(value(lost, "", "loss"), 100.0);
    let text = recorded!("tcp-lost.client.txt");
    let error = parse(&Netperf, &client(), text.as_bytes(), "").unwrap_err();
    assert!(error.message.contains("not one send"), "{error}");
}

#[test]
fn tcp_has_no_packets_and_no_loss() {
    let text = recorded!("tcp.client.txt");
    let samples = parse(&Netperf, &client(), text.as_bytes(), "").unwrap();
    let metrics: Vec<&str> = samples.iter().map(|s| s.metric.as_str()).collect();
    assert_eq!(metrics, ["throughput", "throughput_sent", "retransmits"]);
    assert!(near(
        value(text, "", "throughput"),
        22_443_920.0 * 8.0 / 3.12e6
    ));
    assert_eq!(value(text, "", "retransmits"), 333.0);
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let text = recorded!("udp-loss.client.txt");
    let change = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let cases: Vec<(&str, String, Option<usize>, &str)> = vec![
        ("empty", String::new(), None, "no result"),
        (
            "refused",
            recorded!("refused.client.txt").into(),
            Some(1),
            "are you sure there is a netserver",
        ),
        (
            "server gone",
            recorded!("killed.client.txt").into(),
            Some(2),
            "Connection refused (errno 111)",
        ),
        ("twice", format!("{text}{text}"), Some(24), "error"),
        (
            "key twice",
            format!("{text}PROTOCOL=UDP\n"),
            Some(24),
            "a second PROTOCOL",
        ),
        (
            "unknown key",
            format!("{text}MEAN_LATENCY=1\n"),
            Some(24),
            "not asked for",
        ),
        (
            "no bytes",
            change("REMOTE_BYTES_RECVD=22144768\n", ""),
            None,
            "is cut",
        ),
        (
            "nan",
            change("ELAPSED_TIME=3.00", "ELAPSED_TIME=nan"),
            Some(15),
            "positive length",
        ),
        (
            "no time",
            change("ELAPSED_TIME=3.00", "ELAPSED_TIME=0.00"),
            Some(15),
            "positive length",
        ),
        (
            "-1",
            change("REMOTE_RECV_CALLS=15044", "REMOTE_RECV_CALLS=-1"),
            Some(19),
            "no count",
        ),
        (
            "more than sent",
            change("REMOTE_BYTES_RECVD=22144768", "REMOTE_BYTES_RECVD=36593921"),
            Some(15),
            "received of",
        ),
        (
            "other datagrams",
            change("REMOTE_RECV_CALLS=15044", "REMOTE_RECV_CALLS=15043"),
            Some(15),
            "are not 22144768 B",
        ),
        (
            "other sends",
            change("LOCAL_SEND_CALLS=24860", "LOCAL_SEND_CALLS=24861"),
            Some(15),
            "are not 36593920 B",
        ),
        (
            "other rate",
            change("THROUGHPUT=59.05", "THROUGHPUT=95.05"),
            Some(21),
            "the bytes make",
        ),
        (
            "rate is nan",
            change("THROUGHPUT=59.05", "THROUGHPUT=nan"),
            Some(21),
            "the bytes make",
        ),
        (
            "other unit",
            change("10^6bits/s\nLOCAL", "MBytes/s\nLOCAL"),
            Some(22),
            "10^6bits/s",
        ),
        (
            "other protocol",
            change("PROTOCOL=UDP", "PROTOCOL=SCTP"),
            Some(14),
            "neither TCP",
        ),
        (
            "no interval",
            change("[0]=1.600", "[0]=nan"),
            Some(4),
            "no number",
        ),
        (
            "strange interval",
            change("NETPERF_UNITS[0]", "NETPERF_ROUND[0]"),
            Some(3),
            "not known",
        ),
    ];
    for (what, text, line, says) in cases {
        let error = parse(&Netperf, &client(), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert!(line.is_none() || error.line == line, "{what}: {error}");
        assert!(error.file.starts_with("raw/"), "{what}");
    }
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    for text in [
        recorded!("udp-loss.client.txt"),
        recorded!("tcp.client.txt"),
    ] {
        check_every_cut(&Netperf, &client(), text.as_bytes(), "");
        check_damage(&Netperf, &client(), text.as_bytes(), "");
    }
    let mut cut = client();
    cut.truncated = true;
    assert!(parse(&Netperf, &cut, recorded!("udp.client.txt").as_bytes(), "").is_err());
}

#[test]
fn the_servers_side_and_the_warm_up_are_not_read() {
    for stream in ["server", "warm-up"] {
        let mut other = client();
        other.stream = name(stream);
        assert_eq!(parse(&Netperf, &other, b"anything", "").unwrap(), []);
    }
}

fn options(value: Value) -> NetperfOptions {
    crate::options::read(value.as_object().unwrap()).unwrap()
}

#[test]
fn refuses_bad_options() {
    for bad in [
        json!({"rate": "10Mb/s"}),
        json!({"length": 0}),
        json!({"length": 65508}),
        json!({"port": 80}),
    ] {
        assert!(options(bad.clone()).check().is_err(), "{bad}");
    }
    for bad in [json!({"protocol": "sctp"}), json!({"lenght": 18})] {
        let read = crate::options::read::<NetperfOptions>(bad.as_object().unwrap());
        assert!(read.is_err(), "{bad}");
    }
}

mod start {
    use std::time::Duration;

    use vexp_api::site::DataAddress;
    use vexp_api::spec::Role;
    use vexp_testkit::{FakeShell, context};

    use super::*;
    use crate::testing::{flow, request};
    use crate::traffic::ports::recorded::{TCP_LET_GO, TCP_LISTENS};

    const LOOK: &str = "$ cat /proc/net/tcp /proc/net/tcp6\n";

    /// Sockets before and after the server listens: a recording of another port's.
    fn sockets() -> [String; 2] {
        [TCP_LET_GO, TCP_LISTENS].map(|list| list.replace(":1451 ", ":3241 "))
    }

    const SERVER: &str = "$ netserver -D -N -4 -p 12865\n";

    fn client_command(control: &str, seconds: u32, data: &str) -> String {
        format!(
            "$ netperf -H {control},4 -p 12865 -t UDP_STREAM -l {seconds} -f m -D 1 -- \
             -H 198.18.0.2,4{data} -R 1 -m 1472 -k {}\n",
            KEYS.join(",")
        )
    }

    #[tokio::test]
    async fn warm_up_then_the_test_with_control_apart_from_data() {
        let text = recorded!("udp.client.txt");
        let [free, listens] = sockets();
        let sink = format!("{LOOK}{free}{SERVER}{LOOK}{listens}");
        let sink = FakeShell::replay(name("peer1"), &sink).at("198.19.255.100".parse().unwrap());
        let data = " -L 198.18.0.10,4";
        let source = format!(
            "{}warm\n{}{text}",
            client_command("198.19.255.100", 1, data),
            client_command("198.19.255.100", 3, data)
        );
        let source = FakeShell::replay(name("vm1"), &source);
        let mut flow = flow(&source, &sink);
        flow.source.data = ["fd00::1", "198.18.0.10"]
            .map(|address| DataAddress {
                address: address.parse().unwrap(),
                prefix: 24,
            })
            .to_vec();
        let mut request = request(Role::Sender, vec![flow]);
        request.window = Duration::from_secs(3);
        let running = Netperf.start(&request, &context()).await.unwrap();
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
            [
                "raw/vm1.netperf.warm-up.txt",
                "raw/vm1.netperf.client.txt",
                "raw/vm1.netperf.server.txt"
            ]
        );
        let (first, second) = (&finished.artefacts[0], &finished.artefacts[1]);
        assert_eq!(second.bytes, text.as_bytes());
        // The warm-up's time lies between their starts.
        let lead = second.artefact.started_s - first.artefact.started_s;
        assert!((1.0..1.9).contains(&lead), "{lead}");
    }

    #[tokio::test]
    async fn without_warm_up_and_control_network_there_is_one_test() {
        let [free, listens] = sockets();
        let sink = format!("{LOOK}{free}{SERVER}{LOOK}{listens}");
        let sink = FakeShell::replay(name("peer1"), &sink);
        let source = format!("{}x\n", client_command("198.18.0.2", 1, ""));
        let source = FakeShell::replay(name("vm1"), &source);
        let mut request = request(Role::Sender, vec![flow(&source, &sink)]);
        request.warm_up = Duration::ZERO;
        let running = Netperf.start(&request, &context()).await.unwrap();
        assert_eq!(running.finish().await.unwrap().artefacts.len(), 2);
        source.finish().unwrap();
    }

    #[tokio::test]
    async fn refuses_a_rate_before_anything_is_started() {
        let nothing = || FakeShell::replay(name("vm1"), "");
        let mut request = request(Role::Sender, vec![flow(&nothing(), &nothing())]);
        request.options = json!({"rate": "1Mb/s"}).as_object().unwrap().clone();
        let error = Netperf.start(&request, &context()).await.err().unwrap();
        assert!(error.to_string().contains("without pacing"), "{error}");
    }
}
