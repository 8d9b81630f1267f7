//! Whether this process was kept from running: stopped (SIGSTOP, Ctrl-Z), or suspended with the
//! computer. Then lines were dated late, and what was measured meanwhile is nothing to rely on.

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
    thread: JoinHandle<Duration>,
}

impl Watch {
    /// Starts it.
    pub(super) fn start() -> Self {
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            let mut last = now();
            loop {
                let waited = ended.recv_timeout(LOOK);
                let passed = now().saturating_sub(last);
                longest = longest.max(passed.saturating_sub(LOOK));
                last += passed;
                if waited != Err(RecvTimeoutError::Timeout) {
                    return longest;
                }
            }
        });
        Self { end, thread }
    }

    /// Ends it. How long this process was kept from running, if it was.
    pub(super) fn end(self) -> Option<Duration> {
        // It waits for this, or has ended by a panic, which then was no pause.
        let _ = self.end.send(());
        self.thread.join().ok().filter(|longest| *longest > LATE)
    }
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

    #[test]
    fn waiting_is_no_pause() {
        let watch = Watch::start();
        std::thread::sleep(LOOK + LATE / 4);
        assert_eq!(watch.end(), None);
    }
}
