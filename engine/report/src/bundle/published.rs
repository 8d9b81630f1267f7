//! What archives and indexes read: `CITATION.cff` (Citation File Format 1.2.0), `.zenodo.json` (metadata of Zenodo's
//! deposits) and `codemeta.json` (CodeMeta 3.0).
//!
//! The first two need authors, and Zenodo's a licence as well: without them they are not written, since nothing is
//! made up.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::About;

/// Who is named where nobody may be.
const NOBODY: &str = "Anonymous";

/// The files, by name.
pub(super) fn files(about: &About<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, serde_json::Error> {
    let mut files = vec![("codemeta.json", text(&codemeta(about))?)];
    let authors = authors(about);
    if !authors.is_empty() {
        files.push(("CITATION.cff", citation(about, &authors)?.into_bytes()));
    }
    if let Some(license) = about.license.filter(|_| !authors.is_empty()) {
        files.push((".zenodo.json", text(&zenodo(about, &authors, license))?));
    }
    Ok(files)
}

fn text(value: &Value) -> Result<Vec<u8>, serde_json::Error> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?).into_bytes())
}

/// A name as it was given: in two parts if it was written `FAMILY, GIVEN`.
enum Author {
    Parts { family: String, given: String },
    Whole(String),
}

fn authors(about: &About<'_>) -> Vec<Author> {
    if about.anonymous {
        return vec![Author::Whole(NOBODY.to_owned())];
    }
    about.authors.iter().map(|name| author(name)).collect()
}

fn author(name: &str) -> Author {
    match name
        .split_once(',')
        .map(|(family, given)| (family.trim(), given.trim()))
    {
        Some((family, given)) if !family.is_empty() && !given.is_empty() => Author::Parts {
            family: family.to_owned(),
            given: given.to_owned(),
        },
        _ => Author::Whole(name.trim().to_owned()),
    }
}

fn described(about: &About<'_>) -> String {
    let run = &about.derived.frames.run;
    let of = run
        .study
        .paper
        .as_ref()
        .map(|paper| format!(" of \"{}\" ({})", paper.title, paper.year));
    format!(
        "A rerun{} as a vexp bundle: the study as a file that is checked and executed, the raw output of every tool, and a \
         verdict on each of {} claims. `vexp verify {}` computes all of it again.",
        of.unwrap_or_default(),
        about.derived.verdicts.claims.len(),
        about.bundle()
    )
}

/// Whether the schema of the Citation File Format takes it as an address.
fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Whether it is an e-mail address, as the schema of the Citation File Format takes it.
fn is_mail(text: &str) -> bool {
    let parts = text.split_once('@').filter(|(name, _)| !name.is_empty());
    let domain = parts.and_then(|(_, host)| host.rsplit_once('.'));
    domain.is_some_and(|(host, top)| !host.is_empty() && top.len() >= 2)
        && !text.contains(char::is_whitespace)
}

/// YAML, whose quoted scalars are JSON's strings.
fn citation(about: &About<'_>, authors: &[Author]) -> Result<String, serde_json::Error> {
    let run = &about.derived.frames.run;
    let quoted = |text: &str| serde_json::to_string(text);
    let mut cff = String::from("cff-version: 1.2.0\n");
    let mut line = |indent: &str, name: &str, value: &str| -> Result<(), serde_json::Error> {
        let _ = writeln!(cff, "{indent}{name}: {}", quoted(value)?);
        Ok(())
    };
    line("", "message", "If you use these data, please cite them.")?;
    line("", "type", "dataset")?;
    line("", "title", &run.study.title)?;
    line("", "abstract", &described(about))?;
    line("", "version", run.record.id.as_str())?;
    // The schema takes names of single licences.
    let named =
        |license: &&str| about.license_url().is_some() && !license.starts_with("LicenseRef-");
    if let Some(license) = about.license.filter(named) {
        line("", "license", license)?;
    }
    if let Some(doi) = about.archive {
        line("", "doi", doi)?;
    }
    if let Some(code) = about.code.filter(|code| is_address(code)) {
        line("", "repository-code", code)?;
    }
    cff.push_str("authors:\n");
    for author in authors {
        let _ = match author {
            Author::Parts { family, given } => writeln!(
                cff,
                "  - family-names: {}\n    given-names: {}",
                quoted(family)?,
                quoted(given)?
            ),
            Author::Whole(name) => writeln!(cff, "  - name: {}", quoted(name)?),
        };
    }
    if let Some(mail) = about.contact.filter(|contact| is_mail(contact)) {
        let _ = writeln!(cff, "contact:\n  - email: {}", quoted(mail)?);
    }
    if let Some(paper) = &run.study.paper {
        let _ = writeln!(
            cff,
            "references:\n  - type: article\n    title: {}",
            quoted(&paper.title)?
        );
        let _ = writeln!(cff, "    year: {}\n    authors:", paper.year);
        for name in &paper.authors {
            let _ = writeln!(cff, "      - name: {}", quoted(name)?);
        }
        if let Some(doi) = &paper.doi {
            let _ = writeln!(cff, "    doi: {}", quoted(doi.as_str())?);
        }
    }
    Ok(cff)
}

