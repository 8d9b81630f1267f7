//! From a run directory on disk to verdicts, with fake tools.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod fixture;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use fixture::{edit, fresh};
use vexp_report::frame::{self, FrameError};
use vexp_report::judge::judge;
use vexp_report::run::RunError;
use vexp_report::table::{self, Format};

/// The committed run directory. `VEXP_WRITE_FIXTURE=1 cargo test` writes it anew.
fn committed() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/run");
        if std::env::var_os("VEXP_WRITE_FIXTURE").is_some() {
            let _ = std::fs::remove_dir_all(&dir);
            fixture::write_run(&dir, 1);
        }
        dir
    });
    &DIR
}

#[test]
fn metrics_of_the_committed_run() {
    let frames = frame::read(committed(), &fixture::registry()).unwrap();
    let verdicts = judge(&frames);
    let lines: Vec<String> = verdicts
        .metrics
        .iter()
        .map(|m| {
            let point = &m.point;
            let node = m.node.as_ref().map_or("-", |n| n.as_str());
            let interval = m
                .interval
                .map_or("-".to_owned(), |i| format!("{:.4} {:.4}", i.low, i.high));
            format!(
                "{} {} {} {} {node} {:.4} [{interval}] {} r={} n={} out={}",
                point.experiment,
                point.platform,
                point.vms,
                m.metric,
                m.value,
                m.basis.as_str(),
                m.repetitions,
                m.samples,
                m.outliers,
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn verdicts_of_the_committed_run() {
    let frames = frame::read(committed(), &fixture::registry()).unwrap();
    let told: Vec<String> = judge(&frames)
        .claims
        .iter()
        .map(|claim| format!("{}: {} ({})", claim.claim, claim.verdict, claim.reason))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn unusable_trials_say_why_and_stop_nothing() {
    let frames = frame::read(committed(), &fixture::registry()).unwrap();
    let told: Vec<String> = frames
        .unusable
        .iter()
        .map(|trial| format!("{} {}: {}", trial.trial, trial.kind, trial.reason))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(
        frames.trials.len() + frames.unusable.len(),
        frames.run.plan.trials().count()
    );
}

#[test]
fn the_table_is_tidy_sorted_and_the_same_every_time() {
    let dir = fresh(1);
    let first = frame::frame(dir.path(), &fixture::registry()).unwrap();
    let path = dir.path().join("frames/samples.parquet");
    let bytes = std::fs::read(&path).unwrap();
    frame::frame(dir.path(), &fixture::registry()).unwrap();
    assert_eq!(bytes, std::fs::read(&path).unwrap());
    let csv = String::from_utf8(table::frames_to(&first, Format::Csv).unwrap()).unwrap();
    let mut lines = csv.lines();
    assert_eq!(
        lines.next().unwrap(),
        "trial,experiment,platform,vms,repetition,node,role,tool,metric,unit,t,value,dt"
    );
    // 6 of the 8 intervals of a second lie in the window of 6 s, from half a second before it.
    assert!(
        lines
            .clone()
            .any(|line| line.contains(".r1,") && line.contains(",0.5,"))
    );
    assert!(lines.all(|line| line.split(',').count() == 13));
    // No two trials are interleaved.
    let trials: Vec<&str> = csv
        .lines()
        .skip(1)
        .filter_map(|l| l.split(',').next())
        .collect();
    assert!(trials.is_sorted());
}

#[test]
fn a_flipped_byte_is_an_error_that_names_the_file() {
    let dir = fresh(1);
    let file = "trials/send-tcp.xen-3.1.v1.r1/raw/vm1.fake-iperf3.client.json";
    let mut bytes = std::fs::read(dir.path().join(file)).unwrap();
    bytes[40] ^= 1;
    std::fs::write(dir.path().join(file), bytes).unwrap();
    let error = frame::read(dir.path(), &fixture::registry()).unwrap_err();
    let FrameError::Tampered { trial, source } = error else {
        panic!("{error}");
    };
    assert_eq!(trial, "send-tcp.xen-3.1.v1.r1");
    assert!(source.to_string().contains(file), "{source}");
}

#[test]
fn a_missing_file_and_a_path_that_leaves_the_trial_are_errors() {
    let dir = fresh(1);
    let trial = dir.path().join("trials/send-tcp.xen-3.1.v1.r1");
    std::fs::remove_file(trial.join("raw/vm1.fake-iperf3.client.json")).unwrap();
    let error = frame::read(dir.path(), &fixture::registry()).unwrap_err();
    assert!(matches!(error, FrameError::Tampered { .. }));

    let dir = fresh(1);
    let record = dir.path().join("trials/send-tcp.xen-3.1.v1.r1/trial.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("\"raw/vm1.", "\"raw/../../vm1.")).unwrap();
    let error = frame::read(dir.path(), &fixture::registry()).unwrap_err();
    let FrameError::Tampered { source, .. } = error else {
        panic!("{error}");
    };
    assert!(
        source.to_string().contains("does not stay below"),
        "{source}"
    );
}

#[test]
fn unknown_formats_are_refused() {
    for (file, told) in [("run.json", "7"), ("plan.json", "7"), ("study.json", "7")] {
        let dir = fresh(1);
        let path = dir.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"format\":1", "\"format\":7")).unwrap();
        let error = frame::read(dir.path(), &fixture::registry()).unwrap_err();
        let FrameError::Run(RunError::Format { path, found, .. }) = error else {
            panic!("{error}");
        };
        assert!(path.ends_with(file));
        assert_eq!(found, told);
    }
}

/// Replaces the text of a trial's first raw file and its digest; gives what is said about it.
fn with_raw(edit: impl Fn(String) -> String) -> String {
    let dir = fresh(1);
    let trial = dir.path().join("trials/send-tcp.xen-3.1.v1.r1");
    let raw = trial.join("raw/host.fake-xentop.stdout.txt");
    let before = std::fs::read_to_string(&raw).unwrap();
    let after = edit(before.clone());
    std::fs::write(&raw, &after).unwrap();
    let digest = |text: &str| vexp_api::digest::Digest::of(text.as_bytes()).to_string();
    let record = std::fs::read_to_string(trial.join("trial.json")).unwrap();
    let record = record.replace(&digest(&before), &digest(&after));
    std::fs::write(trial.join("trial.json"), record).unwrap();
    let frames = frame::read(dir.path(), &fixture::registry()).unwrap();
    let mut unusable = frames.unusable.into_iter();
    unusable
        .find(|trial| trial.trial == "send-tcp.xen-3.1.v1.r1")
        .map_or_else(|| "usable".to_owned(), |trial| trial.reason)
}

#[test]
fn monitors_without_samples_in_the_window_are_never_zero() {
    assert_eq!(with_raw(|text| text), "usable");
    let late = with_raw(|text| text.replace("\t1.000\t", "\t0.001\t"));
    assert!(
        late.contains("covers 0.01 s of a window of 6.00 s"),
        "{late}"
    );
    let outside = with_raw(|text| {
        text.lines()
            .filter(|line| line.contains("\t0.500\t1.000") || line.contains("cpu\tvm1"))
            .map(|line| format!("{line}\n"))
            .collect()
    });
    assert!(
        outside.contains("raw/host.fake-xentop.stdout.txt: no sample of cpu on host"),
        "{outside}"
    );
    let empty = with_raw(|_| String::new());
    assert_eq!(empty, "monitor fake-xentop left no sample");
}

#[test]
fn values_that_are_no_numbers_are_refused() {
    let nan = with_raw(|text| text + "cpu\thost\thost\t% of a CPU\t3.0\t1.0\tnan\n");
    assert!(
        nan.contains("raw/host.fake-xentop.stdout.txt: cpu of host at 3 s is NaN"),
        "{nan}"
    );
    let broken = with_raw(|text| text + "cpu\thost\n");
    assert!(
        broken.contains("raw/host.fake-xentop.stdout.txt:19: "),
        "{broken}"
    );
}

#[test]
fn three_repetitions_give_intervals_over_repetitions() {
    let dir = fresh(3);
    let frames = frame::read(dir.path(), &fixture::registry()).unwrap();
    let verdicts = judge(&frames);
    let over = |metric: &str| {
        let mut metrics = verdicts.metrics.iter();
        metrics
            .find(|m| m.metric == metric && m.point.platform == "xen-3.1" && m.point.vms == 2)
            .unwrap()
    };
    for metric in [
        "throughput_aggregate",
        "efficiency",
        "cpu_total",
        "jain_cpu",
    ] {
        let found = over(metric);
        assert_eq!(found.basis.as_str(), "boots", "{metric}");
        assert_eq!(found.repetitions, 3);
        let interval = found.interval.unwrap();
        assert!(interval.low <= found.value && found.value <= interval.high);
    }
}

/// Otherwise the committed directory and the code that claims to have made it drift apart.
#[test]
fn the_committed_run_is_what_the_fixture_writes() {
    fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![dir.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(dir).unwrap().to_owned();
                    found.insert(name, std::fs::read(path).unwrap());
                }
            }
        }
        found
    }
    let (here, fresh) = (files(committed()), fresh(1));
    let there = files(fresh.path());
    assert!(here.keys().eq(there.keys()));
    for (name, bytes) in here {
        assert!(there[&name] == bytes, "{}", name.display());
    }
}

