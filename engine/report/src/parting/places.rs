//! What a trial and its block left in two runs → the first of each kind that differs.

use std::path::Path;

use vexp_api::environment::{Environment, Facts, compare};
use vexp_api::ids::Name;
use vexp_api::record::{Artefact, TrialRecord};
use vexp_api::run_dir::{RAW_BYTES, RECORD_BYTES, RunDir};
use vexp_api::trace::Trace;

use super::traces::{self, Apart};
use super::words::cut;
use super::{Kind, Place};
use crate::frame::Row;
use crate::raw;
use crate::run::Run;

/// A moment that is not in the trial: places have it so that they can be ordered.
const BEFORE: f64 = f64::NEG_INFINITY;
const AFTER: f64 = f64::INFINITY;
/// Characters that are shown of two lines before they begin to differ.
const CONTEXT: usize = 30;
/// Emulators of peers whose consoles are looked at.
const PEERS: usize = 8;

/// A trial of two runs.
pub(super) struct Both<'a> {
    pub(super) expected: &'a Run,
    pub(super) found: &'a Run,
    pub(super) trial: &'a Name,
    pub(super) block: &'a Name,
    /// Both, or nothing.
    pub(super) traces: Option<(&'a Trace, &'a Trace)>,
}

/// Reads a trial's trace; `None` if it has none, or not the one that was recorded.
pub(super) fn trace(run: &Run, trial: &Name) -> Option<Trace> {
    let file = run.trials.get(trial)?.trace.as_ref()?;
    let folder = run.dir.join("trials").join(trial.as_str());
    let bytes = raw::read_trace(&folder, file).ok()?;
    Trace::parse(std::str::from_utf8(&bytes).ok()?).ok()
}

