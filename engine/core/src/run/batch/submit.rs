//! Submitting an array: exactly once, whatever the engine answers.

use std::path::Path;
use std::time::Duration;

use vexp_api::batch::{Array, BatchEngine, JobId, Pace, SubmitError};
use vexp_api::digest::Digest;
use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::plugin::PluginError;

use super::super::ssh::chain;
use super::BatchError;
use super::books::{Jobs, Line};

/// How often a job is looked up after a submission of which no answer came.
const LOOKS: u32 = 3;

/// What came of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Submitted {
    /// The engine has it.
    Job(JobId),
    /// It was not accepted and may be later.
    Later(String),
    /// Nobody can tell. It counts as submitted until its tasks have given no sign of life for long.
    Open,
}

/// The name of a run's next array. An engine may have it from another run's folder as well: the run's id tells them apart.
pub(super) fn name(run: &Name, number: usize) -> Result<Name, BatchError> {
    let whole = Name::new(format!("{run}-{number}"));
    let short = || {
        let digest = Digest::of(run.as_str().as_bytes());
        Name::new(format!("vexp-{}-{number}", &digest.hex()[..16]))
    };
    let name = whole.or_else(|_| short());
    name.map_err(|error| BatchError::Books(error.to_string()))
}

/// Submits an array that was written down already.
///
/// # Errors
/// The engine refuses it, or its commands can't be run.
pub(super) async fn submit(
    engine: &dyn BatchEngine,
    array: &Array,
    (run, jobs, pace): (&Path, &mut Jobs, &Pace),
    events: &dyn EventSink,
) -> Result<Submitted, BatchError> {
    let not = |jobs: &mut Jobs, said: String| {
        let array = array.name.clone();
        jobs.add(run, Line::Not { array, said })
    };
    let said = match engine.submit(array).await {
        Ok(job) => {
            accepted(run, jobs, &array.name, &job)?;
            return Ok(Submitted::Job(job));
        }
        Err(SubmitError::Refused { engine, said }) => {
            not(jobs, said.clone())?;
            let engine = engine.to_owned();
            return Err(BatchError::Refused { engine, said });
        }
        Err(SubmitError::Plugin(error)) => {
            not(jobs, error.to_string())?;
            return Err(error.into());
        }
        Err(SubmitError::Later { said, .. }) => {
            not(jobs, said.clone())?;
            return Ok(Submitted::Later(said));
        }
        Err(error @ SubmitError::Unknown { .. }) => error.to_string(),
    };
    let text = format!(
        "{said}; looking for job {} before anything else",
        array.name
    );
    events.event(&Event::Note { text });
    match found(engine, &array.name, pace.late / LOOKS).await {
        Err(error) => {
            let text = format!("it can't be looked up: {}", chain(&error));
            events.event(&Event::Note { text });
            Ok(Submitted::Open)
        }
        Ok(Some(job)) => {
            let text = format!("it was submitted all the same: job {job}");
            events.event(&Event::Note { text });
            accepted(run, jobs, &array.name, &job)?;
            Ok(Submitted::Job(job))
        }
        Ok(None) => {
            not(jobs, said.clone())?;
            Ok(Submitted::Later(said))
        }
    }
}

fn accepted(run: &Path, jobs: &mut Jobs, array: &Name, job: &JobId) -> Result<(), BatchError> {
    let line = Line::Job {
        array: array.clone(),
        job: job.clone(),
    };
    Ok(jobs.add(run, line)?)
}

/// Looks a job up, several times: it may show only after a while.
///
/// # Errors
/// The engine did not answer even once: nothing is known of the job, and it must not be submitted again.
async fn found(
    engine: &dyn BatchEngine,
    name: &Name,
    pause: Duration,
) -> Result<Option<JobId>, PluginError> {
    let mut answer = None;
    for _ in 0..LOOKS {
        tokio::time::sleep(pause).await;
        match engine.find(name).await {
            Ok(Some(job)) => return Ok(Some(job)),
            Ok(None) => answer = Some(Ok(None)),
            Err(error) => answer = answer.filter(Result::is_ok).or(Some(Err(error))),
        }
    }
    answer.unwrap_or(Ok(None))
}

/// Looks up what was submitted when its dispatcher died, before it had an answer.
pub(super) async fn unanswered(
    engine: &dyn BatchEngine,
    (run, jobs): (&Path, &mut Jobs),
    events: &dyn EventSink,
) -> Result<(), BatchError> {
    let open: Vec<Name> = (jobs.submissions.iter())
        .filter(|one| one.is_out() && one.job.is_none())
        .map(|one| one.array.clone())
        .collect();
    for array in open {
        match engine.find(&array).await {
            Ok(Some(job)) => accepted(run, jobs, &array, &job)?,
            // Its tasks are looked for until their deadline.
            Ok(None) => {}
            Err(error) => {
                let text = format!("job {array} can't be looked up: {}", chain(&error));
                events.event(&Event::Note { text });
            }
        }
    }
    Ok(())
}