/// `VEXP_KEEP_REPORT=DIR cargo test` leaves the report there, to be looked at.
#[test]
fn the_report_of_the_committed_run() {
    let dir = fresh(1);
    let summary = vexp_report::report(dir.path(), &fixture::registry(), None).unwrap();
    assert_eq!(
        (summary.trials_measured, summary.trials_not_measured),
        (20, 3)
    );
    assert_eq!(summary.deviations.len(), 3);
    let html = std::fs::read_to_string(&summary.html).unwrap();
    let markdown = std::fs::read_to_string(&summary.markdown).unwrap();
    if let Some(keep) = std::env::var_os("VEXP_KEEP_REPORT") {
        std::fs::create_dir_all(&keep).unwrap();
        std::fs::write(Path::new(&keep).join("report.html"), &html).unwrap();
        let figures = dir.path().join("report/figures");
        for figure in std::fs::read_dir(figures).unwrap() {
            let path = figure.unwrap().path();
            std::fs::copy(&path, Path::new(&keep).join(path.file_name().unwrap())).unwrap();
        }
    }
    insta::assert_snapshot!(markdown);

    // Nothing hostile comes through.
    assert!(!html.contains("<script") && !html.contains("<b>console"));
    // What is folded away on a screen is on paper.
    assert!(html.contains("@media print { details::details-content"));
    assert!(html.contains("&lt;script&gt;alert(1)"));
    assert!(!markdown.contains("<script>"));
    // It needs nothing but itself.
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let foreign = html.replace("http://www.w3.org/2000/svg", "");
        let foreign = foreign.replace("url(#", "");
        assert!(!foreign.contains(outside), "{outside}");
    }
    // Every link leads to a place on the page or to a file of the run.
    let attributes = |name: &str| -> Vec<String> {
        let before = format!(" {name}=\"");
        let parts = html.split(&before).skip(1);
        let values = parts.filter_map(|rest| rest.split('"').next());
        values.map(|value| value.replace("&#x2f;", "/")).collect()
    };
    let ids = attributes("id");
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
    for link in attributes("href") {
        match link.strip_prefix('#') {
            Some(id) => assert!(ids.iter().any(|found| found == id), "{link}"),
            None if link.ends_with("events.jsonl") || link.ends_with("console.log") => {}
            None => assert!(dir.path().join("report").join(&link).exists(), "{link}"),
        }
    }
    // A number leads to its trials, and a trial to the commands that it ran.
    assert!(html.contains("href=\"#point-send-tcp.xen-3.1.v2\""));
    assert!(html.contains("<details id=\"trial-send-tcp.xen-3.1.v2.r1\">"));
    assert!(html.contains("fake &gt; raw&#x2f;vm1.fake-iperf3.client.json"));
    assert!(html.contains("ratio 0.369 [0.333, 0.407] over 2 samples inside the trials"));
    // The interval of a ratio does not stand beside a value as if it were the value's.
    assert!(html.contains("0.369 times throughput_aggregate of kvm-84-pv with 1 VM in send-tcp<"));
}

