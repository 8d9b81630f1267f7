//! A plan for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use vexp_api::ids::Name;
use vexp_api::plan::{Deviation, Excluded, Plan, Trial};
use vexp_api::spec::LinkScale;

use super::table::long_table;
use super::wrapped;

/// A length of time as people say it: `45 s`, `7 min`, `3 h 20 min`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number as people write it: at most three digits, no zeros at the end.
fn short(value: f64) -> String {
    let exponent = value.abs().log10().floor() as i32;
    let digits = 2_i32.saturating_sub(exponent).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// One line: which link rate is used, and where it comes from. `link` is what the study says of it,
/// `measured` when a calibration was made (RFC 3339). Empty where links have their own rates.
pub(crate) fn link(plan: &Plan, link: Option<&LinkScale>, measured: Option<&str>) -> String {
    let percent = |factor: f64| short(100.0 * factor);
    let Some(found) = &plan.calibration else {
        return match link {
            None => String::new(),
            Some(link) => {
                let later = "; not calibrated yet: `vexp run` will measure";
                let later = if link.calibrate.is_some() { later } else { "" };
                format!(
                    "link rate: {} % of the study's{later}",
                    percent(link.factor)
                )
            }
        };
    };
    let on = measured.and_then(|time| time.split('T').next());
    let on = on.map_or_else(String::new, |day| format!(" on {day}"));
    let note = found.note.as_ref().map(|note| format!("; {note}"));
    format!(
        "link rate: {} % of the study's, calibrated{on} (95 % interval {} to {} %; {} % of a CPU per \
         Mb/s){}",
        percent(found.factor),
        percent(found.interval.0),
        percent(found.interval.1),
        short(found.cpu_per_mbps),
        note.unwrap_or_default()
    )
}

/// One line: when claims are looked at.
fn looks(plan: &Plan) -> String {
    let units: Vec<String> = plan
        .looks
        .iter()
        .map(|look| look.units.to_string())
        .collect();
    format!(
        "at most, until the claims are decided: looks after {} repetitions, between which only the trials of open \
         claims are run",
        units.join(", ")
    )
}

/// One line: how machines come up.
fn boots(plan: &Plan) -> String {
    let blocks = &plan.blocks;
    let booted: BTreeSet<_> = blocks
        .iter()
        .map(|block| {
            let machine = &block.machine;
            // A machine that is not kept is booted for each block.
            let own = block.boot.is_none().then_some(&block.id);
            (&machine.platform, &machine.hardware, block.boot, own)
        })
        .collect();
    let count =
        |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let machines = count(booted.len(), "machine is", "machines are");
    let rest = blocks.len() - booted.len();
    if blocks.iter().all(|block| block.boot.is_none()) {
        return format!("{machines} booted and thrown away");
    }
    let starts = count(rest, "more block starts", "more blocks start");
    format!("{machines} booted and kept as snapshots, from which {starts}")
}

/// What building takes: `to_build` of the plan's images are not built yet, if that is known.
pub(crate) fn building(plan: &Plan, to_build: Option<usize>) -> String {
    let whole = plan.estimate.build.duration();
    match (to_build, plan.images.len()) {
        (_, 0) => "no images to build".to_owned(),
        (None, _) => format!("{} more to build images from nothing", span(whole)),
        (Some(0), _) => "all images are built".to_owned(),
        (Some(n), all) => {
            let share = n as f64 / all as f64;
            format!(
                "{} more to build {n} of {all} images",
                span(whole.mul_f64(share))
            )
        }
    }
}

/// The whole plan, handed to `out` piece by piece. `scale` and `measured` are as for [`link`], `to_build` as
/// for [`building`].
pub(crate) fn text(
    plan: &Plan,
    scale: Option<&LinkScale>,
    measured: Option<&str>,
    to_build: Option<usize>,
    out: &mut dyn FnMut(&str),
) {
    let mut text = head(plan, to_build);
    let link = link(plan, scale, measured);
    if !link.is_empty() {
        text.push_str(&wrapped(&link, "", "  "));
    }
    text.push('\n');
    out(&text);
    let rows = plan.blocks.iter().flat_map(|block| {
        let image = block.machine.image.as_ref();
        let image = image.map_or("installed", Name::as_str);
        block.trials.iter().map(move |trial| cells(trial, image))
    });
    let header = ["trial", "host image", "traffic", "monitors", "window"];
    long_table(&header, rows, out);
    out(&format!("\n{}", deviations(&plan.deviations)));
    if !plan.excluded.is_empty() {
        out(&excluded(&plan.excluded));
    }
}

fn cells(trial: &Trial, image: &str) -> [String; 5] {
    let monitors: Vec<_> = trial.monitors.iter().map(|m| m.tool.as_str()).collect();
    [
        trial.id.to_string(),
        image.to_owned(),
        match &trial.load {
            Some(load) => format!("{} under {}", trial.traffic.tool, load.tool),
            None => trial.traffic.tool.to_string(),
        },
        monitors.join(" "),
        trial.window.to_string(),
    ]
}

/// Points that are not run, each reason once.
fn excluded(excluded: &[Excluded]) -> String {
    let mut text = "\nNot run:\n".to_owned();
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for point in excluded {
        let platform = point.platform.as_ref();
        let on = platform.map_or_else(String::new, |p| format!(" on {p}"));
        entry(&mut reasons, point.reason.as_str()).push(format!("{}{on}", point.experiment));
    }
    for (reason, points) in reasons {
        text.push('\n');
        text.push_str(&wrapped(&points.join(", "), "  ", "      "));
        text.push_str(&wrapped(&format!("why: {reason}"), "    ", "    "));
    }
    text
}

/// How much it is, and what it takes.
fn head(plan: &Plan, to_build: Option<usize>) -> String {
    let mut text = String::new();
    let trials = plan.trials().count();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "{} on `{}`, effort `{}`: {trials} trials in {} blocks, seed {}",
        plan.study,
        plan.testbed,
        plan.effort,
        plan.blocks.len(),
        plan.seed
    );
    let estimate = &plan.estimate;
    let _ = writeln!(
        text,
        "about {} to run, {}, {} MiB of disk (estimates)",
        span(estimate.run.duration()),
        building(plan, to_build),
        estimate.disk.mib()
    );
    if !plan.looks.is_empty() {
        text.push_str(&wrapped(&looks(plan), "", "  "));
    }
    text.push_str(&wrapped(&boots(plan), "", "  "));
    text
}

