use vexp_api::record::Artefact;
use vexp_api::sample::NodeRole;

use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, name, of, parse};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/iputils-20240905/", $file))
    };
}

fn from(node: &str) -> Artefact {
    let mut artefact = Artefact {
        flow: Some(name("vm1")),
        ..artefact("ping", "stdout", (node, NodeRole::Peer))
    };
    artefact.about.insert(name("vm1"), NodeRole::Guest);
    artefact
}

#[test]
fn one_value_a_reply() {
    let (text, times) = (recorded!("ok.txt"), recorded!("ok.txt.times"));
    let samples = parse(&Ping, &from("peer1"), text.as_bytes(), times).unwrap();
    let rtts = of(&samples, "rtt");
    assert_eq!(rtts.len(), 20);
    assert_eq!(rtts[0].2, 0.242);
    assert_eq!(rtts[19].2, 0.060);
    // Their distance is the prober's clock's: 1795381323.243819 - 1795381321.252524.
    assert!((rtts[19].0 - rtts[0].0 - 1.991_295).abs() < 1e-5);
    assert_eq!(of(&samples, "loss")[0].2, 0.0);
    assert!(
        samples
            .iter()
            .all(|s| s.node == *"vm1" && s.role == NodeRole::Guest)
    );
}

#[test]
fn lost_probes_are_loss_and_no_round_trip() {
    let lossy = parse(&Ping, &from("vm1"), recorded!("lossy.txt").as_bytes(), "").unwrap();
    assert_eq!(of(&lossy, "rtt").len(), 16);
    assert_eq!(of(&lossy, "loss")[0].2, 20.0);
    for text in [recorded!("lost.txt"), recorded!("unreachable.txt")] {
        let samples = parse(&Ping, &from("vm1"), text.as_bytes(), "").unwrap();
        assert_eq!(samples.len(), 1);
        assert_eq!(of(&samples, "loss")[0].2, 100.0);
    }
}

#[test]
fn a_duplicate_is_not_a_round_trip() {
    let text = recorded!("ok.txt").replacen(
        "icmp_seq=2 ttl=64 time=0.050 ms\n",
        "icmp_seq=2 ttl=64 time=0.050 ms\n\
         [1795381321.356500] 64 bytes from 198.18.77.2: icmp_seq=2 ttl=64 time=0.109 ms (DUP!)\n\
         From 198.18.77.1 icmp_seq=3 Destination Host Unreachable\n",
        1,
    );
    let text = text.replace("20 received, 0%", "20 received, +1 duplicates, 0%");
    let samples = parse(&Ping, &from("vm1"), text.as_bytes(), "").unwrap();
    assert_eq!(of(&samples, "rtt").len(), 20);
}

