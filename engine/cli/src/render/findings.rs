//! Findings about a spec, each with its line underlined.

use std::collections::BTreeMap;
use std::path::Path;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, MietteError,
    MietteSpanContents, Report, SourceCode, SourceSpan, SpanContents,
};
use vexp_api::diagnostic::{Diagnostic, Place, Severity};

/// Renders all findings for people, and a closing line with their number. `folder` is where the
/// study lies, to name its files in a way that can be opened from here.
pub(crate) fn text(
    findings: &[Diagnostic],
    sources: &BTreeMap<String, String>,
    folder: &Path,
    colour: bool,
) -> String {
    let theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(super::width())
        .with_links(false)
        // See `Source::read_span`.
        .with_context_lines(1);
    let mut text = String::new();
    for finding in findings {
        let place = finding.labels.first().map(|label| &label.place);
        let report = report(finding, sources, folder);
        // Writing to a String cannot fail; a finding must be seen even if it could.
        if handler.render_report(&mut text, report.as_ref()).is_err() {
            text.push_str(&finding.message);
        }
        if let Some(place) = place.filter(|place| !sources.contains_key(&place.file)) {
            text.push_str(&format!("  at {}\n", position(place, folder)));
        }
        text.push('\n');
    }
    let errors = findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .count();
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    text.push_str(&format!(
        "{}, {}",
        count(errors, "error"),
        count(findings.len() - errors, "warning")
    ));
    // Blanks at the ends of lines are noise in files.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn report(finding: &Diagnostic, sources: &BTreeMap<String, String>, folder: &Path) -> Report {
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
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        (finding.labels.iter()).partition(|label| label.place.file == *file);
    if !elsewhere.is_empty() {
        let elsewhere = elsewhere
            .iter()
            .map(|l| format!("{}: {}", position(&l.place, folder), l.text));
        let help: Vec<String> = finding.help.iter().cloned().chain(elsewhere).collect();
        out = out.with_help(help.join("\n"));
    }
    out = out.and_labels(here.iter().map(|label| {
        let place = &label.place;
        LabeledSpan::new(Some(label.text.clone()), place.offset, place.len)
    }));
    match sources.get(file) {
        Some(text) => Report::new(out).with_source_code(Source {
            name: named(file, folder),
            text: text.clone(),
        }),
        None => Report::new(out),
    }
}

/// A study's file as it can be opened from here; the library's have a name only.
fn named(file: &str, folder: &Path) -> String {
    let path = folder.join(file);
    if path.exists() {
        path.display().to_string()
    } else {
        file.to_owned()
    }
}

fn position(place: &Place, folder: &Path) -> String {
    let Place {
        file, line, column, ..
    } = place;
    format!("{}:{line}:{column}", named(file, folder))
}

/// A file that shows the lines of a span whole, and no others: miette can only show the span
/// alone or the lines around it as well.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Without lines around it the span is asked for to say where it is, else to show it.
        let span = if lines_before == 0 {
            *span
        } else {
            whole_lines(&self.text, *span)
        };
        let part = self.text.read_span(&span, 0, 0)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            part.data(),
            *part.span(),
            part.line(),
            part.column(),
            part.line_count(),
        )))
    }
}

fn whole_lines(text: &str, span: SourceSpan) -> SourceSpan {
    let bytes = text.as_bytes();
    let first = span.offset().min(bytes.len());
    let last = first
        .saturating_add(span.len().saturating_sub(1))
        .min(bytes.len());
    let newline = |byte: &u8| *byte == b'\n';
    let start = bytes[..first]
        .iter()
        .rposition(newline)
        .map_or(0, |i| i + 1);
    let end = bytes[last..].iter().position(newline);
    let end = end.map_or(bytes.len(), |i| last + i);
    (start, end - start).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_grow_to_whole_lines() {
        let text = "one\ntwo three\nfour";
        let grown = |offset: usize, len: usize| {
            let span = whole_lines(text, (offset, len).into());
            &text[span.offset()..span.offset() + span.len()]
        };
        assert_eq!(grown(8, 2), "two three");
        assert_eq!(grown(8, 0), "two three");
        assert_eq!(grown(4, 10), "two three");
        assert_eq!(grown(0, 5), "one\ntwo three");
        assert_eq!(grown(14, 4), "four");
        assert_eq!(grown(18, 0), "four");
        assert_eq!(grown(99, 9), "four");
    }
}
