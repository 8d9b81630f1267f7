//! Findings about a spec, each with its place underlined.

use std::collections::BTreeMap;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};
use vexp_api::diagnostic::{Diagnostic, Severity};

/// Renders all findings for people, and a closing line with their number.
pub(crate) fn text(
    findings: &[Diagnostic],
    sources: &BTreeMap<String, String>,
    colour: bool,
) -> String {
    let theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(super::width())
        .with_context_lines(0);
    let mut text = String::new();
    for finding in findings {
        let place = finding.labels.first().map(|label| &label.place);
        let report = report(finding, sources);
        // Writing to a String cannot fail; a finding must be seen even if it could.
        if handler.render_report(&mut text, report.as_ref()).is_err() {
            text.push_str(&finding.message);
        }
        if let Some(place) = place.filter(|place| !sources.contains_key(&place.file)) {
            text.push_str(&format!(
                "  at {}:{}:{}\n",
                place.file, place.line, place.column
            ));
        }
        text.push('\n');
    }
    let errors = findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .count();
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    text.push_str(&format!(
        "{}, {}\n",
        count(errors, "error"),
        count(findings.len() - errors, "warning")
    ));
    text
}

fn report(finding: &Diagnostic, sources: &BTreeMap<String, String>) -> Report {
    let mut out = MietteDiagnostic::new(&finding.message).with_code(&finding.code);
    out = out.with_severity(match finding.severity {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
    });
    if let Some(help) = &finding.help {
        out = out.with_help(help);
    }
    let Some(first) = finding.labels.first() else {
        return Report::new(out);
    };
    let file = &first.place.file;
    // One source a report: places in other files are told in words.
    let labels = finding
        .labels
        .iter()
        .filter(|label| label.place.file == *file)
        .map(|label| {
            let place = &label.place;
            LabeledSpan::new(Some(label.text.clone()), place.offset, place.len)
        });
    let elsewhere: Vec<String> = finding
        .labels
        .iter()
        .filter(|label| label.place.file != *file)
        .map(|l| {
            format!(
                "{}:{}:{}: {}",
                l.place.file, l.place.line, l.place.column, l.text
            )
        })
        .collect();
    if !elsewhere.is_empty() {
        let help = finding
            .help
            .iter()
            .cloned()
            .chain(elsewhere)
            .collect::<Vec<_>>()
            .join("\n");
        out = out.with_help(help);
    }
    out = out.and_labels(labels);
    match sources.get(file) {
        Some(source) => Report::new(out).with_source_code(NamedSource::new(file, source.clone())),
        None => Report::new(out),
    }
}
