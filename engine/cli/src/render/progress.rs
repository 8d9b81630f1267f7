//! Progress of builds and runs: a bar on a terminal, a line a trial elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::record::Outcome;
use vexp_engine::plan::estimate::BlockCost;

use super::eta::Eta;
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
    done: BTreeSet<Name>,
    eta: Eta,
    /// What goes on in each block, and how far its machines' clock is where that is another, seconds.
    now: BTreeMap<Name, (String, Option<f64>)>,
    /// Tasks of a batch engine.
    tasks: Tasks,
}

impl Run {
    /// Time since the start.
    fn elapsed(&self) -> f64 {
        self.started.map_or(0.0, |at| at.elapsed().as_secs_f64())
    }

    /// Time that is left, once the run is started.
    fn left(&self) -> Option<Duration> {
        self.started?;
        Duration::try_from_secs_f64(self.eta.left(self.elapsed())).ok()
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

    /// What the blocks of the run are expected to take: the time that is left is reckoned from it.
    pub(crate) fn expect(&self, blocks: Vec<BlockCost>, jobs: usize) {
        self.run().eta = Eta::new(blocks, jobs);
    }

    /// So many more trials come, in these blocks: the next stage of the run.
    pub(crate) fn go_on(&self, trials: usize, blocks: Vec<BlockCost>) {
        let all = {
            let mut run = self.run();
            run.trials = run.done.len() + trials;
            run.eta.expect(blocks);
            run.trials
        };
        if let Some(bar) = &self.bar {
            bar.set_length(all as u64);
        }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(super::plain::plain(text, self.colour)),
            None => super::say(text),
        }
    }

    /// What goes on just now: on a terminal only.
    fn now(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }

    /// What goes on in a block just now.
    fn block_now(&self, block: &Name, text: String) {
        {
            let mut run = self.run();
            let virtual_s = run.now.get(block).and_then(|(_, virtual_s)| *virtual_s);
            run.now.insert(block.clone(), (text, virtual_s));
        }
        self.blocks_now();
    }

    /// All that goes on, on a terminal.
    fn blocks_now(&self) {
        let text = {
            let run = self.run();
            let blocks = all_blocks(&run.now);
            match run.tasks.now.as_str() {
                "" => blocks,
                tasks => format!("{tasks}: {blocks}"),
            }
        };
        self.now(text);
    }

    /// A block does nothing more.
    fn block_over(&self, block: &Name) {
        self.run().now.remove(block);
        self.blocks_now();
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

    fn trial_ended(
        &self,
        trial: &Name,
        outcome: &Outcome,
        took: (f64, Option<f64>),
        summary: &str,
    ) {
        let (seconds, virtual_s) = took;
        let (done, trials, left) = {
            let mut run = self.run();
            run.done.insert(trial.clone());
            run.eta.trial_ended(trial, seconds);
            (run.done.len(), run.trials, run.left())
        };
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
        let (word, rest) = match outcome {
            Outcome::Measured => (self.paint("32", "measured"), summary),
            Outcome::Invalid { reason, .. } => (self.paint("33", "invalid"), reason.as_str()),
            Outcome::Failed { error } => (self.paint("31", "failed"), error.as_str()),
        };
        let width = trials.to_string().len();
        let took = match virtual_s {
            Some(virtual_s) => format!("{seconds:.1} s, {virtual_s:.1} s of virtual time"),
            None => format!("{seconds:.1} s"),
        };
        let mut line = format!("[{done:width$}/{trials}] {trial} {word} {rest} ({took})");
        if let Some(left) = left.filter(|_| self.bar.is_none() && done < trials) {
            // Writing to a String cannot fail.
            let _ = write!(line, ", {}", until(left));
        }
        self.line(&line);
    }
}

/// Tasks of a batch engine, and what was said of them where there is no terminal.
#[derive(Default)]
struct Tasks {
    now: String,
    /// Whether some waited, why, and whether some ran.
    kind: Option<(bool, Option<String>, bool)>,
    said: Option<Instant>,
}

impl Tasks {
    /// From one line to the next at least, unless something else is to be said than how many there are.
    const PAUSE: Duration = Duration::from_secs(60);

