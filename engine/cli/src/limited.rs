//! Verbs that read what may come from anyone are carried out by a child that has limits on memory and
//! processor time: readers are bounded each for itself, and this bounds what they take together. A verb that
//! also measures asks such a child for what it needs ([`ask`]).

use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vexp_api::exit::Exit;

use crate::args::Verb;
use crate::error::{Failure, OrExit as _};

/// Says to the child that it is it.
const MARK: &str = "VEXP_LIMITED";
/// MiB of memory that are allowed instead of [`MEMORY`].
const MEMORY_VARIABLE: &str = "VEXP_MEMORY_MIB";
/// Bytes of memory, but never more than three quarters of what the computer has.
const MEMORY: u64 = 8 << 30;
/// Seconds of processor time.
const PROCESSOR_S: u64 = 4 * 3600;
/// Bytes of an answer.
const ANSWER: u64 = 64 << 20;

/// Whether a verb only reads what may be a stranger's. One that also measures starts machines, which have
/// other needs: it asks.
fn only_reads(verb: &Verb) -> bool {
    match verb {
        Verb::Parse(_)
        | Verb::Report(_)
        | Verb::Export(_)
        | Verb::Compare(_)
        | Verb::Trend(_)
        | Verb::Runs { .. }
        | Verb::Show { .. }
        | Verb::Gc(_) => true,
        Verb::Plan { since, .. } => since.is_some(),
        Verb::Verify(args) => !args.rerun,
        _ => false,
    }
}

/// Carries a verb out in a child, if it is one of these: how that ended. In the child, and for other verbs,
/// there is nothing to give.
///
/// # Errors
/// It took more than it may, or can't be started.
pub(crate) fn in_a_child(verb: &Verb) -> Result<Option<ExitCode>, Failure> {
    if !only_reads(verb) {
        return Ok(None);
    }
    let memory = memory()?;
    let started = |error: std::io::Error| Failure::of(Exit::Infrastructure, &error);
    if std::env::var_os(MARK).is_some() {
        limit(memory).map_err(started)?;
        return Ok(None);
    }
    let mut args = std::env::args_os();
    let mut child = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        child.arg0(name);
    }
    let status = child.args(args).env(MARK, "1").status().map_err(started)?;
    ended(status, memory).map(|code| Some(ExitCode::from(code)))
}

/// The code with which such a child has ended.
fn ended(status: ExitStatus, memory: u64) -> Result<u8, Failure> {
    let Some(signal) = status.signal() else {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(code.unwrap_or(Exit::Infrastructure as u8));
    };
    let is = |named: &[Signal]| named.iter().any(|named| named.as_raw() == signal);
    if is(&[Signal::XCPU]) {
        let message = format!("reading took more than {PROCESSOR_S} s of processor time");
        return Err(Failure::new(Exit::Unreadable, message));
    }
    // Rust's allocator aborts where there is no more.
    if is(&[Signal::ABORT]) {
        let message = format!(
            "the process that was reading gave up: it needed more than {} MiB of memory, or it has a fault",
            memory >> 20
        );
        let hint = format!("{MEMORY_VARIABLE} allows more, where you trust what is read");
        return Err(Failure::new(Exit::Unreadable, message).hint(hint));
    }
    let message = format!("the process that was reading was ended by signal {signal}");
    Err(Failure::new(Exit::Infrastructure, message))
}

/// A [`Failure`] on its way out of the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    exit: u8,
    messages: Vec<String>,
    hint: Option<String>,
}

impl From<Failure> for Told {
    fn from(failure: Failure) -> Self {
        Self {
            exit: failure.exit as u8,
            messages: failure.messages,
            hint: failure.hint,
        }
    }
}

impl From<Told> for Failure {
    fn from(told: Told) -> Self {
        // What reading can end with.
        let known = [Exit::Usage, Exit::Infrastructure, Exit::Incomplete];
        let exit = known.into_iter().find(|exit| *exit as u8 == told.exit);
        Self {
            exit: exit.unwrap_or(Exit::Unreadable),
            messages: told.messages,
            hint: told.hint,
        }
    }
}

