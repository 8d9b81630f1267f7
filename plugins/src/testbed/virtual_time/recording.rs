//! What links carry in a trial, step by step.

use vexp_api::trace::{Carried, Channel, MOST_STEPS, Step, Traffic};
use vexp_lockstep::net::GRID;
use vexp_lockstep::observe::{self, short};
use vexp_lockstep::side::Side;

/// The trace of a trial that runs.
#[derive(Debug)]
pub(super) struct Recording {
    began_ns: u64,
    /// Late borders and frames before it.
    late: u64,
    channels: Vec<Channel>,
    /// Frames of each channel at the last step.
    frames: Vec<u64>,
    steps: Vec<Step>,
    whole: bool,
}

fn hash(traffic: &observe::Traffic) -> String {
    format!("{:08x}", short(traffic.hash))
}

impl Recording {
    pub(super) fn begin(side: &Side) -> Self {
        let traffic = side.traffic();
        let channel = |traffic: &&observe::Traffic| Channel {
            link: traffic.link.clone(),
            from: traffic.from.clone(),
            to: traffic.to.clone(),
            frames: traffic.frames,
            hash: hash(traffic),
            whole: traffic.whole,
        };
        Self {
            began_ns: side.now(),
            late: side.counters().late(),
            channels: traffic.iter().map(channel).collect(),
            frames: traffic.iter().map(|traffic| traffic.frames).collect(),
            steps: Vec::new(),
            whole: true,
        }
    }

    /// Notes what has passed since the last step.
    pub(super) fn step(&mut self, side: &Side) {
        let mut carried = Vec::new();
        for (number, traffic) in side.traffic().into_iter().enumerate() {
            let Some(before) = self.frames.get_mut(number) else {
                continue;
            };
            if *before != traffic.frames {
                *before = traffic.frames;
                let marks = traffic.marks.clone();
                carried.push(Carried(number, traffic.frames, hash(traffic), marks));
            }
        }
        self.whole &= self.steps.len() < MOST_STEPS;
        if self.whole && !carried.is_empty() {
            self.steps.push(Step(side.settled(), carried));
        }
    }

    pub(super) fn end(mut self, side: &Side) -> Traffic {
        for (channel, traffic) in self.channels.iter_mut().zip(side.traffic()) {
            channel.whole = traffic.whole;
        }
        Traffic {
            step_ns: GRID.as_nanos() as u64,
            began_ns: self.began_ns,
            ended_ns: side.now(),
            late: side.counters().late().saturating_sub(self.late),
            channels: self.channels,
            steps: self.steps,
            whole: self.whole,
        }
    }
}
