//! The trace of a trial in virtual time: what links carried up to each step, and what vexp ran. By two of them it is
//! seen where two runs part. Nothing in it depends on the computer, so that equal trials have equal traces.
//!
//! The file `trace.jsonl` has one JSON value a line: a head, then steps and commands in the order of their times.
//!
//! ```text
//! {"head":{"format":1,"step_ns":5000000,"began_ns":…,"epoch_ns":…,"channels":[{"link":"data0","from":"machine","to":"peers0",…}],…}}
//! {"step":[12345000000,[[0,10416,"9e3779b9","a1f04c"]]]}
//! {"command":{"sent_ns":…,"node":"host","command":"iperf3 …",…}}
//! ```
//!
//! A step has only the channels that carried something since the one before: the channel's number, the frames that it
//! has carried since the machines' power-on, the last 32 bits of the hash over all of them, and a mark of two digits
//! for each frame whose number is a multiple of [`STRIDE`].

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::Name;

/// The version of this format. A reader refuses any other.
pub const FORMAT: u32 = 1;
/// Its name in a trial's folder.
pub const FILE: &str = "trace.jsonl";
/// Frames from one mark to the next.
pub const STRIDE: u64 = 8;
/// Steps with traffic that are kept at most, of all channels: no trial of a study comes near.
pub const MOST_STEPS: usize = 500_000;
/// Characters that are kept of a command.
const COMMAND: usize = 300;

/// A trial's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What it begins with.
    pub head: Head,
    /// What links carried.
    pub traffic: Vec<Step>,
    /// What was run, in the order in which it was sent.
    pub commands: Vec<Command>,
}

/// What a trace begins with. Times are virtual nanoseconds since the machines' power-on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u32,
    /// Time from one step to the next.
    pub step_ns: u64,
    /// When the trial began.
    pub began_ns: u64,
    /// When its epoch was, from which the times of artefacts and samples count.
    pub epoch_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
    /// Borders and frames that were late in it: what follows a late one may not be the same elsewhere.
    pub late: u64,
    /// Directions of links, as they were when it began.
    pub channels: Vec<Channel>,
    /// Whether it has all steps: see [`MOST_STEPS`].
    pub whole: bool,
}

/// One direction of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Link.
    pub link: String,
    /// The side that sends.
    pub from: String,
    /// The side that receives.
    pub to: String,
    /// Frames that it had carried when the trial began.
    pub frames: u64,
    /// The hash over them, 8 hexadecimal digits.
    pub hash: String,
    /// Whether all frames of the trial were seen.
    pub whole: bool,
}

/// What happened up to a time: everything that arrived at the ends of links before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step(
    /// Virtual nanoseconds since the machines' power-on.
    pub u64,
    /// Channels that carried something.
    pub Vec<Carried>,
);

/// A channel at a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried(
    /// Its number in [`Head::channels`].
    pub usize,
    /// Frames since the machines' power-on.
    pub u64,
    /// The hash over them, 8 hexadecimal digits.
    pub String,
    /// Two digits of the hash after each frame since the step before whose number is a multiple of [`STRIDE`].
    pub String,
);

/// A program that vexp ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// When it was sent, in virtual nanoseconds since the machines' power-on.
    pub sent_ns: u64,
    /// When all of its output was there; `None` if nobody waited for that, or the connection was lost.
    pub ended_ns: Option<u64>,
    /// Node.
    pub node: Name,
    /// Program and arguments, cut after 300 characters.
    pub command: String,
    /// Digest of all of them, and of standard input.
    pub input: Digest,
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Bytes of standard output, and their digest.
    pub output: Option<(u64, Digest)>,
    /// The same of standard error.
    pub errors: Option<(u64, Digest)>,
}

/// What was traced on links: a testbed's part of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Time from one step to the next.
    pub step_ns: u64,
    /// See [`Head::began_ns`].
    pub began_ns: u64,
    /// See [`Head::ended_ns`].
    pub ended_ns: u64,
    /// See [`Head::late`].
    pub late: u64,
    /// See [`Head::channels`].
    pub channels: Vec<Channel>,
    /// Steps with traffic.
    pub steps: Vec<Step>,
    /// Whether it has all steps.
    pub whole: bool,
}

/// Text is no trace that this version reads.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the trace: {why}")]
pub struct BadTrace {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Head(Head),
    Step(Step),
    Command(Command),
}

