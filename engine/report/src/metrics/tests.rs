//! Metrics against closed forms: series are constant or have means that one can work out by hand.

use vexp_api::ids::Name;
use vexp_api::plan::Trial;
use vexp_api::record::Part;
use vexp_api::sample::{NodeRole, Sample, Unit};
use vexp_api::spec::{MeasureUse, Options, Role};
use vexp_api::units::TimeSpan;

use super::observed::{Classical, Estimates, Key, Observed};
use super::repetition::Repetition;
use super::series::Estimate;
use crate::frame::{Row, TrialFrame};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Samples of a series a second apart.
fn rows(part: Part, tool: &str, metric: &str, node: &str, values: &[f64]) -> Vec<Row> {
    let row = |(i, value): (usize, &f64)| Row {
        part,
        tool: name(tool),
        sample: Sample {
            node: name(node),
            role: if node == "host" {
                NodeRole::Host
            } else {
                NodeRole::Guest
            },
            metric: name(metric),
            unit: Unit::One,
            t: i as f64,
            dt: 1.0,
            value: *value,
        },
    };
    values.iter().enumerate().map(row).collect()
}

fn traffic(metric: &str, node: &str, values: &[f64]) -> Vec<Row> {
    rows(Part::Traffic, "iperf3", metric, node, values)
}

fn xentop(node: &str, values: &[f64]) -> Vec<Row> {
    rows(Part::Monitor, "xentop", "cpu", node, values)
}

fn sar(metric: &str, values: &[f64]) -> Vec<Row> {
    rows(Part::Monitor, "sar", metric, "host", values)
}

fn trial(vms: u32) -> Trial {
    let tool = MeasureUse {
        tool: name("iperf3"),
        options: Options::new(),
    };
    Trial {
        id: name("t"),
        experiment: name("e"),
        platform: name("p"),
        role: Role::Sender,
        vms,
        repetition: 1,
        boot: 1,
        traffic: tool,
        load: None,
        measured: None,
        monitors: Vec::new(),
        warm_up: TimeSpan::from_secs(1),
        window: TimeSpan::from_secs(3),
    }
}

fn observed(vms: u32, rows: Vec<Vec<Row>>) -> Observed {
    let trial = trial(vms);
    Observed::new(&TrialFrame {
        asked: None,
        traffic_loop: None,
        trial,
        rows: rows.concat(),
    })
}

fn of(estimates: &Estimates, metric: &'static str, node: Option<&str>) -> Option<f64> {
    let node = node.map(name);
    estimates
        .get(&Key { metric, node })
        .map(|found| found.value())
}

#[test]
fn throughput_and_its_fairness() {
    let seen = observed(
        2,
        vec![
            traffic("throughput", "vm1", &[90.0, 110.0, 100.0]),
            traffic("throughput", "vm2", &[300.0, 300.0, 300.0]),
            // What the source sent is not what arrived.
            traffic("throughput_sent", "vm2", &[900.0, 900.0, 900.0]),
            // Load on others is not measured traffic.
            rows(Part::Load, "iperf3", "throughput", "vm3", &[1e3, 1e3, 1e3]),
        ],
    );
    let classical = Classical {
        throughput: Some(Estimate::new(800.0, 3)),
        ..Classical::default()
    };
    let found = seen.estimates(None, classical);
    assert_eq!(of(&found, "throughput", Some("vm1")), Some(100.0));
    assert_eq!(of(&found, "throughput", Some("vm3")), None);
    assert_eq!(of(&found, "throughput_aggregate", None), Some(400.0));
    assert_eq!(of(&found, "fair_share", None), Some(200.0));
    assert_eq!(of(&found, "offered_load", Some("vm2")), Some(900.0));
    assert_eq!(of(&found, "efficiency", None), Some(0.5));
    // (100 + 300)^2 / (2 (100^2 + 300^2))
    assert_eq!(of(&found, "jain_throughput", None), Some(0.8));
    // Nobody accounted processor time, which is not the same as none used.
    assert_eq!(of(&found, "cpu_total", None), None);
    assert_eq!(of(&found, "cpu_per_mbps", None), None);
    assert_eq!(
        of(
            &seen.estimates(None, Classical::default()),
            "efficiency",
            None
        ),
        None
    );
}

#[test]
fn intervals_weigh_by_their_length() {
    let mut rows = traffic("throughput", "host", &[100.0, 400.0]);
    rows[0].sample.dt = 2.0;
    // (2 * 100 + 1 * 400) / 3
    let found = observed(0, vec![rows]).estimates(None, Classical::default());
    assert_eq!(of(&found, "throughput_aggregate", None), Some(200.0));
}

