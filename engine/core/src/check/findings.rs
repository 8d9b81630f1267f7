//! Collects findings, and knows which fields are wrong already.

use vexp_api::diagnostic::{Diagnostic, Label, Severity};

use crate::load::{FieldPath, SpanIndex};

/// Where a finding is underlined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// At the value.
    Value,
    /// At the field's name.
    Key,
}

/// Findings in the making.
pub(super) struct Findings<'a> {
    spans: &'a SpanIndex,
    tainted: Vec<FieldPath>,
    pub(super) all: Vec<Diagnostic>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(spans: &'a SpanIndex) -> Self {
        Self {
            spans,
            tainted: Vec::new(),
            all: Vec::new(),
        }
    }

    /// Marks a field as wrong: what follows from its value is not to be reported as well.
    pub(super) fn taint(&mut self, path: FieldPath) {
        self.tainted.push(path);
    }

    /// Whether a field, one above it or one below it is wrong.
    pub(super) fn is_tainted(&self, path: &FieldPath) -> bool {
        self.tainted
            .iter()
            .any(|wrong| wrong.starts_with(path) || path.starts_with(wrong))
    }

    /// Reports an error about the shape of a field.
    pub(super) fn shape(
        &mut self,
        code: &str,
        path: &FieldPath,
        at: At,
        message: String,
        help: Option<String>,
    ) {
        self.push(Severity::Error, code, path, at, message, help, &[]);
        self.taint(path.clone());
    }

    /// Reports an error that follows from some fields, unless one of them is wrong already.
    pub(super) fn rule(
        &mut self,
        code: &str,
        path: &FieldPath,
        message: String,
        help: Option<String>,
        because: &[(&FieldPath, &str)],
    ) {
        let wrong = |path: &FieldPath| self.is_tainted(path);
        if !wrong(path) && !because.iter().any(|(path, _)| wrong(path)) {
            let at = At::Value;
            self.push(Severity::Error, code, path, at, message, help, because);
        }
    }

    /// Reports a field whose name refers to nothing.
    pub(super) fn unknown_key(&mut self, path: &FieldPath, message: String, help: String) {
        let (severity, help) = (Severity::Error, Some(help));
        self.push(severity, "unknown-name", path, At::Key, message, help, &[]);
        self.taint(path.clone());
    }

    /// Reports that something is probably not meant.
    pub(super) fn warn(&mut self, code: &str, path: &FieldPath, message: String, help: &str) {
        // What only the library writes down is not the study's affair.
        let own = self
            .spans
            .get(path)
            .is_some_and(|spot| spot.value.is_some());
        if own && !self.is_tainted(path) {
            let help = Some(help.to_owned());
            self.push(Severity::Warning, code, path, At::Value, message, help, &[]);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of a finding")]
    fn push(
        &mut self,
        severity: Severity,
        code: &str,
        path: &FieldPath,
        at: At,
        message: String,
        help: Option<String>,
        because: &[(&FieldPath, &str)],
    ) {
        let place = match at {
            At::Value => self.spans.value(path),
            At::Key => self.spans.key(path),
        };
        let mut labels: Vec<Label> = place
            .map(|place| Label {
                place: place.clone(),
                text: "here".to_owned(),
            })
            .into_iter()
            .collect();
        labels.extend(because.iter().filter_map(|(path, text)| {
            self.spans.value(path).map(|place| Label {
                place: place.clone(),
                text: (*text).to_owned(),
            })
        }));
        self.all.push(Diagnostic {
            code: code.to_owned(),
            severity,
            message,
            field: path.to_string(),
            labels,
            help,
        });
    }

    /// All findings in the order of the source.
    pub(super) fn sorted(mut self) -> Vec<Diagnostic> {
        self.all.sort_by(|a, b| {
            let key = |d: &Diagnostic| {
                let place = d.labels.first().map(|label| label.place.clone());
                (place, d.field.clone(), d.code.clone(), d.message.clone())
            };
            key(a).cmp(&key(b))
        });
        self.all.dedup();
        self.all
    }
}