impl Trace {
    /// What was traced on links, and what was run meanwhile.
    pub fn new(traffic: Traffic, commands: Vec<Command>, epoch_ns: u64) -> Self {
        Self {
            head: Head {
                format: FORMAT,
                step_ns: traffic.step_ns,
                began_ns: traffic.began_ns,
                epoch_ns,
                ended_ns: traffic.ended_ns,
                late: traffic.late,
                channels: traffic.channels,
                whole: traffic.whole,
            },
            traffic: traffic.steps,
            commands,
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// None that can come of these types.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string(&Line::Head(self.head.clone()))?;
        text.push('\n');
        let mut commands = self.commands.iter().peekable();
        for step in &self.traffic {
            while let Some(command) = commands.next_if(|command| command.sent_ns < step.0) {
                push(&mut text, &Line::Command(command.clone()))?;
            }
            push(&mut text, &Line::Step(step.clone()))?;
        }
        for command in commands {
            push(&mut text, &Line::Command(command.clone()))?;
        }
        Ok(text)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// It is cut, of another version, or no trace.
    pub fn parse(text: &str) -> Result<Self, BadTrace> {
        let bad = |line, why: String| BadTrace { line, why };
        let mut lines = text.lines().enumerate();
        let first = lines.next().ok_or_else(|| bad(1, "it is empty".into()))?;
        // The format is looked at before anything else, since an unknown one may mean anything.
        let value: serde_json::Value =
            serde_json::from_str(first.1).map_err(|error| bad(1, error.to_string()))?;
        let format = value.pointer("/head/format");
        if format.and_then(serde_json::Value::as_u64) != Some(u64::from(FORMAT)) {
            let found = format.map_or("none".to_owned(), ToString::to_string);
            return Err(bad(
                1,
                format!("its format is {found}; this vexp reads {FORMAT}"),
            ));
        }
        let head = match serde_json::from_value(value) {
            Ok(Line::Head(head)) => head,
            Ok(_) => return Err(bad(1, "it is no head".into())),
            Err(error) => return Err(bad(1, error.to_string())),
        };
        let mut trace = Self {
            head,
            traffic: Vec::new(),
            commands: Vec::new(),
        };
        for (number, line) in lines {
            match serde_json::from_str(line).map_err(|error| bad(number + 1, error.to_string()))? {
                Line::Head(_) => return Err(bad(number + 1, "it has a second head".into())),
                Line::Step(step) => {
                    let known = trace.head.channels.len();
                    if step.1.iter().any(|carried| carried.0 >= known) {
                        let why =
                            format!("it has a channel that is not among the {known} there are");
                        return Err(bad(number + 1, why));
                    }
                    trace.traffic.push(step);
                }
                Line::Command(command) => trace.commands.push(command),
            }
        }
        Ok(trace)
    }
}

fn push(text: &mut String, line: &Line) -> Result<(), serde_json::Error> {
    text.push_str(&serde_json::to_string(line)?);
    text.push('\n');
    Ok(())
}

impl Command {
    /// A command that is being sent.
    pub fn sent(sent_ns: u64, node: &Name, cmd: &crate::shell::Cmd) -> Self {
        let whole = cmd.to_string();
        let mut input = whole.clone().into_bytes();
        input.push(0);
        input.extend(&cmd.stdin);
        Self {
            sent_ns,
            ended_ns: None,
            node: node.clone(),
            command: whole.chars().take(COMMAND).collect(),
            input: Digest::of(&input),
            status: None,
            output: None,
            errors: None,
        }
    }

    /// Notes what it left.
    pub fn ended(&mut self, ended_ns: u64, output: &crate::shell::Output) {
        let said = |bytes: &[u8]| Some((bytes.len() as u64, Digest::of(bytes)));
        self.ended_ns = Some(ended_ns);
        self.status = output.status;
        self.output = said(&output.stdout);
        self.errors = said(&output.stderr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Cmd;

    fn trace() -> Trace {
        let channel = |from: &str, to: &str| Channel {
            link: "data0".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            frames: 3,
            hash: "00000001".to_owned(),
            whole: true,
        };
        let traffic = Traffic {
            step_ns: 5,
            began_ns: 100,
            ended_ns: 120,
            late: 0,
            channels: vec![channel("machine", "peers0"), channel("peers0", "machine")],
            steps: vec![
                Step(105, vec![Carried(0, 9, "00000002".into(), "a1".into())]),
                Step(115, vec![Carried(1, 4, "00000003".into(), String::new())]),
            ],
            whole: true,
        };
        let node = Name::new("host").unwrap();
        let commands = [100, 110, 115].map(|at| Command::sent(at, &node, &Cmd::new("uname")));
        Trace::new(traffic, commands.into(), 103)
    }

    #[test]
    fn a_trace_is_read_as_it_was_written_in_the_order_of_time() {
        let text = trace().text().unwrap();
        assert_eq!(Trace::parse(&text).unwrap(), trace());
        let kinds: Vec<&str> = text.lines().map(|line| &line[2..6]).collect();
        assert_eq!(kinds, ["head", "comm", "step", "comm", "step", "comm"]);
        assert!(text.contains("{\"step\":[105,[[0,9,\"00000002\",\"a1\"]]]}"));
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        let text = trace().text().unwrap();
        let other = text.replacen("\"format\":1", "\"format\":2", 1);
        let why = Trace::parse(&other).unwrap_err().to_string();
        assert!(why.contains("its format is 2; this vexp reads 1"), "{why}");
        for (bad, says) in [
            (String::new(), "it is empty"),
            (text.replacen("[[0,9", "[[7,9", 1), "not among the 2"),
            (format!("{text}{text}"), "a second head"),
            (text[..text.len() - 9].to_owned(), "line 6"),
        ] {
            let why = Trace::parse(&bad).unwrap_err().to_string();
            assert!(why.contains(says), "{says}: {why}");
        }
    }

    #[test]
    fn long_commands_are_cut_and_still_told_apart() {
        let node = Name::new("host").unwrap();
        let sent = |text: &str| Command::sent(1, &node, &Cmd::new("sh").arg(text));
        let (one, other) = (sent(&"x".repeat(1000)), sent(&"x".repeat(1001)));
        assert_eq!(one.command, other.command);
        assert_ne!(one.input, other.input);
    }
}
