//! Whether this process, or the machine's emulator, was kept from running: stopped (SIGSTOP, Ctrl-Z), or
//! suspended with the computer. Then lines were dated late, or a machine seemed slow that stood still, and
//! what was measured meanwhile is nothing to rely on.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How often the watch looks at the clock. In a machine in virtual time each look costs the machine.
const LOOK: Duration = Duration::from_millis(500);
/// How late a look may be: far more than a busy computer is.
const LATE: Duration = Duration::from_secs(1);

/// A watch that goes on until [`Watch::end`].
pub(super) struct Watch {
    end: Sender<()>,
    thread: JoinHandle<Pauses>,
}

/// For how long what takes part in a trial did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pauses {
    /// The longest time for which this process was kept from running.
    pub(super) worker: Duration,
    /// How long the emulator was seen stopped, in steps of [`LOOK`].
    pub(super) emulator: Duration,
}

impl Pauses {
    /// Why a trial with them is invalid, if it is.
    pub(super) fn invalid(self) -> Option<String> {
        let (who, time) = if self.worker > LATE {
            ("vexp's worker", self.worker)
        } else if !self.emulator.is_zero() {
            ("the machine's emulator", self.emulator)
        } else {
            return None;
        };
        Some(format!(
            "{who} was stopped for {:.1} s during the trial (SIGSTOP, Ctrl-Z or a suspended computer), so \
             that what was seen then has no time",
            time.as_secs_f64()
        ))
    }
}

impl Watch {
    /// Starts it. It looks at this process, and at the `emulator` with this id.
    pub(super) fn start(emulator: Option<u32>) -> Self {
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            let mut pauses = Pauses::default();
            let mut last = now();
            loop {
                let waited = ended.recv_timeout(LOOK);
                let passed = now().saturating_sub(last);
                pauses.worker = pauses.worker.max(passed.saturating_sub(LOOK));
                if emulator.is_some_and(is_stopped) {
                    pauses.emulator += passed;
                }
                last += passed;
                if waited != Err(RecvTimeoutError::Timeout) {
                    return pauses;
                }
            }
        });
        Self { end, thread }
    }

    /// Ends it. What was kept from running, and for how long.
    pub(super) fn end(self) -> Pauses {
        // It waits for this, or has ended by a panic, which then was no pause.
        let _ = self.end.send(());
        self.thread.join().unwrap_or_default()
    }
}

/// Whether a process is stopped (proc_pid_stat(5)). One that is gone is not: whoever talks to it notices.
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name, in parentheses, may have some itself.
    let state = stat.rsplit(')').next().unwrap_or_default();
    state.trim_start().starts_with(['T', 't'])
}

/// Time since the computer was started, with that in which it was suspended; not the wall clock, which
/// can be set.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};

    #[test]
    fn waiting_is_no_pause() {
        let watch = Watch::start(Some(std::process::id()));
        std::thread::sleep(LOOK + LATE / 4);
        assert_eq!(watch.end().invalid(), None);
    }

    #[test]
    fn an_emulator_that_stands_still_makes_a_trial_invalid() {
        let mut emulator = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&emulator);
        kill_process(pid, Signal::STOP).unwrap();
        let watch = Watch::start(Some(emulator.id()));
        std::thread::sleep(2 * LOOK);
        kill_process(pid, Signal::CONT).unwrap();
        let why = watch.end().invalid().unwrap();
        emulator.kill().unwrap();
        emulator.wait().unwrap();
        assert!(
            why.starts_with("the machine's emulator was stopped for"),
            "{why}"
        );
        assert!(!is_stopped(emulator.id()), "it is gone");
    }
}
