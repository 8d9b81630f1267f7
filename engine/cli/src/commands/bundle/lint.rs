//! `vexp export --check`: what an evaluation committee would miss in a bundle, each with a way out.

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::exit::Exit;

use super::anonymous::readable;
use super::names::{Kind, Names, on_this_computer};
use super::{Made, Options};
use crate::args::ExportArgs;
use crate::error::{Failure, OrExit as _};
use crate::render;

/// Something that is missing, or that should not be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub(in crate::commands) struct Finding {
    /// What kind of thing: `no-license`, `host-name` …
    kind: &'static str,
    message: String,
    /// Where in the bundle, if it is about places in it.
    places: Vec<Place>,
    /// The way out.
    cure: String,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
struct Place {
    /// Path in the bundle.
    file: String,
    /// From 1.
    line: usize,
}

/// Places that a terminal shows of a finding.
const SHOWN: usize = 3;

/// All findings, printed; 5 if there are any.
pub(super) fn run(args: &ExportArgs, made: &Made, options: &Options) -> Result<Exit, Failure> {
    let mut findings = declared(made, options);
    findings.extend(claims(made));
    findings.extend(incomplete(made));
    findings.extend(named(args, made, options)?);
    match args.format {
        crate::args::Format::Json => {
            let text = serde_json::to_string_pretty(&findings).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
        crate::args::Format::Text => render::out(&text(&findings)),
    }
    Ok(match findings.is_empty() {
        true => Exit::Fine,
        false => Exit::Incomplete,
    })
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("{}\n", finding.kind));
        text.push_str(&render::wrapped(&finding.message, "  ", "  "));
        for place in finding.places.iter().take(SHOWN) {
            text.push_str(&format!("    {}:{}\n", place.file, place.line));
        }
        if finding.places.len() > SHOWN {
            text.push_str(&format!("    and {} more\n", finding.places.len() - SHOWN));
        }
        text.push_str(&render::wrapped(
            &format!("help: {}", finding.cure),
            "  ",
            "        ",
        ));
        text.push('\n');
    }
    let count = findings.len();
    text.push_str(&match count {
        0 => "nothing is missing\n".to_owned(),
        1 => "1 finding\n".to_owned(),
        count => format!("{count} findings\n"),
    });
    text
}

fn finding(kind: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding {
        kind,
        message: message.into(),
        places: Vec::new(),
        cure: cure.into(),
    }
}

/// What authors must say. Nobody is asked for a name in a bundle that has none.
fn declared(made: &Made, options: &Options) -> Vec<Finding> {
    let mut findings = Vec::new();
    let study = &made.derived.frames.run.study;
    if options.license.is_none() {
        findings.push(finding(
            "no-license",
            "No licence is stated: nobody may use or pass on study and data.",
            "--license SPDX, for example --license CC-BY-4.0",
        ));
    }
    if study.paper.is_none() {
        findings.push(finding(
            "no-paper",
            "The study names no paper, so that nobody knows whose claims these are.",
            "in the study: paper = { title = \"…\", authors = [\"…\"], year = … }, and run it again",
        ));
    }
    if options.anonymous {
        return findings;
    }
    if options.authors.is_empty() {
        findings.push(finding(
            "no-author",
            "Nobody is named who made the run, so that the bundle has no CITATION.cff and no .zenodo.json.",
            "--author \"FAMILY, GIVEN\", once for each",
        ));
    }
    if options.contact(study).is_none() {
        findings.push(finding(
            "no-contact",
            "Nobody is named whom evaluators can ask.",
            "--contact MAIL, or contact = \"…\" in the study's paper",
        ));
    }
    match (options.archive(study), options.code(study)) {
        (Some(_), _) => {}
        (None, Some(code)) => findings.push(finding(
            "repository-only",
            format!("The only origin is a repository, which can change and go: {code}"),
            "put the bundle into an archive with irrevocable versions (Zenodo reserves a DOI before the upload): --archive \
             DOI, or archive = \"…\" in the study's paper",
        )),
        (None, None) => findings.push(finding(
            "no-archive",
            "No archive is stated that keeps the bundle.",
            "put the bundle into an archive with irrevocable versions (Zenodo reserves a DOI before the upload): --archive \
             DOI, or archive = \"…\" in the study's paper",
        )),
    }
    findings
}

/// Words that say where in a paper something stands.
const PLACES: &[&str] = &[
    "section",
    "sect",
    "sec",
    "§",
    "figure",
    "figures",
    "fig",
    "figs",
    "table",
    "tables",
    "page",
    "pages",
    "p",
    "pp",
    "equation",
    "eq",
    "abstract",
    "introduction",
    "conclusion",
    "conclusions",
    "appendix",
    "chapter",
    "listing",
    "algorithm",
    "sections",
    "theorem",
    "lemma",
];

