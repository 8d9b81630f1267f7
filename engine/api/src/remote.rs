//! What every [`Shell`](crate::shell::Shell) over a network has in common, however it gets there: the
//! words that carry a command's deadline to the node, and what is kept of a program's output.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ids::RemotePath;
use crate::shell::{Cmd, Output};

/// Most bytes of standard output that are kept of one command.
pub const STDOUT_CAP: usize = 64 << 20;
/// Bytes of an answer ([`Cmd::brief`]): all packages of a machine with a line each, and much more.
pub const BRIEF_CAP: usize = 8 << 20;
/// Most lines of standard output whose times are kept: a line may be a single byte, and its time is 16.
const LINES_CAP: usize = 1 << 20;
/// Most bytes of standard error that are kept of one command.
pub const STDERR_CAP: usize = 64 << 10;
/// How long the node's `timeout` waits between SIGTERM and SIGKILL, in seconds.
const KILL_AFTER: &str = "2";
/// How much longer than the node this side waits before it gives a command up.
pub const GRACE: Duration = Duration::from_secs(8);
/// A constant script: runs its arguments until they end, or until standard input does. openssh
/// sends no signals, and the end of input also tells that the connection was lost. The watcher's
/// status says whether it was what ended them: once input has ended, it can't be ended itself.
const STOPPABLE: &str = r#"exec 3<&0
"$@" 3<&- &
child=$!
{ read -r _ <&3; trap '' TERM; kill "$child"; } >/dev/null 2>&1 &
wait "$child" 2>/dev/null
status=$?
kill "$!" 2>/dev/null
wait "$!" 2>/dev/null && exit 0
exit "$status""#;
/// What a held program says on standard error when it has only to be released.
/// [`Printed::cut`] takes it out again.
pub const READY: &[u8] = b"vexp: ready\n";
/// A constant script: says [`READY`], and runs its arguments once there is a line on standard
/// input. If that ends without one, because nobody wants them any more or the connection was lost,
/// they never run.
const HELD: &str = r#"echo 'vexp: ready' >&2
read -r _ || { echo 'never released' >&2; exit 125; }
exec "$@""#;

/// A deadline as timeout(1) takes it.
pub fn seconds(deadline: Duration) -> String {
    format!("{:.3}", deadline.as_secs_f64())
}

/// [`crate::shell::LOCALE`] as env(1) takes it.
const SET_LOCALE: &str = "LC_ALL=C";

/// How programs are run on a node.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// By `sudo`.
    pub sudo: bool,
    /// On a machine that is none of vexp's own, whose locale may be any.
    pub foreign: bool,
    /// Programs that are found elsewhere there.
    pub tools: &'a BTreeMap<String, RemotePath>,
}

/// A command's words as the node gets them, with its deadline in [`seconds`]. `tools` are programs that
/// are found elsewhere there. The words are not quoted.
pub fn words<'a>(cmd: &'a Cmd, seconds: &'a str, node: Manner<'a>) -> Vec<&'a str> {
    let mut words = Vec::new();
    if node.sudo {
        // sudo's own words are read, too.
        words.extend(["env", SET_LOCALE, "sudo", "-n", "--"]);
    }
    // Ending the local client leaves the remote program running, so the remote side keeps the
    // deadline itself. As root where the program is: nobody else could end it.
    words.extend(["timeout", "-k", KILL_AFTER, seconds]);
    if node.foreign {
        // After sudo, which may take variables away.
        words.extend(["env", SET_LOCALE]);
    }
    if cmd.held {
        words.extend(["sh", "-c", HELD, "held"]);
    }
    if cmd.stoppable {
        words.extend(["sh", "-c", STOPPABLE, "stoppable"]);
    }
    let elsewhere = node.tools.get(&cmd.program).map(RemotePath::as_str);
    words.push(elsewhere.unwrap_or(&cmd.program));
    words.extend(cmd.args.iter().map(String::as_str));
    words
}

/// What is kept of one of a program's two streams.
#[derive(Clone, Debug, Default)]
pub struct Printed {
    /// Bytes, up to a cap.
    pub bytes: Vec<u8>,
    /// When each line was complete here.
    pub line_times: Vec<Instant>,
    /// Whether there were more.
    pub truncated: bool,
}

/// Places of line ends.
fn newlines(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let all = bytes.iter().enumerate();
    all.filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at)
}

impl Printed {
    /// Takes bytes that have arrived. Those past the cap, in bytes or in lines, are thrown away.
    pub fn take(&mut self, bytes: &[u8], now: Instant, cap: usize) {
        let kept = &bytes[..self.room(bytes, cap)];
        self.truncated |= kept.len() < bytes.len();
        let lines = newlines(kept).count();
        self.line_times.extend(std::iter::repeat_n(now, lines));
        self.bytes.extend_from_slice(kept);
    }

    /// How many of these bytes are kept.
    fn room(&self, bytes: &[u8], cap: usize) -> usize {
        let room = bytes.len().min(cap.saturating_sub(self.bytes.len()));
        let lines = LINES_CAP.saturating_sub(self.line_times.len());
        newlines(&bytes[..room]).nth(lines).unwrap_or(room)
    }

