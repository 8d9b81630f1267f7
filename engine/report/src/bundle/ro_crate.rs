//! The run as a research object: RO-Crate 1.1 with the profiles Process Run Crate 0.5 and, where
//! the study's main file is known, Workflow Run Crate 0.5 and Workflow RO-Crate 1.0.
//!
//! The study is the workflow, its effort, testbed and seed are the parameters, and the run is one
//! action that made the raw data and what follows from them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::About;

const CONTEXT: &str = "https://w3id.org/ro/crate/1.1/context";
const CRATE: &str = "https://w3id.org/ro/crate/1.1";
const PROCESS: &str = "https://w3id.org/ro/wfrun/process/0.5";
const WORKFLOW: &str = "https://w3id.org/ro/wfrun/workflow/0.5";
const WORKFLOW_CRATE: &str = "https://w3id.org/workflowhub/workflow-ro-crate/1.0";
const ACTION: &str = "#run";

/// Files that follow from the raw data, and are described one by one.
const RESULTS: &[(&str, &str)] = &[
    ("run/report/report.html", "Report"),
    ("run/report/report.md", "Report as Markdown"),
    ("run/report/metrics.csv", "Metrics with their intervals"),
    ("run/frames/claims.json", "Verdicts on the claims"),
    (
        "run/frames/metrics.json",
        "Metrics with their intervals, as JSON",
    ),
    ("run/frames/steady.json", "Which trials were steady"),
    (
        "run/frames/samples.parquet",
        "All samples of the measured windows",
    ),
];
/// Files that decided what was run, beside the study's.
const INPUTS: &[(&str, &str)] = &[
    ("run/study.json", "The study, evaluated"),
    (
        "run/plan.json",
        "The plan: every trial in order, and what was substituted",
    ),
    ("run/images.json", "Manifests of the images"),
];

/// `ro-crate-metadata.json`.
pub(super) fn json(about: &About<'_>) -> Result<String, serde_json::Error> {
    let mut graph = Graph::default();
    let main = about.main();
    let workflow = main
        .as_deref()
        .map(|main| workflow(about, main, &mut graph));
    let inputs = inputs(about, main.as_deref(), &mut graph);
    let results = results(about, &mut graph);
    for (path, name) in [
        ("export.json", "What was asked of the export"),
        ("run/events.jsonl", "What happened, as it happened"),
    ] {
        graph.file(about, path, name);
    }
    software(about, &mut graph);
    action(about, workflow.is_some(), inputs, results, &mut graph);
    root(about, main.as_deref(), &mut graph);
    let entities: Vec<Value> = graph.entities.into_values().collect();
    let text = serde_json::to_string_pretty(&json!({ "@context": CONTEXT, "@graph": entities }))?;
    Ok(format!("{text}\n"))
}

/// Entities by their identifiers; those that are data, in order.
#[derive(Default)]
struct Graph {
    entities: BTreeMap<String, Value>,
    data: Vec<String>,
}

impl Graph {
    fn add(&mut self, id: &str, mut entity: Value) -> Value {
        entity["@id"] = json!(id);
        self.entities.insert(id.to_owned(), entity);
        json!({ "@id": id })
    }

    fn add_data(&mut self, id: &str, entity: Value) -> Value {
        self.data.push(id.to_owned());
        self.add(id, entity)
    }

    /// A file, if it is in the bundle.
    fn file(&mut self, about: &About<'_>, path: &str, name: &str) -> Option<Value> {
        let size = about.files.get(path)?;
        let entity = json!({
            "@type": "File", "name": name, "contentSize": size.to_string(),
            "encodingFormat": encoding(path),
        });
        Some(self.add_data(path, entity))
    }

    /// A folder, if it is in the bundle.
    fn folder(&mut self, about: &About<'_>, path: &str, name: &str, says: &str) -> Option<Value> {
        about.files.keys().find(|file| file.starts_with(path))?;
        let entity = json!({ "@type": "Dataset", "name": name, "description": says });
        Some(self.add_data(path, entity))
    }
}

fn ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Value {
    ids.into_iter().map(|id| json!({ "@id": id })).collect()
}

fn encoding(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("json") => "application/json",
        Some("jsonl") => "application/jsonl",
        Some("html") => "text/html",
        Some("md") => "text/markdown",
        Some("pdf") => "application/pdf",
        Some("csv") => "text/csv",
        Some("parquet") => "application/vnd.apache.parquet",
        _ => "text/plain",
    }
}