impl Both<'_> {
    /// The first difference of each kind.
    pub(super) fn places(&self) -> Vec<Place> {
        let all = [
            self.facts(),
            self.links(),
            self.commands(),
            self.output(),
            self.console(),
        ];
        all.into_iter().flatten().collect()
    }

    fn epoch_ns(&self) -> Option<u64> {
        self.traces.map(|(expected, _)| expected.head.epoch_ns)
    }

    /// A place so many seconds after the trial's epoch.
    fn since_epoch(&self, kind: Kind, seconds: f64, what: String, sentence: String) -> Place {
        let epoch_s = self.epoch_ns().map(|ns| ns as f64 / 1e9);
        Place {
            kind,
            when: None,
            since_start_s: Some(seconds),
            since_power_on_s: epoch_s.map(|epoch| epoch + seconds),
            order: epoch_s.unwrap_or(0.0) + seconds,
            what,
            sentence,
        }
    }

    fn at(&self, kind: Kind, apart: Apart) -> Place {
        let power_on = apart.at_ns as f64 / 1e9;
        let epoch = self.epoch_ns().unwrap_or(0) as f64 / 1e9;
        Place {
            kind,
            when: apart.before.then(|| "before".to_owned()),
            since_start_s: Some(power_on - epoch),
            since_power_on_s: Some(power_on),
            order: power_on,
            what: apart.what,
            sentence: apart.sentence,
        }
    }

    fn links(&self) -> Option<Place> {
        let (expected, found) = self.traces?;
        Some(self.at(Kind::Link, traces::links(expected, found)?))
    }

    fn commands(&self) -> Option<Place> {
        let (expected, found) = self.traces?;
        let apart = traces::commands(&expected.commands, &found.commands)?;
        Some(self.at(Kind::Command, apart))
    }

    fn records(&self) -> Option<(&TrialRecord, &TrialRecord)> {
        Some((
            self.expected.trials.get(self.trial)?,
            self.found.trials.get(self.trial)?,
        ))
    }

    /// The first raw artefact that differs, by the time of its first line that does.
    fn output(&self) -> Option<Place> {
        let (expected, found) = self.records()?;
        let mut first: Option<Place> = None;
        for one in &expected.artefacts {
            let other = found.artefacts.iter().find(|other| other.path == one.path);
            let place = match other {
                Some(other) if other.digest == one.digest => continue,
                Some(other) => self.artefact(one, other),
                None => self.alone(one, "is not there in the other run"),
            };
            note(&mut first, place);
        }
        for other in &found.artefacts {
            if !expected.artefacts.iter().any(|one| one.path == other.path) {
                note(&mut first, self.alone(other, "is in the other run only"));
            }
        }
        first
    }

    fn alone(&self, artefact: &Artefact, what: &str) -> Place {
        let what = format!("{} {what}", artefact.path);
        self.since_epoch(Kind::Output, artefact.started_s, what.clone(), what)
    }

    fn artefact(&self, one: &Artefact, other: &Artefact) -> Place {
        let folder = |run: &Run| run.dir.join("trials").join(self.trial.as_str());
        let read = |run: &Run, artefact: &Artefact| {
            let bytes = raw::read(&folder(run), artefact).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (ours, theirs) = (read(self.expected, one), read(self.found, other));
        let path = &one.path;
        let Some((line, a, b)) = first_line(&ours, &theirs) else {
            return self.alone(one, "can't be read");
        };
        let times = raw::read_times(&folder(self.expected), one).unwrap_or_default();
        let at = times.get(line - 1).copied();
        let what = format!("{path}, line {line}: `{a}`, and `{b}`");
        let sentence = format!("in {path}, line {line}");
        self.since_epoch(Kind::Output, at.unwrap_or(one.ended_s), what, sentence)
    }

    /// The first line of a console that differs. Machines date some lines themselves.
    fn console(&self) -> Option<Place> {
        let names = (0..PEERS).map(|net| format!("peers{net}.console.log"));
        let names = std::iter::once("console.log".to_owned()).chain(names);
        let folder = Path::new("blocks").join(self.block.as_str());
        let read = |run: &Run, name: &str| {
            let there = RunDir::open(&run.dir).ok()?;
            let bytes = there.read(folder.join(name), RAW_BYTES).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let mut first = None;
        for name in names {
            let (Some(one), Some(other)) = (read(self.expected, &name), read(self.found, &name))
            else {
                continue;
            };
            let Some((line, a, b)) = first_line(&one, &other) else {
                continue;
            };
            let time = [&one, &other]
                .into_iter()
                .filter_map(|text| dated(text.lines().nth(line - 1)?))
                .reduce(f64::min);
            let epoch = self.epoch_ns().map(|ns| ns as f64 / 1e9);
            let place = Place {
                kind: Kind::Console,
                when: time.is_none().then(|| "not dated".to_owned()),
                since_start_s: time.zip(epoch).map(|(time, epoch)| time - epoch),
                since_power_on_s: time,
                order: match (time, epoch) {
                    (Some(time), Some(_)) => time,
                    _ => AFTER,
                },
                what: format!("{name}, line {line}: `{a}`, and `{b}`"),
                sentence: format!("on the console {name}, line {line}"),
            };
            note(&mut first, place);
        }
        first
    }

    /// The first thing that nodes said of themselves, or that was read back, which differs.
    fn facts(&self) -> Option<Place> {
        let place = |when: &str, order, what: String| Place {
            kind: Kind::Environment,
            when: Some(when.to_owned()),
            since_start_s: None,
            since_power_on_s: None,
            order,
            sentence: format!("in what the machines are: {what}"),
            what,
        };
        let blocks = (
            self.expected.blocks.get(self.block),
            self.found.blocks.get(self.block),
        );
        if let (Some(one), Some(other)) = blocks {
            let pairs = [
                ("testbed", &one.site, &other.site),
                ("host", &one.host, &other.host),
            ];
            let differs = pairs
                .into_iter()
                .find_map(|(node, one, other)| differing(node, one, other));
            if let Some(what) = differs {
                return Some(place("before", BEFORE, what));
            }
        }
        let read = |run: &Run| -> Option<Environment> {
            let name = Path::new("blocks")
                .join(self.block.as_str())
                .join("environment.json");
            let bytes = RunDir::open(&run.dir).ok()?.read(name, RECORD_BYTES).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        let environments = read(self.expected).zip(read(self.found));
        if let Some((one, other)) = &environments
            && let Some(what) = first_fact(&one.before, &other.before)
        {
            return Some(place("before", BEFORE, what));
        }
        if let Some((one, other)) = self.records()
            && let Some(what) = differing("read back", &one.setup, &other.setup)
        {
            return Some(place("before", BEFORE, what));
        }
        let (one, other) = environments?;
        let what = first_fact(&one.after, &other.after)?;
        Some(place("after", AFTER, what))
    }

    /// The first sample that differs.
    pub(super) fn sample(&self, expected: &[Row], found: &[Row]) -> Option<Place> {
        // Rows are ordered by tool; the first in time is what is asked for.
        let pairs = expected
            .iter()
            .zip(found)
            .filter(|(one, other)| one != other);
        let first = pairs.min_by(|(a, _), (b, _)| a.sample.t.total_cmp(&b.sample.t));
        let start = self
            .records()?
            .0
            .window
            .map_or(0.0, |window| window.start_s);
        let say = |row: &Row| {
            let sample = &row.sample;
            format!("{} {}", sample.value, sample.unit)
        };
        if let Some((one, other)) = first {
            let sample = &one.sample;
            let of = format!("{} on {} by {}", sample.metric, sample.node, one.tool);
            // By then it is known.
            let at = start + sample.t + sample.dt;
            let what = match (&one.sample.metric, &one.tool) == (&other.sample.metric, &other.tool)
            {
                true => format!("{of}: {}, and {}", say(one), say(other)),
                false => format!("{of}: {}, and another sample", say(one)),
            };
            let sentence = format!("in the samples: {what}");
            return Some(self.since_epoch(Kind::Sample, at, what, sentence));
        }
        (expected.len() != found.len()).then(|| {
            let what = format!("{} samples, and {}", expected.len(), found.len());
            let sentence = format!("in the samples: {what}");
            self.since_epoch(Kind::Sample, start, what, sentence)
        })
    }
}

/// Keeps the earlier of two.
fn note(first: &mut Option<Place>, place: Place) {
    if first.as_ref().is_none_or(|first| place.order < first.order) {
        *first = Some(place);
    }
}

/// The first line, from 1, that is not the same, and what it is in each text.
pub(super) fn first_line(one: &str, other: &str) -> Option<(usize, String, String)> {
    let (mut ours, mut theirs) = (one.lines(), other.lines());
    let end = || "(its end)".to_owned();
    for number in 1.. {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let skip = same_beginning(one.unwrap_or_default(), other.unwrap_or_default());
                let from = |line: &str| match skip {
                    0 => cut(line),
                    _ => format!("… {}", cut(&line.chars().skip(skip).collect::<String>())),
                };
                let [one, other] = [one, other].map(|line| line.map_or_else(end, from));
                return Some((number, one, other));
            }
        }
    }
    None
}

