//! Templates: built in, and replaceable by a folder of the user's.
//!
//! A template may come from anyone. It can't read files (partials are those of the same set),
//! can't run for ever (fuel), and what it prints is escaped for its format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::view::View;

/// Instructions that a template may take. A report takes well under a tenth of it.
const FUEL: u64 = 20_000_000;

const BUILT_IN: [(&str, &str); 16] = [
    (
        "report.html.j2",
        include_str!("../../../../reports/report.html.j2"),
    ),
    (
        "report.md.j2",
        include_str!("../../../../reports/report.md.j2"),
    ),
    (
        "trend.html.j2",
        include_str!("../../../../reports/trend.html.j2"),
    ),
    (
        "trend-metric.html.j2",
        include_str!("../../../../reports/trend-metric.html.j2"),
    ),
    (
        "partials/trend-method.html.j2",
        include_str!("../../../../reports/partials/trend-method.html.j2"),
    ),
    ("style.css", include_str!("../../../../reports/style.css")),
    (
        "partials/claims.html.j2",
        include_str!("../../../../reports/partials/claims.html.j2"),
    ),
    (
        "partials/results.html.j2",
        include_str!("../../../../reports/partials/results.html.j2"),
    ),
    (
        "partials/figure.html.j2",
        include_str!("../../../../reports/partials/figure.html.j2"),
    ),
    (
        "partials/figures.html.j2",
        include_str!("../../../../reports/partials/figures.html.j2"),
    ),
    (
        "partials/tables.html.j2",
        include_str!("../../../../reports/partials/tables.html.j2"),
    ),
    (
        "partials/scale.html.j2",
        include_str!("../../../../reports/partials/scale.html.j2"),
    ),
    (
        "partials/trials.html.j2",
        include_str!("../../../../reports/partials/trials.html.j2"),
    ),
    (
        "partials/conditions.html.j2",
        include_str!("../../../../reports/partials/conditions.html.j2"),
    ),
    (
        "partials/method.html.j2",
        include_str!("../../../../reports/partials/method.html.j2"),
    ),
    (
        "partials/files.html.j2",
        include_str!("../../../../reports/partials/files.html.j2"),
    ),
];

/// A template can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The folder or a file in it can't be read.
    #[error("cannot read template {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is wrong, runs too long, or names something that there is not.
    #[error("template {name} cannot be rendered")]
    Render {
        /// Which.
        name: String,
        /// Why and where.
        source: minijinja::Error,
    },
}

/// A set of templates.
#[derive(Clone, Debug)]
pub struct Templates(BTreeMap<&'static str, String>);

impl Templates {
    /// The built-in ones, with those replaced that are in the folder.
    pub fn load(folder: Option<&Path>) -> Result<Self, TemplateError> {
        let mut set = BTreeMap::new();
        for (name, built_in) in BUILT_IN {
            let own = match folder.map(|folder| folder.join(name)) {
                Some(path) => match std::fs::read_to_string(&path) {
                    Ok(text) => Some(text),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    Err(source) => return Err(TemplateError::Read { path, source }),
                },
                None => None,
            };
            set.insert(name, own.unwrap_or_else(|| built_in.to_owned()));
        }
        match folder.map(|folder| (folder, std::fs::metadata(folder))) {
            Some((folder, Err(source))) => Err(TemplateError::Read {
                path: folder.to_owned(),
                source,
            }),
            _ => Ok(Self(set)),
        }
    }

    pub(super) fn html(&self, view: &View<'_>) -> Result<String, TemplateError> {
        self.page("report.html.j2", view)
    }

    pub(super) fn markdown(&self, view: &View<'_>) -> Result<String, TemplateError> {
        self.page("report.md.j2", view)
    }

    /// The page of a template, with what it shows.
    pub(crate) fn page<T: serde::Serialize>(
        &self,
        name: &'static str,
        view: &T,
    ) -> Result<String, TemplateError> {
        let fail = |source| TemplateError::Render {
            name: name.to_owned(),
            source,
        };
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(FUEL));
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        env.set_syntax(syntax.build().map_err(fail)?);
        env.set_auto_escape_callback(|name| match name {
            name if name.ends_with(".md.j2") => AutoEscape::Custom("markdown".into()),
            _ => AutoEscape::Html,
        });
        env.set_formatter(|out, state, value| match state.auto_escape() {
            AutoEscape::Custom(kind) if kind == "markdown" => {
                let text = value.to_string();
                let text = if value.is_safe() {
                    text
                } else {
                    markdown(&text)
                };
                Ok(out.write_str(&text)?)
            }
            _ => minijinja::escape_formatter(out, state, value),
        });
        let style = self.0.get("style.css").map_or("", String::as_str);
        env.add_global("style", Value::from_safe_string(style.to_owned()));
        for (name, source) in &self.0 {
            if name.ends_with(".j2") {
                env.add_template(name, source).map_err(fail)?;
            }
        }
        let template = env.get_template(name).map_err(fail)?;
        template.render(Value::from(Serde(view))).map_err(fail)
    }
}

/// Text that CommonMark shows as it is, also in a cell of a table: punctuation that could mean
/// something is escaped, and line ends become spaces.
fn markdown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' | '!' => {
                shown.push('\\');
                shown.push(c);
            }
            c if c.is_control() => shown.push(' '),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_escaped() {
        assert_eq!(markdown("a|b\n<i>*x*"), r"a\|b \<i\>\*x\*");
    }
}
