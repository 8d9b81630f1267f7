//! Files that stand alone: other delays, and names of domains that nodes can't have. Their rows are built
//! from one that xentop 4.20 printed.

use vexp_api::plugin::ParseError;
use vexp_api::record::Artefact;
use vexp_api::sample::Sample;

use super::Xentop;
use crate::testing::{check_damage, parse, stranger};

const HEADER: &str = "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n";

fn row(domain: &str, seconds: u32, cpu: &str) -> String {
    format!(
        "{domain:>10} --b--- {seconds:>10} {cpu:>6}     230400    7.3     230400       7.3     4    0        0        0    0        0        0        0          0          0    0\n"
    )
}

/// Four iterations of a domain that uses half of a processor, 3 s apart.
fn text(domain: &str) -> String {
    let rows = [(100, "0.0"), (102, "50.0"), (103, "50.0"), (105, "50.0")];
    rows.iter()
        .map(|(seconds, cpu)| format!("{HEADER}{}", row(domain, *seconds, cpu)))
        .collect()
}

fn told(interval: &str) -> Artefact {
    let mut told = stranger("xentop");
    told.options.insert("interval".to_owned(), interval.into());
    told
}

fn read(text: &str) -> Result<Vec<Sample>, ParseError> {
    parse(&Xentop, &told("3s"), text.as_bytes(), "")
}

#[test]
fn the_delay_is_told_or_an_error() {
    let error = parse(&Xentop, &stranger("xentop"), text("vm1").as_bytes(), "").unwrap_err();
    assert!(error.message.contains("give --interval"), "{error}");
    assert!(
        error.message.contains("about 3.3 s by its counters"),
        "{error}"
    );
    let samples = read(&text("vm1")).unwrap();
    let times: Vec<_> = samples.iter().map(|s| (s.t, s.dt)).collect();
    assert_eq!(times, [(0.0, 3.0), (3.0, 3.0), (6.0, 3.0)]);
    // One that xentop's own counters contradict.
    for wrong in ["60s", "1s"] {
        let long: String = (0..40)
            .map(|n| {
                format!(
                    "{HEADER}{}",
                    row("vm1", 100 + n * 3 / 2, if n == 0 { "0.0" } else { "50.0" })
                )
            })
            .collect();
        let error = parse(&Xentop, &told(wrong), long.as_bytes(), "").unwrap_err();
        assert!(
            error.message.contains("about 3.0 s an interval"),
            "{wrong}: {error}"
        );
        assert!(parse(&Xentop, &told("3s"), long.as_bytes(), "").is_ok());
    }
    // Lines' times tell it, too.
    let times = "0.0\n0.0\n3.0\n3.0\n6.0\n6.0\n9.0\n9.0\n";
    let samples = parse(&Xentop, &stranger("xentop"), text("vm1").as_bytes(), times).unwrap();
    assert_eq!((samples[0].t, samples[0].dt), (0.0, 3.0));
}

#[test]
fn any_domain_of_a_file_that_stands_alone_is_a_node() {
    for (domain, node) in [
        ("DomD", "domd"),
        ("Instance-0001", "instance-0001"),
        ("my new vm", "my-new-vm"),
    ] {
        let samples = read(&text(domain)).unwrap();
        assert!(
            samples.iter().all(|sample| sample.node == *node),
            "{domain}"
        );
        assert_eq!(samples.len(), 3);
    }
    let both: String = text("DomD")
        .split_inclusive('\n')
        .map(|line| {
            format!(
                "{line}{}",
                if line.contains("DomD") {
                    line.replace("DomD", "domd")
                } else {
                    String::new()
                }
            )
        })
        .collect();
    let error = read(&both).unwrap_err();
    assert!(error.message.contains("would both be node domd"), "{error}");
}

#[test]
fn more_than_all_virtual_processors_is_an_error_with_its_line() {
    for wrong in ["18446744073709551.6", "900.0", "500.1"] {
        let text = text("vm1").replacen("50.0", wrong, 1);
        let error = read(&text).unwrap_err();
        assert!(error.message.contains("a counter went wrong"), "{error}");
        assert_eq!(error.line, Some(4), "{error}");
    }
    check_damage(&Xentop, &told("3s"), text("my new vm").as_bytes(), "");
}
