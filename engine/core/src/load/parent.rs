//! The parent: starts the child, feeds it, waits no longer than allowed, reads what it says.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use vexp_api::diagnostic::{Diagnostic, Severity};

use super::cache;
use super::protocol::{Contracts, Limits, Reply, Request};
use super::{Findings, LoadError, Loaded, Loader, VERB};

/// Most bytes of a reply: a value with the places of its fields and its sources.
const MAX_REPLY: u64 = 256 << 20;
/// Most bytes of the child's standard error that are kept.
const MAX_STDERR: u64 = 64 << 10;

pub(super) fn load(
    loader: &Loader,
    path: &Path,
    study: Option<Contracts>,
) -> Result<Loaded, LoadError> {
    let real = path
        .canonicalize()
        .map_err(|error| LoadError::Read(path.to_owned(), error))?;
    let (Some(root), Some(main)) = (real.parent(), real.file_name().and_then(|n| n.to_str()))
    else {
        return Err(LoadError::Path(path.to_owned()));
    };
    let request = Request {
        root: root.to_owned(),
        main: main.to_owned(),
        study,
        limits: loader.limits,
    };
    let failed = |findings, sources| {
        LoadError::Findings(path.to_owned(), Box::new(Findings { findings, sources }))
    };
    let place = (loader.cache.as_deref())
        .and_then(|folder| cache::place(folder, &loader.executable, &request));
    if let Some(reply) = place.as_deref().and_then(|place| cache::find(place, root)) {
        return loaded(reply, main).map_err(|reply| failed(reply.fatal, reply.sources));
    }
    let end = talk(loader, &request)?;
    if let Some(finding) = over_limit(&end, &loader.limits) {
        let text = std::fs::read_to_string(&real).unwrap_or_default();
        let sources = BTreeMap::from([(main.to_owned(), text)]);
        return Err(failed(vec![finding], sources));
    }
    if !end.status.success() {
        return Err(LoadError::Died {
            status: end.status.to_string(),
            stderr: end.stderr,
        });
    }
    let reply: Reply = serde_json::from_slice(&end.stdout).map_err(LoadError::Protocol)?;
    let loaded = loaded(reply, main).map_err(|reply| failed(reply.fatal, reply.sources))?;
    if let Some(place) = place.filter(|_| loaded.contract.is_none() && loaded.options.is_empty()) {
        cache::keep(&place, &end.stdout);
    }
    Ok(loaded)
}

/// What a reply says, or the reply if it has no value.
fn loaded(reply: Reply, main: &str) -> Result<Loaded, Box<Reply>> {
    match reply.value {
        Some(value) if reply.fatal.is_empty() => Ok(Loaded {
            value,
            spans: reply.spans.into_iter().collect(),
            sources: reply.sources,
            main: main.to_owned(),
            contract: reply.contract,
            options: reply.options,
            sandbox: reply.sandbox,
        }),
        value => Err(Box::new(Reply { value, ..reply })),
    }
}

/// How the child ended.
struct End {
    status: ExitStatus,
    late: bool,
    stdout: Vec<u8>,
    stderr: String,
}

fn talk(loader: &Loader, request: &Request) -> Result<End, LoadError> {
    let request = serde_json::to_vec(request).map_err(LoadError::Protocol)?;
    let mut child = Command::new(&loader.executable)
        .arg(VERB)
        // Nothing of the user's environment is a spec's business.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LoadError::Spawn)?;
    let result = converse(&mut child, request, loader.limits.wall_s);
    if result.is_err() {
        // It has ended already, or is of no more use.
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn converse(child: &mut Child, request: Vec<u8>, wall_s: u64) -> Result<End, LoadError> {
    let gone = || LoadError::Pipe(std::io::ErrorKind::BrokenPipe.into());
    let mut stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let stderr = child.stderr.take().ok_or_else(gone)?;
    let writer = std::thread::spawn(move || stdin.write_all(&request));
    let stdout = std::thread::spawn(move || read(stdout, MAX_REPLY));
    let stderr = std::thread::spawn(move || read(stderr, MAX_STDERR));
    let deadline = Instant::now() + Duration::from_secs(wall_s);
    let mut late = false;
    // A reply comes within milliseconds to tenths of a second: the naps begin short.
    let mut nap = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(LoadError::Pipe)? {
            break status;
        }
        if !late && Instant::now() >= deadline {
            late = true;
            child.kill().map_err(LoadError::Pipe)?;
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(10));
    };
    // A child that died without reading everything breaks this pipe: its status says why.
    let _ = writer.join();
    let stdout = stdout.join().map_err(|_| LoadError::Panicked)?;
    let stderr = stderr.join().map_err(|_| LoadError::Panicked)?;
    Ok(End {
        status,
        late,
        stdout: stdout.map_err(LoadError::Pipe)?,
        stderr: String::from_utf8_lossy(&stderr.map_err(LoadError::Pipe)?).into_owned(),
    })
}

/// Reads to the end, so that the writer is never held up, and keeps the first `most` bytes.
fn read(mut from: impl Read, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(most).read_to_end(&mut bytes)?;
    std::io::copy(&mut from, &mut std::io::sink())?;
    Ok(bytes)
}

fn over_limit(end: &End, limits: &Limits) -> Option<Diagnostic> {
    const XCPU: i32 = 24;
    const KILL: i32 = 9;
    const ABRT: i32 = 6;
    const SEGV: i32 = 11;
    // Nickel's own allocator panics where Rust's aborts.
    let no_memory = !end.status.success() && end.stderr.contains("out of memory");
    let message = match end.status.signal() {
        _ if end.late => format!("evaluation took more than {} s", limits.wall_s),
        // At the hard limit of processor time the kernel sends KILL.
        Some(XCPU | KILL) => format!(
            "evaluation took more than {} s of processor time",
            limits.cpu_s
        ),
        Some(ABRT | SEGV) | None if no_memory || end.status.signal().is_some() => format!(
            "evaluation needed more than {} MiB of memory, or is nested too deeply",
            limits.memory >> 20
        ),
        _ => return None,
    };
    Some(Diagnostic {
        code: "limit".to_owned(),
        severity: Severity::Error,
        message,
        field: String::new(),
        labels: Vec::new(),
        help: Some("look for a recursion that does not end, or for very large arrays".to_owned()),
    })
}