#[test]
fn xentop_accounts_domains() {
    let found = observed(
        2,
        vec![
            traffic("throughput", "vm1", &[50.0]),
            traffic("throughput", "vm2", &[50.0]),
            xentop("host", &[60.0, 80.0]),
            xentop("vm1", &[10.0, 10.0]),
            xentop("vm2", &[30.0, 30.0]),
            // sar in dom0 sees dom0 alone.
            sar("cpu", &[65.0, 65.0]),
            sar("cpu_guest_time", &[0.0, 0.0]),
        ],
    )
    .estimates(None, Classical::default());
    assert_eq!(of(&found, "cpu_host", None), Some(70.0));
    assert_eq!(of(&found, "cpu_guest", Some("vm2")), Some(30.0));
    assert_eq!(of(&found, "cpu_guest", None), Some(20.0));
    assert_eq!(of(&found, "cpu_total", None), Some(110.0));
    assert_eq!(of(&found, "jain_cpu", None), Some(0.8));
    assert_eq!(of(&found, "cpu_per_mbps", None), Some(1.1));
}

#[test]
fn sar_under_kvm_has_the_guests_inside() {
    let found = observed(
        2,
        vec![
            traffic("throughput", "vm1", &[50.0]),
            traffic("throughput", "vm2", &[50.0]),
            sar("cpu", &[150.0, 150.0]),
            sar("cpu_guest_time", &[80.0, 80.0]),
        ],
    )
    .estimates(None, Classical::default());
    assert_eq!(of(&found, "cpu_total", None), Some(150.0));
    assert_eq!(of(&found, "cpu_host", None), Some(70.0));
    assert_eq!(of(&found, "cpu_guest", None), Some(40.0));
    // Which guest had how much is not known.
    assert_eq!(of(&found, "cpu_guest", Some("vm1")), None);
    assert_eq!(of(&found, "jain_cpu", None), None);
}

#[test]
fn sar_on_classical_linux_has_no_guests() {
    let found = observed(
        0,
        vec![
            traffic("throughput", "host", &[100.0]),
            sar("cpu", &[64.0]),
            sar("cpu_guest_time", &[0.0]),
        ],
    )
    .estimates(None, Classical::default());
    assert_eq!(of(&found, "cpu_total", None), Some(64.0));
    assert_eq!(of(&found, "cpu_host", None), Some(64.0));
    assert_eq!(of(&found, "cpu_guest", None), None);
    assert_eq!(of(&found, "cpu_per_mbps", None), Some(0.64));
}

#[test]
fn a_missing_domain_leaves_the_sum_unknown() {
    let found = observed(
        2,
        vec![
            traffic("throughput", "vm1", &[50.0]),
            traffic("throughput", "vm2", &[50.0]),
            xentop("host", &[60.0]),
            xentop("vm1", &[10.0]),
        ],
    )
    .estimates(None, Classical::default());
    assert_eq!(of(&found, "cpu_host", None), Some(60.0));
    assert_eq!(of(&found, "cpu_guest", None), None);
    assert_eq!(of(&found, "cpu_total", None), None);
}

#[test]
fn latency_is_the_mean_over_replies_and_then_over_machines() {
    let mut many = traffic("rtt", "vm1", &[1.0, 1.0, 1.0, 1.0]);
    let mut few = traffic("rtt", "vm2", &[3.0]);
    many.iter_mut()
        .chain(&mut few)
        .for_each(|row| row.sample.dt = 0.0);
    let loss = [("vm1", 0.0), ("vm2", 75.0)].map(|(node, lost)| traffic("loss", node, &[lost]));
    let found =
        observed(2, vec![many.clone(), few, loss.concat()]).estimates(None, Classical::default());
    assert_eq!(of(&found, "latency", Some("vm2")), Some(3.0));
    assert_eq!(of(&found, "latency", None), Some(2.0));
    assert_eq!(of(&found, "loss", None), Some(37.5));
    // A machine that answered nothing is not left out of the mean in silence.
    let found = observed(2, vec![many, loss.concat()]).estimates(None, Classical::default());
    assert_eq!(of(&found, "latency", Some("vm1")), Some(1.0));
    assert_eq!(of(&found, "latency", None), None);
}

