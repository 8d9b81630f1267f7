//! What holds for all plugins.

use std::collections::BTreeMap;
use std::path::Path;

use nickel_lang_core::eval::cache::CacheImpl;
use nickel_lang_core::program::{Program, ProgramBuilder};

use vexp_api::sample::NodeRole;

use super::registry;
use crate::testing::{artefact, name, parse};

fn accepts(contract: &str, options: &str) -> bool {
    let text = format!("{options} | (\n{contract}\n)");
    let program = ProgramBuilder::new().add_source_string(text, "options");
    let mut program: Program<CacheImpl> = program.build().unwrap();
    program.eval_full_for_export().is_ok()
}

#[test]
fn the_registry_has_them_all() {
    let registry = registry();
    let hypervisors: Vec<_> = registry.hypervisors().keys().copied().collect();
    let measures: Vec<_> = registry.measures().keys().copied().collect();
    assert_eq!(hypervisors, ["kvm", "linux", "xen"]);
    assert_eq!(
        measures,
        [
            "command",
            "command-monitor",
            "counters",
            "iperf",
            "iperf3",
            "mpstat",
            "netperf",
            "pidstat",
            "ping",
            "sar",
            "uptime",
            "xentop"
        ]
    );
}

/// Machines of one's own are looked at for them.
#[test]
fn every_measure_says_what_programs_it_runs() {
    for (name, measure) in registry().measures() {
        // The study names those of `command`.
        let known = !name.starts_with("command");
        assert_eq!(!measure.programs().is_empty(), known, "{name}");
    }
}

/// What a contract accepts its plugin must accept, and the other way round.
#[test]
fn contracts_take_right_options_and_refuse_wrong_ones() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "iperf3",
            &[
                "{}",
                "{ protocol = \"tcp\" }",
                "{ protocol = 'udp, rate = \"1Gb/s\", length = 64 }",
                "{ protocol = 'udp, rate = \"50% of link\" }",
                "{ parallel = 4, port = 6000, rate = \"1.5 Mb/s\" }",
            ],
            &[
                "{ protocol = \"sctp\" }",
                "{ rate = 100 }",
                "{ rate = \"100\" }",
                "{ rate = \"fast\" }",
                "{ parallel = 0 }",
                "{ parallel = 1.5 }",
                "{ port = 80 }",
                "{ lenght = 64 }",
            ],
        ),
        (
            "command",
            &[
                "{ argv = [\"a\"], extract = [{ csv = \"a\", metric = \"m\", unit = \"1\" }] }",
                "{ argv = [\"a\", \"\"], on = 'sink, covers = 'moment, extract = [] }",
            ],
            &[
                "{}",
                "{ argv = \"a b\", extract = [] }",
                "{ argv = [], extract = [] }",
                "{ argv = [\"a\"], extract = [{ csv = \"a\", metric = \"A\", unit = \"1\" }] }",
                "{ argv = [\"a\"], extract = [{ csv = \"a\", metric = \"m\", unit = \"kB\" }] }",
            ],
        ),
        (
            "iperf",
            &[
                "{}",
                "{ protocol = 'udp, rate = \"link\", length = 64 }",
                "{ port = 6000 }",
            ],
            &["{ rate = \"fast\" }", "{ length = 8 }", "{ parallel = 2 }"],
        ),
        (
            "netperf",
            &["{}", "{ protocol = 'tcp }", "{ length = 18, port = 5000 }"],
            &[
                "{ rate = \"1Mb/s\" }",
                "{ length = 0 }",
                "{ protocol = \"sctp\" }",
            ],
        ),
        (
            "ping",
            &["{}", "{ interval = \"10ms\", size = 64 }"],
            &[
                "{ interval = 10 }",
                "{ interval = \"10\" }",
                "{ size = 8 }",
                "{ count = 5 }",
            ],
        ),
        (
            "xentop",
            &["{}", "{ interval = \"2s\" }"],
            &[
                "{ interval = \"500ms\" }",
                "{ interval = \"0s\" }",
                "{ delay = \"1s\" }",
            ],
        ),
        (
            "sar",
            &["{}", "{ interval = \"2s\" }"],
            &["{ interval = 1 }", "{ interval = \"1.5s\" }"],
        ),
        (
            "mpstat",
            &["{}", "{ interval = \"1s\" }"],
            &["{ all = true }"],
        ),
        (
            "pidstat",
            &["{}", "{ interval = \"1s\" }"],
            &["{ name = \"qemu\" }"],
        ),
        ("counters", &["{}"], &["{ interval = \"1s\" }"]),
    ];
    let registry = registry();
    for (plugin, good, bad) in cases {
        let contract = registry.measures()[plugin].contract();
        for options in *good {
            assert!(accepts(contract, options), "{plugin}: {options}");
        }
        for options in *bad {
            assert!(!accepts(contract, options), "{plugin}: {options}");
        }
    }
}