#[test]
fn figures_and_tables_are_there_as_pictures_and_as_data() {
    let dir = fresh(1);
    vexp_report::report(dir.path(), &fixture::registry(), None).unwrap();
    let folder = dir.path().join("report");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    insta::assert_snapshot!("figure_1", text("figures/figure-1.csv"));
    insta::assert_snapshot!("figure_2", text("figures/figure-2.csv"));
    insta::assert_snapshot!("table_i", text("tables/table-i.csv"));
    let mut pictures = 0;
    for entry in std::fs::read_dir(folder.join("figures")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        match path.extension().and_then(|end| end.to_str()) {
            Some("svg") => {
                well_formed(&String::from_utf8(bytes).unwrap());
                pictures += 1;
            }
            Some("parquet") => assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")),
            end => assert_eq!(end, Some("csv")),
        }
    }
    assert!(pictures >= 3, "{pictures}");
}

/// Tags are closed in order, attributes are quoted, and no `&` or `<` stands for itself.
fn well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part
            .split_once('>')
            .unwrap_or_else(|| unreachable!("no end: <{part}"));
        assert!(!text.contains('>') && !tag.contains('\''), "<{part}");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{part}");
        for entity in part.split('&').skip(1) {
            let name = entity.split(';').next().unwrap();
            assert!(["lt", "gt", "amp", "quot"].contains(&name), "&{entity}");
        }
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "<{part}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_same_run_gives_the_same_report() {
    let dir = fresh(1);
    let bytes = || {
        vexp_report::report(dir.path(), &fixture::registry(), None).unwrap();
        ["report.html", "report.md", "metrics.csv"]
            .map(|file| std::fs::read(dir.path().join("report").join(file)).unwrap())
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn own_templates_replace_the_built_in_ones_and_are_bounded() {
    let dir = fresh(1);
    let own = tempfile::tempdir().unwrap();
    let with = |text: &str| {
        std::fs::write(own.path().join("report.md.j2"), text).unwrap();
        let summary = vexp_report::report(dir.path(), &fixture::registry(), Some(own.path()));
        summary.map(|summary| std::fs::read_to_string(summary.markdown).unwrap())
    };
    assert_eq!(with("{{ run.effort }} *").unwrap(), "quick *");

    let endless = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
    for (wrong, told) in [
        (endless, "fuel"),
        ("{{ run.nothing }}", "undefined"),
        ("{% include \"/etc/passwd\" %}", "not found"),
        ("{% if %}", "syntax"),
    ] {
        let error = with(wrong).unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        assert!(
            text.contains("report.md.j2") && text.contains(told),
            "{text}"
        );
    }
    let nowhere = vexp_report::report(
        dir.path(),
        &fixture::registry(),
        Some(Path::new("/nowhere")),
    );
    assert!(nowhere.unwrap_err().to_string().contains("/nowhere"));
}

#[test]
fn samples_of_single_files_come_in_every_format() {
    use vexp_api::sample::{NodeRole, Sample, Unit};
    let sample = Sample {
        node: fixture::name("vm1"),
        role: NodeRole::Guest,
        metric: fixture::name("rtt"),
        unit: Unit::Ms,
        t: 1.5,
        dt: 0.0,
        value: 0.25,
    };
    let files = [("a,b.txt".to_owned(), vec![sample])];
    let text = |format| {
        let bytes = vexp_report::samples_to(&files, format).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert_eq!(
        text(Format::Csv),
        "file,node,role,metric,unit,t,value,dt\n\"a,b.txt\",vm1,guest,rtt,ms,1.5,0.25,0.0\n"
    );
    assert_eq!(
        text(Format::Jsonl),
        "{\"file\":\"a,b.txt\",\"node\":\"vm1\",\"role\":\"guest\",\"metric\":\"rtt\",\"unit\":\"ms\",\"t\":1.5,\"value\":0.25,\"dt\":0.0}\n"
    );
    assert!(text(Format::Parquet).starts_with("PAR1"));
}

/// Two runs of the same trials have the same results, and one value more or less shows where.
#[test]
fn identity_is_of_every_sample_and_nothing_else() {
    use vexp_report::identity::{digest, each};
    let read = |dir: &Path| frame::read(dir, &fixture::registry()).unwrap();
    let (one, other) = (fresh(1), fresh(1));
    let (expected, mut found) = (read(one.path()), read(other.path()));
    found.run.record.started = "2030-01-01T00:00:00Z".to_owned();
    found.run.record.id = "another".parse().unwrap();
    let same = digest(&expected).unwrap();
    assert_eq!(digest(&found).unwrap(), same);

    let value = &mut found.trials[0].rows[1].sample.value;
    *value = f64::from_bits(value.to_bits() + 1);
    let trial = found.trials[0].trial.id.clone();
    assert_ne!(digest(&found).unwrap(), same);
    let (ours, theirs) = (each(&expected).unwrap(), each(&found).unwrap());
    let differ: Vec<_> = ours.keys().filter(|id| ours[*id] != theirs[*id]).collect();
    assert_eq!(differ, [&trial]);

    let mut short = read(other.path());
    short.trials[0].rows.pop();
    assert_ne!(digest(&short).unwrap(), same);
    short.trials.remove(0);
    assert_ne!(digest(&short).unwrap(), same);
}

/// The JSON files of a run.
const RECORDS: [&str; 5] = [
    "run.json",
    "plan.json",
    "study.json",
    "blocks/xen-3.1.end-host.r1/block.json",
    "trials/send-tcp.xen-3.1.v1.r1/trial.json",
];

/// Whatever stands beside raw data as the times of its lines: finite times, or an error.
#[test]
fn changed_times_of_lines_are_read_or_refused() {
    use proptest::prelude::*;
    use vexp_api::record::{read_line_times, write_line_times};
    let bytes = write_line_times(&[0.0, 1.5, 2.000_000_001, 1e9]).into_bytes();
    proptest!(vexp_testkit::cases(200), |(bytes in vexp_testkit::hostile::changed(&bytes))| {
        if let Ok(times) = read_line_times(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(times.iter().all(|time| time.is_finite()));
        }
    });
}

/// Whatever stands in a run's records: they are read, and reported on, or refused.
#[test]
fn changed_records_are_read_or_refused() {
    use proptest::prelude::*;
    use vexp_testkit::hostile::{changed, changed_json};
    let dir = fresh(1);
    let cases = vexp_testkit::cases(24);
    let check = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let _ = vexp_report::report(dir.path(), &fixture::registry(), None);
        std::fs::write(&path, whole).unwrap();
    };
    for name in RECORDS {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        let whole: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        proptest!(cases.clone(), |(bytes in changed(&bytes))| check(name, &bytes));
        proptest!(cases.clone(), |(value in changed_json(&whole))| {
            check(name, value.to_string().as_bytes());
        });
    }
}

/// The verdict on a claim, of so many repetitions, with changed records.
fn judged(
    repetitions: u32,
    claim: &str,
    change: impl Fn(&mut serde_json::Value, &mut serde_json::Value),
) -> vexp_report::ClaimVerdict {
    let dir = fresh(repetitions);
    let [study, plan] = ["study.json", "plan.json"].map(|file| dir.path().join(file));
    let read = |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (mut of_study, mut of_plan) = (read(&study), read(&plan));
    change(&mut of_study, &mut of_plan);
    std::fs::write(&study, of_study.to_string()).unwrap();
    std::fs::write(&plan, of_plan.to_string()).unwrap();
    let frames = frame::read(dir.path(), &fixture::registry()).unwrap();
    let mut claims = judge(&frames).claims.into_iter();
    claims.find(|found| found.claim == *claim).unwrap()
}

#[test]
fn boots_decide_and_repetitions_of_one_boot_do_not() {
    use vexp_report::Verdict;
    let found = judged(8, "a2", |_, _| {});
    assert_eq!(found.verdict, Verdict::NotReproduced, "{}", found.reason);
    assert!(
        found.reason.contains("8 boots") || found.tests[0].compared.as_ref().unwrap().units == 8
    );
    let one_boot = |_: &mut serde_json::Value, plan: &mut serde_json::Value| {
        for block in plan["blocks"].as_array_mut().unwrap() {
            for trial in block["trials"].as_array_mut().unwrap() {
                trial["boot"] = 1.into();
            }
        }
    };
    let found = judged(8, "a2", one_boot);
    assert_eq!(found.verdict, Verdict::Inconclusive);
    assert!(
        found.reason.contains("fewer than 3 boots"),
        "{}",
        found.reason
    );
    assert!(found.p.is_none(), "it takes nothing from the other claims");
    let found = judged(1, "a2", |_, _| {});
    assert_eq!(found.verdict, Verdict::Inconclusive, "{}", found.reason);
}

/// In virtual time seeds are units, and what is the same to the last bit is one.
#[test]
fn copies_of_a_repetition_are_no_units() {
    use vexp_report::Verdict;
    let virtual_time = |_: &mut serde_json::Value, plan: &mut serde_json::Value| {
        let deviation = serde_json::json!({
            "subject": "platform linux", "property": "time", "asked": "real", "used": "virtual",
            "reason": "a test",
        });
        plan["deviations"].as_array_mut().unwrap().push(deviation);
        for block in plan["blocks"].as_array_mut().unwrap() {
            for trial in block["trials"].as_array_mut().unwrap() {
                trial["boot"] = 1.into();
            }
        }
    };
    let found = judged(8, "a2", virtual_time);
    assert_eq!(found.verdict, Verdict::NotReproduced, "{}", found.reason);

    let dir = fresh(8);
    let mut frames = frame::read(dir.path(), &fixture::registry()).unwrap();
    let deviation = frames.run.plan.deviations[0].clone();
    frames.run.plan.deviations.push(vexp_api::plan::Deviation {
        property: "time".to_owned(),
        ..deviation
    });
    let rows: Vec<_> = frames
        .trials
        .iter()
        .map(|f| (f.trial.clone(), f.rows.clone()))
        .collect();
    for frame in &mut frames.trials {
        frame.trial.boot = 1;
        let first = rows.iter().find(|(trial, _)| {
            (&trial.experiment, &trial.platform, trial.vms)
                == (
                    &frame.trial.experiment,
                    &frame.trial.platform,
                    frame.trial.vms,
                )
        });
        frame.rows = first.unwrap().1.clone();
    }
    let found = judge(&frames).claims;
    let found = found.iter().find(|found| found.claim == *"a2").unwrap();
    assert_eq!(found.verdict, Verdict::Inconclusive, "{}", found.reason);
    assert!(
        found.reason.contains("seeds that differ"),
        "{}",
        found.reason
    );
}

/// Whatever was measured, a claim is out of regime where the run is not what it needs.
#[test]
fn what_a_claim_needs_puts_it_out_of_regime() {
    use serde_json::json;
    use vexp_report::{CauseKind, Verdict};
    let needs = |needs: serde_json::Value| {
        judged(8, "a2", move |study, _| {
            study["claims"]["a2"]["needs"] = needs.clone();
        })
    };
    let of = |metric: &str, platform: &str| json!({"metric": metric, "experiment": "send-tcp", "platform": platform, "vms": 1});
    let control = |how: &str| {
        json!({"controls": [{
            "left": of("throughput_aggregate", "xen-3.1"), "relation": how, "right": 1.0, "margin": 0.0,
        }]})
    };
    for (needed, kind) in [
        (json!({"processors": 64}), CauseKind::Machine),
        (json!({"time": "virtual"}), CauseKind::Testbed),
        (
            json!({"versions": [{"platform": "kvm-84-fv", "below": "0.1", "reason": "mended"}]}),
            CauseKind::Software,
        ),
        (control("less_than"), CauseKind::Control),
    ] {
        let found = needs(needed.clone());
        assert_eq!(found.verdict, Verdict::OutOfRegime, "{needed}");
        let kinds: Vec<CauseKind> = found.causes.iter().map(|cause| cause.kind).collect();
        assert_eq!(kinds, [kind], "{needed}");
        assert!(!found.causes[0].lift.is_empty() && found.reason == found.causes[0].what);
        assert!(found.p.is_none());
    }
    for met in [
        json!({"processors": 1, "time": "real"}),
        control("greater_than"),
    ] {
        assert_eq!(needs(met.clone()).verdict, Verdict::NotReproduced, "{met}");
    }
}

#[test]
fn a_point_that_is_missing_leaves_a_claim_open() {
    use vexp_report::Verdict;
    // Of three points, one is not in the run; with a wide margin the others hold.
    let wide = |study: &mut serde_json::Value, _: &mut serde_json::Value| {
        for test in study["claims"]["a1"]["tests"].as_array_mut().unwrap() {
            test["margin"] = 0.3.into();
        }
    };
    let found = judged(8, "a1", wide);
    assert_eq!((found.verdict, found.tested), (Verdict::Inconclusive, 2));
    assert!(
        found
            .reason
            .contains("2 of 3 points tested, all inside; missing:"),
        "{}",
        found.reason
    );
    let without = |study: &mut serde_json::Value, plan: &mut serde_json::Value| {
        wide(study, plan);
        study["claims"]["a1"]["tests"].as_array_mut().unwrap().pop();
    };
    let found = judged(8, "a1", without);
    assert_eq!(found.verdict, Verdict::Reproduced, "{}", found.reason);
    let at: Vec<(f64, Verdict)> = found
        .margins
        .iter()
        .map(|at| (at.times, at.verdict))
        .collect();
    assert_eq!(at[1], (1.0, Verdict::Reproduced));
    assert_eq!(at.len(), 3);
}

#[test]
fn no_interval_reaches_beyond_the_machine() {
    let dir = fresh(3);
    let mut frames = frame::read(dir.path(), &fixture::registry()).unwrap();
    for frame in &mut frames.trials {
        let noisy = frame
            .rows
            .iter_mut()
            .filter(|row| row.sample.metric == *"cpu");
        for (row, by) in noisy.zip([0.1, 1.9].into_iter().cycle()) {
            row.sample.value *= by * f64::from(frame.trial.repetition);
        }
    }
    for block in &mut frames.run.plan.blocks {
        block.machine.cpus = 2;
    }
    let metrics = judge(&frames).metrics;
    let cpu = metrics.iter().filter(|m| m.metric.starts_with("cpu_total"));
    let intervals: Vec<_> = cpu.filter_map(|m| m.interval).collect();
    assert!(!intervals.is_empty());
    assert!(
        intervals.iter().all(|i| i.low >= 0.0 && i.high <= 200.0),
        "{intervals:?}"
    );
    assert!(intervals.iter().any(|i| i.high == 200.0));
}

/// The pages of a run's report.
fn pages(dir: &Path, registry: &vexp_api::registry::Registry) -> (String, String) {
    let summary = vexp_report::report(dir, registry, None).unwrap();
    let page = |path: &Path| std::fs::read_to_string(path).unwrap();
    (page(&summary.html), page(&summary.markdown))
}

#[test]
fn a_source_that_lags_stands_in_the_report() {
    let dir = fresh(1);
    let (html, markdown) = pages(dir.path(), &fixture::telling());
    for page in [&html, &markdown] {
        assert!(page.contains("Sources sent less than they were told to"));
        assert!(page.contains("of 1000.0 asked"), "{markdown}");
        assert!(page.contains("the source lags"));
    }
    // Two flows are told twice as much.
    assert!(html.contains("of 2000.0 asked"));
    let (html, _) = pages(dir.path(), &fixture::registry());
    assert!(!html.contains("asked</small>") && !html.contains("Sources sent less"));
}

#[test]
fn a_sweep_is_lines_over_what_was_offered() {
    let dir = fresh(1);
    edit(dir.path(), "study.json", |study| {
        let figure = &mut study["figures"][0];
        figure["x"] = "offered_load".into();
        for series in figure["series"].as_array_mut().unwrap() {
            series["title"] = "Xen".into();
        }
    });
    vexp_report::report(dir.path(), &fixture::telling(), None).unwrap();
    let svg = std::fs::read_to_string(dir.path().join("report/figures/figure-1.svg")).unwrap();
    well_formed(&svg);
    // One line in the legend and one in the plot, through the points of both series.
    assert_eq!(svg.matches("<polyline").count(), 2);
    assert_eq!(svg.matches("offered load, Mb/s").count(), 1, "{svg}");
    assert!(svg.matches("<title>Xen, ").count() >= 4, "{svg}");
}

#[test]
fn round_trips_have_their_distribution() {
    let dir = fresh(1);
    let (html, markdown) = pages(dir.path(), &fixture::registry());
    assert!(html.contains("Distribution of round-trip times"));
    assert!(markdown.contains(" Median, ms |") && markdown.contains(" 99 of 100, ms |"));
    let folder = dir.path().join("report/figures");
    let svg = std::fs::read_to_string(folder.join("spread-latency.svg")).unwrap();
    well_formed(&svg);
    let csv = std::fs::read_to_string(folder.join("spread-latency.csv")).unwrap();
    let shares: Vec<&str> = csv
        .lines()
        .filter(|line| line.contains("99 % at most"))
        .collect();
    assert_eq!(shares.len(), svg.matches("<polyline").count() / 2);
}

/// 7 repetitions of 30 round trips are enough for a median, and for nothing beyond it.
#[test]
fn a_percentile_has_its_loop_beside_it_or_is_not_shown() {
    let dir = fresh(7);
    let (html, markdown) = pages(dir.path(), &fixture::registry());
    let cells = "(closed loop) | – (not enough samples: 210 of 10000) |";
    assert!(markdown.contains(cells));
    assert!(html.contains("<small>closed loop</small>"));
    assert!(html.contains("<small>not enough samples: 210 of 10000</small>"));
}

#[test]
fn a_study_without_a_paper_is_not_said_to_have_one() {
    let dir = fresh(1);
    edit(dir.path(), "study.json", |study| {
        study["paper"]["metrics"] = serde_json::json!({"efficiency": "equation 7"});
    });
    let (html, _) = pages(dir.path(), &fixture::registry());
    // The study says where its paper defines what.
    assert!(html.contains("The paper’s figures") && html.contains("equation 7"));
    edit(dir.path(), "study.json", |study| {
        study["paper"] = serde_json::Value::Null;
        study["published"] = serde_json::json!([]);
        study["tables"] = serde_json::json!([]);
    });
    let (html, markdown) = pages(dir.path(), &fixture::registry());
    for page in [&html, &markdown] {
        for word in ["paper", "Paper", "Table I", "equation"] {
            // Names of CSS variables are nobody's words.
            let words = page.replace("var(--paper)", "").replace("--paper:", "");
            let words = words.replace(".papervalue", "").replace(".paper ", "");
            let at = words.find(word);
            let around = at.map(|at| &words[at.saturating_sub(60)..(at + 60).min(words.len())]);
            assert_eq!(around, None, "{word}");
        }
    }
}

/// A record that lists a file again and again would have it read as often.
#[test]
fn a_file_that_is_listed_twice_is_refused() {
    let dir = fresh(1);
    let path = dir.path().join(RECORDS[4]);
    let mut record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let first = record["artefacts"][0].clone();
    record["artefacts"].as_array_mut().unwrap().push(first);
    std::fs::write(&path, record.to_string()).unwrap();
    let error = vexp_report::report(dir.path(), &fixture::registry(), None).unwrap_err();
    let causes = std::iter::successors(std::error::Error::source(&error), |error| error.source());
    let told = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    assert!(told.contains("more than once"), "{told}");
}
