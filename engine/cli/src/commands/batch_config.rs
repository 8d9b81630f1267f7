//! What batch engines are told: by a study, and by the user's own file, `~/.config/vexp/batch.json`, which goes first.
//!
//! A study may come from a stranger. How an engine by commands is called is the user's word alone, and what a run's
//! folder says of it is not believed either: these are programs that run on the computer that submits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use vexp_api::batch::{BatchEngine, BatchPlugin};
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_api::spec::{Options, Study};
use vexp_engine::run::batch::Order;
use vexp_plugins::own_file;

use crate::error::Failure;

/// The file's name.
const FILE: &str = "batch.json";
/// The version of its format.
const FORMAT: u64 = 1;
/// The plugin of engines that a user describes by their commands.
const COMMAND: &str = "command";

/// An engine, and what it was made of.
pub(super) type Made = (Arc<dyn BatchEngine>, Options);

/// The user's file.
#[derive(Debug, Default)]
struct Own {
    path: Option<PathBuf>,
    engines: BTreeMap<Name, Options>,
}

impl Own {
    /// Reads the usual file, if there is one, and holds all of it against the engines.
    fn find(registry: &Registry) -> Result<Self, Failure> {
        let Some(path) = own_file::usual(FILE).filter(|path| path.exists()) else {
            return Ok(Self::default());
        };
        let wrong = |message: String| {
            Failure::new(Exit::Usage, message).hint("docs/cluster-engines.md says what is in it")
        };
        let text = own_file::read(&path).map_err(wrong)?;
        let placed = |message: String| wrong(format!("{}: {message}", path.display()));
        let engines = Self::parse(&text, registry).map_err(placed)?;
        let path = Some(path);
        Ok(Self { path, engines })
    }

    /// Engines by the names that `--on` takes.
    fn parse(text: &str, registry: &Registry) -> Result<BTreeMap<Name, Options>, String> {
        let mut all: Options = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match all.remove("format") {
            None => {}
            Some(format) if format.as_u64() == Some(FORMAT) => {}
            Some(format) => {
                return Err(format!("`format` is {format}; this vexp reads {FORMAT}"));
            }
        }
        let engine = |(name, options): (String, Value)| match options {
            Value::Object(options) => match Name::new(&name) {
                Ok(name) => Ok((name, options)),
                Err(error) => Err(format!("`{}`: {error}", name.escape_debug())),
            },
            _ => Err(format!(
                "`{}`: expected options in braces",
                name.escape_debug()
            )),
        };
        let engines = all.into_iter().map(engine);
        let engines = engines.collect::<Result<BTreeMap<Name, Options>, String>>()?;
        for (name, options) in &engines {
            let (plugin, own) = plugin(name, registry)?;
            if let Err(why) = plugin.engine(options) {
                let known: Vec<&str> = registry.batch_engines().keys().copied().collect();
                let as_what = match own {
                    true => format!(" (by its commands; engines of vexp: {})", known.join(", ")),
                    false => String::new(),
                };
                return Err(format!("`{name}`{as_what}: {why}"));
            }
        }
        Ok(engines)
    }
}

/// What makes an engine of this name, and whether it is the user's own, described by its commands.
fn plugin<'a>(
    name: &Name,
    registry: &'a Registry,
) -> Result<(&'a Arc<dyn BatchPlugin>, bool), String> {
    let all = registry.batch_engines();
    let found = all.get_key_value(name.as_str());
    let found = found.or_else(|| all.get_key_value(COMMAND));
    let (found, plugin) =
        found.ok_or_else(|| format!("there is no batch engine `{name}` in this binary"))?;
    Ok((plugin, *found == COMMAND))
}

/// The engine that `--on` names: options of the study, and the user's in their place.
pub(super) fn chosen(name: &Name, study: &Study, registry: &Registry) -> Result<Made, Failure> {
    let own = Own::find(registry)?;
    let known = registry.batch_engines().contains_key(name.as_str());
    if !known && !own.engines.contains_key(name) {
        return Err(none(name, &own, registry));
    }
    let mut options = match plugin(name, registry) {
        Ok((_, false)) => study.batch.get(name).cloned().unwrap_or_default(),
        _ => Options::new(),
    };
    options.extend(own.engines.get(name).cloned().unwrap_or_default());
    made(name, options, registry)
}

