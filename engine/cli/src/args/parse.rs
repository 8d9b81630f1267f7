//! Arguments of `vexp parse`.

use std::path::PathBuf;

use clap::{CommandFactory as _, ValueEnum};
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_api::units::TimeSpan;

#[derive(Debug, clap::Args)]
pub(crate) struct ParseArgs {
    /// Plugin that made the files
    #[arg(long)]
    pub(crate) tool: Name,
    /// Raw files
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Which side of the traffic printed the files; an error if they say otherwise
    #[arg(long, value_enum)]
    pub(crate) side: Option<Side>,
    /// The node that the samples are about [default: host]
    #[arg(long)]
    pub(crate) node: Option<Name>,
    /// Time from one sample or probe to the next, e.g. 5s, where the files do not say it
    #[arg(long, value_name = "TIME")]
    pub(crate) interval: Option<TimeSpan>,
    /// The tool's options as a study has them, a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) options: Option<serde_json::Map<String, serde_json::Value>>,
    /// How to print the samples
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: FrameFormat,
}

fn object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, serde_json::Error> {
    serde_json::from_str(text)
}

/// An end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// The one that asked for the traffic
    Client,
    /// The one that was asked
    Server,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FrameFormat {
    /// One JSON object a line
    #[default]
    Jsonl,
    /// Comma-separated values
    Csv,
    /// Apache Parquet
    Parquet,
}

/// The command line's parser, with what help says of these plugins.
pub(crate) fn command(registry: &Registry) -> clap::Command {
    let measures = registry.measures();
    // A measure that names no programs runs those that its options name.
    let names = |named: bool| {
        let found = measures
            .iter()
            .filter(|(_, m)| m.programs().is_empty() != named);
        found.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let mut tools = format!("Plugin that made the files: {}", names(true));
    let optional = names(false);
    if !optional.is_empty() {
        tools.push_str(&format!("; with --options also {optional}"));
    }
    super::Args::command().mut_subcommand("parse", |parse| {
        parse.mut_arg("tool", |tool| tool.help(tools))
    })
}
