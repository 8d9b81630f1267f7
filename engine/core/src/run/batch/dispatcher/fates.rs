//! What becomes of tasks, and of the blocks that they had.

use std::collections::BTreeMap;
use std::time::Instant;

use vexp_api::batch::TaskId;
use vexp_api::ids::Name;

use super::super::beats::{self, Over};
use super::super::books::Line;
use super::super::claims::{End, Look};
use super::super::judge::Fate;
use super::super::{BatchError, folder};
use super::{Dispatcher, Key};

impl Dispatcher<'_> {
    /// Sees which tasks have ended or died, and frees what they had claimed.
    pub(super) async fn judge(&mut self, look: &Look) -> Result<(), BatchError> {
        let now = Instant::now();
        let fates: Vec<(Key, Fate)> = (self.tasks.iter())
            .filter(|(_, out)| !out.over)
            .map(|(key, out)| (key.clone(), out.judge(&self.pace, now)))
            .filter(|(_, fate)| *fate != Fate::Lives)
            .collect();
        if fates.is_empty() {
            return Ok(());
        }
        let had = self.had(look)?;
        for (key, fate) in fates {
            let had = had.get(&key).map_or(&[][..], Vec::as_slice);
            self.fate(&key, fate, had).await?;
        }
        Ok(())
    }

    /// What each task has claimed now.
    pub(super) fn had(
        &mut self,
        look: &Look,
    ) -> Result<BTreeMap<Key, Vec<(Name, u32)>>, BatchError> {
        let mut had: BTreeMap<Key, Vec<(Name, u32)>> = BTreeMap::new();
        for (_, block) in &self.open {
            if let Some(attempt) = look.live(&block.id) {
                let at = (block.id.clone(), attempt);
                // A claim never changes.
                let key = match self.claimed.get(&at) {
                    Some(key) => key.clone(),
                    None => {
                        let claim = self.claims.claimed(&block.id, attempt)?;
                        let key = (claim.array, claim.index);
                        self.claimed.insert(at.clone(), key.clone());
                        key
                    }
                };
                had.entry(key).or_default().push(at);
            }
        }
        Ok(had)
    }

    async fn fate(&mut self, key: &Key, fate: Fate, had: &[(Name, u32)]) -> Result<(), BatchError> {
        let task = beats::file(&key.0, key.1);
        let back = |why: &str| End::GivenBack {
            why: why.to_owned(),
        };
        match fate {
            Fate::Lives => return Ok(()),
            Fate::Requeued => {
                self.free(had, &back("the engine is going to start the task anew"))?;
                if !had.is_empty() {
                    self.note(format!(
                        "task {task} is going to be started anew; what it had begun is free"
                    ));
                }
                return Ok(());
            }
            Fate::Ended(Over::Failed { said }) => {
                self.free(had, &back("the task could not go on"))?;
                let beat = self.tasks.get(key).and_then(|out| out.beat.clone());
                let node = beat.map(|beat| beat.node).unwrap_or_default();
                // Whatever it is, other tasks would meet it, too: the run's folder can't be used.
                return Err(BatchError::Task { task, node, said });
            }
            Fate::Ended(_) => self.free(had, &back("the task has ended"))?,
            Fate::Died { why, blamed } => self.died(key, (&task, why, blamed), had)?,
            Fate::Stuck { why, blamed } => {
                if let Some(job) = self.job_of(&key.0) {
                    let index = key.1;
                    self.cancel(&[TaskId { job, index }]).await;
                }
                self.died(key, (&task, why, blamed), had)?;
            }
        }
        if let Some(out) = self.tasks.get_mut(key) {
            out.over = true;
        }
        Ok(())
    }

    fn died(
        &mut self,
        key: &Key,
        (task, why, blamed): (&str, String, Option<String>),
        had: &[(Name, u32)],
    ) -> Result<(), BatchError> {
        let end = End::Lost { why: why.clone() };
        self.free(had, &end)?;
        let winding_up = self.winding_up.is_some();
        let blocks: Vec<&str> = had.iter().map(|(block, _)| block.as_str()).collect();
        if !(winding_up && had.is_empty()) {
            self.note(match blocks.as_slice() {
                [] => format!("task {task}: {why}"),
                some => format!("task {task}: {why}; submitted again: {}", some.join(", ")),
            });
        }
        if winding_up {
            return Ok(());
        }
        self.barren += 1;
        let begun = self.tasks.get(key).is_some_and(|out| out.beat.is_some());
        if let Some(node) = blamed.filter(|_| !begun || !had.is_empty()) {
            self.leave_out(node, &why)?;
        }
        if self.barren >= 2 * self.wanted + 4 {
            return Err(BatchError::NoneBegins {
                tasks: self.barren,
                why,
                logs: folder(self.run()).join("logs"),
            });
        }
        Ok(())
    }

    fn leave_out(&mut self, node: String, why: &str) -> Result<(), BatchError> {
        if self.jobs.left_out.iter().any(|one| one.node == node) {
            return Ok(());
        }
        self.note(format!("node {node} is left out from now on: {why}"));
        let why = why.to_owned();
        let run = self.request.run;
        Ok(self.jobs.add(run, Line::LeftOut { node, why })?)
    }

    pub(super) fn free(&self, had: &[(Name, u32)], end: &End) -> Result<(), BatchError> {
        for (block, attempt) in had {
            // If it has ended meanwhile, that is its end.
            self.claims.end(block, *attempt, end)?;
        }
        Ok(())
    }
}
