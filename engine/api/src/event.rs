//! What happens in a run, as typed events. The terminal, the log and the tests are views of them.

use serde::{Deserialize, Serialize};

use crate::ids::Name;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An image is in the store already.
    ImageReady {
        /// Image.
        image: Name,
    },
    /// An image is being built.
    ImageBuilding {
        /// Image.
        image: Name,
        /// What is done just now.
        step: String,
    },
    /// An image was built.
    ImageBuilt {
        /// Image.
        image: Name,
        /// Seconds.
        seconds: f64,
    },
    /// The run's folder exists and trials begin.
    RunStarted {
        /// Run.
        run: Name,
        /// Trials that will be run.
        trials: usize,
        /// Estimate for them, in seconds.
        estimate_s: f64,
    },
    /// A machine is being booted.
    BlockStarted {
        /// Block.
        block: Name,
    },
    /// The machine answers.
    HostReady {
        /// Block.
        block: Name,
        /// Seconds.
        seconds: f64,
    },
    /// A guest answers.
    GuestReady {
        /// Block.
        block: Name,
        /// Guest.
        guest: Name,
        /// Seconds.
        seconds: f64,
    },
    /// A trial begins.
    TrialStarted {
        /// Block; logs of earlier versions don't say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<Name>,
        /// Trial.
        trial: Name,
    },
    /// How far a block's machines have come in virtual time, once a second of the computer's time. Not kept.
    ClockMoved {
        /// Block.
        block: Name,
        /// Seconds of virtual time since the machines' power-on.
        virtual_s: f64,
    },
    /// How many tasks of a batch engine are out. Not kept.
    TasksSeen {
        /// Those that the engine holds back, or that have not begun.
        waiting: usize,
        /// Those that run.
        running: usize,
        /// Blocks that they are measuring.
        blocks: usize,
        /// Why most of them wait, in the engine's words.
        why: Option<String>,
    },
    /// A trial's first measured packet has been sent or awaited.
    TrialMeasuring {
        /// Trial.
        trial: Name,
    },
    /// A trial has ended and is on disk.
    TrialEnded {
        /// Trial.
        trial: Name,
        /// `measured`, `invalid` or `failed`, and why.
        #[serde(flatten)]
        outcome: crate::record::Outcome,
        /// Seconds that it took, by the computer's clock.
        seconds: f64,
        /// The same by the machines' clock, where that is another.
        #[serde(skip_serializing_if = "Option::is_none")]
        virtual_s: Option<f64>,
        /// One line with the main numbers, for people; not data.
        summary: String,
    },
    /// A machine was released.
    BlockEnded {
        /// Block.
        block: Name,
        /// Seconds in all.
        seconds: f64,
    },
    /// A block could not go on; its remaining trials have failed.
    BlockFailed {
        /// Block.
        block: Name,
        /// The error with its causes.
        error: String,
    },
    /// Something that a person should know and that changes no result.
    Note {
        /// One sentence.
        text: String,
    },
    /// All trials have ended.
    RunEnded {
        /// Run.
        run: Name,
        /// Trials measured.
        measured: usize,
        /// Trials that were not.
        not_measured: usize,
    },
}

/// Receives events, from any thread.
pub trait EventSink: Send + Sync {
    /// Takes one event; must not block for long.
    fn event(&self, event: &Event);
}

/// Ignores events.
pub struct NoEvents;

impl EventSink for NoEvents {
    fn event(&self, _: &Event) {}
}
