//! Keeping as many tasks out as there are to be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vexp_api::batch::{Array, TaskState};
use vexp_api::event::Event;

use super::super::claims::Look;
use super::super::judge::Out;
use super::super::submit::{self, Submitted};
use super::super::window::Window;
use super::super::{BatchError, folder, task};
use super::Dispatcher;

impl Dispatcher<'_> {
    pub(super) fn window(&mut self, look: &Look) -> Result<Window, BatchError> {
        let had = self.had(look)?;
        let out = self.tasks.iter().filter(|(_, out)| !out.over);
        let (mut idle, mut busy) = (0, 0);
        for (key, _) in out {
            match had.contains_key(key) {
                true => busy += 1,
                false => idle += 1,
            }
        }
        let free = self.open.iter().filter(|(_, block)| {
            let over = look.over(&block.id);
            look.live(&block.id).is_none()
                && !over.is_some_and(|_| self.late.contains_key(&block.id))
        });
        Ok(Window {
            wanted: self.wanted,
            free: free.count(),
            idle,
            busy,
            array: self.limits.array,
            queued: self.limits.queued,
        })
    }

    /// How many tasks wait and run, for people.
    pub(super) fn tell(&mut self, window: &Window) {
        let out: Vec<&Out> = self.tasks.values().filter(|out| !out.over).collect();
        let waiting = out.iter().filter(|out| out.waits()).count();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for out in &out {
            if let Some(TaskState::Waiting(why)) = &out.said {
                *reasons.entry(why).or_default() += 1;
            }
        }
        let why = reasons.into_iter().max_by_key(|(_, count)| *count);
        self.events.event(&Event::TasksSeen {
            waiting,
            running: out.len() - waiting,
            blocks: window.busy,
            why: why
                .map(|(why, _)| why.to_owned())
                .filter(|why| !why.is_empty()),
        });
    }

    pub(super) async fn submit(&mut self, window: &Window) -> Result<(), BatchError> {
        let tasks = window.next();
        if tasks == 0 || Instant::now() < self.submit {
            return Ok(());
        }
        let number = self.jobs.submissions.len() + 1;
        let array = Array {
            name: submit::name(self.request.id, number)?,
            tasks,
            argv: Vec::new(),
            folder: self.run().to_owned(),
            logs: folder(self.run()).join("logs"),
            needs: self.needs.clone(),
            exclude: self.jobs.excluded(),
        };
        let about = (&array.name, self.stage, &self.needs);
        let argv = task::arguments(&self.batch.program, self.run(), about);
        let array = Array { argv, ..array };
        let run = self.request.run;
        self.jobs.submit(run, &array.name, (tasks, self.stage))?;
        let engine = &*self.batch.engine;
        let submitted = submit::submit(
            engine,
            &array,
            (run, &mut self.jobs, &self.pace),
            &**self.events,
        )
        .await;
        let others = self.tasks.values().any(|out| !out.over);
        match submitted {
            Ok(Submitted::Job(job)) => {
                self.note(format!(
                    "submitted {tasks} tasks to {}: job {job} ({})",
                    engine.name(),
                    array.name
                ));
                self.accepted(number - 1);
                if self.batch.detach {
                    return Err(BatchError::Detached);
                }
                Ok(())
            }
            Ok(Submitted::Open) => {
                self.accepted(number - 1);
                Ok(())
            }
            Ok(Submitted::Later(said)) => {
                self.later(said);
                Ok(())
            }
            // A limit that counts what is out already: tasks that run take the other blocks in turn.
            Err(BatchError::Refused { engine, said }) if others => {
                self.later(format!("{engine} refuses more: {said}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn accepted(&mut self, at: usize) {
        self.adopt(at);
        let now = Instant::now();
        self.refused = self.pace.ask;
        self.said.remove("later");
        (self.pause, self.ask) = (self.pace.ask, now + self.pace.ask);
        // The rest of the window comes in the next rounds, not all at once.
        self.submit = now + self.pace.ask.min(Duration::from_secs(10));
    }

    fn later(&mut self, said: String) {
        self.submit = Instant::now() + self.refused;
        self.refused = (self.refused + self.pace.ask).min(self.pace.ask_most);
        self.once(
            "later",
            format!("nothing was submitted, to be tried again: {said}"),
        );
    }
}