#[test]
fn warm_up_probes_are_kept_and_not_read() {
    let mut warm_up = from("vm1");
    warm_up.stream = name("warm-up");
    assert_eq!(
        parse(&Ping, &warm_up, recorded!("ok.txt").as_bytes(), "").unwrap(),
        []
    );
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let text = recorded!("ok.txt");
    let change = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let cases = [
        ("empty", String::new(), None, "no summary"),
        (
            "no summary",
            text.split("\n---").next().unwrap().to_owned() + "\n",
            None,
            "no summary",
        ),
        (
            "nan",
            change("time=0.242", "time=nan"),
            Some(2),
            "round-trip time",
        ),
        (
            "negative",
            change("time=0.242", "time=-0.242"),
            Some(2),
            "clock",
        ),
        ("zero", change("time=0.242", "time=0.000"), Some(2), "clock"),
        (
            "seconds",
            change("time=0.242 ms", "time=0.242 s"),
            Some(2),
            "in ms",
        ),
        (
            "no stamp",
            change("[1795381321.252524] ", ""),
            Some(2),
            "-D",
        ),
        (
            "bad stamp",
            change("1795381321.252524", "1795381321.2.5"),
            Some(2),
            "-D",
        ),
        (
            "reply lost",
            change(
                "[1795381321.463761] 64 bytes from 198.18.77.2: icmp_seq=3 ttl=64 time=0.053 ms\n",
                "",
            ),
            Some(23),
            "19 replies",
        ),
        (
            "answered twice",
            change("icmp_seq=3", "icmp_seq=2"),
            Some(4),
            "twice",
        ),
        (
            "none sent",
            change(
                "20 packets transmitted, 20 received",
                "0 packets transmitted, 0 received",
            ),
            Some(24),
            "0 of",
        ),
        (
            "more received",
            change("20 packets transmitted", "19 packets transmitted"),
            Some(24),
            "summary",
        ),
        ("two runs", format!("{text}{text}"), Some(26), "two runs"),
        (
            "something else",
            format!("hello\n{text}"),
            Some(1),
            "not a line",
        ),
    ];
    for (what, text, line, says) in cases {
        let error = parse(&Ping, &from("vm1"), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert_eq!(error.line, line, "{what}: {error}");
    }
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    for (text, times) in [
        (recorded!("ok.txt"), recorded!("ok.txt.times")),
        (recorded!("lossy.txt"), recorded!("lossy.txt.times")),
    ] {
        check_every_cut(&Ping, &from("vm1"), text.as_bytes(), times);
        check_damage(&Ping, &from("vm1"), text.as_bytes(), times);
    }
}

#[test]
fn options_have_limits() {
    let read =
        |value: serde_json::Value| crate::options::read::<PingOptions>(value.as_object().unwrap());
    assert!(read(serde_json::json!({})).unwrap().check().is_ok());
    for bad in [
        serde_json::json!({"interval": "1ms"}),
        serde_json::json!({"interval": "2500us"}),
        serde_json::json!({"size": 8}),
    ] {
        assert!(read(bad.clone()).unwrap().check().is_err(), "{bad}");
    }
    assert!(read(serde_json::json!({"interval": 5})).is_err());
    let options = read(serde_json::json!({"interval": "250ms"})).unwrap();
    assert_eq!(options.count(Duration::from_secs(3)), 12);
    assert_eq!(options.count(Duration::ZERO), 1);
}

#[tokio::test]
async fn warms_up_first_and_keeps_both() {
    use vexp_api::spec::Role;
    use vexp_testkit::{FakeShell, context};

    use crate::testing::{flow, request};

    let text = recorded!("ok.txt");
    let ping = |count: u32| {
        format!("$ env LC_ALL=C ping -n -D -i 0.100 -c {count} -W 1 -s 56 198.18.0.2\n{text}")
    };
    let source = FakeShell::replay(name("peer1"), &format!("{}{}", ping(10), ping(20)));
    let sink = FakeShell::replay(name("vm1"), "");
    let mut one = flow(&source, &sink);
    one.subject = name("vm1");
    let mut request = request(Role::Receiver, vec![one]);
    request.warm_up = Duration::from_secs(1);
    request.window = Duration::from_secs(2);
    let running = Ping.start(&request, &context()).await.unwrap();
    let finished = running.finish().await.unwrap();
    source.finish().unwrap();
    let of = |n: usize| {
        (
            &finished.artefacts[n].artefact,
            finished.artefacts[n].bytes.as_slice(),
        )
    };
    let (artefact, bytes) = of(0);
    assert_eq!(artefact.path, "raw/vm1.ping.warm-up.txt");
    assert_eq!(parse(&Ping, artefact, bytes, "").unwrap(), []);
    let (artefact, bytes) = of(1);
    assert_eq!(artefact.path, "raw/vm1.ping.stdout.txt");
    let samples = parse(&Ping, artefact, bytes, "").unwrap();
    assert_eq!(samples.len(), 21);
    assert!(
        samples
            .iter()
            .all(|s| s.node == *"vm1" && s.role == NodeRole::Guest)
    );
}

#[test]
fn ping_is_a_closed_loop() {
    assert_eq!(Ping.traffic_loop(&Options::new()), Some(Loop::Closed));
}
