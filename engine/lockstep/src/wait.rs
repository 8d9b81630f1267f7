//! Waits for other sides, each with a deadline.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::time::{Duration, Instant};

use rustix::thread::futex;

use crate::channel::{NEVER, State};
use crate::map::SideFile;
use crate::side::{LinkError, Port};

/// How long it sleeps before it looks whether the others are still there.
const LOOK: Duration = Duration::from_millis(100);

/// Wakes a side, or lets its next sleep end at once.
pub(crate) fn ring(side: &SideFile) {
    let bell = &side.fields().bell;
    bell.fetch_add(1, SeqCst);
    // It fails only for an address that isn't mapped.
    let _ = futex::wake(bell, futex::Flags::empty(), u32::MAX >> 1);
}

/// What a wait needs.
pub(crate) struct Waiting<'a> {
    pub(crate) me: &'a SideFile,
    pub(crate) ports: &'a [Port],
    pub(crate) patience: Duration,
    pub(crate) abandoned: &'a dyn Fn() -> Option<String>,
}

impl Waiting<'_> {
    /// Waits until all that arrives before `until` is known.
    pub(crate) fn until_known(&self, until: u64) -> Result<(), LinkError> {
        // This side promised something just now; who sleeps should see it.
        for port in self
            .ports
            .iter()
            .filter(|port| port.peer.fields().asleep.load(SeqCst) != 0)
        {
            ring(&port.peer);
        }
        let _attending = Attending::begin(self.me);
        let missing = || self.ports.iter().filter(|port| port.known() < until);
        let mut progress = Progress::new(self.patience);
        while missing().next().is_some() {
            self.sleep(until);
            for port in missing() {
                alive(&port.peer_name, &port.peer)?;
            }
            let sum = missing()
                .map(|port| trace(&port.peer).wrapping_add(port.into().horizon.load(Relaxed)));
            if progress.is_over(sum.fold(0, u64::wrapping_add))
                && let Some(port) = missing().next()
            {
                let (side, known) = (port.peer_name.clone(), port.known());
                let seconds = self.patience.as_secs();
                return Err(LinkError::Silent {
                    side,
                    seconds,
                    known,
                    wanted: until,
                });
            }
            self.ask()?;
        }
        Ok(())
    }

    fn sleep(&self, until: u64) {
        let fields = self.me.fields();
        let bell = fields.bell.load(SeqCst);
        for port in self.ports {
            let blocked = port.known() < until;
            port.into()
                .want
                .store(if blocked { until } else { NEVER }, SeqCst);
            port.into().blocked.store(u64::from(blocked), SeqCst);
        }
        fields.asleep.store(1, SeqCst);
        if self.ports.iter().any(|port| port.known() < until) {
            for port in self.ports.iter().filter(|port| port.known() < until) {
                if port.peer.fields().asleep.load(SeqCst) != 0 {
                    ring(&port.peer);
                }
            }
            nap(&fields.bell, bell);
        }
        fields.asleep.store(0, SeqCst);
        for port in self.ports {
            port.into().want.store(NEVER, SeqCst);
            port.into().blocked.store(0, SeqCst);
        }
    }

    /// Waits until a side has stopped at the time that it was told.
    pub(crate) fn until_stopped(&self, name: &str, side: &SideFile) -> Result<(), LinkError> {
        let _attending = Attending::begin(self.me);
        let mut progress = Progress::new(self.patience);
        let fields = side.fields();
        while State::of(fields.state.load(Acquire)) != State::Stopped {
            let bell = self.me.fields().bell.load(SeqCst);
            alive(name, side)?;
            if fields.cause.load(Relaxed) == INSIDE_GUEST {
                let (side, at) = (name.to_owned(), fields.stop_at.load(Relaxed));
                return Err(LinkError::InsideGuest { side, at });
            }
            if progress.is_over(trace(side)) {
                let (known, wanted) = (fields.now.load(Relaxed), fields.stop_at.load(Relaxed));
                let seconds = self.patience.as_secs();
                return Err(LinkError::Silent {
                    side: name.to_owned(),
                    seconds,
                    known,
                    wanted,
                });
            }
            self.ask()?;
            if State::of(fields.state.load(SeqCst)) != State::Stopped {
                nap(&self.me.fields().bell, bell);
            }
        }
        Ok(())
    }

    fn ask(&self) -> Result<(), LinkError> {
        (self.abandoned)().map_or(Ok(()), |why| Err(LinkError::Abandoned(why)))
    }
}

/// As long as it lives, other sides' patience runs.
struct Attending<'a>(&'a SideFile);

impl<'a> Attending<'a> {
    fn begin(side: &'a SideFile) -> Self {
        side.fields().attending.store(1, SeqCst);
        Self(side)
    }
}

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        self.0.fields().attending.store(0, SeqCst);
    }
}

/// Sleeps until the bell has another value than `seen`, [`LOOK`] at most.
fn nap(bell: &std::sync::atomic::AtomicU32, seen: u32) {
    let time = futex::Timespec {
        tv_sec: 0,
        tv_nsec: LOOK.as_nanos() as i64,
    };
    // Whatever ends it, the caller looks again.
    let _ = futex::wait(bell, futex::Flags::empty(), seen, Some(&time));
}

/// A word that changes while a side does anything.
fn trace(side: &SideFile) -> u64 {
    let fields = side.fields();
    let words = [&fields.now, &fields.borders, &fields.waits];
    let state = u64::from(fields.state.load(Relaxed));
    words
        .iter()
        .fold(state, |sum, word| sum.wrapping_add(word.load(Relaxed)))
}

/// An error if the side won't do anything any more.
fn alive(name: &str, side: &SideFile) -> Result<(), LinkError> {
    let fields = side.fields();
    let held = side.is_held();
    let now = fields.now.load(Relaxed);
    let side = name.to_owned();
    match State::of(fields.state.load(Acquire)) {
        State::Running | State::Stopped if !held => Err(LinkError::Died { side, now }),
        State::Created | State::Running | State::Stopped => Ok(()),
        State::Ended => Err(LinkError::Ended { side, now }),
        State::Failed => {
            let cause = cause(fields.cause.load(Relaxed));
            Err(LinkError::Failed { side, now, cause })
        }
    }
}

/// What a machine says that can't stop since it is inside a guest.
const INSIDE_GUEST: u32 = 84;

/// The causes are the exit codes of `emulator/lockstep.h`.
fn cause(code: u32) -> &'static str {
    match code {
        81 => "it isn't the emulator that this vexp knows",
        82 => "its files or options aren't those of a lockstep",
        83 => "a side that it waited for ended or made no progress",
        _ => "an error of its own",
    }
}

/// Notices when nothing changes for too long.
struct Progress {
    patience: Duration,
    last: u64,
    since: Instant,
}

impl Progress {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            last: 0,
            since: Instant::now(),
        }
    }

    fn is_over(&mut self, sum: u64) -> bool {
        if sum != self.last {
            self.last = sum;
            self.since = Instant::now();
        }
        self.since.elapsed() >= self.patience
    }
}