    /// Takes note of tasks that wait, tasks that run, and blocks; a line, if there is something to say.
    fn seen(
        &mut self,
        (waiting, running, blocks): (usize, usize, usize),
        why: Option<&str>,
    ) -> Option<String> {
        let word = if waiting == 1 {
            "task waits"
        } else {
            "tasks wait"
        };
        let reason = why.map(|why| format!(": {why}")).unwrap_or_default();
        let text = match (waiting, running) {
            (0, 0) => String::new(),
            (0, _) => format!("{running} running"),
            (_, 0) => format!("{waiting} {word}{reason}"),
            _ => format!("{waiting} {word}{reason}; {running} running, {blocks} blocks"),
        };
        let changed = std::mem::replace(&mut self.now, text.clone()) != text;
        let kind = (waiting > 0, why.map(str::to_owned), running > 0);
        let other = self.kind.replace(kind.clone()) != Some(kind);
        let long = self.said.is_none_or(|said| said.elapsed() >= Self::PAUSE);
        // What merely runs is seen by its trials.
        if waiting == 0 || !(other || (changed && long)) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(text)
    }
}

/// Time that is left, and the clock time at which it is over.
fn until(left: Duration) -> String {
    let text = format!("about {} left", span(left));
    match clock(left) {
        Some(clock) => format!("{text}, until {clock}"),
        None => text,
    }
}

/// The local clock after a time, with the day where that is another.
fn clock(after: Duration) -> Option<String> {
    let now = jiff::Zoned::now();
    let then = now.checked_add(after).ok()?;
    let format = match then.date() == now.date() {
        true => "%H:%M",
        false => "%A %H:%M",
    };
    Some(then.strftime(format).to_string())
}

/// What goes on in blocks, with the clocks of machines whose time is virtual.
fn all_blocks(now: &BTreeMap<Name, (String, Option<f64>)>) -> String {
    let each = now.values().map(|(text, virtual_s)| match virtual_s {
        Some(seconds) => format!("{text} (virtual {seconds:.1} s)"),
        None => text.clone(),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn style(run: &Arc<Mutex<Run>>) -> ProgressStyle {
    let run = Arc::clone(run);
    let left = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
        let left = run.lock().unwrap_or_else(PoisonError::into_inner).left();
        if let Some(left) = left {
            // The bar's buffer takes everything.
            let _ = write!(out, ", {}", until(left));
        }
    };
    ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} {elapsed}{left}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", left)
}

impl EventSink for Progress {
    fn event(&self, event: &Event) {
        match event {
            Event::ImageReady { .. } | Event::TrialMeasuring { .. } => {}
            Event::BlockEnded { block, seconds } => {
                self.run().eta.block_ended(block, *seconds);
                self.block_over(block);
            }
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
                let clock = clock(estimate).map(|clock| format!(", until {clock}"));
                self.line(&format!(
                    "run {run}: {trials} trials, about {}{}",
                    span(estimate),
                    clock.unwrap_or_default()
                ));
                *self.run() = Run {
                    started: Some(Instant::now()),
                    trials: *trials,
                    ..Run::default()
                };
                if let Some(bar) = &self.bar {
                    bar.set_length(*trials as u64);
                    bar.reset_elapsed();
                    bar.enable_steady_tick(Duration::from_millis(250));
                }
            }
            Event::BlockStarted { block } => {
                {
                    let mut run = self.run();
                    let now = run.elapsed();
                    run.eta.block_started(block, now);
                }
                self.block_now(block, format!("{block}: booting"));
            }
            Event::HostReady { block, seconds } => {
                self.block_now(block, format!("{block}: up after {seconds:.0} s"))
            }
            Event::GuestReady { block, guest, .. } => {
                self.block_now(block, format!("{block}: {guest} is up"))
            }
            Event::TrialStarted { block, trial } => {
                if let Some(block) = block {
                    self.block_now(block, trial.to_string());
                }
            }
            Event::ClockMoved { block, virtual_s } => {
                if let Some((_, clock)) = self.run().now.get_mut(block) {
                    *clock = Some(*virtual_s);
                }
                self.blocks_now();
            }
            Event::TasksSeen {
                waiting,
                running,
                blocks,
                why,
            } => {
                let news = self
                    .run()
                    .tasks
                    .seen((*waiting, *running, *blocks), why.as_deref());
                if let (Some(news), None) = (news, &self.bar) {
                    self.line(&news);
                }
                self.blocks_now();
            }
            Event::TrialEnded {
                trial,
                outcome,
                seconds,
                virtual_s,
                summary,
            } => {
                self.trial_ended(trial, outcome, (*seconds, *virtual_s), summary);
            }
            Event::BlockFailed { block, error } => {
                self.run().eta.block_failed(block);
                self.block_over(block);
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
    fn each_block_is_shown_with_its_clock() {
        let name = |text: &str| Name::new(text).unwrap();
        let now = BTreeMap::from([
            (name("a"), ("a: booting".to_owned(), None)),
            (name("b"), ("t.r1".to_owned(), Some(41.25))),
        ]);
        assert_eq!(all_blocks(&now), "a: booting, t.r1 (virtual 41.2 s)");
    }

    #[test]
    fn what_tasks_wait_for_is_said_once() {
        let mut tasks = Tasks::default();
        let said = tasks.seen((12, 0, 0), Some("Priority"));
        assert_eq!(said.unwrap(), "12 tasks wait: Priority");
        assert_eq!(tasks.seen((11, 0, 0), Some("Priority")), None);
        let said = tasks.seen((1, 10, 9), Some("Resources"));
        assert_eq!(
            said.unwrap(),
            "1 task waits: Resources; 10 running, 9 blocks"
        );
        assert_eq!(tasks.seen((0, 11, 9), None), None);
        assert_eq!(tasks.now, "11 running");
    }

    #[test]
    fn the_end_is_a_time_of_day() {
        let said = until(Duration::from_secs(300));
        assert!(said.starts_with("about 5 min left, until "), "{said}");
        let far = clock(Duration::from_secs(24 * 3600)).unwrap();
        assert!(far.contains("day "), "{far}");
    }
}
