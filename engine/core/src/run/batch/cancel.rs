//! Ending all tasks of a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use vexp_api::batch::{BatchEngine, TaskId, TaskState};
use vexp_api::event::EventSink;
use vexp_api::ids::Name;

use super::super::files;
use super::books::{self, Jobs, Line};
use super::claims::{Claims, End};
use super::guard::Guard;
use super::judge::Out;
use super::{BatchError, beats, folder, submit};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// Tasks that have ended.
    pub ended: usize,
    /// Tasks of which that can't be said.
    pub left: usize,
}

/// Cancels all tasks of a run that wait or run. What they have measured is kept, and what they had begun is free for
/// whoever resumes the run.
///
/// # Errors
/// The engine can't be asked, or another dispatcher attends the run.
pub async fn cancel(
    run: &Path,
    engine: &dyn BatchEngine,
    host: &str,
    events: &dyn EventSink,
) -> Result<Cancelled, BatchError> {
    let pace = engine.pace();
    let mut guard = Guard::take(folder(run).join("dispatcher"), host, pace).await?;
    files::write_atomic(&folder(run).join("stop"), b"cancelled\n")?;
    let mut jobs = Jobs::read(run)?;
    submit::unanswered(engine, (run, &mut jobs), events).await?;
    let out: Vec<_> = jobs
        .submissions
        .iter()
        .filter(|one| one.is_out())
        .cloned()
        .collect();
    let began = Instant::now();
    let mut tasks: BTreeMap<(Name, u32), Out> = BTreeMap::new();
    for one in &out {
        tasks.extend((0..one.tasks).map(|index| ((one.array.clone(), index), Out::new(began))));
    }
    let id = |(array, index): &(Name, u32)| {
        let of = out.iter().find(|one| one.array == *array)?;
        Some(TaskId {
            job: of.job.clone()?,
            index: *index,
        })
    };
    let ids: Vec<TaskId> = tasks.keys().filter_map(id).collect();
    engine.cancel(&ids).await?;
    let named: Vec<_> = out.iter().filter_map(|one| one.job.clone()).collect();
    let mut ask = began + pace.look;
    loop {
        guard.beat()?;
        let now = Instant::now();
        let seen = beats::read(&folder(run).join("beats"))?;
        if now >= ask && !named.is_empty() {
            ask = now + pace.ask;
            // Without an answer, what the tasks say themselves must do.
            if let Ok(mut said) = engine.status(&named).await {
                for (key, out) in &mut tasks {
                    out.answered(id(key).and_then(|id| said.remove(&id)), now);
                }
            }
        }
        for ((array, index), out) in &mut tasks {
            if let Some(beat) = seen.get(&beats::file(array, *index)) {
                out.beats(beat, now);
            }
            let gone = out.absent > 0 || matches!(out.said, Some(TaskState::Over { .. }));
            let ended = out.beat.as_ref().is_some_and(|beat| beat.over.is_some());
            let still = now.saturating_duration_since(out.moved) >= 2 * pace.beat;
            out.over = ended || (gone && still);
        }
        let waited = began.elapsed() >= pace.silence.max(pace.ask) + pace.late;
        if waited || tasks.values().all(|out| out.over) {
            break;
        }
        tokio::time::sleep(pace.look).await;
    }
    free(run, &tasks)?;
    for one in &out {
        let mut of = tasks.iter().filter(|((array, _), _)| *array == one.array);
        if of.all(|(_, out)| out.over) {
            let array = one.array.clone();
            jobs.add(run, Line::Over { array })?;
        }
    }
    let ended = tasks.values().filter(|out| out.over).count();
    Ok(Cancelled {
        ended,
        left: tasks.len() - ended,
    })
}

/// Gives back what tasks had claimed that have ended.
fn free(run: &Path, tasks: &BTreeMap<(Name, u32), Out>) -> Result<(), BatchError> {
    let last = books::last_stage(run);
    if last == 0 {
        return Ok(());
    }
    let folder = books::stage(run, last);
    let claims = Claims::open(&folder)?;
    let look = claims.look()?;
    for wanted in books::Blocks::read(&folder)?.blocks {
        let Some(attempt) = look.live(&wanted.block) else {
            continue;
        };
        let claim = claims.claimed(&wanted.block, attempt)?;
        if tasks
            .get(&(claim.array, claim.index))
            .is_some_and(|out| out.over)
        {
            let why = "the task was cancelled".to_owned();
            claims.end(&wanted.block, attempt, &End::GivenBack { why })?;
        }
    }
    Ok(())
}
