//! Turns Nickel's errors into findings of ours. Nickel's own types don't leave this folder.

use std::collections::HashMap;
use std::ops::Range;

use nickel_lang_core::error::IntoDiagnostics;
use nickel_lang_core::files::{FileId, Files};
use vexp_api::diagnostic::{Diagnostic, Label, Place, Severity};

/// Names of the study's files by Nickel's ids. Files that are not in it (the library, Nickel's
/// standard library, generated snippets) are never shown.
pub(super) struct Names(pub(super) HashMap<FileId, String>);

/// A label in one of the study's files.
pub(super) fn label(
    files: &Files,
    names: &Names,
    id: FileId,
    range: Range<usize>,
    text: &str,
) -> Option<Label> {
    let file = names.0.get(&id)?;
    let source = files.source(id);
    Some(Label {
        place: place(file, source, range),
        text: text.to_owned(),
    })
}

/// The place of a range of bytes.
pub(super) fn place(file: &str, source: &str, range: Range<usize>) -> Place {
    let offset = range.start.min(source.len());
    let end = range.end.clamp(offset, source.len());
    let before = source.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        file: file.to_owned(),
        offset,
        len: end - offset,
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// Advice for authors of contracts and of other languages' exports.
const NOT_FOR_STUDIES: &[&str] = &[
    "The record contract might also be",
    "If you want serialization to ignore",
    "Nickel only supports serializing",
];

/// One finding for one error of Nickel.
pub(super) fn from_nickel(
    code: &str,
    error: impl IntoDiagnostics,
    files: &mut Files,
    names: &Names,
) -> Diagnostic {
    let all = error.into_diagnostics(files);
    let mut labels = Vec::new();
    let mut notes = Vec::new();
    let mut message = String::new();
    for diagnostic in all {
        if message.is_empty() {
            message = match diagnostic.message.as_str() {
                "non serializable term" => "functions and contracts are not data".to_owned(),
                other => one_line(other),
            };
        }
        let mut own: Vec<_> = diagnostic.labels.into_iter().collect();
        // `Primary` sorts before `Secondary`; the sort is stable.
        own.sort_by_key(|label| label.style != nickel_lang_core::error::LabelStyle::Primary);
        labels.extend(own.into_iter().filter_map(|l| {
            let text = one_line(&l.message);
            let text = if text.is_empty() { "here" } else { &text };
            label(files, names, l.file_id, l.range, text)
        }));
        notes.extend(
            diagnostic
                .notes
                .iter()
                .map(|note| one_line(note))
                .filter(|note| !NOT_FOR_STUDIES.iter().any(|start| note.starts_with(start))),
        );
    }
    labels.dedup_by(|a, b| a.place == b.place);
    let said = labels.iter().map(|label| label.text.as_str());
    notes.extend(cure(said.chain([message.as_str()])).map(str::to_owned));
    Diagnostic {
        code: code.to_owned(),
        severity: Severity::Error,
        message,
        field: String::new(),
        labels,
        help: (!notes.is_empty()).then(|| sentences(&notes)),
    }
}

/// What helps against Nickel's traps, of which its own words don't speak: by words of a message or a
/// label. The guide has a section on them.
const CURES: &[(&[&str], &str)] = &[
    (
        &["infinite recursion", "not a function"],
        "A record's fields see each other: inside of it, a field's name stands for that field, and not \
         for a `let` of the same name. Give the `let` another name.",
    ),
    (
        &[
            "array length mismatch",
            "arrays of different lengths",
            "cannot merge array",
        ],
        "`&` joins records and does not replace a list: `nics | force = […]` puts another one in its \
         place.",
    ),
    (
        &["non mergeable", "can't merge", "cannot merge"],
        "`&` joins records and does not replace a value that is set: `field | force = …` does.",
    ),
];

/// The first cure for what was said.
fn cure<'a>(said: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let said: Vec<String> = said.map(str::to_lowercase).collect();
    let says = |words: &&str| said.iter().any(|text| text.contains(*words));
    let found = CURES.iter().find(|(words, _)| words.iter().any(&says));
    found.map(|(_, cure)| *cure)
}

/// Notes one after the other; some are sentences with a full stop, others are not.
fn sentences(notes: &[String]) -> String {
    let mut text = String::new();
    for note in notes {
        if !text.is_empty() {
            let ended = text.ends_with(['.', '!', '?']);
            text.push_str(if ended { " " } else { "; " });
        }
        text.push_str(note);
    }
    text
}

/// Messages of Nickel have line breaks and indentation for a terminal.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_joined_as_sentences() {
        let joined = |notes: &[&str]| {
            let notes: Vec<_> = notes.iter().map(|note| (*note).to_owned()).collect();
            sentences(&notes)
        };
        assert_eq!(joined(&["One.", "Two", "three"]), "One. Two; three");
        assert_eq!(joined(&["alone"]), "alone");
    }

    #[test]
    fn counts_lines_and_characters_from_one() {
        let source = "a\né = x\n";
        let at = source.find('x').unwrap_or(0);
        let place = place("f", source, at..at + 1);
        assert_eq!((place.line, place.column, place.len), (2, 5, 1));
    }
}
