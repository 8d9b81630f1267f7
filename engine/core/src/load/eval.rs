//! Evaluates a study, in the child.
//!
//! Nickel stops at the first error, and a study deserves all findings at once. So it is evaluated
//! twice where it must be: with the contract library in force, which settles a good study; and, if
//! that fails, with a library whose contracts accept everything, so that [`crate::check`] can look
//! at every field and say all that is wrong. Options of plugins are then held against the plugins'
//! contracts one by one.

use nickel_lang_core::cache::CacheHub;
use nickel_lang_core::error::{Error, IntoDiagnostics, NullReporter};
use nickel_lang_core::eval::cache::CacheImpl;
use nickel_lang_core::eval::value::{Container, NickelValue, ValueContentRef};
use nickel_lang_core::eval::{VirtualMachine, VmContext};
use nickel_lang_core::position::TermPos;
use nickel_lang_core::serialize::{self, ExportFormat};
use serde_json::Value;
use vexp_api::diagnostic::Diagnostic;
use vexp_api::ids::Name;

use super::convert::{Names, from_nickel, label};
use super::path::{FieldPath, Spot};
use super::protocol::{Contracts, Reply};
use super::sources::{Sources, add_snippet, main_path};
use super::uses::{self, PluginUse};

/// The library as users see it.
const VEXP: &str = include_str!("../../contracts/vexp.ncl");
/// Contracts in force.
const STRICT: &str = include_str!("../../contracts/contracts.ncl");
/// The same names, accepting everything.
const LENIENT: &str = include_str!("../../contracts/lenient.ncl");

