use vexp_api::record::Artefact;

use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, of, parse};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!(
            "../../../testdata/counters-iproute2-6.15.0/",
            $file
        ))
    };
}

const ROUTER: &str = recorded!("router.txt");

fn on(node: &str, role: NodeRole) -> Artefact {
    artefact("counters", "stdout", (node, role))
}

fn router(text: &str) -> Result<Vec<Sample>, ParseError> {
    let times = recorded!("router.txt.times");
    parse(
        &Counters,
        &on("vm1", NodeRole::Guest),
        text.as_bytes(),
        times,
    )
}

fn peer(name: &str, text: &str) -> Vec<Sample> {
    let peer = on(name, NodeRole::Peer);
    parse(&Counters, &peer, text.as_bytes(), "").unwrap()
}

/// The value of a metric that is there once.
fn value(samples: &[Sample], metric: &str) -> f64 {
    let found = of(samples, metric);
    assert_eq!(found.len(), 1, "{metric}");
    found[0].2
}

#[test]
fn packets_are_accounted_for_on_every_hop() {
    let sender = peer("peer1", recorded!("sender.txt"));
    let router = router(ROUTER).unwrap();
    let receiver = peer("peer2", recorded!("receiver.txt"));
    // iperf3 sent 15543 datagrams and missed 2786 of them.
    assert_eq!(
        value(&sender, "udp_sent") - value(&receiver, "udp_received"),
        2786.0
    );
    let (came, went) = ("data0.rx_packets", "data1.tx_packets");
    assert_eq!(value(&sender, "data0.tx_packets"), value(&router, came));
    assert_eq!(value(&router, "data1.qdisc_dropped"), 2786.0);
    assert_eq!(value(&router, went), value(&receiver, "data0.rx_packets"));
    assert_eq!(value(&router, "data1.qdisc_packets"), value(&router, went));
    assert_eq!(
        value(&router, "ip_forwarded"),
        value(&router, "ip_received")
    );
    // A router drops nothing but what its queue does.
    for metric in ["ip_out_discards", "data1.tx_dropped", "data0.rx_dropped"] {
        assert_eq!(value(&router, metric), 0.0, "{metric}");
    }
}

#[test]
fn a_difference_covers_the_time_between_the_readings() {
    let samples = router(ROUTER).unwrap();
    let times: Vec<f64> = recorded!("router.txt.times")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    let (end, begin) = (times[times.len() / 2], times[times.len() / 2 - 1]);
    for sample in &samples {
        assert_eq!((sample.t, sample.dt), (begin, end - begin));
        assert!(matches!(sample.unit, Unit::Count | Unit::Bytes));
        let metric = sample.metric.as_str();
        let last = metric.rsplit('.').next().unwrap();
        assert!(METRICS.iter().any(|info| info.name == last), "{metric}");
    }
    assert!(of(&samples, "lo.rx_packets").is_empty());
    // Without a queue there is nothing to say about one.
    assert!(of(&samples, "data0.qdisc_dropped").is_empty());
    let alone = parse(
        &Counters,
        &on("vm1", NodeRole::Guest),
        ROUTER.as_bytes(),
        "",
    )
    .unwrap();
    assert_eq!((alone[0].t, alone[0].dt), (10.0, 10.0));
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let second = ROUTER.match_indices("\n[{\"ifindex\"").next().unwrap().0 + 1;
    let (before, after) = ROUTER.split_at(second);
    let change = |from: &str, to: &str| {
        assert!(after.contains(from), "{from}");
        format!("{before}{}", after.replacen(from, to, 1))
    };
    let softnet = after.lines().last().unwrap();
    let cases = [
        ("empty", String::new(), None, "not two"),
        ("one reading", before.to_owned(), None, "not two"),
        (
            "three",
            format!("{ROUTER}{after}"),
            Some(35),
            "more than two",
        ),
        (
            "other tool",
            "hello\nyou\n".to_owned(),
            Some(1),
            "ip -s -s -json",
        ),
        (
            "set back",
            format!("{after}{before}"),
            Some(18),
            "data0: rx_packets went back",
        ),
        (
            "nan",
            change("\"packets\":", "\"packets\":nan,\"x\":"),
            Some(18),
            "not what `ip",
        ),
        (
            "negative",
            change("\"packets\":", "\"packets\":-"),
            Some(18),
            "not what `ip",
        ),
        (
            "no counters",
            change("\"stats64\"", "\"stats\""),
            Some(18),
            "stats64",
        ),
        (
            "gone",
            change("\"ifname\":\"data1\"", "\"ifname\":\"data2\""),
            Some(18),
            "data1 is gone",
        ),
        (
            "other",
            change("\"ifindex\":3", "\"ifindex\":9"),
            Some(18),
            "data1 was replaced",
        ),
        (
            "twice",
            change("\"ifname\":\"data1\"", "\"ifname\":\"data0\""),
            Some(18),
            "listed twice",
        ),
        (
            "queue",
            change("\"kind\":\"tbf\"", "\"kind\":\"fq\""),
            Some(18),
            "queue of data1 was",
        ),
        (
            "no queue",
            change("\"kind\":\"tbf\"", "\"kind\":\"noqueue\""),
            Some(18),
            "queue of data1 is",
        ),
        (
            "names",
            change("Udp: InDatagrams", "Udp: "),
            Some(28),
            "don't match",
        ),
        (
            "missing",
            change("RcvbufErrors", "Rcvbuf"),
            Some(18),
            "Udp RcvbufErrors",
        ),
        ("processor", after.replacen(softnet, "", 1), None, "not two"),
        (
            "processors",
            change(softnet, ""),
            Some(18),
            "2 processors at the start and 1",
        ),
        (
            "file",
            change("/proc/net/snmp", "/proc/net/snot"),
            Some(21),
            "no known file",
        ),
    ];
    for (what, text, line, says) in cases {
        let error = router(&text).unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert_eq!(error.line, line, "{what}: {error}");
    }
}

