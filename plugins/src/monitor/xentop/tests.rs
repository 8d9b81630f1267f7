use vexp_api::record::Artefact;
use vexp_api::sample::NodeRole;

use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, name, of, parse};

fn host(guests: &[&str]) -> Artefact {
    let mut artefact = artefact("xentop", "stdout", ("host", NodeRole::Host));
    if !guests.is_empty() {
        artefact.about.insert(name("host"), NodeRole::Host);
    }
    for guest in guests {
        artefact.about.insert(name(guest), NodeRole::Guest);
    }
    artefact
}

const HEADER: &str = "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n";

fn row(domain: &str, state: &str, cpu: &str, limit: &str) -> String {
    format!(
        "{domain:>10} {state}        318 {cpu:>6}    1048576   33.3 {limit}     2    0        0        0    0        0        0        0          0          0    0\n"
    )
}

const UNLIMITED: &str = "  no limit       n/a";

/// Two domains of which `vm1` appears in the second of four iterations.
fn text() -> String {
    let dom0 = |cpu| row("Domain-0", "-----r", cpu, UNLIMITED);
    let vm1 = |cpu| row("vm1", "--b---", cpu, "    230400       7.3");
    [
        HEADER,
        &dom0("0.0"),
        HEADER,
        &dom0("42.5"),
        &vm1("0.0"),
        HEADER,
        &dom0("43.5"),
        &vm1("12.1"),
        HEADER,
        &dom0("44.5"),
        &vm1("13.1"),
    ]
    .concat()
}

#[test]
fn first_values_of_every_domain_are_left_out() {
    let samples = parse(&Xentop, &host(&["vm1"]), text().as_bytes(), "").unwrap();
    let on = |node: &str| -> Vec<f64> {
        let samples = samples.iter().filter(|s| s.node == *node);
        samples.map(|s| s.value).collect()
    };
    assert_eq!(on("host"), [42.5, 43.5, 44.5]);
    assert_eq!(on("vm1"), [12.1, 13.1]);
    assert!(
        samples
            .iter()
            .all(|s| (s.role == NodeRole::Host) == (s.node == *"host"))
    );
}

#[test]
fn each_value_covers_the_time_since_the_iteration_before() {
    let times = "1.0\n1.1\n2.1\n2.1\n2.2\n3.0\n3.1\n3.2\n4.0\n4.1\n4.2\n";
    let samples = parse(&Xentop, &host(&["vm1"]), text().as_bytes(), times).unwrap();
    assert_eq!(of(&samples, "cpu")[0], (1.0, 1.1, 42.5));
    let error = parse(
        &Xentop,
        &host(&["vm1"]),
        text().as_bytes(),
        &"4.0\n".repeat(11),
    );
    assert!(error.unwrap_err().message.contains("buffered"));
}

