use serde_json::{Value, json};
use vexp_api::record::{Artefact, Part};
use vexp_api::sample::{NodeRole, Unit};

use super::*;
use crate::testing::{artefact, name, of, parse};

const PING: &str = include_str!("../../testdata/iputils-20240905/ok.txt");
const OMNI: &str = include_str!("../../testdata/command-netperf-2.7.1/omni.csv");
const IPERF3: &str = include_str!("../../testdata/iperf3-3.18/tcp-plain.server.json");
const VMSTAT: &str = include_str!("../../testdata/command-procps-4.0.4/vmstat.txt");
const VMSTAT_TIMES: &str = include_str!("../../testdata/command-procps-4.0.4/vmstat.txt.times");

fn object(value: Value) -> vexp_api::spec::Options {
    value.as_object().unwrap().clone()
}

/// A run of 10 s by `command` on `peer1` for `vm1`.
fn run(extract: Value) -> Artefact {
    Artefact {
        flow: Some(name("vm1")),
        options: object(json!({"argv": ["tool"], "extract": [extract]})),
        ..artefact("command", "stdout", ("peer1", NodeRole::Peer))
    }
}

fn error(artefact: &Artefact, text: &str) -> String {
    let error = parse(&Command, artefact, text.as_bytes(), "").unwrap_err();
    assert!(error.file.starts_with("raw/"), "{error}");
    error.to_string()
}

#[test]
fn a_regular_expression_finds_one_value_of_the_run() {
    let extract = json!({
        "regex": "^rtt min/avg/max/mdev = [0-9.]+/(?<value>[0-9.]+)/",
        "metric": "latency-mean", "unit": "ms", "scale": 0.5,
    });
    let samples = parse(&Command, &run(extract), PING.as_bytes(), "").unwrap();
    assert_eq!(samples.len(), 1);
    let line = PING.lines().find(|line| line.starts_with("rtt ")).unwrap();
    let mean: f64 = line.split('/').nth(4).unwrap().parse().unwrap();
    let sample = &samples[0];
    assert_eq!((sample.value, sample.unit), (0.5 * mean, Unit::Ms));
    assert_eq!((sample.t, sample.dt), (10.0, 10.0));
    assert_eq!(
        (sample.node.as_str(), sample.metric.as_str()),
        ("vm1", "latency-mean")
    );
}

#[test]
fn a_column_and_a_pointer_do_too() {
    let extract = json!({"csv": "Remote Recv Calls", "metric": "received", "unit": "count"});
    let samples = parse(&Command, &run(extract), OMNI.as_bytes(), "").unwrap();
    assert_eq!(of(&samples, "received")[0].2, 2319.0);

    let pointer = "/end/sum_received/bits_per_second";
    let extract = json!({"json": pointer, "metric": "throughput", "unit": "Mb/s", "scale": 1e-6});
    let samples = parse(&Command, &run(extract), IPERF3.as_bytes(), "").unwrap();
    let document: Value = serde_json::from_str(IPERF3).unwrap();
    let wanted = document.pointer(pointer).unwrap().as_f64().unwrap() * 1e-6;
    assert_eq!(of(&samples, "throughput")[0].2, wanted);
}

fn monitor() -> Artefact {
    let regex = r"^\s*(?:\d+\s+){12}(?<value>\d+)\s";
    Artefact {
        part: Part::Monitor,
        options: object(json!({
            "argv": ["vmstat", "-n", "1"],
            "extract": [{"regex": regex, "metric": "user", "unit": "%"}],
        })),
        started_s: 0.0,
        ..artefact("command-monitor", "stdout", ("host", NodeRole::Host))
    }
}

#[test]
fn a_monitor_has_a_value_each_time_it_prints_one() {
    let samples = parse(&CommandMonitor, &monitor(), VMSTAT.as_bytes(), VMSTAT_TIMES).unwrap();
    let seen = of(&samples, "user");
    assert_eq!(
        seen.iter().map(|one| one.2).collect::<Vec<_>>(),
        [64.0, 65.0, 52.0, 67.0]
    );
    assert_eq!((seen[1].0, seen[1].1), (1.498_675_410, 0.0));
    assert!(samples.iter().all(|sample| sample.role == NodeRole::Host));
    // When a line came must be known.
    let unknown = parse(&CommandMonitor, &monitor(), VMSTAT.as_bytes(), "").unwrap_err();
    assert!(unknown.message.contains("not known"), "{unknown}");
    // What was printed in the warm-up is not of the window.
    let mut late = monitor();
    late.warm_up_s = 2.0;
    let samples = parse(&CommandMonitor, &late, VMSTAT.as_bytes(), VMSTAT_TIMES).unwrap();
    assert_eq!(samples.len(), 2);
}

