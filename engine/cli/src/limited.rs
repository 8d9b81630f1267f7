//! Verbs that read what may come from anyone are carried out by a child that has limits on memory and
//! processor time: readers are bounded each for itself, and this bounds what they take together.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use vexp_api::exit::Exit;

use crate::args::Verb;
use crate::error::Failure;

/// Says to the child that it is it.
const MARK: &str = "VEXP_LIMITED";
/// MiB of memory that are allowed instead of [`MEMORY`].
const MEMORY_VARIABLE: &str = "VEXP_MEMORY_MIB";
/// Bytes of memory, but never more than three quarters of what the computer has.
const MEMORY: u64 = 8 << 30;
/// Seconds of processor time.
const PROCESSOR_S: u64 = 4 * 3600;

/// Whether a verb only reads what may be a stranger's. One that also measures starts machines, which have
/// other needs.
fn only_reads(verb: &Verb) -> bool {
    match verb {
        Verb::Parse(_)
        | Verb::Report(_)
        | Verb::Export(_)
        | Verb::Compare(_)
        | Verb::Trend(_)
        | Verb::Runs { .. }
        | Verb::Gc(_) => true,
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
    let memory = memory();
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
    let Some(signal) = status.signal() else {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(Some(
            code.map_or(Exit::Infrastructure.into(), ExitCode::from),
        ));
    };
    let is = |named: &[Signal]| named.iter().any(|named| named.as_raw() == signal);
    let message = if is(&[Signal::XCPU]) {
        format!("reading took more than {PROCESSOR_S} s of processor time")
    } else if is(&[Signal::ABORT, Signal::SEGV]) {
        // Rust's allocator aborts where there is no more.
        format!("reading took more than {} MiB of memory", memory >> 20)
    } else {
        let message = format!("the process that was reading was ended by signal {signal}");
        return Err(Failure::new(Exit::Infrastructure, message));
    };
    let hint = format!("{MEMORY_VARIABLE} allows more, where you trust what is read");
    Err(Failure::new(Exit::Unreadable, message).hint(hint))
}

fn memory() -> u64 {
    let named = std::env::var(MEMORY_VARIABLE).ok();
    let named = named.and_then(|mib| mib.parse::<u64>().ok());
    let there = rustix::system::sysinfo();
    let there = (there.totalram as u64).saturating_mul(u64::from(there.mem_unit));
    named.map_or(MEMORY.min(there / 4 * 3), |mib| mib.saturating_mul(1 << 20))
}

/// Limits this process, and ends it with its parent.
fn limit(memory: u64) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, most) in [
        // Not the address space, of which threads reserve much that they never use.
        (Resource::Data, memory),
        (Resource::Cpu, PROCESSOR_S),
        (Resource::Core, 0),
    ] {
        let known = rustix::process::getrlimit(resource);
        let most = known.maximum.map_or(most, |maximum| maximum.min(most));
        let both = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, both)?;
    }
    Ok(())
}