/// Characters that are left out of two lines since they are the same, but for some before what is not.
fn same_beginning(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    match same.count() {
        few if few < 2 * CONTEXT => 0,
        many => many - CONTEXT,
    }
}

/// When a line of a console says that it was written: as the kernel does it, `[   12.345678]` since power-on, or as
/// syslog, `Jan 01 00:00:43`, by a clock that begins at power-on with 1 January, midnight.
pub(super) fn dated(line: &str) -> Option<f64> {
    if let Some((stamp, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        && let Some((whole, part)) = stamp.trim().split_once('.')
        && part.len() == 6
        && whole
            .chars()
            .chain(part.chars())
            .all(|c| c.is_ascii_digit())
    {
        return stamp.trim().parse().ok();
    }
    let time = line.split_once("Jan 01 ")?.1.get(..8)?;
    let mut parts = time.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(f64::from((hours * 60 + minutes) * 60 + seconds))
}

fn differing(node: &str, one: &Facts, other: &Facts) -> Option<String> {
    let of = |facts: &Facts| std::collections::BTreeMap::from([(node.to_owned(), facts.clone())]);
    first_fact(&of(one), &of(other))
}

fn first_fact(
    one: &std::collections::BTreeMap<String, Facts>,
    other: &std::collections::BTreeMap<String, Facts>,
) -> Option<String> {
    let differences = compare(one, other).differences;
    let first = (differences.iter().find(|one| one.matters)).or_else(|| differences.first())?;
    let say = |value: &Option<String>| value.as_deref().map_or("none".to_owned(), cut);
    let (node, fact) = (&first.node, &first.fact);
    let [a, b] = [say(&first.one), say(&first.other)];
    Some(format!("{node} {fact}: {a}, and {b}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_shown_from_where_it_does() {
        assert_eq!(first_line("a\nb\n", "a\nb\n"), None);
        let apart = first_line("a\nb 1\nc", "a\nb 2").unwrap();
        assert_eq!(apart, (2, "b 1".into(), "b 2".into()));
        let apart = first_line("a\n", "a\nb").unwrap();
        assert_eq!(apart, (2, "(its end)".into(), "b".into()));
        let long = "x".repeat(500);
        let (_, one, other) = first_line(&format!("{long}1"), &format!("{long}2")).unwrap();
        assert_eq!(one, format!("… {}1", &long[..CONTEXT]));
        assert_eq!(other, format!("… {}2", &long[..CONTEXT]));
    }

    #[test]
    fn lines_of_consoles_are_dated_by_kernel_or_syslog_or_not() {
        for (line, time) in [
            ("[   12.345678] virtio_net: up", Some(12.345_678)),
            ("[361] Jan 01 00:00:43 Child connection", Some(43.0)),
            ("Jan 01 01:02:03 x", Some(3723.0)),
            ("[361] ready", None),
            ("[ 1.2] x", None),
            ("[361] Nov 30 15:58:09 x", None),
            ("[361] Jan 01 00:0é:43 x", None),
            ("", None),
        ] {
            assert_eq!(dated(line), time, "{line}");
        }
    }
}