#[test]
fn what_does_not_match_is_an_error_and_never_0() {
    let regex = |regex: &str| run(json!({"regex": regex, "metric": "m", "unit": "1"}));
    let csv = |column: &str| run(json!({"csv": column, "metric": "m", "unit": "1"}));
    let pointer = |pointer: &str| run(json!({"json": pointer, "metric": "m", "unit": "1"}));
    let short = OMNI.replace(",2319", "");
    let nan = OMNI.replace("13.56", "nan");
    for (artefact, text, says) in [
        (
            regex("^rate (?<value>.*)$"),
            PING,
            "nothing in the output is m",
        ),
        (
            regex("^rate (?<value>.*)$"),
            "",
            "nothing in the output is m",
        ),
        (
            regex("time=(?<value>[0-9.]+) ms"),
            PING,
            "20 values are m, but the run has one",
        ),
        (regex("^rtt (?<value>.*)$"), PING, "is no value of m"),
        (csv("Loss"), OMNI, "there is no column `Loss`"),
        (csv("Throughput"), "", "there is no column"),
        (csv("Throughput"), &short, "3 fields below 4 columns"),
        (csv("Throughput"), &nan, "`nan` is no value of m"),
        (
            pointer("/end/nothing"),
            IPERF3,
            "there is no number at `/end/nothing`",
        ),
        (pointer("/start"), IPERF3, "there is no number"),
        (pointer("/end"), &IPERF3[..200], "not JSON"),
        (pointer("/end"), "", "not JSON"),
    ] {
        let error = error(&artefact, text);
        assert!(error.contains(says), "{error}");
    }
    let mut failed = regex("time=(?<value>[0-9.]+) ms");
    failed.status = Some(1);
    failed.stderr = "no such host".to_owned();
    assert!(error(&failed, PING).contains("the program failed: no such host"));
    for stream in ["server", "warm-up"] {
        let mut other = regex("x(?<value>.)");
        other.stream = name(stream);
        assert_eq!(parse(&Command, &other, b"", "").unwrap(), []);
    }
}

#[test]
fn refuses_bad_options() {
    let extract = json!([{"csv": "a", "metric": "m", "unit": "1"}]);
    let check = |kind, options: Value| {
        let options = crate::options::read::<CommandOptions>(options.as_object().unwrap());
        let options = options.map_err(|error| error.to_string())?;
        match options.refusals(kind).into_iter().next() {
            Some(refusal) => Err(refusal.message),
            None => Ok(()),
        }
    };
    let (traffic, monitor) = (MeasureKind::Traffic, MeasureKind::Monitor);
    check(traffic, json!({"argv": ["a"], "extract": extract})).unwrap();
    check(
        monitor,
        json!({"argv": ["a"], "on": "peers", "extract": extract}),
    )
    .unwrap();
    for (kind, bad) in [
        (traffic, json!({"argv": [], "extract": extract})),
        (traffic, json!({"argv": "a", "extract": extract})),
        (traffic, json!({"argv": ["a"], "extract": []})),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"metric": "m", "unit": "1"}]}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"csv": "a", "metric": "m", "unit": "kB"}]}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"csv": "a", "metric": "A b", "unit": "1"}]}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"regex": "a", "metric": "m", "unit": "1"}]}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"regex": "(", "metric": "m", "unit": "1"}]}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"csv": "a", "json": "/a", "metric": "m", "unit": "1"}]}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"csv": "a", "metric": "m", "unit": "1", "scale": 0}]}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "on": "host", "extract": extract}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "server": [""], "extract": extract}),
        ),
        (
            monitor,
            json!({"argv": ["a"], "server": ["b"], "extract": extract}),
        ),
        (
            monitor,
            json!({"argv": ["a"], "covers": "run", "extract": extract}),
        ),
        (traffic, json!({"argv": ["a", "{too}"], "extract": extract})),
        (traffic, json!({"argv": ["a", "b\0"], "extract": extract})),
        (
            traffic,
            json!({"argv": ["a"], "server": ["b", "x{port}y"], "extract": extract}),
        ),
        (monitor, json!({"argv": ["a", "{to}"], "extract": extract})),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"json": "end/sum", "metric": "m", "unit": "1"}]}),
        ),
        (
            traffic,
            json!({"argv": ["a"], "extract": [{"csv": "a", "metric": "rtt", "unit": "Mb/s"}]}),
        ),
    ] {
        assert!(check(kind, bad.clone()).is_err(), "{bad}");
    }
}

