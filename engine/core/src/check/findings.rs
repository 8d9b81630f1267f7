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

    /// Reports what is known of a testbed's machines, wherever their fields are written down.
    pub(super) fn hint(&mut self, code: &str, path: &FieldPath, message: String, help: &str) {
        let help = Some(help.to_owned());
        self.push(Severity::Warning, code, path, At::Value, message, help, &[]);
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
        once(self.all)
    }
}

/// A line that a study was generated from stands for many fields: what is wrong with it is said once, with
/// the fields that it is wrong in.
fn once(all: Vec<Diagnostic>) -> Vec<Diagnostic> {
    const NAMED: usize = 3;
    let mut found: Vec<(Diagnostic, Vec<String>)> = Vec::new();
    for one in all {
        let same = |(other, _): &&mut (Diagnostic, Vec<String>)| {
            !one.labels.is_empty()
                && (&other.code, &other.message, &other.labels)
                    == (&one.code, &one.message, &one.labels)
        };
        match found.iter_mut().find(same) {
            Some((_, fields)) => fields.push(one.field),
            None => found.push((one, Vec::new())),
        }
    }
    gathered(found, NAMED)
        .into_iter()
        .map(|(mut one, more)| {
            if !more.is_empty() {
                let named = more.iter().take(NAMED).map(String::as_str);
                let named: Vec<&str> = std::iter::once(one.field.as_str()).chain(named).collect();
                let rest = match more.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    rest => format!(" and {rest} more"),
                };
                let fields = format!("it stands for {}{rest}", named.join(", "));
                one.help = Some(match one.help {
                    Some(help) => format!("{help}; {fields}"),
                    None => fields,
                });
            }
            one
        })
        .collect()
}

/// Messages of one place that differ in what they name, more than `few` of them, as the first one.
fn gathered(found: Vec<(Diagnostic, Vec<String>)>, few: usize) -> Vec<(Diagnostic, Vec<String>)> {
    let alike = |a: &Diagnostic, b: &Diagnostic| {
        !a.labels.is_empty() && (&a.code, &a.labels) == (&b.code, &b.labels)
    };
    let many = |one: &Diagnostic| found.iter().filter(|(other, _)| alike(one, other)).count() > few;
    let many: Vec<bool> = found.iter().map(|(one, _)| many(one)).collect();
    let mut kept: Vec<(Diagnostic, Vec<String>)> = Vec::new();
    for ((one, more), many) in found.into_iter().zip(many) {
        let first = kept
            .iter_mut()
            .find(|(other, _)| many && alike(&one, other));
        match first {
            Some((_, fields)) => {
                fields.push(one.field);
                fields.extend(more);
            }
            None => kept.push((one, more)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mistake_of_many_fields_is_said_once() {
        let at = |field: &str, message: &str, labels: Vec<Label>| Diagnostic {
            code: "type".to_owned(),
            severity: Severity::Error,
            message: message.to_owned(),
            field: field.to_owned(),
            labels,
            help: Some("write a number".to_owned()),
        };
        let label = || -> Vec<Label> {
            let place = serde_json::from_value(serde_json::json!({
                "file": "a.ncl", "offset": 3, "len": 1, "line": 1, "column": 4,
            }));
            vec![Label {
                place: place.unwrap(),
                text: "here".to_owned(),
            }]
        };
        let fields: Vec<String> = (0..45).map(|i| format!("experiments.e{i}.vms")).collect();
        let all = fields.iter().map(|field| at(field, "wrong", label()));
        let found = once(all.chain([at("seed", "other", label())]).collect());
        assert_eq!(found.len(), 2);
        let help = found[0].help.as_deref().unwrap();
        assert!(
            help.starts_with("write a number; it stands for experiments.e0.vms, "),
            "{help}"
        );
        assert!(help.ends_with(" and 41 more"), "{help}");
        // Also where each message names its own field, if they are many.
        let named = |count: usize| {
            let all =
                (0..count).map(|i| at(&format!("e{i}"), &format!("`e{i}` is wrong"), label()));
            once(all.collect()).len()
        };
        assert_eq!((named(3), named(12)), (3, 1));
        // Without a place nothing says that they are one.
        let placeless = vec![at("a", "wrong", Vec::new()), at("b", "wrong", Vec::new())];
        assert_eq!(once(placeless).len(), 2);
    }
}