/// Deviations, each reason once, or a sentence that there are none.
pub(crate) fn deviations(deviations: &[Deviation]) -> String {
    if deviations.is_empty() {
        return "No deviations: the testbed is what the study asks for.\n".to_owned();
    }
    let mut text = "Deviations from what the study asks:\n".to_owned();
    for (reason, lines) in by_reason(deviations) {
        text.push('\n');
        for (change, subjects) in lines {
            text.push_str(&wrapped(
                &format!("{change}: {}", together(&subjects)),
                "  ",
                "      ",
            ));
        }
        text.push_str(&wrapped(&format!("why: {reason}"), "    ", "    "));
    }
    text
}

/// Reasons, and for each what is changed and for whom, in the order of their first deviations.
type ByReason<'a> = Vec<(&'a str, Vec<(String, Vec<&'a str>)>)>;

fn by_reason(deviations: &[Deviation]) -> ByReason<'_> {
    let mut reasons: ByReason<'_> = Vec::new();
    for deviation in deviations {
        let change = format!(
            "{} {} → {}",
            deviation.property, deviation.asked, deviation.used
        );
        let lines = entry(&mut reasons, deviation.reason.as_str());
        entry(lines, change).push(&deviation.subject);
    }
    reasons
}

/// The value of a key, made if it is new; keys stay in the order in which they came.
fn entry<K: PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let i = list.iter().position(|(k, _)| *k == key);
    let i = i.unwrap_or_else(|| {
        list.push((key, V::default()));
        list.len() - 1
    });
    &mut list[i].1
}