/// The study's main file, and its parameters.
fn workflow(about: &About<'_>, main: &str, graph: &mut Graph) -> Value {
    let run = &about.derived.frames.run;
    let language = graph.add(
        "https://nickel-lang.org",
        json!({
            "@type": "ComputerLanguage", "name": "Nickel", "alternateName": "Nickel, with vexp's contracts",
            "url": { "@id": "https://nickel-lang.org" },
        }),
    );
    let values = [
        (
            "effort",
            "How much of the study was run",
            json!(run.plan.effort),
        ),
        ("testbed", "Where it was run", json!(run.plan.testbed)),
        (
            "seed",
            "Seed of every random choice",
            json!(run.plan.seed.to_string()),
        ),
    ];
    let parameters: Vec<Value> = values
        .into_iter()
        .map(|(name, says, value)| {
            let (formal, actual) = (format!("#parameter-{name}"), format!("#value-{name}"));
            let actual = graph.add(
                &actual,
                json!({
                    "@type": "PropertyValue", "name": name, "value": value,
                    "exampleOfWork": { "@id": formal },
                }),
            );
            graph.add(
                &formal,
                json!({
                    "@type": "FormalParameter", "name": name, "description": says,
                    "additionalType": "Text", "workExample": actual,
                    "conformsTo": { "@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE" },
                }),
            )
        })
        .collect();
    let size = about.files.get(main).copied().unwrap_or_default();
    graph.add_data(
        main,
        json!({
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            "conformsTo": { "@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE" },
            "name": run.study.title, "programmingLanguage": language, "input": parameters,
            "version": run.plan.study_digest.to_string(), "contentSize": size.to_string(),
            "encodingFormat": "text/plain", "softwareRequirements": { "@id": "#vexp" },
        }),
    )
}

fn inputs(about: &About<'_>, main: Option<&str>, graph: &mut Graph) -> Vec<Value> {
    let mut inputs = Vec::new();
    let sources = about
        .files
        .keys()
        .filter(|path| path.starts_with("run/source/"));
    for path in sources.filter(|path| Some(path.as_str()) != main) {
        inputs.extend(graph.file(about, path, "A file of the study"));
    }
    for (path, name) in INPUTS {
        inputs.extend(graph.file(about, path, name));
    }
    for image in about.images {
        let name = format!("Packages of image {} with their digests", image.name);
        inputs.extend(graph.file(about, &format!("locks/{}.lock", image.name), &name));
    }
    inputs.extend(graph.folder(
        about,
        "run/calibration/",
        "Calibration",
        "The run that found the link rate.",
    ));
    graph.folder(
        about,
        "images/",
        "Images",
        "The built images: root file systems, kernels, hypervisors.",
    );
    graph.folder(
        about,
        "templates/",
        "Templates",
        "What the report was made with.",
    );
    inputs
}

fn results(about: &About<'_>, graph: &mut Graph) -> Vec<Value> {
    let mut results = Vec::new();
    for (path, name, says) in [
        (
            "run/trials/",
            "Trials",
            "A folder for each trial: its record and the raw output of every tool.",
        ),
        (
            "run/blocks/",
            "Machines",
            "A folder for each machine: consoles, and what was asked about its nodes.",
        ),
        (
            "run/failed/",
            "Failed trials",
            "Trials that failed and were tried again, as they were recorded.",
        ),
        (
            "run/report/figures/",
            "Figures",
            "Each figure as SVG, with its numbers as CSV and Parquet.",
        ),
        (
            "run/report/tables/",
            "Tables",
            "Each table as CSV and Parquet.",
        ),
    ] {
        results.extend(graph.folder(about, path, name, says));
    }
    for (path, name) in RESULTS {
        results.extend(graph.file(about, path, name));
    }
    results
}

fn software(about: &About<'_>, graph: &mut Graph) {
    let vexp = &about.derived.frames.run.record.vexp;
    graph.add(
        "#vexp",
        json!({
            "@type": "SoftwareApplication", "name": "vexp", "softwareVersion": vexp,
            "description": "Reruns systems experiments that are declared, not scripted",
        }),
    );
}

/// RFC 3339 in UTC with a numeric offset, as the profiles' validators want it.
fn time(utc: &str) -> String {
    utc.strip_suffix('Z')
        .map_or_else(|| utc.to_owned(), |time| format!("{time}+00:00"))
}

