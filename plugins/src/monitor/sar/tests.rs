use vexp_api::sample::NodeRole;

use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, of, parse};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/sysstat-12.7.5/", $file))
    };
}

fn host() -> vexp_api::record::Artefact {
    artefact("sar", "stdout", ("host", NodeRole::Host))
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn busy_time_is_added_up_over_processors() {
    let (text, times) = (recorded!("iso.txt"), recorded!("iso.txt.times"));
    let samples = parse(&Sar, &host(), text.as_bytes(), times).unwrap();
    let cpu = of(&samples, "cpu");
    assert_eq!(cpu.len(), 4);
    // 200 less %idle and %iowait of both processors.
    assert!(
        near(cpu[1].2, 200.0 - 91.84 - 1.02 - 28.71 - 2.97),
        "{}",
        cpu[1].2
    );
    // The line of the second moment came at 8.263126 s and is about the second before it.
    assert!(near(cpu[1].0, 8.263_126 - 1.0), "{}", cpu[1].0);
    assert_eq!(cpu[1].1, 1.0);
    assert_eq!(of(&samples, "cpu_guest_time").len(), 4);
}

#[test]
fn twelve_hour_clocks_and_midnight() {
    let samples = parse(&Sar, &host(), recorded!("us.txt").as_bytes(), "").unwrap();
    let cpu = of(&samples, "cpu");
    assert_eq!(cpu.len(), 3);
    // Without times of lines, the first interval begins with the program.
    assert_eq!((cpu[0].0, cpu[2].0), (10.0, 12.0));

    let night = recorded!("iso.txt")
        .replace("21:02:07", "23:59:58")
        .replace("21:02:08", "23:59:59")
        .replace("21:02:09", "00:00:00")
        .replace("21:02:10", "00:00:01")
        .replace("21:02:11", "00:00:02");
    let samples = parse(&Sar, &host(), night.as_bytes(), "").unwrap();
    let starts: Vec<f64> = of(&samples, "cpu").iter().map(|(t, ..)| *t).collect();
    assert_eq!(starts, [10.0, 11.0, 12.0, 13.0]);

    let noon = recorded!("us.txt")
        .replace("09:05:06 PM", "11:59:59 AM")
        .replace("09:05:07 PM", "12:00:00 PM");
    let noon = noon
        .replace("09:05:08 PM", "12:00:01 PM")
        .replace("09:05:05 PM", "11:59:58 AM");
    let samples = parse(&Sar, &host(), noon.as_bytes(), "").unwrap();
    assert_eq!(of(&samples, "cpu")[2].0, 12.0);
}

#[test]
fn steal_and_guests() {
    let text = "Linux 6.12 (host) \t2026-11-22 \t_x86_64_\t(1 CPU)\n\n\
        21:02:07 CPU %usr %nice %sys %iowait %steal %irq %soft %guest %gnice %idle\n\
        21:02:08 all 1.00 0.00 9.00 5.00 15.00 0.00 2.00 40.00 8.00 20.00\n\
        21:02:08 0 1.00 0.00 9.00 5.00 15.00 0.00 2.00 40.00 8.00 20.00\n";
    let samples = parse(&Sar, &host(), text.as_bytes(), "").unwrap();
    assert!(near(of(&samples, "cpu")[0].2, 60.0));
    assert!(near(of(&samples, "cpu_guest_time")[0].2, 48.0));
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let text = recorded!("iso.txt");
    let change = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let row = "21:02:08          1      3.96      0.00      3.96      0.00      0.00      0.00      0.00      0.00      0.00     92.08\n";
    let cases = [
        ("empty", String::new(), None, "printed nothing"),
        (
            "no samples",
            text.lines().take(3).map(|l| format!("{l}\n")).collect(),
            None,
            "no complete sample",
        ),
        ("other tool", "hello\n".to_owned(), Some(1), "not sar's"),
        (
            "no header",
            change("21:02:07        CPU", "21:02:07        XPU"),
            Some(3),
            "before any header",
        ),
        ("nan", change("93.07", "nan"), Some(5), "%idle is `nan`"),
        (
            "negative",
            change("93.07", "-3.07"),
            Some(5),
            "not 0 to 100",
        ),
        (
            "column lost",
            change("      2.97      0.00      3.96", "      2.97      3.96"),
            Some(5),
            "columns",
        ),
        (
            "processor off",
            change(row, &row.replace("3.96", "0.00").replace("92.08", "0.00")),
            Some(4),
            "1 of 2 processors",
        ),
        (
            "processor lost",
            change(row, ""),
            Some(4),
            "1 of 2 processors",
        ),
        (
            "processor twice",
            change(row, &format!("{row}{row}")),
            Some(7),
            "twice",
        ),
        (
            "restart",
            change(
                row,
                &format!("{row}21:02:08       LINUX RESTART\t(2 CPU)\n"),
            ),
            Some(7),
            "restarted",
        ),
        (
            "clock back",
            change("21:02:10        all", "20:02:10        all"),
            Some(17),
            "outside",
        ),
        (
            "13 PM",
            change("21:02:08          0", "21:02:08 PM         0"),
            Some(5),
            "time of day",
        ),
    ];
    for (what, text, line, says) in cases {
        let error = parse(&Sar, &host(), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert!(line.is_none() || error.line.is_some(), "{what}: {error}");
    }
    let lump = "6.0\n".repeat(40);
    let error = parse(&Sar, &host(), text.as_bytes(), &lump).unwrap_err();
    assert!(error.message.contains("buffered"), "{error}");
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    for (text, times) in [
        (recorded!("iso.txt"), recorded!("iso.txt.times")),
        (recorded!("us.txt"), recorded!("us.txt.times")),
    ] {
        check_every_cut(&Sar, &host(), text.as_bytes(), times);
        check_damage(&Sar, &host(), text.as_bytes(), times);
    }
}
