//! Programs that build steps run.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::rootless;

/// A program that failed, with what a person needs to act.
#[derive(Debug, thiserror::Error)]
#[error("{step}: `{command}` {end} (log: {}){}", .log.display(), tail_text(.stderr_tail))]
pub struct CommandError {
    /// What was being done.
    pub step: String,
    /// The command.
    pub command: String,
    /// How it ended, e.g. `exit status: 1`.
    pub end: String,
    /// The last lines of its output.
    pub stderr_tail: String,
    /// All of its output.
    pub log: PathBuf,
    /// Why it could not be started.
    #[source]
    pub source: Option<std::io::Error>,
}

fn tail_text(tail: &str) -> String {
    match tail {
        "" => String::new(),
        tail => format!("\n{tail}"),
    }
}

/// Variables of our own environment that programs see: proxies of the mirror, and nothing else.
const INHERITED: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// Folders in which host programs are looked for.
pub(super) const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// A program that is killed when this process ends, in whatever way. It must be waited for on the
/// thread that starts it: to Linux the parent is a thread (prctl(2), `PR_SET_PDEATHSIG`).
pub(super) fn mortal(program: impl AsRef<OsStr>) -> Command {
    // The parent may be gone before the signal is asked for: then nothing is started.
    const IF_PARENT_LIVES: &str = r#"[ "$PPID" = "$1" ] && shift 2 && exec "$@""#;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .args(["sh", "-c", IF_PARENT_LIVES, "sh"])
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program);
    quiet(&mut command);
    command
}

/// A program in mount, process and network namespaces of its own: with its first process the
/// kernel ends all others and undoes every mount, and nothing can be fetched. Who is not root is
/// root there, of files that are all theirs ([`rootless`]).
pub(super) fn contained(program: impl AsRef<OsStr>) -> Command {
    contained_as(false, program)
}

/// [`contained`]; `as_others` lets root build as an ordinary user does.
pub(super) fn contained_as(as_others: bool, program: impl AsRef<OsStr>) -> Command {
    let mut command = mortal("unshare");
    if as_others || !rustix::process::geteuid().is_root() {
        rootless::owners_are_ignored(&mut command);
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--"])
        .arg(program);
    command
}

fn quiet(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", PATH.join(":"))
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC0")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// Runs a command with its output in `log`; gives how it ended.
pub(super) fn status(
    step: &str,
    command: &mut Command,
    log: &Path,
) -> Result<ExitStatus, Box<CommandError>> {
    let mut start = || {
        let file = File::create(log)?;
        let copy = file.try_clone()?;
        command.stdout(file).stderr(copy).status()
    };
    start().map_err(|source| not_started(step, command, log, source))
}

/// Runs a command that must succeed, with its output in `log`.
pub(super) fn run(step: &str, command: &mut Command, log: &Path) -> Result<(), Box<CommandError>> {
    let status = status(step, command, log)?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(step, command, log, status)),
    }
}

/// Runs a command that must succeed and gives its standard output; standard error is in `log`.
pub(super) fn capture(
    step: &str,
    command: &mut Command,
    log: &Path,
) -> Result<String, Box<CommandError>> {
    let mut start = || {
        let file = File::create(log)?;
        command.stderr(file).output()
    };
    let output = start().map_err(|source| not_started(step, command, log, source))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(step, command, log, output.status)),
    }
}

fn not_started(
    step: &str,
    command: &Command,
    log: &Path,
    source: std::io::Error,
) -> Box<CommandError> {
    Box::new(CommandError {
        step: step.to_owned(),
        command: shown(command),
        end: "could not be started".to_owned(),
        stderr_tail: String::new(),
        log: log.to_owned(),
        source: Some(source),
    })
}

/// The error of a command that ended with `status`.
pub(super) fn failed(
    step: &str,
    command: &Command,
    log: &Path,
    status: ExitStatus,
) -> Box<CommandError> {
    Box::new(CommandError {
        step: step.to_owned(),
        command: shown(command),
        end: format!("ended with {status}"),
        stderr_tail: [tail(log), full_disk(log)].concat(),
        log: log.to_owned(),
        source: None,
    })
}

/// The command for people, without what [`contained`] and [`mortal`] put before it, and cut where
/// it is long.
fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let own = words
        .iter()
        .rposition(|word| word == "--")
        .map_or(0, |at| at + 1);
    let mut text = words[own..].join(" ");
    if let Some((end, _)) = text.char_indices().nth(300) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Bytes below which a disk is as good as full: logs are no larger.
const NO_ROOM: u64 = 1 << 20;

/// Says that the disk of a log is full, if it is: then the program's own words about it are not in the log.
fn full_disk(log: &Path) -> String {
    let free = rustix::fs::statvfs(log).map(|disk| disk.f_bavail * disk.f_frsize);
    match free {
        Ok(free) if free < NO_ROOM => {
            let folder = log.parent().unwrap_or(log).display();
            format!("\nNo space left on device: {free} bytes below {folder}")
        }
        _ => String::new(),
    }
}

/// The last lines of a file, at most 4 KiB.
fn tail(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(4096)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_step_command_tail_and_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = mortal("sh");
        command.args(["-c", "seq 30; echo no space >&2; exit 3"]);
        let error = run("squash", &mut command, &log).unwrap_err().to_string();
        for part in ["squash: `sh -c", "exit status: 3", "no space", "\n30\n"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(
            !error.contains("\n10\n") && !error.contains("setpriv"),
            "{error}"
        );
        assert!(error.contains(&log.display().to_string()));
    }

    #[test]
    fn programs_see_a_clean_environment() {
        let folder = tempfile::tempdir().unwrap();
        let text = capture("env", &mut mortal("env"), &folder.path().join("log")).unwrap();
        assert!(text.contains("TZ=UTC0\n"), "{text}");
        assert!(!text.contains("CARGO"), "{text}");
    }

    #[test]
    fn a_program_dies_with_the_thread_that_started_it() {
        use std::io::BufRead as _;
        let folder = tempfile::tempdir().unwrap();
        // The kernel's notion of a parent is a thread, so that a thread can stand for vexp here.
        let start = || {
            let mut command = contained("sh");
            command
                .args(["-c", "echo up; sleep 1000"])
                .stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
            lines.read_line(&mut line).unwrap();
            (child, lines, line)
        };
        if let Err(error) = rootless::possible(&folder.path().join("log")) {
            eprintln!("skipped: {error}");
            return;
        }
        let (mut child, mut lines, line) = std::thread::spawn(start).join().unwrap();
        assert_eq!(line, "up\n");
        assert!(!child.wait().unwrap().success());
        // `sleep` held the pipe: its end shows that the namespace died with its first process.
        assert_eq!(lines.read_line(&mut String::new()).unwrap(), 0);
    }
}
