//! A look at the machines of a testbed: `vexp doctor FILE`, and before every run; and what is left
//! on them: `vexp release FILE`.

use std::path::Path;
use std::sync::Arc;

use vexp_api::event::{Event, EventSink, NoEvents};
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::{Deviation, Plan};
use vexp_api::plugin::{Context, Preflight, PreflightState, Testbed};
use vexp_api::registry::Registry;

use super::study;
use crate::args::{Chosen, Format};
use crate::error::{Failure, OrExit as _};
use crate::render;
use crate::render::table::table;

/// `vexp doctor FILE`.
pub(super) fn run(args: &Chosen, format: Format, registry: &Registry) -> Result<Exit, Failure> {
    let (checked, _) = study::checked(&args.file, registry)?;
    let plan = study::planned(&checked, args, None)?;
    let testbed = super::run::testbed(&plan, registry)?;
    let found = look(&testbed, &plan, registry)?;
    match format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&found).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
        Format::Text if found.is_empty() => render::say(&format!(
            "testbed {} makes its machines anew: `vexp doctor` says what this one needs for that",
            plan.testbed
        )),
        Format::Text => render::out(&text(&found)),
    }
    fit(&found)?;
    Ok(Exit::Fine)
}

/// Prints notes.
pub(super) struct Notes;

impl EventSink for Notes {
    fn event(&self, event: &Event) {
        if let Event::Note { text } = event {
            render::out(&format!("{text}\n"));
        }
    }
}

/// `vexp release FILE`.
pub(super) fn collect(file: &Path, testbed: &Name, registry: &Registry) -> Result<Exit, Failure> {
    let (checked, _) = study::checked(file, registry)?;
    let overlay = checked.study().testbeds.get(testbed).ok_or_else(|| {
        let message = format!("the study says nothing about testbed `{testbed}`");
        Failure::new(Exit::Usage, message)
    })?;
    // A study that names a testbed that there is not has been refused.
    let plugin = registry.testbeds().get(testbed.as_str());
    if let Some(plugin) = plugin {
        let runtime = tokio::runtime::Runtime::new().or_exit(Exit::Infrastructure)?;
        let done = runtime.block_on(plugin.collect(&overlay.options, &context(Notes)));
        done.or_exit(Exit::Infrastructure)?;
    }
    Ok(Exit::Fine)
}

pub(super) fn context(events: impl EventSink + 'static) -> Context {
    Context {
        events: Arc::new(events),
        logs: std::env::temp_dir(),
    }
}

/// Deviations of the machines that a run is about to take.
///
/// # Errors
/// They are not what the plan asks, and the study does not let them.
pub(super) fn deviations(
    testbed: &Arc<dyn Testbed>,
    plan: &Plan,
    registry: &Registry,
) -> Result<Vec<Deviation>, Failure> {
    accepted(&look(testbed, plan, registry)?)
}

/// Deviations of what was seen.
///
/// # Errors
/// It is not what the plan asks, and the study does not let it.
pub(super) fn accepted(found: &[Preflight]) -> Result<Vec<Deviation>, Failure> {
    fit(found).inspect_err(|_| {
        let odd = found.iter().filter(|one| one.state != PreflightState::Fine);
        render::say(&text(odd));
    })?;
    Ok(found.iter().filter_map(Preflight::deviation).collect())
}

fn look(
    testbed: &Arc<dyn Testbed>,
    plan: &Plan,
    registry: &Registry,
) -> Result<Vec<Preflight>, Failure> {
    let runtime = tokio::runtime::Runtime::new().or_exit(Exit::Infrastructure)?;
    let found = runtime.block_on(testbed.preflight(plan, registry, &context(NoEvents)));
    found.or_exit(Exit::Infrastructure)
}

/// Whether nothing forbids a run.
fn fit(found: &[Preflight]) -> Result<(), Failure> {
    let wrong: Vec<_> = (found.iter())
        .filter(|one| matches!(one.state, PreflightState::Wrong(_)))
        .map(|one| format!("{} of {}", one.what, one.node))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let message = format!("not as the study asks: {}", wrong.join(", "));
    Err(Failure::new(Exit::Infrastructure, message)
        .hint("put it right, or let it be with a reason: `allow` in the testbed's options"))
}

fn text<'a>(found: impl IntoIterator<Item = &'a Preflight>) -> String {
    let rows = found.into_iter().map(|one| {
        let (state, rest) = match &one.state {
            PreflightState::Fine => ("ok", String::new()),
            PreflightState::Allowed(reason) => ("deviation", reason.clone()),
            PreflightState::Wrong(help) => ("WRONG", help.clone()),
        };
        let cells = [state, &one.node, &one.what, &one.asked, &one.seen, &rest];
        cells.map(str::to_owned).to_vec()
    });
    table(&["", "machine", "what", "asked", "seen", ""], rows)
}
