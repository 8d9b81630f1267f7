//! Two traces → where they begin to differ.

use std::collections::BTreeMap;

use vexp_api::trace::{Carried, Channel, Command, STRIDE, Trace};

use super::words::{count, cut, seconds};

/// The first difference between two traces, and when it is: virtual ns since power-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// By when it happened.
    pub at_ns: u64,
    /// What differs.
    pub what: String,
    /// The same as the end of a sentence, after a time.
    pub sentence: String,
    /// Whether it was so before the trial began.
    pub before: bool,
}

/// The first step at which links had not carried the same.
pub fn links(expected: &Trace, found: &Trace) -> Option<Apart> {
    let (one, other) = (&expected.head, &found.head);
    if one.began_ns != other.began_ns {
        let [a, b] = [one, other].map(|head| seconds(head.began_ns));
        return Some(Apart {
            at_ns: one.began_ns.min(other.began_ns),
            what: format!("the trial began {a} s after power-on, and {b} s in the other run"),
            sentence: "as it does not begin at the same moment".to_owned(),
            before: true,
        });
    }
    let names = |channels: &[Channel]| channels.iter().map(name).collect::<Vec<_>>();
    let [ours, theirs] = [one, other].map(|head| names(&head.channels));
    if ours != theirs {
        return Some(Apart {
            at_ns: one.began_ns,
            what: format!("links are {}, and {}", ours.join("; "), theirs.join("; ")),
            sentence: "as machines have other links".to_owned(),
            before: true,
        });
    }
    let mut pairs = one.channels.iter().zip(&other.channels);
    if let Some((a, b)) = pairs.find(|(a, b)| (a.frames, &a.hash) != (b.frames, &b.hash)) {
        return Some(Apart {
            at_ns: one.began_ns,
            what: format!(
                "{}: {} frames before the trial began, and {}{}",
                name(a),
                count(a.frames),
                count(b.frames),
                if a.frames == b.frames { " others" } else { "" },
            ),
            sentence: format!(
                "as link {} shows: machines were not the same when it began",
                a.link
            ),
            before: true,
        });
    }
    steps(expected, found)
}

/// `data0, machine to peers0`.
fn name(channel: &Channel) -> String {
    format!("link {}, {} to {}", channel.link, channel.from, channel.to)
}

fn steps(expected: &Trace, found: &Trace) -> Option<Apart> {
    let by_channel = |carried: &'_ [Carried]| -> BTreeMap<usize, Carried> {
        carried.iter().map(|one| (one.0, one.clone())).collect()
    };
    let mut reached: Vec<u64> = expected.head.channels.iter().map(|c| c.frames).collect();
    let (mut ours, mut theirs) = (
        expected.traffic.iter().peekable(),
        found.traffic.iter().peekable(),
    );
    loop {
        let at = match (ours.peek(), theirs.peek()) {
            (None, None) => return None,
            (Some(one), None) => one.0,
            (None, Some(other)) => other.0,
            (Some(one), Some(other)) => one.0.min(other.0),
        };
        let one = ours.next_if(|step| step.0 == at);
        let other = theirs.next_if(|step| step.0 == at);
        let [one, other] =
            [one, other].map(|step| step.map(|step| by_channel(&step.1)).unwrap_or_default());
        let channels = one.keys().chain(other.keys());
        let differ: std::collections::BTreeSet<usize> = channels
            .filter(|channel| one.get(channel) != other.get(channel))
            .copied()
            .collect();
        if let Some(first) = differ.first() {
            let channels = &expected.head.channels;
            let apart = Frames::between(
                reached.get(*first).copied().unwrap_or(0),
                one.get(first),
                other.get(first),
            );
            return Some(said(at, channels, &differ, &apart));
        }
        for carried in one.values() {
            if let Some(reached) = reached.get_mut(carried.0) {
                *reached = carried.1;
            }
        }
    }
}

/// Frames among which the first one lies that is not the same.
struct Frames {
    first: u64,
    last: u64,
    /// How many there were in each run by then.
    expected: u64,
    found: u64,
}

impl Frames {
    /// `before` frames are the same.
    fn between(before: u64, one: Option<&Carried>, other: Option<&Carried>) -> Self {
        let frames = |carried: Option<&Carried>| carried.map_or(before, |carried| carried.1);
        let marks = |carried: Option<&Carried>| -> Vec<Vec<u8>> {
            let text = carried.map_or("", |carried| carried.3.as_str());
            text.as_bytes().chunks(2).map(<[u8]>::to_vec).collect()
        };
        let (ours, theirs) = (marks(one), marks(other));
        let same = (ours.iter().zip(&theirs))
            .take_while(|(a, b)| a == b)
            .count() as u64;
        let (expected, found) = (frames(one), frames(other));
        // Marks are those of frames whose numbers are multiples.
        let marked = |number: u64| (before / STRIDE + number) * STRIDE;
        let differs = same < ours.len().min(theirs.len()) as u64;
        let last = match differs {
            true => marked(same + 1),
            false => expected.max(found),
        };
        // One mark of 256 is the same by chance: then it is any frame of the step.
        let first = match marked(same).max(before) + 1 {
            first if first > last => before + 1,
            first => first,
        };
        Self {
            first,
            last,
            expected,
            found,
        }
    }