#[test]
fn reads_what_xen_4_20_prints() {
    let text = include_str!("../../../testdata/xentop-4.20.4/loaded-1-domu.txt");
    let times = include_str!("../../../testdata/xentop-4.20.4/loaded-1-domu.txt.times");
    let samples = parse(&Xentop, &host(&["vm1"]), text.as_bytes(), times).unwrap();
    assert_eq!(samples.len(), 10);
    let cpu = of(&samples, "cpu");
    assert_eq!(
        (cpu[0].2, cpu[1].2, cpu[8].2, cpu[9].2),
        (67.6, 60.7, 110.2, 33.0)
    );
    assert!((cpu[0].0 - 2.120_229).abs() < 1e-9 && (cpu[0].1 - 1.375_609).abs() < 1e-6);
    check_every_cut(&Xentop, &host(&["vm1"]), text.as_bytes(), times);

    // Without -f names are cut to ten characters.
    for text in [
        include_str!("../../../testdata/xentop-4.20.4/idle-2-domu.txt"),
        include_str!("../../../testdata/xentop-4.20.4/sending-2-domu.txt"),
    ] {
        let guests = host(&["vm1", "a-guest-wi"]);
        let samples = parse(&Xentop, &guests, text.as_bytes(), "").unwrap();
        let iterations = text.lines().filter(|line| line.contains("NAME")).count();
        assert_eq!(samples.len(), 3 * (iterations - 1));
        check_every_cut(&Xentop, &guests, text.as_bytes(), "");
        check_damage(&Xentop, &guests, text.as_bytes(), "");
    }
    // With -n there are lines about networks, which vexp never asks for.
    let networks = include_str!("../../../testdata/xentop-4.20.4/full-name-networks-1-domu.txt");
    let error = parse(&Xentop, &host(&["vm1"]), networks.as_bytes(), "").unwrap_err();
    assert_eq!(error.line, Some(4));
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let text = text();
    let change = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let cases = [
        ("empty", String::new(), None, "no second sample"),
        (
            "one iteration",
            text.lines().take(2).map(|l| format!("{l}\n")).collect(),
            None,
            "no second",
        ),
        ("other tool", "hello\n".to_owned(), Some(1), "header"),
        ("nan", change(" 42.5", "  nan"), Some(4), "`nan`"),
        ("n/a", change(" 42.5", "  n/a"), Some(4), "`n/a`"),
        ("negative", change(" 42.5", " -2.5"), Some(4), "CPU(%)"),
        (
            "column lost",
            change(" 42.5", "     "),
            Some(4),
            "18 columns where the header has 19",
        ),
        (
            "limit lost",
            change("no limit       n/a", "no limit"),
            Some(2),
            "columns",
        ),
        (
            "no CPU column",
            change("CPU(%)", "CPU(x)"),
            Some(1),
            "no CPU(%)",
        ),
        (
            "stranger",
            text.replace("vm1", "vm9"),
            Some(8),
            "not a guest",
        ),
        (
            "bad name",
            text.replace("vm1", "$(i"),
            Some(8),
            "not a guest",
        ),
        (
            "twice",
            text.replace("     vm1", "Domain-0"),
            Some(5),
            "twice",
        ),
    ];
    for (what, text, line, says) in cases {
        let error = parse(&Xentop, &host(&["vm1"]), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert_eq!(error.line, line, "{what}: {error}");
    }
}

#[test]
fn a_dying_domain_is_left_out_and_an_unknown_file_is_read() {
    let dying = row("(null)", "d-----", "0.0", "    230400       7.3");
    let with = format!("{}{dying}", text());
    assert_eq!(
        parse(&Xentop, &host(&["vm1"]), with.as_bytes(), "")
            .unwrap()
            .len(),
        5
    );
    assert_eq!(
        parse(&Xentop, &host(&[]), text().as_bytes(), "")
            .unwrap()
            .len(),
        5
    );
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    check_every_cut(&Xentop, &host(&["vm1"]), text().as_bytes(), "");
    check_damage(&Xentop, &host(&["vm1"]), text().as_bytes(), "");
}

fn eight(text: &str, times: &str) -> Result<Vec<Sample>, vexp_api::plugin::ParseError> {
    let guests = ["vm1", "vm2", "vm3", "vm4", "vm5", "vm6", "vm7", "vm8"];
    parse(&Xentop, &host(&guests), text.as_bytes(), times)
}

#[test]
fn eight_domains_with_three_interfaces_each_are_read_under_load() {
    let samples = eight(
        include_str!("../../../testdata/xentop-4.20.4/routing-8-domu.txt"),
        include_str!("../../../testdata/xentop-4.20.4/routing-8-domu.txt.times"),
    )
    .unwrap();
    let dom0 = samples.iter().filter(|s| s.node == *"host");
    let longest = dom0.clone().map(|s| s.dt).fold(0.0, f64::max);
    assert!(dom0.count() >= 12 && longest < 2.5, "{longest}");
    assert_eq!(samples.iter().filter(|s| s.node == *"vm8").count(), 13);
}

#[test]
fn a_line_that_arrived_late_is_no_value_of_its_time() {
    let error = eight(
        include_str!("../../../testdata/xentop-4.20.4/late-8-domu.txt"),
        include_str!("../../../testdata/xentop-4.20.4/late-8-domu.txt.times"),
    )
    .unwrap_err();
    assert!(
        error.message.contains("Domain-0: 65.4 % over 6.98 s"),
        "{error}"
    );
    assert!(error.message.contains("arrived late"), "{error}");
}