#[test]
fn nothing_transferred_has_no_fairness() {
    let found = observed(
        2,
        vec![
            traffic("throughput", "vm1", &[0.0]),
            traffic("throughput", "vm2", &[0.0]),
            xentop("host", &[1.0]),
            xentop("vm1", &[0.0]),
            xentop("vm2", &[0.0]),
        ],
    )
    .estimates(None, Classical::default());
    assert_eq!(of(&found, "throughput_aggregate", None), Some(0.0));
    assert_eq!(of(&found, "jain_throughput", None), None);
    assert_eq!(of(&found, "cpu_per_mbps", None), None);
}

#[test]
fn replicates_of_constant_series_are_constant() {
    let seen = observed(1, vec![traffic("throughput", "vm1", &[7.0; 9])]);
    let mut bootstrap = crate::stats::Bootstrap::new(1, "t");
    for _ in 0..20 {
        let draw = bootstrap.draw(seen.lengths());
        let found = seen.estimates(Some(&draw), Classical::default());
        assert_eq!(of(&found, "throughput_aggregate", None), Some(7.0));
    }
}

#[test]
fn pidstat_tells_the_guests_of_kvm_apart() {
    let pidstat = |node, values: &[f64]| rows(Part::Monitor, "pidstat", "cpu", node, values);
    let found = observed(
        2,
        vec![
            traffic("throughput", "vm1", &[50.0]),
            traffic("throughput", "vm2", &[50.0]),
            pidstat("vm1", &[60.0, 60.0]),
            pidstat("vm2", &[20.0, 20.0]),
            sar("cpu", &[150.0, 150.0]),
            sar("cpu_guest_time", &[70.0, 70.0]),
        ],
    )
    .estimates(None, Classical::default());
    // sar has seen the processes as well: nothing is added twice.
    assert_eq!(of(&found, "cpu_total", None), Some(150.0));
    assert_eq!(of(&found, "cpu_host", None), Some(70.0));
    assert_eq!(of(&found, "cpu_guest", Some("vm1")), Some(60.0));
    assert_eq!(of(&found, "cpu_guest", None), Some(40.0));
    assert_eq!(of(&found, "jain_cpu", None), Some(0.8));
}

#[test]
fn relative_metrics_are_against_classical_linux() {
    let classical = observed(
        0,
        vec![
            traffic("throughput", "host", &[100.0]),
            traffic("rtt", "host", &[2.0]),
            sar("cpu", &[64.0]),
            sar("cpu_guest_time", &[0.0]),
        ],
    )
    .as_classical(None);
    let found = observed(
        1,
        vec![
            traffic("throughput", "vm1", &[90.0]),
            traffic("rtt", "vm1", &[3.0]),
            xentop("host", &[60.0]),
            xentop("vm1", &[36.0]),
        ],
    )
    .estimates(None, classical);
    assert_eq!(of(&found, "efficiency", None), Some(0.9));
    assert_eq!(of(&found, "cpu_relative", None), Some(1.5));
    assert_eq!(of(&found, "latency_relative", None), Some(1.5));
}

#[test]
fn loss_of_all_is_lost_over_sent() {
    let packets = |node, values: &[f64]| traffic("packets_per_second", node, values);
    let found = observed(
        2,
        vec![
            traffic("throughput", "vm1", &[1.0]),
            traffic("throughput", "vm2", &[1.0]),
            traffic("loss", "vm1", &[0.0]),
            traffic("loss", "vm2", &[90.0]),
            packets("vm1", &[900.0]),
            packets("vm2", &[10.0]),
        ],
    )
    .estimates(None, Classical::default());
    // 90 of 1000, not the mean of 0 % and 90 %.
    assert!((of(&found, "loss", None).unwrap() - 9.0).abs() < 1e-9);
    assert!((of(&found, "loss", Some("vm2")).unwrap() - 90.0).abs() < 1e-9);
    assert_eq!(of(&found, "packets_aggregate", None), Some(910.0));
}

#[test]
fn percentiles_and_jitter_of_replies() {
    let values: Vec<f64> = (0..=100).map(f64::from).collect();
    let found = observed(1, vec![traffic("rtt", "vm1", &values)]);
    let found = found.estimates(None, Classical::default());
    for (metric, value) in [
        ("latency", 50.0),
        ("latency_p50", 50.0),
        ("latency_p95", 95.0),
        ("latency_p99", 99.0),
        ("jitter", 1.0),
    ] {
        assert_eq!(of(&found, metric, Some("vm1")), Some(value), "{metric}");
        assert_eq!(of(&found, metric, None), Some(value), "{metric}");
    }
}