#[test]
fn names_of_interfaces_must_stay_apart() {
    let text = ROUTER.replace("\"data0\"", "\"enP1s0\"");
    let samples = router(&text).unwrap();
    assert_eq!(of(&samples, "enp1s0.rx_packets").len(), 1);
    let text = text.replace("\"data1\"", "\"enp1s0\"");
    let error = router(&text).unwrap_err();
    assert!(error.message.contains("both be called enp1s0"), "{error}");
    let error = router(&ROUTER.replace("\"data0\"", "\"@x\"")).unwrap_err();
    assert!(error.message.contains("is not a name"), "{error}");
}

#[test]
fn a_tool_that_failed_leaves_no_counters() {
    let mut artefact = on("vm1", NodeRole::Guest);
    artefact.status = Some(123);
    artefact.stderr = "env: 'tc': No such file or directory".to_owned();
    let error = parse(&Counters, &artefact, ROUTER.as_bytes(), "").unwrap_err();
    assert!(error.message.contains("'tc'"), "{error}");
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    let guest = on("vm1", NodeRole::Guest);
    check_every_cut(&Counters, &guest, ROUTER.as_bytes(), "");
    check_damage(&Counters, &guest, ROUTER.as_bytes(), "");
}

mod start {
    use std::sync::Arc;

    use vexp_api::spec::Role;
    use vexp_testkit::{FakeShell, context};

    use super::*;
    use crate::testing::{name, request};

    const COMMAND: &str = "nice -n -15 xargs -L 1 env";

    fn shell(node: &str, transcript: &str) -> FakeShell {
        FakeShell::replay(name(node), transcript)
    }

    fn node(shell: &FakeShell, role: NodeRole) -> Node {
        Node {
            name: vexp_api::shell::Shell::node(shell).clone(),
            role,
            shell: Arc::new(shell.clone()),
            data: Vec::new(),
        }
    }

    #[tokio::test]
    async fn every_hop_is_asked_before_and_after() {
        let asked = format!("$ {COMMAND}\nbefore\n$ {COMMAND}\nafter\n");
        let names = ["host", "vm1", "peer1", "switch"];
        let shells = names.map(|name| shell(name, &asked));
        let mut request = request(Role::Router, Vec::new());
        request.host = node(&shells[0], NodeRole::Host);
        request.guests = vec![node(&shells[1], NodeRole::Guest)];
        // A peer at both ends of flows is one node.
        request.peers = vec![node(&shells[2], NodeRole::Peer); 2];
        request.switch = Some(node(&shells[3], NodeRole::Switch));
        let running = Counters.start(&request, &context()).await.unwrap();
        let finished = running.finish().await.unwrap();
        assert_eq!(finished.artefacts.len(), 4);
        for captured in finished.artefacts {
            assert_eq!(captured.bytes, b"before\nafter\n");
            assert_eq!(captured.line_times.len(), 2);
            let artefact = captured.artefact;
            assert_eq!(artefact.digest, Digest::of(b"before\nafter\n"));
            let path = format!("raw/{}.counters.stdout.txt", artefact.node);
            assert_eq!(artefact.path, path);
            assert!(artefact.command.contains("(ip -s -s -json link show; tc "));
            // The kernel's counters are not a name space's.
            let kernel = artefact.command.contains("softnet_stat");
            assert_eq!(kernel, artefact.role != NodeRole::Peer);
        }
        for shell in shells {
            shell.finish().unwrap();
            let input = String::from_utf8(shell.input(COMMAND).unwrap()).unwrap();
            assert_eq!(input.lines().count(), 3, "{input}");
        }
    }

    #[tokio::test]
    async fn a_tool_that_fails_once_shows() {
        let asked = format!("$ {COMMAND}\n! 123 no tc\n$ {COMMAND}\nafter\n");
        let host = shell("host", &asked);
        let mut request = request(Role::Sender, Vec::new());
        request.host = node(&host, NodeRole::Host);
        request.guests.clear();
        let running = Counters.start(&request, &context()).await.unwrap();
        let artefact = running.finish().await.unwrap().artefacts.remove(0).artefact;
        assert_eq!(
            (artefact.status, artefact.stderr.as_str()),
            (Some(123), "no tc")
        );
    }
}