/// Whether a text leads to a place in a paper.
fn is_place(text: &str) -> bool {
    let folded = text.to_lowercase();
    let mut words = folded.split(|c: char| !(c.is_alphabetic() || c == '§'));
    words.any(|word| PLACES.contains(&word)) || folded.contains('§')
}

fn claims(made: &Made) -> Vec<Finding> {
    let study = &made.derived.frames.run.study;
    let lost = study
        .claims
        .iter()
        .filter(|(_, claim)| !is_place(&claim.place));
    lost.map(|(name, claim)| {
        finding(
            "no-place",
            format!("Claim {name} does not say where in the paper its value stands: its place is \"{}\".", claim.place),
            "in the study, name the place by section, figure, table, equation or page: place = \"Section 5.2, Figure 7\"",
        )
    })
    .collect()
}

fn incomplete(made: &Made) -> Option<Finding> {
    let frames = &made.derived.frames;
    let (measured, planned) = (frames.trials.len(), frames.run.plan.trials().count());
    let ended = frames.run.record.ended.is_some();
    if ended && frames.unusable.is_empty() {
        return None;
    }
    let message = match ended {
        false => format!("The run has not ended: {measured} of {planned} trials were measured."),
        true => format!("{measured} of {planned} planned trials were measured."),
    };
    Some(finding(
        "incomplete",
        message,
        "vexp run STUDY --resume RUN measures what is missing; `vexp show RUN` says why trials have no result",
    ))
}

/// Names of the author's computer that are in files.
fn named(args: &ExportArgs, made: &Made, options: &Options) -> Result<Vec<Finding>, Failure> {
    if options.anonymous {
        // Nothing is left, or there was no bundle.
        return Ok(Vec::new());
    }
    let lints = |kind| match kind {
        Kind::User => Some(("user-name", "user name")),
        Kind::Host => Some(("host-name", "host name")),
        Kind::Folder => Some(("own-folder", "folder")),
        _ => None,
    };
    let secrets = on_this_computer(&args.run);
    let secrets: Vec<_> = secrets
        .into_iter()
        .filter(|secret| lints(secret.kind()).is_some())
        .collect();
    let id = made.derived.frames.run.record.id.as_str();
    let names = Names::new(&secrets, &args.show, id)?;
    let mut found: BTreeMap<(&'static str, &'static str, String), Vec<Place>> = BTreeMap::new();
    for (path, source) in &made.contents {
        let Some(bytes) = readable(path.as_str(), source)? else {
            continue;
        };
        let (mut line, mut from) = (1, 0);
        for hit in names.hits(&bytes) {
            let Some((kind, what)) = lints(hit.kind) else {
                continue;
            };
            line += bytes[from..hit.start]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            from = hit.start;
            let text = String::from_utf8_lossy(&bytes[hit.start..hit.end]).into_owned();
            let places = found.entry((kind, what, text)).or_default();
            let place = Place {
                file: path.to_string(),
                line,
            };
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
    }
    let findings = found.into_iter().map(|((kind, what, text), places)| Finding {
        places,
        ..finding(
            kind,
            format!("The {what} `{text}` is in the bundle."),
            format!(
                "take it out of the study if it stands there; --anonymous puts others in the stead of all names; --show \
                 '{text}' if it means nobody"
            ),
        )
    });
    Ok(findings.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_their_words() {
        for good in [
            "Section IV.B.1, Figure 5",
            "Fig. 3",
            "§ 5",
            "p. 7",
            "Table II",
            "the abstract",
        ] {
            assert!(is_place(good), "{good}");
        }
        for bad in [
            "nowhere: it is this test's",
            "the paper",
            "",
            "figurative",
            "tablet",
        ] {
            assert!(!is_place(bad), "{bad}");
        }
    }

    #[test]
    fn a_finding_shows_some_places_and_counts_the_others() {
        let place = |line| Place {
            file: "run/a".to_owned(),
            line,
        };
        let one = Finding {
            places: (1..=5).map(place).collect(),
            ..finding("host-name", "The host name `zuse` is in the bundle.", "…")
        };
        let shown = text(&[one]);
        assert!(shown.contains("    run/a:3\n    and 2 more\n"), "{shown}");
        assert!(shown.ends_with("1 finding\n"));
        assert_eq!(text(&[]), "nothing is missing\n");
    }
}
