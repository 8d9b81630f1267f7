//! How busy the computer is, and how much of that is not vexp's: proc_stat(5), proc_pid_stat(5), proc_loadavg(5).

use std::collections::BTreeMap;
use std::time::Instant;

use vexp_api::compared::{self, Load};

/// Ticks of a second in /proc: `USER_HZ`, which is 100 on all of Linux's architectures that vexp runs on.
const TICKS: f64 = 100.0;

/// A moment, from which load is counted.
#[derive(Debug)]
pub(super) struct Moment {
    at: Instant,
    average: f64,
    /// Ticks that all processors were busy, and those of this process and all that it has started.
    ticks: Option<(u64, u64)>,
}

impl Moment {
    pub(super) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let average = read("/proc/loadavg");
        let average = average.split(' ').next().and_then(|text| text.parse().ok());
        Self {
            at: Instant::now(),
            average: average.unwrap_or(0.0),
            ticks: busy(&read("/proc/stat")).zip(own()),
        }
    }

    /// The load since then.
    pub(super) fn since(&self) -> Load {
        let now = Self::now();
        let seconds = (now.at - self.at).as_secs_f64();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let others = self.ticks.zip(now.ticks).map(|(then, now)| {
            let busy = now.0.saturating_sub(then.0) as f64;
            let own = now.1.saturating_sub(then.1) as f64;
            let all = (seconds * TICKS * processors as f64).max(1.0);
            ((busy - own) / all).clamp(0.0, 1.0)
        });
        Load {
            format: compared::FORMAT,
            before: self.average,
            after: now.average,
            processors,
            seconds,
            others,
        }
    }
}

/// Ticks that all processors together were busy, or taken by a hypervisor for others.
fn busy(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user's.
    [0, 1, 2, 5, 6, 7]
        .into_iter()
        .map(|field| fields.get(field).copied())
        .sum()
}

/// Ticks of this process and of all that it has started, also of those that have ended and were waited for.
fn own() -> Option<u64> {
    let all = std::fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        // It may have ended meanwhile.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent_and_ticks(&stat)?))
    });
    let all: BTreeMap<u32, (u32, u64)> = all.collect();
    let me = std::process::id();
    let mine = |pid: &u32| {
        let above = |pid: &u32| all.get(pid).map(|(parent, _)| *parent);
        // No process is so far below another.
        let mut ancestors = std::iter::successors(Some(*pid), above).take(100);
        ancestors.any(|ancestor| ancestor == me)
    };
    let ticks = all.iter().filter(|(pid, _)| mine(pid));
    Some(ticks.map(|(_, (_, ticks))| ticks).sum())
}

/// Of a process: its parent, and ticks of itself and of its children that it has waited for.
fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    // The program's name may have spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter();
    let ticks: u64 = ticks
        .map(|field| field.parse::<u64>().ok())
        .sum::<Option<_>>()?;
    Some((fields.get(1)?.parse().ok()?, ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_words_are_read() {
        let stat = "cpu  100 10 50 900 7 3 2 5 40 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(stat), Some(170));
        assert_eq!(busy("cpu  100 x\n"), None);
        assert_eq!(busy(""), None);
        let stat = "42 (a ) b) S 7 42 42 0 -1 4194560 1 2 3 4 11 22 33 44 20 0 1 0 5 6";
        assert_eq!(parent_and_ticks(stat), Some((7, 110)));
        assert_eq!(parent_and_ticks("42 (a) S 7"), None);
    }

    #[test]
    fn what_a_child_takes_is_our_own() {
        let before = own().unwrap();
        let spin = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", spin]).status();
        assert!(status.unwrap().success());
        assert!(own().unwrap() > before);
        let load = Moment::now().since();
        assert!(load.processors > 0 && load.others.is_some());
    }
}
