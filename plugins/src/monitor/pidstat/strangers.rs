//! Output of intervals and of QEMUs that vexp does not start itself. Recorded with programs that are named
//! like QEMU and have the command lines that libvirt gives it.

use vexp_api::plugin::ParseError;
use vexp_api::sample::Sample;

use super::Pidstat;
use crate::testing::{check_damage, parse, stranger};

const LIBVIRT: &str = include_str!("../../../testdata/sysstat-12.6.1/pidstat-libvirt.txt");
const BOOT: &str = include_str!("../../../testdata/sysstat-12.6.1/pidstat-boot.txt");

fn read(text: &str) -> Result<Vec<Sample>, ParseError> {
    parse(&Pidstat, &stranger("pidstat"), text.as_bytes(), "")
}

fn cpu(samples: &[Sample], node: &str) -> Vec<(f64, f64, f64)> {
    let of = samples
        .iter()
        .filter(|s| s.node == *node && s.metric == *"cpu");
    of.map(|s| (s.t, s.dt, s.value)).collect()
}

#[test]
fn libvirts_names_and_lengths_by_pidstats_clock() {
    let samples = read(LIBVIRT).unwrap();
    assert_eq!(
        cpu(&samples, "vm1"),
        [(0.0, 3.0, 3.26), (3.0, 3.0, 3.0), (6.0, 3.0, 3.65)]
    );
    // Nodes have small letters. Other programs are left out.
    assert_eq!(cpu(&samples, "instance-0001").len(), 3);
    assert_eq!(samples.len(), 2 * 2 * 3);
}

/// A thread of vhost is listed by its name, as other kernel threads are.
#[test]
fn threads_of_vhost_are_their_guests() {
    let row = "qemu-system-x86_64 -name guest=vm1,debug-threads=on -machine q35\n";
    let mut text = String::new();
    for line in LIBVIRT.split_inclusive('\n') {
        text.push_str(line);
        if line.ends_with(row) {
            let time = line.split(' ').next().unwrap();
            text.push_str(&format!(
                "{time}      0     23700    0.00   10.00    0.00    0.00   10.00     1  vhost-23628\n"
            ));
        }
    }
    let samples = read(&text).unwrap();
    assert_eq!(cpu(&samples, "vm1")[0].2, 13.26);
}

#[test]
fn one_moment_needs_the_option() {
    let error = read(BOOT).unwrap_err();
    assert!(error.message.contains("give --interval"), "{error}");
    let mut told = stranger("pidstat");
    told.options.insert("interval".to_owned(), "3s".into());
    let samples = parse(&Pidstat, &told, BOOT.as_bytes(), "").unwrap();
    assert_eq!(cpu(&samples, "vm1"), [(0.0, 3.0, 0.01)]);
}

/// Versions before 11.5.5 have no `%wait`: their source's `write_stats`.
#[test]
fn older_columns_are_read() {
    let text = "Linux 3.10 (host) \t11/30/26 \t_x86_64_\t(2 CPU)\n\n\
        #      Time   UID       PID    %usr %system  %guest    %CPU   CPU  Command\n \
        1796037767     0     23628    3.00    1.00   20.00   24.00     1  /usr/libexec/qemu-kvm -name vm1\n\n\
        #      Time   UID       PID    %usr %system  %guest    %CPU   CPU  Command\n \
        1796037769     0     23628    3.00    1.00   20.00   24.00     1  /usr/libexec/qemu-kvm -name vm1\n";
    assert_eq!(
        cpu(&read(text).unwrap(), "vm1"),
        [(0.0, 2.0, 24.0), (2.0, 2.0, 24.0)]
    );
}

#[test]
fn more_than_all_processors_is_an_error() {
    let text = LIBVIRT.replace(
        "3.26    0.00    0.00   14.33    3.26",
        "903.26 0.00 0.00 14.33 903.26",
    );
    let error = read(&text).unwrap_err();
    assert!(error.message.contains("there are 2 processors"), "{error}");
    check_damage(&Pidstat, &stranger("pidstat"), LIBVIRT.as_bytes(), "");
}
