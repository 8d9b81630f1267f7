//! Progress of builds and runs: a bar on a terminal, a line a trial elsewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use vexp_api::event::{Event, EventSink};
use vexp_api::record::Outcome;

use super::plan::span;

/// Shows events on standard error.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    run: Arc<Mutex<Run>>,
    colour: bool,
}

/// Where a run stands.
#[derive(Default)]
struct Run {
    started: Option<Instant>,
    trials: usize,
    /// Trials that have ended, each once however often it was tried.
    done: BTreeSet<String>,
    estimate: Duration,
}

impl Run {
    /// Time that is left: the estimate at first, what was seen later on.
    fn left(&self) -> Option<Duration> {
        let elapsed = self.started?.elapsed().as_secs_f64();
        let share = self.done.len() as f64 / self.trials.max(1) as f64;
        let estimate = self.estimate.as_secs_f64();
        let seen = if self.done.is_empty() {
            estimate
        } else {
            elapsed / share
        };
        // The share itself is how much the seen speed is trusted.
        let total = share * seen + (1.0 - share) * estimate.max(elapsed);
        Duration::try_from_secs_f64(total - elapsed).ok()
    }
}

impl Progress {
    /// A bar if standard error is a terminal.
    pub(crate) fn new() -> Self {
        let run = Arc::new(Mutex::new(Run::default()));
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let terminal = !bar.is_hidden();
        bar.set_style(style(&run));
        Self {
            bar: terminal.then_some(bar),
            run,
            colour: super::colour(),
        }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => super::say(text),
        }
    }

    /// What goes on just now: on a terminal only.
    fn now(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn trial_ended(&self, trial: &str, outcome: &Outcome, seconds: f64, summary: &str) {
        let (done, trials, left) = {
            let mut run = self.run();
            run.done.insert(trial.to_owned());
            (run.done.len(), run.trials, run.left())
        };
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
        let (word, rest) = match outcome {
            Outcome::Measured => (self.paint("32", "measured"), summary),
            Outcome::Invalid { reason } => (self.paint("33", "invalid"), reason.as_str()),
            Outcome::Failed { error } => (self.paint("31", "failed"), error.as_str()),
        };
        let width = trials.to_string().len();
        let mut line = format!("[{done:width$}/{trials}] {trial} {word} {rest} ({seconds:.1} s)");
        if let Some(left) = left.filter(|_| self.bar.is_none() && done < trials) {
            // Writing to a String cannot fail.
            let _ = write!(line, ", about {} left", span(left));
        }
        self.line(&line);
    }
}

fn style(run: &Arc<Mutex<Run>>) -> ProgressStyle {
    let run = Arc::clone(run);
    let left = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
        let left = run.lock().unwrap_or_else(PoisonError::into_inner).left();
        if let Some(left) = left {
            // The bar's buffer takes everything.
            let _ = write!(out, ", about {} left", span(left));
        }
    };
    ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} {elapsed}{left}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", left)
}

impl EventSink for Progress {
    fn event(&self, event: &Event) {
        match event {
            Event::ImageReady { .. } | Event::BlockEnded { .. } | Event::TrialMeasuring { .. } => {}
            Event::ImageBuilding { image, step } => {
                if self.bar.is_some() {
                    self.now(format!("image {image}: {step}"));
                } else {
                    self.line(&format!("image {image}: {step}"));
                }
            }
            Event::ImageBuilt { image, seconds } => {
                self.line(&format!("image {image} built in {seconds:.0} s"))
            }
            Event::RunStarted {
                run,
                trials,
                estimate_s,
            } => {
                let estimate = Duration::try_from_secs_f64(*estimate_s).unwrap_or_default();
                self.line(&format!(
                    "run {run}: {trials} trials, about {}",
                    span(estimate)
                ));
                *self.run() = Run {
                    started: Some(Instant::now()),
                    trials: *trials,
                    done: BTreeSet::new(),
                    estimate,
                };
                if let Some(bar) = &self.bar {
                    bar.set_length(*trials as u64);
                    bar.reset_elapsed();
                    bar.enable_steady_tick(Duration::from_millis(250));
                }
            }
            Event::BlockStarted { block } => self.now(format!("{block}: booting")),
            Event::HostReady { block, seconds } => {
                self.now(format!("{block}: up after {seconds:.0} s"))
            }
            Event::GuestReady { block, guest, .. } => self.now(format!("{block}: {guest} is up")),
            Event::TrialStarted { trial } => self.now(trial.to_string()),
            Event::TrialEnded {
                trial,
                outcome,
                seconds,
                summary,
            } => {
                self.trial_ended(trial.as_str(), outcome, *seconds, summary);
            }
            Event::BlockFailed { block, error } => {
                self.line(&format!(
                    "{} {block}: {error}",
                    self.paint("31", "block failed")
                ));
            }
            Event::Note { text } => self.line(&format!("note: {text}")),
            Event::RunEnded { .. } => self.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_begins_with_the_estimate_and_ends_with_what_was_seen() {
        let mut run = Run {
            trials: 4,
            estimate: Duration::from_secs(100),
            ..Run::default()
        };
        assert!(run.left().is_none());
        run.started = Instant::now().checked_sub(Duration::from_secs(10));
        assert_eq!(run.left().unwrap().as_secs_f64().round(), 90.0);
        run.done.extend(["a", "b"].map(str::to_owned));
        // Half seen at 5 s a trial: 0.5 * 20 + 0.5 * 100 - 10.
        assert_eq!(run.left().unwrap().as_secs_f64().round(), 50.0);
        run.done.extend(["c", "d"].map(str::to_owned));
        assert_eq!(run.left().unwrap_or_default().as_secs_f64().round(), 0.0);
    }
}
