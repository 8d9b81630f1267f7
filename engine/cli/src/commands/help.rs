//! `vexp help NAME`: of a verb, or of a plugin: what it measures, and its options as its contract says them.

use clap::CommandFactory as _;
use vexp_api::exit::Exit;
use vexp_api::plugin::{Measure, MeasureKind};
use vexp_api::registry::Registry;
use vexp_engine::load::docs::{Documented, documented, fields};

use crate::args::Args;
use crate::error::Failure;
use crate::render;

pub(super) fn run(name: Option<&str>, registry: &Registry) -> Result<Exit, Failure> {
    let mut command = Args::command();
    command.build();
    let Some(name) = name else {
        render::out(&command.render_long_help().to_string());
        return Ok(Exit::Fine);
    };
    if let Some(verb) = command.find_subcommand_mut(name) {
        render::out(&verb.render_long_help().to_string());
        return Ok(Exit::Fine);
    }
    let text = of_plugin(name, registry);
    let text = text.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("there is neither a verb nor a tool `{name}`"),
        )
        .hint(format!("tools: {}", plugins(registry).join(", ")))
    })?;
    render::out(&text);
    Ok(Exit::Fine)
}

/// All that have options, for messages.
fn plugins(registry: &Registry) -> Vec<&str> {
    let measures = registry.measures().keys();
    let hypervisors = registry.hypervisors().keys();
    let all = measures
        .chain(hypervisors)
        .chain(registry.testbeds().keys())
        .chain(registry.batch_engines().keys());
    all.copied().collect()
}

fn of_plugin(name: &str, registry: &Registry) -> Option<String> {
    if let Some(measure) = registry.measures().get(name) {
        return Some(of_measure(name, &**measure));
    }
    if let Some(hypervisor) = registry.hypervisors().get(name) {
        let place = "options: in `options` of a platform";
        return Some(format!(
            "{name}: a hypervisor\n{}",
            options(place, hypervisor.contract())
        ));
    }
    if let Some(engine) = registry.batch_engines().get(name) {
        let place = format!("options: in `batch.{name}`");
        let options = options(&place, engine.contract());
        return Some(format!("{name}: a batch engine, for --on\n{options}"));
    }
    let testbed = registry.testbeds().get(name)?;
    let place = format!("options: in `testbeds.{name}.options`");
    Some(format!(
        "{name}: a testbed\n{}",
        options(&place, testbed.contract())
    ))
}

fn of_measure(name: &str, measure: &dyn Measure) -> String {
    let (kind, place) = match measure.kind() {
        MeasureKind::Traffic => ("makes traffic", "traffic"),
        MeasureKind::Monitor => ("a monitor", "monitors"),
    };
    let mut text = format!("{name}: {kind}\n");
    if !measure.programs().is_empty() {
        text.push_str(&format!("runs: {}\n", measure.programs().join(", ")));
    }
    if !measure.metrics().is_empty() {
        text.push_str("\nsamples:\n");
        for metric in measure.metrics() {
            let first = format!("  {} ({}): ", metric.name, metric.unit);
            text.push_str(&render::wrapped(metric.about, &first, "      "));
        }
    }
    let place = format!("options: in `options` of the tool in an experiment's `{place}`");
    text.push_str(&options(&place, measure.contract()));
    text
}

fn options(place: &str, contract: &str) -> String {
    let fields = fields(contract);
    if fields.is_empty() {
        return "\nno options\n".to_owned();
    }
    let line = |one: &Documented| {
        let first = format!("  {}: ", one.field);
        render::wrapped(one.doc.as_deref().unwrap_or_default(), &first, "      ")
    };
    let mut text = format!("\n{place}\n");
    text.extend(fields.iter().map(line));
    let mut inner = documented(contract);
    inner.retain(|one| one.doc.is_some() && fields.iter().all(|known| known.field != one.field));
    if !inner.is_empty() {
        text.push_str("\nfields within these\n");
        text.extend(inner.iter().map(line));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_and_each_of_its_options_is_explained() {
        let registry = crate::registry();
        for name in plugins(&registry) {
            let text = of_plugin(name, &registry).unwrap();
            assert!(text.starts_with(&format!("{name}: ")), "{text}");
            for line in text.lines() {
                assert!(
                    !line.ends_with(": ") && !line.ends_with(':') || line == "samples:",
                    "{text}"
                );
            }
        }
        let iperf3 = of_plugin("iperf3", &registry).unwrap();
        for words in [
            "throughput (Mb/s): ",
            "  parallel: Streams of each flow",
            "runs: iperf3",
        ] {
            assert!(iperf3.contains(words), "{words}: {iperf3}");
        }
        assert!(of_plugin("iperf4", &registry).is_none());
    }
}
