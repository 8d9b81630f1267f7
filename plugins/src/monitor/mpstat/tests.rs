use vexp_api::sample::NodeRole;

use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, of, parse};

const TEXT: &str = include_str!("../../../testdata/sysstat-12.7.5/mpstat.txt");
const TIMES: &str = include_str!("../../../testdata/sysstat-12.7.5/mpstat.txt.times");

fn host() -> vexp_api::record::Artefact {
    artefact("mpstat", "stdout", ("host", NodeRole::Host))
}

#[test]
fn each_processor_has_its_own_series() {
    let samples = parse(&Mpstat, &host(), TEXT.as_bytes(), TIMES).unwrap();
    // Seven shares of two processors, four times.
    assert_eq!(samples.len(), 7 * 2 * 4);
    assert!(samples.iter().all(|sample| sample.node == *"host"));
    let busy = of(&samples, "cpu0.busy");
    assert_eq!(busy.len(), 4);
    // The line that begins the first group.
    let first: f64 = TIMES.lines().nth(3).unwrap().parse().unwrap();
    assert!((busy[0].0 - (first - 1.0)).abs() < 1e-6, "{}", busy[0].0);
    assert_eq!((busy[0].1, busy[0].2), (1.0, 100.0));
    // `00:13:31  0  10.00  85.00  5.00 …` and `00:13:31  1  26.73  66.34  6.93 …`.
    assert_eq!(of(&samples, "cpu0.usr")[0].2, 95.0);
    assert_eq!(of(&samples, "cpu0.sys")[0].2, 5.0);
    assert!((of(&samples, "cpu1.usr")[0].2 - 93.07).abs() < 1e-9);
    assert!(of(&samples, "cpu").is_empty());
}

#[test]
fn shares_are_told_apart() {
    let text = "Linux 6.12 (host) \t2026-11-22 \t_x86_64_\t(1 CPU)\n\n\
        21:02:07 CPU %usr %nice %sys %iowait %irq %soft %steal %guest %gnice %idle\n\
        21:02:08 all 1.00 2.00 9.00 5.00 3.00 4.00 16.00 30.00 10.00 20.00\n\
        21:02:08 0 1.00 2.00 9.00 5.00 3.00 4.00 16.00 30.00 10.00 20.00\n";
    let samples = parse(&Mpstat, &host(), text.as_bytes(), "").unwrap();
    for (metric, value) in [
        ("cpu0.busy", 59.0),
        ("cpu0.usr", 3.0),
        ("cpu0.sys", 9.0),
        ("cpu0.irq", 3.0),
        ("cpu0.soft", 4.0),
        ("cpu0.steal", 16.0),
        ("cpu0.guest", 40.0),
    ] {
        assert_eq!(of(&samples, metric)[0].2, value, "{metric}");
    }
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let change = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        TEXT.replacen(from, to, 1)
    };
    let cases = [
        ("empty", String::new(), None, "mpstat printed nothing"),
        ("other tool", "hello\n".to_owned(), Some(1), "not mpstat's"),
        ("nan", change("26.73", "  nan"), Some(6), "%usr is `nan`"),
        (
            "negative",
            change("26.73", "-6.73"),
            Some(6),
            "not 0 to 100",
        ),
        ("too much", change("26.73", "76.73"), Some(6), "add up"),
        ("column lost", change("26.73", "     "), Some(6), "columns"),
    ];
    for (what, text, line, says) in cases {
        let error = parse(&Mpstat, &host(), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert_eq!(error.line, line, "{what}: {error}");
    }
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    check_every_cut(&Mpstat, &host(), TEXT.as_bytes(), TIMES);
    check_damage(&Mpstat, &host(), TEXT.as_bytes(), TIMES);
}