mod start {
    use vexp_api::spec::Role;
    use vexp_testkit::{FakeShell, context};

    use super::*;
    use crate::testing::{flow, request};

    async fn paths(measure: &dyn Measure, request: &MeasureRequest) -> Vec<String> {
        let running = measure.start(request, &context()).await.unwrap();
        let finished = running.finish().await.unwrap();
        let artefacts = finished.artefacts.into_iter();
        artefacts.map(|one| one.artefact.path).collect()
    }

    #[tokio::test]
    async fn server_warm_up_and_run_with_placeholders_inside_arguments() {
        let sink = FakeShell::replay(name("peer1"), "$ tool --serve 2s\n");
        let source = FakeShell::replay(
            name("vm1"),
            "$ tool to=198.18.0.2 1 \"$(id)\"\n$ tool to=198.18.0.2 1 \"$(id)\"\n1\n",
        );
        let mut request = request(Role::Sender, vec![flow(&source, &sink)]);
        request.options = object(json!({
            "argv": ["tool", "to={to}", "{duration}", "$(id)"],
            "server": ["tool", "--serve", "{duration}s"],
            "extract": [{"regex": "(?<value>.)", "metric": "m", "unit": "1"}],
        }));
        let seen = paths(&Command, &request).await;
        assert_eq!(
            seen,
            [
                "raw/vm1.command.warm-up.txt",
                "raw/vm1.command.stdout.txt",
                "raw/vm1.command.server.txt"
            ]
        );
        sink.finish().unwrap();
        source.finish().unwrap();
    }

    #[tokio::test]
    async fn a_program_that_knows_the_warm_up_runs_once() {
        let sink = FakeShell::replay(name("peer1"), "$ tool 1 1\n");
        let source = FakeShell::replay(name("vm1"), "");
        let mut request = request(Role::Sender, vec![flow(&source, &sink)]);
        request.options = object(json!({
            "argv": ["tool", "{warm_up}", "{duration}"],
            "on": "sink",
            "extract": [{"regex": "(?<value>.)", "metric": "m", "unit": "1"}],
        }));
        assert_eq!(
            paths(&Command, &request).await,
            ["raw/vm1.command.stdout.txt"]
        );
        sink.finish().unwrap();
    }

    #[tokio::test]
    async fn monitors_run_once_on_each_node() {
        let peer = FakeShell::replay(name("peer1"), "$ vmstat 1\n");
        let vms = ["vm1", "vm2"].map(|vm| FakeShell::replay(name(vm), ""));
        let flows = vms.iter().map(|vm| flow(vm, &peer)).collect();
        let mut request = request(Role::Sender, flows);
        request.part = Part::Monitor;
        request.options = object(json!({
            "argv": ["vmstat", "1"],
            "on": "sink",
            "extract": [{"regex": "(?<value>.)", "metric": "m", "unit": "1"}],
        }));
        let seen = paths(&CommandMonitor, &request).await;
        assert_eq!(seen, ["raw/peer1.command-monitor.stdout.txt"]);
        peer.finish().unwrap();
    }
}

#[test]
fn words_in_braces_are_placeholders_unless_they_are_doubled() {
    let argv = |args: &[&str]| -> CommandOptions {
        let options = json!({"argv": args, "extract": [{"csv": "a", "metric": "m", "unit": "1"}]});
        crate::options::read(options.as_object().unwrap()).unwrap()
    };
    let values = Values {
        flow: None,
        duration: Duration::from_millis(1500),
        warm_up: Duration::from_secs(2),
    };
    let options = argv(&[
        "awk",
        "{{print}} {",
        "{{duration}}",
        "a{duration}b{warm_up}",
        "{$1}",
    ]);
    assert_eq!(options.refusals(MeasureKind::Traffic), []);
    let filled = values.fill(&options.argv);
    assert_eq!(
        filled.args,
        ["{print} {", "{duration}", "a1.5b2", "{$1}"],
        "{filled}"
    );
    assert!(options.knows_warm_up());
    assert!(!argv(&["a", "{{warm_up}}"]).knows_warm_up());
    let refused = argv(&["ping", "{too}"]).refusals(MeasureKind::Traffic);
    let message = &refused[0].message;
    assert!(message.contains("`{too}`: there are `{to}`"), "{message}");
}

#[test]
fn samples_are_those_that_the_study_extracts() {
    let options = json!({"argv": ["a"], "extract": [{"csv": "a", "metric": "rtt", "unit": "ms"}]});
    assert_eq!(Command.gives(&object(options)).unwrap(), ["rtt"]);
}
