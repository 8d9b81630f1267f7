//! A bundle's files in groups, and which of them are the same when they are made again.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use vexp_engine::bundle::{BundlePath, Manifest};

use super::again;

/// Files that belong together.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Part {
    pub(crate) part: Cow<'static, str>,
    /// `digests`, or `computed again`.
    pub(crate) how: Cow<'static, str>,
    pub(crate) files: usize,
    /// Those that are not the same, and how.
    pub(crate) different: Vec<String>,
}

const DIGESTS: &str = "digests";
const AGAIN: &str = "computed again";

/// The parts of a bundle in the order in which they are shown: name, how it is looked at, and what
/// its files' paths begin with. The first that fits counts.
const PARTS: &[(&str, &str, &[&str])] = &[
    ("study's files", DIGESTS, &["run/source/"]),
    ("study", AGAIN, &[again::STUDY]),
    ("plan and link rate", AGAIN, &[again::PLAN]),
    ("image manifests", AGAIN, &[again::IMAGES, "locks/"]),
    ("images", DIGESTS, &["images/"]),
    ("vexp's executable", DIGESTS, &["bin/"]),
    ("samples", AGAIN, &["run/frames/samples."]),
    (
        "metrics",
        AGAIN,
        &["run/frames/metrics.", "run/frames/steady."],
    ),
    ("verdicts", AGAIN, &["run/frames/"]),
    ("author's own page", AGAIN, &["run/report/author-"]),
    ("report", AGAIN, &["run/report/"]),
    ("templates", DIGESTS, &["templates/"]),
    ("raw data and records", DIGESTS, &["run/"]),
    ("about the bundle", AGAIN, &[""]),
];

fn part_of(path: &str) -> usize {
    let fits =
        |(_, _, begins): &(&str, &str, &[&str])| begins.iter().any(|begin| path.starts_with(begin));
    // The last one fits everything.
    PARTS.iter().position(fits).unwrap_or(PARTS.len() - 1)
}

/// Holds what a bundle lists against what was made here, with what else was found of its files.
pub(super) fn parts(bundle: &Manifest, here: &Manifest, findings: &[again::Finding]) -> Vec<Part> {
    let mut parts: Vec<Part> = PARTS
        .iter()
        .map(|(part, how, _)| Part {
            part: Cow::Borrowed(part),
            how: Cow::Borrowed(how),
            files: 0,
            different: Vec::new(),
        })
        .collect();
    let paths: BTreeSet<&BundlePath> = bundle.files.keys().chain(here.files.keys()).collect();
    for path in paths {
        let part = &mut parts[part_of(path.as_str())];
        part.files += 1;
        let what = match (bundle.files.get(path), here.files.get(path)) {
            (Some(one), Some(other)) if one == other => continue,
            (Some(_), Some(_)) => "differs",
            (Some(_), None) => "does not follow from the run",
            (None, _) => "is missing in the bundle",
        };
        part.different.push(format!("{path} {what}"));
    }
    for (path, why) in findings {
        parts[part_of(path)].different.push(format!("{path} {why}"));
    }
    parts.retain(|part| part.files > 0);
    parts
}