/// Asks a child with these limits, which [`answer`]s. Nothing but its answer is read of it, and of that no more
/// than 64 MiB.
///
/// # Errors
/// What the child says; or it took more than it may, can't be started, or gave no answer of this type.
pub(crate) fn ask<Q: Serialize, A: DeserializeOwned>(request: &Q) -> Result<A, Failure> {
    let memory = memory()?;
    let request = serde_json::to_vec(request).or_exit(Exit::Usage)?;
    let mut child = Command::new("/proc/self/exe");
    child.arg("read").env(MARK, "1");
    child.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().or_exit(Exit::Infrastructure)?;
    if let Some(mut input) = child.stdin.take() {
        // Where it has ended already its status says why.
        let _ = input.write_all(&request);
    }
    let mut bytes = Vec::new();
    let output = child.stdout.take();
    let read = output.map(|output| output.take(ANSWER + 1).read_to_end(&mut bytes));
    let large = bytes.len() as u64 > ANSWER;
    if large {
        // Only an error if it has ended, which is as good.
        let _ = child.kill();
    }
    let status = child.wait().or_exit(Exit::Infrastructure)?;
    if large {
        let message = format!(
            "the process that was reading said more than {} MiB",
            ANSWER >> 20
        );
        return Err(Failure::new(Exit::Unreadable, message));
    }
    read.transpose().or_exit(Exit::Infrastructure)?;
    ended(status, memory)?;
    let answer: Result<A, Told> = serde_json::from_slice(&bytes).or_exit(Exit::Unreadable)?;
    answer.map_err(Failure::from)
}

/// The child of [`ask`]: limits this process, reads the request from standard input, and writes the answer to
/// standard output.
///
/// # Errors
/// The limits can't be set, or there is no request.
pub(crate) fn answer<Q: DeserializeOwned, A: Serialize>(
    answer: impl FnOnce(Q) -> Result<A, Failure>,
) -> Result<Exit, Failure> {
    limit(memory()?).or_exit(Exit::Infrastructure)?;
    let mut request = Vec::new();
    let read = std::io::stdin().read_to_end(&mut request);
    read.or_exit(Exit::Usage)?;
    let request: Q = serde_json::from_slice(&request).or_exit(Exit::Usage)?;
    let answer = answer(request).map_err(Told::from);
    let mut out = std::io::BufWriter::new(std::io::stdout());
    serde_json::to_writer(&mut out, &answer).or_exit(Exit::Infrastructure)?;
    out.flush().or_exit(Exit::Infrastructure)?;
    Ok(Exit::Fine)
}

/// Bytes of memory that are allowed.
fn memory() -> Result<u64, Failure> {
    let Some(named) = std::env::var_os(MEMORY_VARIABLE) else {
        let there = rustix::system::sysinfo();
        let there = (there.totalram as u64).saturating_mul(u64::from(there.mem_unit));
        return Ok(MEMORY.min(there / 4 * 3));
    };
    let mib = named.to_str().and_then(|mib| mib.parse::<u64>().ok());
    let bytes = mib.and_then(|mib| mib.checked_mul(1 << 20));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        let message = format!(
            "{MEMORY_VARIABLE} is {}, which is no number of MiB",
            named.display()
        );
        Failure::new(Exit::Usage, message)
    })
}

/// Limits this process, and ends it with its parent.
fn limit(memory: u64) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, most, ends) in [
        // Not the address space, of which threads reserve much that they never use.
        (Resource::Data, memory, memory),
        // At the second one the kernel kills, and nobody is told why.
        (Resource::Cpu, PROCESSOR_S, PROCESSOR_S + 60),
        (Resource::Core, 0, 0),
    ] {
        let known = rustix::process::getrlimit(resource);
        let at_most = |most: u64| known.maximum.map_or(most, |maximum| maximum.min(most));
        let both = Rlimit {
            current: Some(at_most(most)),
            maximum: Some(at_most(ends)),
        };
        setrlimit(resource, both)?;
    }
    Ok(())
}