/// One slow machine of two: the mean of the two 95th percentiles would be a time that no round trip took.
#[test]
fn percentiles_of_several_machines_are_those_of_all_round_trips() {
    let fast: Vec<f64> = (0..=100).map(f64::from).collect();
    let slow: Vec<f64> = (0..=100).map(|i| f64::from(i) + 1_000.0).collect();
    let rows = vec![traffic("rtt", "vm1", &fast), traffic("rtt", "vm2", &slow)];
    let found = observed(2, rows).estimates(None, Classical::default());
    let mut all = [fast, slow].concat();
    all.sort_by(f64::total_cmp);
    for (metric, p) in [
        ("latency_p50", 0.5),
        ("latency_p95", 0.95),
        ("latency_p99", 0.99),
    ] {
        let exact = crate::stats::quantile(&all, p);
        assert_eq!(of(&found, metric, None), exact, "{metric}");
    }
    assert_eq!(of(&found, "latency_p95", Some("vm1")), Some(95.0));
    assert!(of(&found, "latency_p95", None) > Some(1_089.0));
}

/// Repetitions of unequal length weigh by their round trips, and none is counted as a mean of percentiles.
#[test]
fn percentiles_of_repetitions_are_those_of_all_round_trips() {
    let values = |base: f64, n: u32| (0..n).map(move |i| base + f64::from(i));
    let repetitions: Vec<Vec<f64>> = vec![values(0.0, 300).collect(), values(5e3, 30).collect()];
    let observed: Vec<Observed> = repetitions
        .iter()
        .map(|rtt| observed(1, vec![traffic("rtt", "vm1", rtt)]))
        .collect();
    let trials: Vec<_> = observed.iter().map(|_| trial(1)).collect();
    let key = Key {
        metric: "latency_p95",
        node: None,
    };
    let made: Vec<Repetition<'_>> = trials
        .iter()
        .zip(observed)
        .map(|(trial, one)| Repetition::new(trial, std::rc::Rc::new(one), None, false, 1))
        .collect();
    let (value, samples) = super::merged(&super::sampled(&made, &key), 0.95).unwrap();
    let mut all = repetitions.concat();
    all.sort_by(f64::total_cmp);
    assert_eq!(
        (Some(value), samples),
        (crate::stats::quantile(&all, 0.95), 330)
    );
}

#[test]
fn counters_say_what_was_lost_and_where() {
    let count = |node: &str, role, metric: &str, value| {
        let mut rows = rows(Part::Monitor, "counters", metric, node, &[value]);
        rows[0].sample.role = role;
        rows[0].sample.unit = Unit::Count;
        rows
    };
    let all = vec![
        traffic("throughput", "vm1", &[1.0]),
        traffic("loss", "vm1", &[20.0]),
        count("vm1", NodeRole::Guest, "data0.tx_packets", 1000.0),
        count("vm1", NodeRole::Guest, "data0.qdisc_dropped", 3.0),
        count("vm1", NodeRole::Guest, "ctl0.rx_dropped", 77.0),
        count("peer1", NodeRole::Peer, "data0.rx_packets", 750.0),
        count("peer1", NodeRole::Peer, "data0.tx_packets", 9.0),
        count("peer1", NodeRole::Peer, "udp_in_errors", 4.0),
        count("host", NodeRole::Host, "vif1.0.rx_dropped", 40.0),
    ];
    let found = observed(1, all.clone()).totals();
    assert_eq!(of(&found, "loss_counters", None), Some(25.0));
    assert_eq!(of(&found, "dropped", Some("vm1")), Some(3.0));
    assert_eq!(of(&found, "dropped", Some("peer1")), Some(4.0));
    assert_eq!(of(&found, "dropped", Some("host")), Some(40.0));
    assert_eq!(of(&found, "dropped", None), Some(47.0));
    // Of one of two machines it would be no account of both.
    let found = observed(2, all).totals();
    assert_eq!(of(&found, "loss_counters", None), None);
}

