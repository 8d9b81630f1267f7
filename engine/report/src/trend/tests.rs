use super::*;
use crate::compare::tests::{a_point, run};
use crate::report::Templates;
use crate::stats::changes::Method;

const SETTINGS: Settings = Settings {
    method: Method::Corrected,
    window: 50,
    alpha: 0.01,
    magnitude: 0.02,
    persistence: 3,
};

/// Runs with these throughputs, and latencies that don't change.
fn history(values: &[f64]) -> Vec<Summary> {
    let each = values.iter().enumerate();
    each.map(|(i, value)| {
        let id = format!("run-{i:02}");
        let wiggle = 1.0 + 0.001 * f64::from(i as u32 % 3);
        run(
            &id,
            &[
                ("throughput_aggregate", &[value * wiggle]),
                ("latency", &[wiggle]),
            ],
        )
    })
    .collect()
}

fn found(runs: &[Summary]) -> Trend {
    trend(runs, SETTINGS, &|_, _| true).unwrap()
}

fn step() -> Vec<Summary> {
    history(&[vec![100.0; 8], vec![90.0; 6]].concat())
}

#[test]
fn a_change_has_its_run_and_its_direction() {
    let trend = found(&step());
    let [throughput, latency] = &trend.series[..] else {
        unreachable!()
    };
    let [change] = &throughput.changes[..] else {
        unreachable!("{throughput:?}")
    };
    assert_eq!(
        (change.at, change.run.as_str(), change.worse),
        (8, "run-08", true)
    );
    assert_eq!(change.words(), "-10.0 %");
    assert_eq!(latency.changes, []);
}

#[test]
fn a_new_environment_starts_a_new_series() {
    let mut runs = step();
    for run in &mut runs[8..] {
        let point = run.points.get_mut(&a_point(2)).unwrap();
        point
            .facts
            .insert("machine nics 1 rate".into(), "90Mb/s".into());
    }
    // Back in the first one, and slower there.
    runs.extend(history(&[90.0; 14]).split_off(10));
    let trend = found(&runs);
    let series = &trend.series[0];
    let [first, second] = &series.environments[..] else {
        unreachable!()
    };
    assert_eq!((first.first, second.first), (0, 8));
    assert_eq!(
        second.differences,
        ["machine nics 1 rate: 130Mb/s → 90Mb/s"]
    );
    let changes: Vec<usize> = series.changes.iter().map(|change| change.at).collect();
    assert_eq!(changes, [14]);
}

#[test]
fn a_site_is_pages_that_know_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut runs = step();
    let report = dir.path().join("run <&>/report/report.html");
    std::fs::create_dir_all(report.parent().unwrap()).unwrap();
    std::fs::write(&report, "").unwrap();
    runs[8].dir = dir.path().join("run <&>");
    let trend = found(&runs);
    let templates = Templates::load(None).unwrap();
    let index = site(&trend, &dir.path().join("site"), &templates).unwrap();
    let page = |name: &str| std::fs::read_to_string(dir.path().join("site").join(name)).unwrap();
    let text = std::fs::read_to_string(&index).unwrap();
    assert!(
        text.contains("throughput_aggregate.html#send-tcp-xen-3-1-v2"),
        "{text}"
    );
    assert!(text.contains("-10.0 %") && text.contains("href=\"latency.html\""));
    let metric = page("throughput_aggregate.html");
    assert!(metric.contains("id=\"send-tcp-xen-3-1-v2\""));
    assert_eq!(metric.matches("<circle ").count(), 14);
    assert!(metric.contains("href=\"../run%20%3C%26%3E/report/report.html\""));
    for text in [text, metric, page("latency.html")] {
        let loads = ["<script", "src=", "@import", "url(http"];
        assert!(loads.iter().all(|word| !text.contains(word)), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }
}

#[test]
fn few_runs_and_correlated_ones_are_told() {
    let few = found(&history(&[100.0, 90.0, 80.0]));
    assert_eq!(few.too_few(), Some((3, 6)));
    assert!(
        few.caveats()[0].starts_with("Too few runs to tell: 3"),
        "{:?}",
        few.caveats()
    );
    let dir = tempfile::tempdir().unwrap();
    let templates = Templates::load(None).unwrap();
    let index = site(&few, &dir.path().join("site"), &templates).unwrap();
    let text = std::fs::read_to_string(index).unwrap();
    assert!(
        text.contains("Too few runs to tell") && !text.contains("No metric changed"),
        "{text}"
    );

    // A step is no correlation; a slow wave is one.
    assert_eq!(found(&step()).caveats(), Vec::<String>::new());
    let wave: Vec<f64> = (0..40)
        .map(|i| 100.0 + (f64::from(i) / 5.0).sin())
        .collect();
    let trend = found(&history(&wave));
    assert_eq!(trend.correlated(), 1, "{:?}", trend.series[0].changes);
    assert!(trend.caveats()[0].starts_with("In 1 of 2 series"));
}
