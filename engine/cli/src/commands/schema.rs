//! `vexp schema`: JSON Schemas of what vexp reads and writes, generated from the types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use serde::Serialize;
use serde_json::Value;
use vexp_api::compared::{Compared, Load};
use vexp_api::diagnostic::Diagnostic;
use vexp_api::environment::Environment;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::plan::Plan;
use vexp_api::plugin::Preflight;
use vexp_api::record::{BlockRecord, RunRecord, TrialRecord};
use vexp_api::registry::Registry;
use vexp_api::sample::{NodeRole, Unit};
use vexp_engine::build::Manifest as ImageManifest;
use vexp_engine::bundle::Manifest as BundleManifest;
use vexp_engine::check::json_schema;
use vexp_engine::run::log::Line;
use vexp_report::ClaimVerdict;
use vexp_report::compare::Comparison;
use vexp_report::judge::{ClaimsFile, MetricsFile, SteadyFile};
use vexp_report::parting::Parting;
use vexp_report::trend::Trend;
use vexp_report::trend::table::TableTrend;

use super::bundle::export::Exported;
use super::bundle::lint::Finding as Missing;
use super::bundle::verify::Verified;
use super::doctor::Check;
use super::gc::Collected;
use super::runs::Listed;
use super::since::SinceDocument;
use crate::error::{ErrorDocument, Failure, OrExit as _};
use crate::render;

/// Name, what it is the schema of, and how it is made.
type Schema = (&'static str, &'static str, fn(&Registry) -> Value);

const SCHEMAS: &[Schema] = &[
    ("block", "RUN/blocks/BLOCK/block.json", of::<BlockRecord>),
    ("bundle", "manifest.json of a bundle", of::<BundleManifest>),
    ("check", "vexp check --format json", of::<Vec<Diagnostic>>),
    ("claims", "RUN/frames/claims.json", of::<ClaimsFile<'_>>),
    ("compare", "vexp compare --format json", of::<Comparison>),
    ("compared", "RUN/compared.json", of::<Compared>),
    ("doctor", "vexp doctor --format json", of::<Vec<Check>>),
    (
        "environment",
        "RUN/blocks/BLOCK/environment.json",
        of::<Environment>,
    ),
    (
        "error",
        "any --format json of a verb that failed",
        of::<ErrorDocument<'_>>,
    ),
    ("event", "a line of RUN/events.jsonl", of::<Line<'_>>),
    ("export", "vexp export --format json", of::<Exported>),
    (
        "export-check",
        "vexp export --check --format json",
        of::<Vec<Missing>>,
    ),
    ("gc", "vexp gc --format json", of::<Collected>),
    ("exact", "vexp compare --exact --format json", of::<Parting>),
    (
        "images",
        "RUN/images.json",
        of::<BTreeMap<Name, ImageManifest>>,
    ),
    ("load", "RUN/blocks/BLOCK/load.json", of::<Load>),
    ("metrics", "RUN/frames/metrics.json", of::<MetricsFile<'_>>),
    (
        "plan",
        "vexp plan --format json and RUN/plan.json",
        of::<Plan>,
    ),
    (
        "preflight",
        "vexp doctor FILE --format json",
        of::<Vec<Preflight>>,
    ),
    (
        "report",
        "vexp report --format json",
        of::<Vec<ClaimVerdict>>,
    ),
    ("run", "RUN/run.json", of::<RunRecord>),
    ("runs", "vexp runs --format json", of::<Vec<Listed>>),
    ("sample", "a line of vexp parse", of::<SampleLine>),
    (
        "since",
        "vexp plan --since RUN --format json",
        of::<SinceDocument<'_>>,
    ),
    ("steady", "RUN/frames/steady.json", of::<SteadyFile<'_>>),
    ("study", "a study's value and RUN/study.json", json_schema),
    ("trend", "vexp trend --format json", of::<Trend>),
    (
        "trend-tables",
        "vexp trend TABLE --format json",
        of::<Vec<TableTrend>>,
    ),
    ("trial", "RUN/trials/TRIAL/trial.json", of::<TrialRecord>),
    ("verify", "vexp verify --format json", of::<Verified>),
];

/// A sample that was read from a file.
#[derive(Serialize, JsonSchema)]
struct SampleLine {
    /// The file, as it was given.
    file: String,
    /// The node that the value is about.
    node: Name,
    role: NodeRole,
    /// What was measured.
    metric: Name,
    unit: Unit,
    /// Start of the interval that the value covers, seconds since the trial's epoch; in a file of no
    /// trial, since its beginning. `null` where the tool printed no time.
    t: Option<f64>,
    /// Length of that interval in seconds; 0 for a point. `null` where the tool printed none.
    dt: Option<f64>,
    /// The value.
    value: f64,
}

pub(super) fn run(name: Option<&str>, registry: &Registry) -> Result<Exit, Failure> {
    let Some(name) = name else {
        let lines = SCHEMAS
            .iter()
            .map(|(name, of, _)| format!("{name:12} {of}\n"));
        render::out(&lines.collect::<String>());
        return Ok(Exit::Fine);
    };
    let found = SCHEMAS.iter().find(|(known, _, _)| *known == name);
    let (_, _, make) = found.ok_or_else(|| {
        let known: Vec<&str> = SCHEMAS.iter().map(|(known, _, _)| *known).collect();
        Failure::new(Exit::Usage, format!("there is no schema `{name}`"))
            .hint(format!("there is: {}", known.join(", ")))
    })?;
    let text = serde_json::to_string_pretty(&make(registry)).or_exit(Exit::Usage)?;
    render::out(&format!("{text}\n"));
    Ok(Exit::Fine)
}

/// The schema of what is written of a type.
fn of<T: JsonSchema>(_: &Registry) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(words).transform(&mut schema);
    schema.to_value()
}

/// Descriptions are the types' own, with Rust's links in them.
fn words(schema: &mut schemars::Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = match text.as_str() {
            "[`FORMAT`]." => "Version of this format.".to_owned(),
            other => other.replace("[`", "`").replace("`]", "`"),
        };
    }
}