/// `platform a`, `platform b` as `platform a, b`.
fn together(subjects: &[&str]) -> String {
    let mut text = String::new();
    let mut before = "";
    for subject in subjects {
        let (kind, name) = subject.split_once(' ').unwrap_or((subject, ""));
        let same = !text.is_empty() && kind == before && !name.is_empty();
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(if same { name } else { subject });
        before = kind;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_people_say_them() {
        let said = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(said(0), "0 s");
        assert_eq!(said(119), "119 s");
        assert_eq!(said(150), "3 min");
        assert_eq!(said(7_260), "2 h 01 min");
    }

    fn plan(calibration: &serde_json::Value) -> Plan {
        let digest = vexp_api::digest::Digest::of(b"");
        serde_json::from_value(serde_json::json!({
            "format": 1, "study": "s", "study_digest": digest, "testbed": "t", "effort": "e",
            "seed": 1, "calibration": calibration, "images": [], "blocks": [], "deviations": [],
            "excluded": [], "estimate": { "run": "1s", "build": "1s", "disk": "1MB" },
        }))
        .unwrap()
    }

    #[test]
    fn the_link_rate_says_where_it_comes_from() {
        let none = plan(&serde_json::Value::Null);
        assert_eq!(link(&none, None, None), "");
        let mut scale: LinkScale =
            serde_json::from_str(r#"{ "factor": 0.1, "reason": "slow", "calibrate": null }"#)
                .unwrap();
        let said = "link rate: 10 % of the study's";
        assert_eq!(link(&none, Some(&scale), None), said);
        scale.calibrate = serde_json::from_str(
            r#"{ "experiment": "e", "platform": "p", "cpu": 0.32, "least": 0.05, "most": 0.4 }"#,
        )
        .unwrap();
        let said = format!("{said}; not calibrated yet: `vexp run` will measure");
        assert_eq!(link(&none, Some(&scale), None), said);
        let found = plan(&serde_json::json!({
            "factor": 0.17, "interval": [0.1549, 0.1851], "cpu_per_mbps": 0.19642, "cpu": 0.32,
            "points": [], "note": "cut",
        }));
        assert_eq!(
            link(&found, Some(&scale), Some("2026-11-23T00:10:00.000Z")),
            "link rate: 17 % of the study's, calibrated on 2026-11-23 (95 % interval 15.5 to 18.5 %; \
             0.196 % of a CPU per Mb/s); cut"
        );
    }

    #[test]
    fn numbers_are_short() {
        let said = [17.0, 16.842, 0.2134, 100.0, 0.05, 1234.5, 0.0].map(short);
        assert_eq!(said, ["17", "16.8", "0.213", "100", "0.05", "1234", "0"]);
    }

    #[test]
    fn a_reason_is_given_once_and_the_same_change_once() {
        let deviation = |subject: &str, property: &str, reason: &str| Deviation {
            subject: subject.to_owned(),
            property: property.to_owned(),
            asked: "1".to_owned(),
            used: "2".to_owned(),
            reason: reason.to_owned(),
        };
        let text = deviations(&[
            deviation("hardware a", "link rate", "slow"),
            deviation("hardware a", "memory", "small"),
            deviation("hardware b", "link rate", "slow"),
            deviation("platform b", "link rate", "slow"),
        ]);
        let expected = "Deviations from what the study asks:\n\n  \
            link rate 1 → 2: hardware a, b, platform b\n    why: slow\n\n  \
            memory 1 → 2: hardware a\n    why: small\n";
        assert_eq!(text, expected);
        assert!(deviations(&[]).starts_with("No deviations"));
    }
}
