//! What two runs were given, where that is not the same: then results need not be.

use std::collections::BTreeMap;

use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::plan::Block;

use crate::run::Run;

/// Something that one run was given and the other was not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Given {
    /// `image guest`, `seed`, `vexp`.
    pub what: String,
    /// In the run that is expected.
    pub expected: String,
    /// In the other.
    pub found: String,
    /// Whether results follow from it. Those of another build of vexp should be the same.
    pub explains: bool,
}

impl Given {
    fn new(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self {
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
            explains: true,
        }
    }

    /// `image guest is sha256:…, and was sha256:…`.
    pub fn text(&self) -> String {
        let Self {
            what,
            expected,
            found,
            ..
        } = self;
        format!("{what}: {expected} there, {found} here")
    }
}

/// Images by name: both runs' digests.
pub(super) fn images(
    expected: &BTreeMap<Name, Digest>,
    found: &BTreeMap<Name, Digest>,
) -> Vec<Given> {
    let names: std::collections::BTreeSet<&Name> = expected.keys().chain(found.keys()).collect();
    let say = |digest: Option<&Digest>| digest.map_or("none".to_owned(), short);
    names
        .into_iter()
        .filter(|name| expected.get(*name) != found.get(*name))
        .map(|name| {
            let [one, other] = [expected, found].map(|all| say(all.get(name)));
            Given::new(format!("image {name}"), one, other)
        })
        .collect()
}

fn short(digest: &Digest) -> String {
    format!("sha256:{}…", &digest.hex()[..12])
}

/// What plans and programs differ in, but for single blocks.
pub(super) fn runs(expected: &Run, found: &Run) -> Vec<Given> {
    let (one, other) = (&expected.plan, &found.plan);
    let mut given = Vec::new();
    if one.study_digest != other.study_digest {
        let [a, b] = [one, other].map(|plan| short(&plan.study_digest));
        given.push(Given::new("study", a, b));
    }
    if one.testbed != other.testbed {
        given.push(Given::new("testbed", &one.testbed, &other.testbed));
    }
    if one.seed != other.seed {
        given.push(Given::new("seed", one.seed, other.seed));
    }
    if one.testbed_options != other.testbed_options {
        let say = |options| serde_json::to_string(options).unwrap_or_default();
        let [a, b] = [one, other].map(|plan| say(&plan.testbed_options));
        given.push(Given::new("the testbed's options", a, b));
    }
    if expected.record.vexp != found.record.vexp {
        let (a, b) = (&expected.record.vexp, &found.record.vexp);
        given.push(Given {
            explains: false,
            ..Given::new("vexp", a, b)
        });
    }
    given
}

/// What a trial's blocks differ in: the machine, or what was done with it before.
pub(super) fn blocks(trial: &Name, expected: &Run, found: &Run) -> Vec<Given> {
    let of = |run: &Run| -> Option<Block> {
        let mut blocks = run.plan.blocks.iter();
        let block = blocks.find(|block| block.trials.iter().any(|other| other.id == *trial));
        block.cloned()
    };
    let (Some(one), Some(other)) = (of(expected), of(found)) else {
        return Vec::new();
    };
    let mut given = Vec::new();
    let json = |value| serde_json::to_string(value).unwrap_or_default();
    let [a, b] = [&one, &other].map(|block| json(&block.machine));
    if a != b {
        given.push(Given::new(
            format!("the machine of block {}", other.id),
            a,
            b,
        ));
    }
    // How trials of one machine follow each other decides what it has done before.
    let before = |block: &Block| -> Vec<String> {
        let trials = block.trials.iter().map(|other| other.id.to_string());
        trials.take_while(|id| id != trial.as_str()).collect()
    };
    let [a, b] = [&one, &other].map(before);
    if a != b {
        let say = |ids: Vec<String>| match ids.is_empty() {
            true => "none".to_owned(),
            false => ids.join(", "),
        };
        given.push(Given::new(
            format!("trials on the same machine before {trial}"),
            say(a),
            say(b),
        ));
    }
    given
}