/// Arguments stay arguments only as long as no program on the far side reads them as a program.
#[test]
fn no_plugin_runs_a_shell() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut programs = Vec::new();
    // A batch engine runs on the user's own computer, and has rules of its own.
    for folder in ["hypervisor", "traffic", "monitor", "../kit/src"] {
        commands(&source.join(folder), &mut programs);
    }
    programs.sort_unstable();
    programs.dedup();
    // `chrt`, `env` and `nice` are followed by fixed words: see their uses.
    let known = [
        "cat",
        "chrt",
        "dd",
        "env",
        "ip",
        "iperf",
        "iperf3",
        "kill",
        "mkdir",
        "netperf",
        "netserver",
        "nice",
        "pgrep",
        "rm",
        "tail",
        "test",
        "uname",
    ];
    assert_eq!(programs, known);
}

/// Programs that the files below `folder` run, tests apart.
fn commands(folder: &Path, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            commands(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for rest in text.split("Cmd::new(").skip(1) {
                match rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
                    Some((program, _)) => out.push(program.to_owned()),
                    // A constant or a toolstack.
                    None => assert!(
                        [
                            "QEMU)",
                            "self.program())",
                            "toolstack.program())",
                            "program)"
                        ]
                        .iter()
                        .any(|known| rest.starts_with(known)),
                        "{}: {:.40}",
                        path.display(),
                        rest
                    ),
                }
            }
        }
    }
}

/// Folders of recordings by the tools that read them.
const RECORDED: [(&str, &[&str]); 12] = [
    ("command-netperf-2.7.1", &["command"]),
    ("command-procps-4.0.4", &["command-monitor"]),
    ("counters-iproute2-6.15.0", &["counters"]),
    ("iperf-2.2.1", &["iperf"]),
    ("iperf3-3.18", &["iperf3"]),
    ("iputils-20240905", &["ping"]),
    ("linux-6.12", &["uptime", "counters"]),
    ("netperf-2.7.1", &["netperf"]),
    ("sysstat-12.7.5", &["sar", "mpstat", "pidstat"]),
    ("xentop-4.17.5", &["xentop"]),
    ("xentop-4.20.4", &["xentop"]),
    ("xl-4.20.4", &["xentop", "sar"]),
];

/// Whatever bytes a tool leaves: its parser gives numbers that are some, or an error.
#[test]
fn any_bytes_are_read_without_a_panic_and_never_give_wrong_numbers() {
    use proptest::prelude::*;
    let registry = registry();
    let cases = vexp_testkit::cases(40);
    let check = |tool: &str, bytes: &[u8]| {
        for stream in ["client", "server", "stdout"] {
            let mut artefact = artefact(tool, stream, ("host", NodeRole::Host));
            artefact.about.insert(name("vm1"), NodeRole::Guest);
            artefact.warm_up_s = 1.0;
            let options = serde_json::json!({
                "argv": ["x"],
                "extract": [{"regex": "(?<value>[0-9.]+)", "metric": "m", "unit": "1"}],
            });
            if tool.starts_with("command") {
                artefact.options = options.as_object().unwrap().clone();
            }
            let Ok(samples) = parse(&*registry.measures()[tool], &artefact, bytes, "") else {
                continue;
            };
            for sample in samples {
                assert!(
                    sample.value.is_finite() && sample.t.is_finite(),
                    "{sample:?}"
                );
                assert!(sample.dt >= 0.0, "{sample:?}");
            }
        }
    };
    proptest!(cases.clone(), |(bytes: Vec<u8>)| {
        registry.measures().keys().for_each(|tool| check(tool, &bytes));
    });
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    for (folder, tools) in RECORDED {
        for entry in std::fs::read_dir(data.join(folder)).unwrap() {
            let recorded = std::fs::read(entry.unwrap().path()).unwrap();
            proptest!(cases.clone(), |(bytes in vexp_testkit::hostile::changed(&recorded))| {
                tools.iter().for_each(|tool| check(tool, &bytes));
            });
        }
    }
}

/// What machines answer when they are asked what they are.
#[test]
fn changed_answers_of_nodes_are_facts_or_none() {
    use vexp_api::environment::{compare, facts, sections};
    let answer = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../engine/api/testdata/environment-debian13.txt");
    let answer = std::fs::read_to_string(answer).unwrap();
    let of = |text: &str| BTreeMap::from([("host".to_owned(), facts(&sections(text)))]);
    let whole = of(&answer);
    vexp_testkit::hostile::on_changed_text(40, &answer, |text| {
        let changed = of(text);
        assert!(compare(&changed, &changed).comparable());
        let _ = compare(&whole, &changed);
    });
}
