//! Recorded output of intervals, options and forms that vexp does not order itself.

use vexp_api::plugin::ParseError;
use vexp_api::sample::Sample;

use super::Sar;
use crate::testing::{check_damage, of, parse, stranger};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../../testdata/sysstat-12.6.1/", $file))
    };
}

fn read(text: &str) -> Result<Vec<Sample>, ParseError> {
    parse(&Sar, &stranger("sar"), text.as_bytes(), "")
}

/// Start, length and value, rounded.
fn cpu(text: &str) -> Vec<(f64, f64, f64)> {
    let samples = read(text).unwrap_or_else(|error| panic!("{error}"));
    let cpu = of(&samples, "cpu").into_iter();
    cpu.map(|(t, dt, value)| (t, dt, (100.0 * value).round() / 100.0))
        .collect()
}

#[test]
fn lengths_are_those_of_sars_own_clock() {
    let found = cpu(recorded!("sar-5s.txt"));
    let times: Vec<_> = found.iter().map(|(t, dt, _)| (*t, *dt)).collect();
    assert_eq!(times, [(0.0, 5.0), (5.0, 5.0), (10.0, 5.0)]);
    // 100 - 0.00 - 0.00 - 0.00 and 100 - 0.20.
    assert_eq!(found[0].2, 199.8);
    // A moment of which the clock says another length has that.
    let late = recorded!("sar-5s.txt").replace("10:52:03", "10:52:13");
    let lengths: Vec<_> = cpu(&late).iter().map(|(_, dt, _)| *dt).collect();
    assert_eq!(lengths[2], 15.0);
    // One interval has a length, too: its header says when it began.
    let one: String = recorded!("sar-5s.txt")
        .split_inclusive('\n')
        .take(7)
        .collect();
    assert_eq!(cpu(&one)[0].1, 5.0);
}

#[test]
fn sar_without_u_all_and_from_its_file_is_read() {
    let found = read(recorded!("sar-plain.txt")).unwrap();
    let cpu_found = of(&found, "cpu");
    assert_eq!((cpu_found.len(), cpu_found[0].1), (3, 2.0));
    assert!(of(&found, "cpu_guest_time").is_empty());
    let file = read(recorded!("sar-file.txt")).unwrap();
    assert_eq!(of(&file, "cpu").len(), 3);
    assert_eq!(of(&file, "cpu_guest_time").len(), 3);
}

#[test]
fn sadfs_json_says_its_lengths_itself() {
    let json = cpu(recorded!("sadf.json"));
    assert_eq!(json, cpu(recorded!("sar-file.txt")));
    let plain = read(recorded!("sadf-plain.json")).unwrap();
    assert_eq!(of(&plain, "cpu").len(), 3);
    assert!(of(&plain, "cpu_guest_time").is_empty());
    let slow = recorded!("sadf.json").replace("\"interval\": 2", "\"interval\": 600");
    assert_eq!(cpu(&slow)[0].1, 600.0);
}

/// Recorded with sysfs showing four processors, of which two have time in /proc/stat.
#[test]
fn processors_that_are_off_all_the_time_are_no_error() {
    let found = cpu(recorded!("sar-offline.txt"));
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].2, 200.0);
    // What is missing at one moment only is.
    let row = "10:51:58          1      0.50     96.50      3.00      0.00      0.00      0.00      0.00      0.00      0.00      0.00\n";
    let lost = recorded!("sar-offline.txt").replace(row, "");
    assert_ne!(lost, recorded!("sar-offline.txt"));
    let error = read(&lost).unwrap_err();
    assert!(
        error.message.contains("1 of 4 processors at this moment"),
        "{error}"
    );
    // And what is missing all the time, but is in the mean.
    let one: String = recorded!("sar-5s.txt")
        .lines()
        .filter(|line| !line.contains(":03          1 ") && !line.contains("          1   "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(cpu(&one).len() == 3, "busy alike: {one}");
    let idle = recorded!("sar-5s.txt").replace(
        "          1     55.11     24.05     20.24",
        "          1      0.11      4.05      0.24",
    );
    let idle = idle.replace(
        "20.24      0.20      0.00      0.00      0.00      0.00      0.00      0.40",
        "0",
    );
    assert!(read(&idle).is_err());
}

#[test]
fn what_is_not_read_is_refused_with_what_is() {
    for (text, says) in [
        (recorded!("sar-mean.txt"), "-P ALL prints each"),
        (recorded!("sadf.csv"), "sadf -j"),
        (recorded!("sadf.xml"), "sadf -j"),
        ("{\"a\": 1}", "sysstat.hosts"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.message.contains(says), "{error}");
    }
    let (cut, _) = recorded!("sadf.json").split_at(1500);
    let error = read(cut).unwrap_err();
    assert!(error.message.contains("the output is cut"), "{error}");
}

#[test]
fn damaged_files_give_no_wrong_number() {
    for text in [
        recorded!("sadf.json"),
        recorded!("sar-offline.txt"),
        recorded!("sar-plain.txt"),
    ] {
        check_damage(&Sar, &stranger("sar"), text.as_bytes(), "");
    }
}