    /// Takes `line` out, where it stands as a line of its own; false if it does not.
    pub fn cut(&mut self, line: &[u8]) -> bool {
        let places = self.bytes.windows(line.len());
        let place = places
            .enumerate()
            .find(|(i, text)| *text == line && (*i == 0 || self.bytes[i - 1] == b'\n'))
            .map(|(i, _)| i);
        if let Some(i) = place {
            self.bytes.drain(i..i + line.len());
        }
        place.is_some()
    }
}

/// How a program ended, as seen from here.
#[derive(Clone, Debug)]
pub struct End {
    /// Standard output.
    pub out: Printed,
    /// Standard error.
    pub err: Printed,
    /// Whether both streams were read to their ends: a child that was left behind may hold them.
    pub whole: bool,
    /// Whether it ended at all. One that did not although it should long have is taken to run on.
    pub gone: bool,
    /// Its status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// When that was seen.
    pub at: Instant,
}

impl End {
    /// The command's output. Its deadline counts from `launched`; `started` is the same, or the
    /// release of a held program.
    pub fn output(self, launched: Instant, started: Instant, deadline: Duration) -> Output {
        // `timeout` ends with 124, or where it had to use SIGKILL with 137 or by that signal.
        let timed_out = !self.gone
            || (matches!(self.status, Some(124 | 137) | None) && self.at >= launched + deadline);
        Output {
            status: if timed_out { None } else { self.status },
            stdout: self.out.bytes,
            stderr: self.err.bytes,
            timed_out,
            truncated: self.out.truncated || self.err.truncated || !self.whole,
            line_times: self.out.line_times,
            started,
            ended: self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_carry_the_deadline_and_nothing_is_a_shell_s() {
        let cmd = Cmd::new("xl").arg("a b");
        let cmd = cmd.deadline(Duration::from_millis(1500));
        let (seconds, none) = (seconds(cmd.deadline), BTreeMap::new());
        let own = Manner {
            sudo: false,
            foreign: false,
            tools: &none,
        };
        let plain = words(&cmd, &seconds, own);
        assert_eq!(plain, ["timeout", "-k", "2", "1.500", "xl", "a b"]);
        let path = RemotePath("/opt/xl".to_owned());
        let tools = BTreeMap::from([("xl".to_owned(), path)]);
        let theirs = Manner {
            sudo: true,
            foreign: true,
            tools: &tools,
        };
        let as_root = words(&cmd, &seconds, theirs);
        assert_eq!(as_root[..4], ["env", "LC_ALL=C", "sudo", "-n"]);
        assert_eq!(as_root[9..], ["env", "LC_ALL=C", "/opt/xl", "a b"]);
        // Held outside of stoppable: one that is never released has nothing to stop.
        let both = cmd.clone().held().stoppable();
        let both = words(&both, &seconds, own);
        assert_eq!([both[7], both[11]], ["held", "stoppable"]);
    }

    #[test]
    fn output_is_kept_up_to_a_cap_of_bytes_and_of_lines() {
        let now = Instant::now();
        let mut printed = Printed::default();
        printed.take(b"ab\nc", now, 6);
        assert!(!printed.truncated);
        printed.take(b"d\ne\n", now, 6);
        assert_eq!(printed.bytes, b"ab\ncd\n");
        assert_eq!((printed.line_times.len(), printed.truncated), (2, true));
        let mut lines = Printed::default();
        lines.take(&vec![b'\n'; LINES_CAP + 5], now, STDOUT_CAP);
        assert_eq!(lines.line_times.len(), LINES_CAP);
        assert_eq!((lines.bytes.len(), lines.truncated), (LINES_CAP, true));
    }

    #[test]
    fn the_word_of_a_held_program_is_taken_out_where_it_is_a_line() {
        let mut printed = Printed::default();
        printed.take(b"not vexp: ready\nvexp: re", Instant::now(), 100);
        assert!(!printed.cut(READY));
        printed.take(b"ady\nrest", Instant::now(), 100);
        assert!(printed.cut(READY));
        assert_eq!(printed.bytes, b"not vexp: ready\nrest");
    }

    #[test]
    fn a_deadline_is_over_only_with_timeout_s_status_and_its_time() {
        let launched = Instant::now();
        let deadline = Duration::from_secs(1);
        let timed_out = |gone, status, after| {
            let end = End {
                out: Printed::default(),
                err: Printed::default(),
                whole: true,
                gone,
                status,
                at: launched + Duration::from_millis(after),
            };
            end.output(launched, launched, deadline).timed_out
        };
        assert!(timed_out(true, Some(124), 1000));
        assert!(timed_out(true, Some(137), 3000));
        assert!(timed_out(true, None, 3000));
        assert!(timed_out(false, None, 500));
        assert!(!timed_out(true, Some(124), 999));
        assert!(!timed_out(true, Some(1), 3000));
    }
}
