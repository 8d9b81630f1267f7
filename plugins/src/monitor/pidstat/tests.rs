use vexp_api::record::Artefact;
use vexp_api::sample::NodeRole;

use super::*;
use crate::testing::{artefact, check_damage, check_every_cut, name, parse};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/sysstat-12.7.5/", $file))
    };
}

const TEXT: &str = recorded!("pidstat.txt");
const TIMES: &str = recorded!("pidstat.txt.times");

fn host(guests: &[&str]) -> Artefact {
    let mut artefact = artefact("pidstat", "stdout", ("host", NodeRole::Host));
    artefact.about.insert(name("host"), NodeRole::Host);
    for guest in guests {
        artefact.about.insert(name(guest), NodeRole::Guest);
    }
    artefact
}

fn values(samples: &[Sample], node: &str, metric: &str) -> Vec<f64> {
    let of = samples
        .iter()
        .filter(|sample| sample.node == *node && sample.metric == *metric);
    of.map(|sample| sample.value).collect()
}

#[test]
fn a_process_is_its_guest() {
    let samples = parse(&Pidstat, &host(&["vm1", "vm2"]), TEXT.as_bytes(), TIMES).unwrap();
    assert_eq!(samples.len(), 2 * 2 * 4);
    assert!(samples.iter().all(|sample| sample.role == NodeRole::Guest));
    assert_eq!(values(&samples, "vm1", "cpu"), [39.0, 39.0, 46.0, 38.0]);
    // One that does nothing is there all the same.
    assert_eq!(values(&samples, "vm2", "cpu"), [0.0; 4]);
    assert_eq!(values(&samples, "vm1", "cpu_guest_time"), [0.0; 4]);
    // The third line is the first header.
    let header: f64 = TIMES.lines().nth(2).unwrap().parse().unwrap();
    assert!((samples[0].t - (header - 1.0)).abs() < 1e-6);
    assert_eq!(samples[0].dt, 1.0);
    // Without arrival times the first interval begins with the program, at 10 s.
    let samples = parse(&Pidstat, &host(&["vm1", "vm2"]), TEXT.as_bytes(), "").unwrap();
    assert_eq!((samples[0].t, samples[15].t), (10.0, 13.0));
}

#[test]
fn virtual_processors_are_told_apart() {
    let text = "Linux 6.12 (host) \t2026-11-22 \t_x86_64_\t(2 CPU)\n\n\
        # Time        UID       PID    %usr %system  %guest   %wait    %CPU   CPU  Command\n\
        1795392816      0       110   10.00   25.00   90.00    1.00  125.00     1  qemu-system-x86_64 -name vm1\n";
    let samples = parse(&Pidstat, &host(&["vm1"]), text.as_bytes(), "").unwrap();
    assert_eq!(values(&samples, "vm1", "cpu"), [125.0]);
    assert_eq!(values(&samples, "vm1", "cpu_guest_time"), [90.0]);
}

#[test]
fn what_the_kernel_books_twice_is_no_damage() {
    let guests = ["vm1", "vm2", "vm3", "vm4", "vm5", "vm6", "vm7", "vm8"];
    let (text, times) = (
        recorded!("pidstat-8-kvm.txt"),
        recorded!("pidstat-8-kvm.txt.times"),
    );
    // The guest's 7.92 % and the system's 5.94 % are more than the 10.89 % of both.
    assert!(text.contains("0.00    5.94    7.92   47.52   10.89"));
    let samples = parse(&Pidstat, &host(&guests), text.as_bytes(), times).unwrap();
    assert_eq!(values(&samples, "vm3", "cpu")[1], 10.89);
    let changed = text.replace(
        "0.00    5.94    7.92   47.52   10.89",
        "3.00    5.94    7.92   47.52   10.89",
    );
    let error = parse(&Pidstat, &host(&guests), changed.as_bytes(), times).unwrap_err();
    assert!(
        error.message.contains("the parts add up to 16.86 %"),
        "{error}"
    );
}

#[test]
fn refuses_what_is_doubtful_and_says_where() {
    let change = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        TEXT.replacen(from, to, 1)
    };
    let cases = [
        ("empty", String::new(), None, "no complete sample"),
        (
            "no guest",
            recorded!("pidstat-no-guest.txt").to_owned(),
            Some(3),
            "0 of 2 guests",
        ),
        (
            "other tool",
            "hello\n".to_owned(),
            Some(1),
            "not what pidstat",
        ),
        ("columns", change("%wait", "%what"), Some(3), "columns"),
        ("nan", change("38.00", "  nan"), Some(4), "%usr is `nan`"),
        ("negative", change("38.00", "-8.00"), Some(4), "not a share"),
        ("digit", change("38.00", "88.00"), Some(4), "add up"),
        ("column lost", change("38.00", "     "), Some(4), "add up"),
        (
            "stranger",
            change("-name vm2", "-name vm9"),
            Some(5),
            "not a guest",
        ),
        (
            "no name",
            change("-name vm2", "-mane vm2"),
            Some(5),
            "without a name",
        ),
        ("twice", change("-name vm2", "-name vm1"), Some(5), "twice"),
        (
            "clock",
            change("1795392816      0       111", "1795392815 0 111"),
            Some(5),
            "two times",
        ),
        (
            "clock back",
            TEXT.replace("1795392818", "1795392810"),
            Some(11),
            "set back",
        ),
    ];
    for (what, text, line, says) in cases {
        let error = parse(&Pidstat, &host(&["vm1", "vm2"]), text.as_bytes(), "").unwrap_err();
        assert!(error.message.contains(says), "{what}: {error}");
        assert_eq!(error.line, line, "{what}: {error}");
    }
    let lump = "6.0\n".repeat(40);
    let guests = host(&["vm1", "vm2"]);
    let error = parse(&Pidstat, &guests, TEXT.as_bytes(), &lump).unwrap_err();
    assert!(error.message.contains("buffered"), "{error}");
}

#[test]
fn a_guest_without_a_process_is_no_zero() {
    let three = host(&["vm1", "vm2", "vm3"]);
    let error = parse(&Pidstat, &three, TEXT.as_bytes(), TIMES).unwrap_err();
    assert!(error.message.contains("2 of 3 guests"), "{error}");
    // One that ended on the way.
    let lines = TEXT.split_inclusive('\n').enumerate();
    let text: String = lines
        .filter(|(i, _)| *i != 8)
        .map(|(_, line)| line)
        .collect();
    let error = parse(&Pidstat, &host(&["vm1", "vm2"]), text.as_bytes(), "").unwrap_err();
    assert_eq!(error.line, Some(7), "{error}");
}

#[test]
fn a_cut_or_damaged_file_gives_no_wrong_number() {
    for guests in [&["vm1", "vm2"][..], &[]] {
        let host = host(guests);
        check_damage(&Pidstat, &host, TEXT.as_bytes(), TIMES);
    }
    check_every_cut(&Pidstat, &host(&["vm1", "vm2"]), TEXT.as_bytes(), TIMES);
}
