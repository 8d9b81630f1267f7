//! A plan for people.

use std::fmt::Write as _;
use std::time::Duration;

use vexp_api::plan::{Deviation, Plan};

use super::table::table;

/// A length of time as people say it: `45 s`, `7 min`, `3 h 20 min`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The whole plan.
pub(crate) fn text(plan: &Plan) -> String {
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
        "about {} to run, {} more to build images from nothing, {} MiB of disk (estimates)\n",
        span(estimate.run.duration()),
        span(estimate.build.duration()),
        estimate.disk.mib()
    );
    let rows = plan.blocks.iter().flat_map(|block| {
        block.trials.iter().map(|trial| {
            vec![
                trial.id.to_string(),
                block.machine.image.to_string(),
                trial.traffic.tool.to_string(),
                trial
                    .monitors
                    .iter()
                    .map(|m| m.tool.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
                trial.window.to_string(),
            ]
        })
    });
    text.push_str(&table(
        &["trial", "host image", "traffic", "monitors", "window"],
        rows,
    ));
    text.push('\n');
    text.push_str(&deviations(&plan.deviations));
    if !plan.excluded.is_empty() {
        text.push_str("\nNot run:\n");
        for excluded in &plan.excluded {
            let platform = excluded
                .platform
                .as_ref()
                .map(|p| format!(" on {p}"))
                .unwrap_or_default();
            let _ = writeln!(
                text,
                "  {}{platform}: {}",
                excluded.experiment, excluded.reason
            );
        }
    }
    text
}

/// The table of deviations, or a sentence that there are none.
pub(crate) fn deviations(deviations: &[Deviation]) -> String {
    if deviations.is_empty() {
        return "No deviations: the testbed is what the study asks for.\n".to_owned();
    }
    let rows = deviations.iter().map(|d| {
        vec![
            d.subject.clone(),
            d.property.clone(),
            d.asked.clone(),
            d.used.clone(),
            d.reason.clone(),
        ]
    });
    format!(
        "Deviations from what the study asks:\n{}",
        table(&["where", "what", "asked", "used", "why"], rows)
    )
}