    fn text(&self) -> String {
        match self.first >= self.last {
            true => format!("frame {}", count(self.last)),
            false => format!("among frames {} to {}", count(self.first), count(self.last)),
        }
    }
}

fn said(
    at_ns: u64,
    channels: &[Channel],
    differ: &std::collections::BTreeSet<usize>,
    frames: &Frames,
) -> Apart {
    let mut all = differ.iter().filter_map(|number| channels.get(*number));
    let Some(first) = all.next() else {
        let what = "a link that neither run names".to_owned();
        let sentence = format!("on {what}");
        return Apart {
            at_ns,
            what,
            sentence,
            before: false,
        };
    };
    let others: Vec<String> = all.map(name).collect();
    let mut what = format!("{}: {}", name(first), frames.text());
    if frames.expected != frames.found {
        let (a, b) = (count(frames.expected), count(frames.found));
        what.push_str(&format!("; {a} by then, and {b} in the other run"));
    }
    if !others.is_empty() {
        what.push_str(&format!(" (in the same step: {})", others.join("; ")));
    }
    let (link, from) = (&first.link, &first.from);
    let sentence = match frames.first >= frames.last {
        true => format!(
            "on link {link}: {from} sent another frame {}, or none",
            count(frames.last)
        ),
        false => format!(
            "on link {link}: {from} sent something else {}",
            frames.text()
        ),
    };
    Apart {
        at_ns,
        what,
        sentence,
        before: false,
    }
}

/// The first command that was another, came at another moment, or left something else.
pub fn commands(expected: &[Command], found: &[Command]) -> Option<Apart> {
    let mut first: Option<Apart> = None;
    let mut note = |apart: Apart| {
        if first.as_ref().is_none_or(|first| apart.at_ns < first.at_ns) {
            first = Some(apart);
        }
    };
    for number in 0..expected.len().max(found.len()) {
        match (expected.get(number), found.get(number)) {
            (Some(one), Some(other)) if sent(one) == sent(other) => {
                if let Some(apart) = left(one, other) {
                    note(apart);
                }
            }
            (one, other) => {
                note(other_command(one, other));
                break;
            }
        }
    }
    first
}

fn sent(command: &Command) -> (u64, &vexp_api::ids::Name, &vexp_api::digest::Digest) {
    (command.sent_ns, &command.node, &command.input)
}

/// Another command, or the same at another moment.
fn other_command(one: Option<&Command>, other: Option<&Command>) -> Apart {
    let say = |command: Option<&Command>| match command {
        None => "no more".to_owned(),
        Some(command) => format!(
            "`{}` on {} at {} s",
            cut(&command.command),
            command.node,
            seconds(command.sent_ns)
        ),
    };
    let times = [one, other].into_iter().flatten();
    let same = one
        .zip(other)
        .filter(|(one, other)| (&one.node, &one.input) == (&other.node, &other.input));
    let what = match same {
        Some((one, other)) => format!(
            "`{}` on {}: sent at {} s, and at {} s in the other run",
            cut(&one.command),
            one.node,
            seconds(one.sent_ns),
            seconds(other.sent_ns)
        ),
        None => format!("vexp ran {}, and {} in the other run", say(one), say(other)),
    };
    Apart {
        at_ns: times.map(|command| command.sent_ns).min().unwrap_or(0),
        sentence: format!("in what vexp ran: {what}"),
        what,
        before: false,
    }
}

/// What the same command left, where that is not the same.
fn left(one: &Command, other: &Command) -> Option<Apart> {
    let mut differs = Vec::new();
    if one.status != other.status {
        let say = |status: Option<i32>| status.map_or("a signal".to_owned(), |s| s.to_string());
        let (a, b) = (say(one.status), say(other.status));
        differs.push(format!("status {a}, and {b}"));
    }
    for (what, a, b) in [
        ("output", &one.output, &other.output),
        ("standard error", &one.errors, &other.errors),
    ] {
        if a != b {
            let bytes = |said: &Option<(u64, _)>| said.as_ref().map_or(0, |said| said.0);
            let [a, b] = [bytes(a), bytes(b)];
            differs.push(match a == b {
                true => format!("{} other bytes of {what}", count(a)),
                false => format!("{} bytes of {what}, and {}", count(a), count(b)),
            });
        }
    }
    if one.ended_ns != other.ended_ns {
        let say =
            |at: Option<u64>| at.map_or("never".to_owned(), |at| format!("{} s", seconds(at)));
        let (a, b) = (say(one.ended_ns), say(other.ended_ns));
        differs.push(format!("its end at {a}, and {b}"));
    }
    if differs.is_empty() {
        return None;
    }
    let ends = [one.ended_ns, other.ended_ns].into_iter().flatten();
    let what = format!(
        "`{}` on {}: {}",
        cut(&one.command),
        one.node,
        differs.join("; ")
    );
    Some(Apart {
        at_ns: ends.min().unwrap_or(one.sent_ns),
        sentence: format!("in what a command left: {what}"),
        what,
        before: false,
    })
}

#[cfg(test)]
mod tests;
