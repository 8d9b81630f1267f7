//! Reads what Slurm's commands print. Anything doubtful is an error, never an end.

use std::collections::BTreeMap;

use vexp_api::batch::{JobId, Limits, TaskId, TaskState};

/// `squeue --format`: the task, its state, its node, and why it waits.
pub(super) const FORMAT: &str = "%i|%T|%N|%r";
/// Most tasks that `1_[0-9]` may stand for. `squeue --array` writes no such list.
const MOST: u32 = 100_000;

/// The job that `sbatch --parsable` names: `123` or `123;cluster`, after anything that a site's wrapper prints.
pub(super) fn submitted(stdout: &str) -> Result<JobId, String> {
    let line = stdout.lines().map(str::trim).rfind(|line| !line.is_empty());
    let line = line.ok_or("sbatch has named no job")?;
    let id = line.split_once(';').map_or(line, |(id, _)| id);
    let number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let id = JobId::parse(id).ok().filter(|_| number);
    id.ok_or_else(|| {
        format!(
            "sbatch has named no job, but said `{}`",
            line.escape_debug()
        )
    })
}

/// The jobs that `squeue --format=%F` lists; the newest is the last.
pub(super) fn jobs(stdout: &str) -> Result<Vec<JobId>, String> {
    let lines = stdout
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let numbers = lines.map(|line| {
        let number: Result<u64, _> = line.parse();
        number.map_err(|_| {
            format!(
                "squeue has named no job, but said `{}`",
                line.escape_debug()
            )
        })
    });
    let mut numbers = numbers.collect::<Result<Vec<u64>, String>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    let ids = numbers
        .iter()
        .map(|number| JobId::parse(&number.to_string()));
    ids.collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// The tasks of `squeue --format` [`FORMAT`]. A line without an index is of what is left of an array that was ended
/// before its tasks started: it says nothing of a task.
pub(super) fn tasks(stdout: &str) -> Result<BTreeMap<TaskId, TaskState>, String> {
    let mut tasks = BTreeMap::new();
    for (number, line) in (1..).zip(stdout.lines()) {
        let wrong =
            |what: &str| format!("squeue, line {number}: {what}: `{}`", line.escape_debug());
        let fields: Vec<&str> = line.splitn(4, '|').collect();
        let [id, state, node, reason] = fields[..] else {
            return Err(wrong("four fields are due"));
        };
        let state = seen(state, node, reason).ok_or_else(|| wrong("no state"))?;
        let Some((job, index)) = id.split_once('_') else {
            number_of(id).ok_or_else(|| wrong("no task"))?;
            continue;
        };
        number_of(job).ok_or_else(|| wrong("no task"))?;
        let job = JobId::parse(job).map_err(|error| wrong(&error.to_string()))?;
        for index in indices(index).ok_or_else(|| wrong("no list of tasks"))? {
            let job = job.clone();
            tasks.insert(TaskId { job, index }, state.clone());
        }
    }
    Ok(tasks)
}

fn number_of(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `4`, or `[0,4-9:2%2]`: the numbers, ranges and steps of an array, and how many may run at once.
fn indices(text: &str) -> Option<Vec<u32>> {
    let Some(list) = text.strip_prefix('[') else {
        return number_of(text).map(|index| vec![index]);
    };
    let list = list.strip_suffix(']')?;
    let list = match list.split_once('%') {
        Some((list, at_once)) => number_of(at_once).map(|_| list)?,
        None => list,
    };
    let mut all = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number_of(first)?, number_of(last)?);
        let step = number_of(step).filter(|step| *step > 0)?;
        if last < first || last - first >= MOST || all.len() >= MOST as usize {
            return None;
        }
        all.extend((first..=last).step_by(step as usize));
    }
    Some(all)
}

/// What a state is to us; squeue(1), JOB STATE CODES. A state of a Slurm that is newer than this list waits, with its
/// name: it may be anything but an end that we know.
fn seen(state: &str, node: &str, reason: &str) -> Option<TaskState> {
    if state.is_empty()
        || !state
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    {
        return None;
    }
    let known = Some(node.to_owned()).filter(|node| !node.is_empty());
    let at = || known.clone().unwrap_or_else(|| "?".to_owned());
    Some(match state {
        "PENDING" => TaskState::Waiting(reason.to_owned()),
        "RUNNING" | "COMPLETING" | "SIGNALING" | "STAGE_OUT" | "RESIZING" => {
            TaskState::Running(at())
        }
        "BOOT_FAIL" | "CANCELLED" | "COMPLETED" | "DEADLINE" | "FAILED" | "NODE_FAIL"
        | "OUT_OF_MEMORY" | "PREEMPTED" | "REVOKED" | "TIMEOUT" => TaskState::Over {
            state: state.to_owned(),
            node: known,
        },
        other => TaskState::Waiting(other.to_owned()),
    })
}

/// The limits in `scontrol show config`. The largest index is below MaxArraySize (slurm.conf(5)); a site may let an
/// array have fewer tasks than that; and an array of more tasks than MaxJobCount is never accepted.
pub(super) fn limits(stdout: &str) -> Limits {
    let value = |wanted: &str| {
        let lines = stdout.lines().filter_map(|line| line.split_once('='));
        let mut found = lines.filter(|(key, _)| key.trim() == wanted);
        found.next().map(|(_, value)| value.trim())
    };
    let parameters = value("SchedulerParameters").unwrap_or_default().split(',');
    let most = parameters
        .filter_map(|one| one.trim().strip_prefix("max_array_tasks="))
        .next_back();
    let queued = value("MaxJobCount").and_then(number_of);
    let array = [
        value("MaxArraySize").and_then(number_of),
        most.and_then(number_of),
        queued,
    ];
    Limits {
        array: array.into_iter().flatten().filter(|most| *most > 0).min(),
        queued,
    }
}