/// What a machine lost counts by what was sent to it, also where it lost everything: the sender's
/// counts say so, and without them nothing is told of all.
#[test]
fn loss_is_weighed_by_what_was_sent() {
    let of_loss = |second: f64, received: f64, sent: Option<[f64; 2]>| {
        let packets = |node, value| traffic("packets_per_second", node, &[value]);
        let mut rows = vec![
            traffic("throughput", "vm1", &[1.0]),
            traffic("throughput", "vm2", &[0.0]),
            traffic("loss", "vm1", &[0.0]),
            traffic("loss", "vm2", &[second]),
            packets("vm1", 990.0),
            packets("vm2", received),
        ];
        if let Some([first, second]) = sent {
            rows.push(traffic("packets_sent_per_second", "vm1", &[first]));
            rows.push(traffic("packets_sent_per_second", "vm2", &[second]));
        }
        let found = observed(2, rows).estimates(None, Classical::default());
        (of(&found, "loss", None), of(&found, "loss", Some("vm2")))
    };
    let sent = Some([990.0, 10.0]);
    assert_eq!(of_loss(100.0, 0.0, sent), (Some(1.0), Some(100.0)));
    assert_eq!(of_loss(99.0, 0.1, sent), (Some(0.99), Some(99.0)));
    // Not the mean of 0 % and 100 %.
    assert_eq!(of_loss(100.0, 0.0, None), (None, Some(100.0)));
}

#[test]
fn blocks_show_and_give_a_step() {
    use super::series::block_step;
    // Windows of a second with 3, 4 and 4 blocks of 128 KiB.
    let block = 131_072.0 * 8.0 / 1e6;
    let series = [3.0, 4.0, 4.0].map(|blocks| (blocks * block, 1.0));
    assert!((block_step(&series.to_vec()) - block / 3.0).abs() < 1e-9);
    // Intervals that are no round seconds.
    let series = [(3.0, 0.998), (4.0, 1.003)].map(|(blocks, dt)| (blocks * block / dt, dt));
    assert!((block_step(&series.to_vec()) - block / 2.001).abs() < 1e-9);
    assert_eq!(block_step(&vec![(123.457, 1.0), (98.761, 1.0)]), 0.0);
    assert_eq!(block_step(&Vec::new()), 0.0);

    let found = observed(
        2,
        ["vm1", "vm2"]
            .map(|vm| traffic("throughput", vm, &[3.0 * block, 4.0 * block]))
            .to_vec(),
    );
    let found = found.estimates(
        None,
        Classical {
            throughput: Some(Estimate::new(100.0, 3)),
            ..Classical::default()
        },
    );
    let step = |metric| found[&Key { metric, node: None }].resolution();
    let expected = block / 2.0 * 2.0_f64.sqrt();
    assert!((step("throughput_aggregate") - expected).abs() < 1e-9);
    assert!((step("efficiency") - expected / 100.0).abs() < 1e-12);
    assert!(step("jain_throughput") > 0.0);
}

/// A sampled account of everything and an exact one of the guests can contradict each other.
#[test]
fn processor_time_of_a_host_is_never_negative() {
    let pidstat = |node, values: &[f64]| rows(Part::Monitor, "pidstat", "cpu", node, values);
    let found = observed(
        1,
        vec![
            traffic("throughput", "vm1", &[50.0]),
            pidstat("vm1", &[60.0, 60.0]),
            sar("cpu", &[58.0, 58.8]),
            sar("cpu_guest_time", &[50.0, 50.0]),
        ],
    )
    .estimates(None, Classical::default());
    assert_eq!(of(&found, "cpu_host", None), None);
    assert_eq!(of(&found, "cpu_total", None), Some(58.4));
    assert_eq!(of(&found, "cpu_guest", Some("vm1")), Some(60.0));
}

#[test]
fn an_exact_account_of_the_host_goes_before_a_sampled_one() {
    let uptime = |values: &[f64]| rows(Part::Monitor, "uptime", "cpu", "host", values);
    let pidstat = |node, values: &[f64]| rows(Part::Monitor, "pidstat", "cpu", node, values);
    let total = |vms, more: Vec<Vec<Row>>| {
        let found = observed(vms, more).estimates(None, Classical::default());
        (of(&found, "cpu_total", None), of(&found, "cpu_host", None))
    };
    let sampled = || vec![sar("cpu", &[55.0]), sar("cpu_guest_time", &[0.0])];
    let with = |more: Vec<Vec<Row>>| sampled().into_iter().chain(more).collect();
    assert_eq!(
        total(0, with(vec![uptime(&[75.0])])),
        (Some(75.0), Some(75.0))
    );
    let kvm = vec![uptime(&[75.0]), pidstat("vm1", &[40.0])];
    assert_eq!(total(1, with(kvm.clone())), (Some(75.0), Some(35.0)));
    assert_eq!(total(1, kvm), (Some(75.0), Some(35.0)), "without sar");
    let xen = vec![
        uptime(&[31.0]),
        xentop("host", &[30.0]),
        xentop("vm1", &[20.0]),
    ];
    assert_eq!(total(1, xen), (Some(50.0), Some(30.0)));
}
