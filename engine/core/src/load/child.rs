//! The child that evaluates: limits first, then reading, then no more files, then evaluation.

use std::io::{Read, Write};

use rustix::process::{Resource, Rlimit, setrlimit};
use vexp_api::diagnostic::{Diagnostic, Severity};

use super::protocol::{Limits, Reply, Request};
use super::sources::Sources;
use super::{LoadError, eval};

/// Stack of the evaluating thread: Nickel's parser and serializer recurse with the nesting of what
/// they read.
const STACK: usize = 256 << 20;

/// The whole of the child: reads a request from `input`, writes a reply to `output`.
///
/// The binary calls this for its hidden verb `eval-spec`, before anything else has been done in the
/// process. The limits stay on the process.
///
/// # Errors
/// If the request can't be read, a limit can't be set, or the reply can't be written.
pub fn child_main(input: &mut dyn Read, output: &mut dyn Write) -> Result<(), LoadError> {
    let request: Request = serde_json::from_reader(input).map_err(LoadError::Protocol)?;
    limit(&request.limits).map_err(LoadError::Limit)?;
    // Nickel's errors aren't `Send`, so all of it happens on the thread with the large stack.
    let reply = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || evaluate(&request))
        .map_err(LoadError::Spawn)?
        .join()
        .map_err(|_| LoadError::Panicked)?;
    serde_json::to_writer(&mut *output, &reply).map_err(LoadError::Protocol)?;
    output.flush().map_err(LoadError::Pipe)
}

fn limit(limits: &Limits) -> Result<(), std::io::Error> {
    for (resource, value) in [
        (Resource::As, limits.memory),
        (Resource::Cpu, limits.cpu_s),
        (Resource::Core, 0),
    ] {
        let both = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        setrlimit(resource, both)?;
    }
    Ok(())
}

fn evaluate(request: &Request) -> Reply {
    let names = eval::library("", String::new());
    let names: Vec<_> = names.iter().map(|(name, _)| (*name, "")).collect();
    let sources = match Sources::read(&request.root, &request.main, &names) {
        Ok(sources) => sources,
        Err((texts, fatal)) => {
            return Reply {
                fatal,
                sources: texts,
                ..Reply::default()
            };
        }
    };
    let sandbox = close_files();
    let mut reply = match &request.study {
        Some(contracts) => eval::study(&sources, &request.main, contracts),
        None => eval::value(&sources, &request.main),
    };
    if let (None, true) = (&reply.value, reply.fatal.is_empty()) {
        reply.fatal.push(Diagnostic {
            code: "evaluation".to_owned(),
            severity: Severity::Error,
            message: "the file could not be evaluated".to_owned(),
            field: String::new(),
            labels: Vec::new(),
            help: None,
        });
    }
    reply.sources = sources.texts;
    reply.sandbox = sandbox;
    reply
}

/// Denies every further use of files and of TCP to this process, where the kernel can: everything
/// was read. Says what was done.
fn close_files() -> String {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset,
        RulesetAttr as _, RulesetStatus,
    };
    let abi = ABI::V5;
    let done = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.restrict_self());
    match done.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => "landlock".to_owned(),
        Ok(RulesetStatus::PartiallyEnforced) => "landlock, in part".to_owned(),
        Ok(RulesetStatus::NotEnforced) => "no landlock in this kernel".to_owned(),
        Err(error) => format!("no landlock: {error}"),
    }
}