fn action(
    about: &About<'_>,
    workflow: bool,
    inputs: Vec<Value>,
    results: Vec<Value>,
    graph: &mut Graph,
) {
    let derived = about.derived;
    let run = &derived.frames.run;
    let (measured, planned) = (derived.frames.trials.len(), run.plan.trials().count());
    let instrument = match about.main().filter(|_| workflow) {
        Some(main) => json!({ "@id": main }),
        None => json!({ "@id": "#vexp" }),
    };
    let mut objects = inputs;
    if workflow {
        objects.extend(
            ["effort", "testbed", "seed"].map(|name| json!({ "@id": format!("#value-{name}") })),
        );
    }
    let mut action = json!({
        "@type": "CreateAction", "name": format!("Run {}", run.record.id),
        "description": format!("{measured} of {planned} trials measured on testbed {}", run.plan.testbed),
        "instrument": instrument, "object": objects, "result": results,
        "startTime": time(&run.record.started),
    });
    if let Some(ended) = &run.record.ended {
        action["endTime"] = json!(time(ended));
        action["actionStatus"] = json!("http://schema.org/CompletedActionStatus");
    }
    if let Some(agents) = people(about, graph) {
        action["agent"] = agents;
    }
    graph.add(ACTION, action);
}

fn people(about: &About<'_>, graph: &mut Graph) -> Option<Value> {
    let people: Vec<Value> = about
        .authors
        .iter()
        .enumerate()
        .map(|(i, name)| {
            graph.add(
                &format!("#author-{}", i + 1),
                json!({ "@type": "Person", "name": name }),
            )
        })
        .collect();
    // JSON-LD in RO-Crate has no list of one.
    match people.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        all => Some(json!(all)),
    }
}

fn license(about: &About<'_>, graph: &mut Graph) -> Value {
    let (id, name, says) = match (about.license, about.license_url()) {
        (Some(license), Some(url)) => (
            url,
            license,
            "What those who made the data allow; see LICENSE.md.",
        ),
        (Some(license), None) => (
            "#license".to_owned(),
            license,
            "An SPDX expression; see LICENSE.md.",
        ),
        (None, _) => (
            "#license".to_owned(),
            "none stated",
            "Those who made the data have not said what they allow; see LICENSE.md.",
        ),
    };
    graph.add(
        &id,
        json!({ "@type": "CreativeWork", "name": name, "description": says }),
    )
}

fn root(about: &About<'_>, main: Option<&str>, graph: &mut Graph) {
    let run = &about.derived.frames.run;
    for (path, name) in [
        ("README.md", "What this is and how to look at it"),
        ("LICENSE.md", "Licence"),
        ("artifact-appendix.md", "Artifact appendix"),
        ("appendix.md", "Artifact appendix of two pages"),
        ("appendix.pdf", "Artifact appendix of two pages, to print"),
    ] {
        let entity = json!({
            "@type": "File", "name": name, "encodingFormat": encoding(path), "about": { "@id": "./" },
        });
        graph.add_data(path, entity);
    }
    let profiles: &[(&str, &str, &str)] = &[
        (PROCESS, "Process Run Crate", "0.5"),
        (WORKFLOW, "Workflow Run Crate", "0.5"),
        (WORKFLOW_CRATE, "Workflow RO-Crate", "1.0"),
    ];
    let profiles = &profiles[..if main.is_some() { 3 } else { 1 }];
    for (id, name, version) in profiles {
        graph.add(
            id,
            json!({ "@type": "CreativeWork", "name": name, "version": version }),
        );
    }
    let license = license(about, graph);
    let parts = ids(graph.data.iter().map(String::as_str));
    let published = run.record.ended.as_ref().unwrap_or(&run.record.started);
    let mut root = json!({
        "@type": "Dataset", "name": run.study.title,
        "description": format!(
            "Run {} of study {} with vexp {}: the study, the raw data, and the verdicts on its claims",
            run.record.id, run.study.name, run.record.vexp
        ),
        "identifier": run.record.id, "datePublished": time(published), "license": license,
        "conformsTo": ids(profiles.iter().map(|(id, ..)| *id)), "hasPart": parts,
        "mentions": { "@id": ACTION },
    });
    if let Some(main) = main {
        root["mainEntity"] = json!({ "@id": main });
    }
    if let Some(authors) = people(about, graph) {
        root["author"] = authors;
    }
    if let Some(doi) = about.archive {
        root["sameAs"] = json!(format!("https://doi.org/{doi}"));
    }
    if let Some(paper) = &run.study.paper {
        root["citation"] = graph.add(
            "#paper",
            json!({
                "@type": "ScholarlyArticle", "name": paper.title, "author": paper.authors.join(", "),
                "datePublished": paper.year.to_string(),
            }),
        );
    }
    graph.add("./", root);
    let mut says = vec![CRATE];
    says.extend(main.map(|_| WORKFLOW_CRATE));
    let conforms = ids(says);
    graph.add(
        "ro-crate-metadata.json",
        json!({ "@type": "CreativeWork", "about": { "@id": "./" }, "conformsTo": conforms }),
    );
}