/// The contract of a plugin without options.
const NO_OPTIONS: &str = "std.contract.custom (fun label value =>
  if value == {} then 'Ok value else 'Error { message = \"this plugin has no options\" })";

/// The library's files: (name in imports, text).
pub(super) fn library(contracts: &str, registry: String) -> Vec<(&'static str, String)> {
    vec![
        ("vexp.ncl", VEXP.to_owned()),
        ("contracts.ncl", contracts.to_owned()),
        ("registry.ncl", registry),
    ]
}

/// The library whose contracts are in force.
pub(super) fn strict_library(contracts: &Contracts) -> Vec<(&'static str, String)> {
    library(STRICT, registry(contracts))
}

/// Nickel source of the plugins' contracts by kind and name.
fn registry(contracts: &Contracts) -> String {
    let mut text = String::from("{\n");
    for (kind, plugins) in [
        ("hypervisors", &contracts.hypervisors),
        ("measures", &contracts.measures),
        ("testbeds", &contracts.testbeds),
        ("batch", &contracts.batch),
    ] {
        text.push_str(&format!("  {kind} = {{\n"));
        for (name, source) in plugins {
            // As a contract, Nickel's empty record accepts every record.
            let none = source.trim() == "{}";
            let source = if none { NO_OPTIONS } else { source };
            text.push_str(&format!("    \"{name}\" = (\n{source}\n    ),\n"));
        }
        text.push_str("  },\n");
    }
    text.push_str("}\n");
    text
}

/// A session with one library.
struct Session {
    context: VmContext<CacheHub, CacheImpl>,
    names: Names,
}

impl Session {
    fn new(sources: &Sources, library: &[(&'static str, String)]) -> Self {
        let library: Vec<_> = library
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let (cache, names) = sources.cache(&library);
        Self {
            context: VmContext::new(cache, std::io::sink(), NullReporter {}),
            names,
        }
    }

    fn finding(&self, code: &str, error: impl IntoDiagnostics) -> Diagnostic {
        let mut files = self.context.import_resolver.sources.files().clone();
        from_nickel(code, error, &mut files, &self.names)
    }

    /// Evaluates an expression fully.
    fn eval(&mut self, snippet: &str, text: String) -> Result<NickelValue, Error> {
        let id = add_snippet(&mut self.context.import_resolver, snippet, text);
        let value = self.context.prepare_eval(id)?;
        let value =
            VirtualMachine::new(&mut self.context).eval_full_for_export_closure(value.into())?;
        serialize::validate(ExportFormat::Json, &value)
            .map_err(|data| Error::export_error(self.context.pos_table.clone(), data))?;
        Ok(value)
    }

    fn json(&self, value: &NickelValue) -> Result<Value, Box<Diagnostic>> {
        let internal = |message: String| Diagnostic {
            code: "evaluation".to_owned(),
            severity: vexp_api::diagnostic::Severity::Error,
            message,
            field: String::new(),
            labels: Vec::new(),
            help: None,
        };
        let text = serialize::to_string(ExportFormat::Json, value).map_err(|data| {
            let error = Error::export_error(self.context.pos_table.clone(), data);
            Box::new(self.finding("evaluation", error))
        })?;
        serde_json::from_str(&text).map_err(|error| Box::new(internal(error.to_string())))
    }

    fn spans(&self, value: &NickelValue) -> Vec<(FieldPath, Spot)> {
        let mut spans = Vec::new();
        self.walk(value, &FieldPath::top(), None, &mut spans);
        spans
    }

    fn walk(
        &self,
        value: &NickelValue,
        path: &FieldPath,
        key: Option<TermPos>,
        out: &mut Vec<(FieldPath, Spot)>,
    ) {
        let at = |pos: TermPos| {
            let span = pos.into_opt()?;
            let files = self.context.import_resolver.sources.files();
            label(files, &self.names, span.src_id, span.to_range(), "").map(|label| label.place)
        };
        let table = &self.context.pos_table;
        out.push((
            path.clone(),
            Spot {
                key: key.and_then(at),
                value: at(value.pos(table)),
            },
        ));
        match value.content_ref() {
            ValueContentRef::Record(Container::Alloc(record)) => {
                for (name, field) in &record.fields {
                    if let Some(value) = &field.value {
                        let key = name.pos;
                        self.walk(value, &path.key(name.label()), Some(key), out);
                    }
                }
            }
            ValueContentRef::Array(Container::Alloc(array)) => {
                for (i, element) in array.array.iter().enumerate() {
                    self.walk(element, &path.index(i), None, out);
                }
            }
            _ => {}
        }
    }
}

/// Evaluates a study.
pub(super) fn study(sources: &Sources, main: &str, contracts: &Contracts) -> Reply {
    let registry = registry(contracts);
    let main = quoted(&main_path(main));
    let mut strict = Session::new(sources, &library(STRICT, registry.clone()));
    let text = format!("(import {main}) | (import \"vexp.ncl\").Study");
    let contract = match strict.eval("strict.ncl", text) {
        Ok(value) => match strict.json(&value) {
            Ok(json) => {
                return Reply {
                    value: Some(json),
                    spans: strict.spans(&value),
                    ..Reply::default()
                };
            }
            Err(finding) => *finding,
        },
        Err(error) => {
            let mut finding = strict.finding("contract", error);
            finding.message = plain_words(&finding.message).to_owned();
            finding
        }
    };
    drop(strict);
    let mut lenient = Session::new(sources, &library(LENIENT, registry));
    let mut reply = plain(&mut lenient, &main);
    if let Some(value) = &reply.value {
        for used in uses::of(value) {
            reply
                .options
                .extend(options(&mut lenient, &main, &used, contracts));
        }
        reply.contract = Some(contract);
    }
    reply
}

/// Evaluates any file, without contracts.
pub(super) fn value(sources: &Sources, main: &str) -> Reply {
    let mut session = Session::new(sources, &library(LENIENT, "{}".to_owned()));
    plain(&mut session, &quoted(&main_path(main)))
}

fn plain(session: &mut Session, main: &str) -> Reply {
    let result = session
        .eval("plain.ncl", format!("import {main}"))
        .map_err(|error| Box::new(session.finding("evaluation", error)))
        .and_then(|value| Ok((session.json(&value)?, session.spans(&value))));
    match result {
        Ok((value, spans)) => Reply {
            value: Some(value),
            spans,
            ..Reply::default()
        },
        Err(finding) => Reply {
            fatal: vec![*finding],
            ..Reply::default()
        },
    }
}

/// What a plugin's contract says of one use of it.
fn options(
    session: &mut Session,
    main: &str,
    used: &PluginUse,
    contracts: &Contracts,
) -> Option<Diagnostic> {
    let plugins = match used.kind {
        "hypervisors" => &contracts.hypervisors,
        "testbeds" => &contracts.testbeds,
        "batch" => &contracts.batch,
        _ => &contracts.measures,
    };
    plugins.get(&used.plugin)?;
    let mut access = format!("(import {main})");
    if used.given {
        for step in &used.path.0 {
            match step {
                super::path::Step::Key(key) => {
                    // Anything else is refused by the check, and must not get into an expression.
                    Name::new(key.as_str()).ok()?;
                    access.push_str(&format!(".\"{key}\""));
                }
                super::path::Step::Index(index) => {
                    access = format!("(std.array.at {index} {access})");
                }
            }
        }
    } else {
        access = "{}".to_owned();
    }
    let text = format!(
        "({access}) | (import \"registry.ncl\").{}.\"{}\"",
        used.kind, used.plugin
    );
    let error = session.eval("options.ncl", text).err()?;
    let mut finding = session.finding("options", error);
    finding.field = used.path.to_string();
    finding.message = plain_words(&finding.message).to_owned();
    finding.help = known_options(session, used).or(finding.help);
    Some(finding)
}

/// Without what only the author of a contract understands.
fn plain_words(message: &str) -> &str {
    message
        .strip_prefix("contract broken by a value ")
        .or_else(|| {
            let rest = message.strip_prefix("contract broken by the value of `")?;
            rest.split_once("` ").map(|(_, rest)| rest)
        })
        .unwrap_or(message)
}

/// For an option that there is not: those that there are.
fn known_options(session: &mut Session, used: &PluginUse) -> Option<String> {
    let text = format!(
        "std.record.fields_with_opts (import \"registry.ncl\").{}.\"{}\"",
        used.kind, used.plugin
    );
    let value = session.eval("known.ncl", text).ok()?;
    let known: Vec<String> = serde_json::from_value(session.json(&value).ok()?).ok()?;
    if known.is_empty() {
        Some(format!("`{}` has no options", used.plugin))
    } else {
        Some(format!(
            "options of `{}`: {}",
            used.plugin,
            known.join(", ")
        ))
    }
}

fn quoted(text: &str) -> String {
    // File names may have any character; `%{` would begin an interpolation.
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' | '%' => vec!['\\', c],
            _ => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of the contracts that a library file defines.
    fn names(text: &str) -> Vec<&str> {
        text.lines()
            .filter_map(|line| line.strip_prefix("  "))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
            .filter_map(|line| line.split([' ', '\n']).next())
            .filter(|name| *name != "Array")
            .collect()
    }

    #[test]
    fn both_libraries_have_the_same_names() {
        assert_eq!(names(STRICT), names(LENIENT));
        assert!(names(STRICT).contains(&"Study"));
    }

    #[test]
    fn text_is_quoted_for_nickel() {
        assert_eq!(quoted(r#"a"%{b}\c"#), r#""a\"\%{b}\\c""#);
    }
}