fn zenodo(about: &About<'_>, authors: &[Author], license: &str) -> Value {
    let run = &about.derived.frames.run;
    let creators: Vec<Value> = authors
        .iter()
        .map(|author| match author {
            Author::Parts { family, given } => json!({ "name": format!("{family}, {given}") }),
            Author::Whole(name) => json!({ "name": name }),
        })
        .collect();
    let mut related = Vec::new();
    if let Some(doi) = run
        .study
        .paper
        .as_ref()
        .and_then(|paper| paper.doi.as_ref())
    {
        related.push(json!({ "identifier": doi, "relation": "isSupplementTo", "scheme": "doi" }));
    }
    if let Some(code) = about.code.filter(|code| is_address(code)) {
        related.push(json!({ "identifier": code, "relation": "isDerivedFrom", "scheme": "url" }));
    }
    // Zenodo shows the description as HTML.
    let mut description = String::new();
    for c in described(about).chars() {
        match c {
            '<' => description.push_str("&lt;"),
            '>' => description.push_str("&gt;"),
            '&' => description.push_str("&amp;"),
            c => description.push(c),
        }
    }
    let mut zenodo = json!({
        "title": run.study.title,
        "upload_type": "dataset",
        "description": format!("<p>{description}</p>"),
        "creators": creators,
        "access_right": "open",
        "license": license.to_ascii_lowercase(),
        "version": run.record.id,
        "keywords": ["reproducibility", "artifact", "vexp"],
    });
    if !related.is_empty() {
        zenodo["related_identifiers"] = related.into();
    }
    zenodo
}

fn codemeta(about: &About<'_>) -> Value {
    let run = &about.derived.frames.run;
    let people: Vec<Value> = authors(about)
        .into_iter()
        .map(|author| match author {
            Author::Parts { family, given } => {
                json!({ "@type": "Person", "familyName": family, "givenName": given })
            }
            Author::Whole(name) => json!({ "@type": "Person", "name": name }),
        })
        .collect();
    let mut meta = json!({
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "name": run.study.title,
        "description": described(about),
        "identifier": run.record.id,
        "version": run.record.id,
        "programmingLanguage": "Nickel",
        "runtimePlatform": format!("vexp {}", run.record.vexp),
        "operatingSystem": "Linux",
        "softwareRequirements": super::elsewhere::PACKAGES,
    });
    if let Some(day) = run.record.started.get(..10) {
        meta["dateCreated"] = json!(day);
    }
    if !people.is_empty() {
        meta["author"] = people.into();
    }
    if let Some(url) = about.license_url() {
        meta["license"] = json!(url);
    }
    if let Some(code) = about.code.filter(|code| is_address(code)) {
        meta["codeRepository"] = json!(code);
    }
    if let Some(doi) = about.archive {
        meta["sameAs"] = json!(format!("https://doi.org/{doi}"));
    }
    if let Some(mail) = about.contact.filter(|contact| is_mail(contact)) {
        meta["maintainer"] = json!({ "@type": "Person", "email": mail });
    }
    if let Some(paper) = &run.study.paper {
        let mut article = json!({ "@type": "ScholarlyArticle", "name": paper.title });
        if let Some(doi) = &paper.doi {
            article["@id"] = json!(format!("https://doi.org/{doi}"));
        }
        meta["referencePublication"] = article;
    }
    meta
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_divided_only_where_their_author_did() {
        assert!(
            matches!(author("Lovelace, Ada"), Author::Parts { family, given } if family == "Lovelace" && given == "Ada")
        );
        assert!(
            matches!(author("Ada King Lovelace"), Author::Whole(name) if name == "Ada King Lovelace")
        );
        assert!(matches!(author("Lovelace, "), Author::Whole(_)));
        assert!(is_mail("a@b.org") && !is_mail("a@b") && !is_mail("see https://b.org"));
    }
}