/// The engine of a run that was submitted before. One by commands is called as the user's file says now.
pub(super) fn again(order: &Order, registry: &Registry) -> Result<Made, Failure> {
    let name = &order.engine;
    if let Ok((_, false)) = plugin(name, registry) {
        return made(name, order.options.clone(), registry);
    }
    let own = Own::find(registry)?;
    match own.engines.get(name) {
        Some(options) => made(name, options.clone(), registry),
        None => Err(none(name, &own, registry)),
    }
}

/// The engine as a task sees it, on a node: it only asks which task it is.
pub(super) fn on_a_node(order: &Order, registry: &Registry) -> Result<Made, Failure> {
    made(&order.engine, order.options.clone(), registry)
}

fn made(name: &Name, options: Options, registry: &Registry) -> Result<Made, Failure> {
    let wrong = |why| Failure::new(Exit::Usage, format!("batch engine `{name}`: {why}"));
    let (plugin, own) = plugin(name, registry).map_err(wrong)?;
    let engine = plugin.engine(&options).map_err(|why| {
        let failure = wrong(why);
        match own {
            true => {
                failure.hint("~/.config/vexp/batch.json describes it: see docs/cluster-engines.md")
            }
            false => failure,
        }
    })?;
    Ok((engine, options))
}

fn none(name: &Name, own: &Own, registry: &Registry) -> Failure {
    let mut known: Vec<&str> = registry.batch_engines().keys().copied().collect();
    known.extend(own.engines.keys().map(Name::as_str));
    known.sort_unstable();
    known.dedup();
    let file = match &own.path {
        Some(path) => format!(" or {}", path.display()),
        None => String::new(),
    };
    let message = format!("there is no batch engine `{name}` in this binary{file}");
    let hint = match known.as_slice() {
        [] => "it has none".to_owned(),
        some => format!("there is: {}", some.join(", ")),
    };
    Failure::new(Exit::Usage, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_file_is_read_whole_or_refused_with_the_place() {
        let registry = vexp_plugins::registry();
        let pool = include_str!("../../../../docs/batch/pool.json").replace("command", "pool");
        let engines = Own::parse(&pool, &registry).unwrap();
        let names: Vec<&str> = engines.keys().map(Name::as_str).collect();
        assert_eq!(names, ["pool"]);
        for name in ["htcondor", "pbs"] {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/batch");
            let text = std::fs::read_to_string(format!("{path}/{name}.json")).unwrap();
            assert_eq!(Own::parse(&text, &registry).unwrap().len(), 1, "{name}");
        }
        for (bad, says) in [
            ("", "EOF"),
            ("[]", "expected a map"),
            (r#"{"format": 2}"#, "`format` is 2; this vexp reads 1"),
            (r#"{"format": "1"}"#, "`format` is \"1\""),
            (r#"{"slurm": 3}"#, "`slurm`: "),
            (r#"{"-oX": {}}"#, "-oX"),
            (
                r#"{"slurm": {"partitions": "main"}}"#,
                "`slurm`: option `partitions`: unknown field",
            ),
            (
                r#"{"slurm": {"extra": ["--array=1"]}}"#,
                "`slurm`: option `extra[0]`: ",
            ),
            (
                r#"{"slrum": {"partition": "main"}}"#,
                "`slrum` (by its commands; engines of vexp: command, slurm): ",
            ),
        ] {
            let error = Own::parse(bad, &registry).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn changed_files_are_read_or_refused() {
        let registry = vexp_plugins::registry();
        let pool = include_str!("../../../../docs/batch/pool.json");
        vexp_testkit::hostile::on_changed_text(200, pool, |text| {
            let _ = Own::parse(text, &registry);
        });
    }
}
