//! Arguments of the verbs that look at several runs.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use vexp_api::ids::Name;

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// A run, or a folder of runs: what was
    pub(crate) base: PathBuf,
    /// A run, or a folder of runs: what is
    pub(crate) new: PathBuf,
    /// One more run, or folder of runs, for the base
    #[arg(long = "base", value_name = "RUN")]
    pub(crate) more_base: Vec<PathBuf>,
    /// One more run, or folder of runs, for the new side
    #[arg(long = "new", value_name = "RUN")]
    pub(crate) more_new: Vec<PathBuf>,
    /// Of the base, only the newest runs, this many
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// Changes of less are of no interest
    #[arg(long, default_value = "5%")]
    pub(crate) margin: Percent,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Compare though the environments differ, and say where
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Show all metrics, not only those that changed and those that were told worst
    #[arg(long)]
    pub(crate) all: bool,
    /// Say whether two runs in virtual time are the same to the last bit, and if not, where they part: the first
    /// moment, link, frame, command, line and sample. 1 if they are not the same
    #[arg(long, conflicts_with_all = ["more_base", "more_new", "last", "margin", "only", "metric", "anyway", "all"])]
    pub(crate) exact: bool,
    /// With --exact: keep in NEW that it was compared, for its report
    #[arg(long, requires = "exact")]
    pub(crate) record: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: CompareFormat,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TrendArgs {
    /// Runs, or folders of runs; or tables (.csv or .parquet) with columns time, value and environment
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Folder for the site; what is there is replaced
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Of series without a change, at most this share has a change point
    #[arg(long, default_value = "1%")]
    pub(crate) alpha: Percent,
    /// Changes of less are none
    #[arg(long, default_value = "2%")]
    pub(crate) magnitude: Percent,
    /// Changes that last for fewer runs are none
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) persistence: u16,
    /// Runs in a window of the search
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub(crate) window: u16,
    /// Find what another program finds: otava, with its test's levels that are not held
    #[arg(long, value_enum)]
    pub(crate) compat: Option<Compat>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Folder with templates to use instead of the built-in ones
    #[arg(long)]
    pub(crate) templates: Option<PathBuf>,
    /// How to print the changes
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: super::Format,
}

impl TrendArgs {
    /// Those of `vexp trend RUNS --out SITE`, which are absolute paths.
    pub(crate) fn of(runs: &Path, site: &Path) -> Result<Self, clap::Error> {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            args: TrendArgs,
        }
        let words = [
            "trend".as_ref(),
            "--out".as_ref(),
            site.as_os_str(),
            runs.as_os_str(),
        ];
        <Alone as clap::Parser>::try_parse_from(words).map(|alone| alone.args)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct NightlyArgs {
    /// Folder for the nights, which is made if it is not there
    pub(crate) folder: PathBuf,
    /// The study
    #[arg(required_unless_present = "judge")]
    pub(crate) study: Option<PathBuf>,
    /// Measure nothing: compare this run, which is in FOLDER/runs, and do the rest of the night
    #[arg(long, value_name = "RUN", conflicts_with_all = ["study", "effort", "testbed", "trials", "recalibrate", "trust"])]
    pub(crate) judge: Option<PathBuf>,
    /// How much of the study: quick, standard, full, as the study defines them [default: quick]
    #[arg(long)]
    pub(crate) effort: Option<Name>,
    /// Where to run it [default: emulated]
    #[arg(long)]
    pub(crate) testbed: Option<Name>,
    /// Run only trials whose id matches, e.g. 'send-tcp.xen-*'
    #[arg(long = "only", id = "trials", value_name = "GLOB")]
    pub(crate) only: Option<String>,
    #[command(flatten)]
    pub(crate) images: super::ImageArgs,
    /// Measure this machine's link rate anew instead of using the one that is kept
    #[arg(long)]
    pub(crate) recalibrate: bool,
    #[command(flatten)]
    pub(crate) machines: super::MachinesArgs,
    /// Trust this study: on testbed `hosts` it runs programs of its own as root on your machines
    #[arg(long)]
    pub(crate) trust: bool,
    /// Have blocks of trials measured by tasks of this batch engine, e.g. slurm
    #[arg(long, value_name = "ENGINE", conflicts_with = "judge")]
    pub(crate) on: Option<Name>,
    /// Afterwards remove runs that were started before this time, and what no run in the store
    /// needs: 12h, 30d, 8w. The last seven good nights stay. Without it, nothing is removed
    #[arg(long, env = "VEXP_KEEP", value_name = "TIME")]
    pub(crate) keep: Option<super::bundle::Age>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compat {
    /// Apache Otava, formerly Hunter
    Otava,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pick {
    /// Only points whose name matches, e.g. 'send-tcp.xen-*.v4'
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Option<String>,
    /// Only metrics whose name matches, e.g. 'throughput*'; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) metric: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// JUnit XML, for CI systems
    Junit,
    /// For a pull request
    Markdown,
}

/// A share, as `5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').map(str::trim);
        let percent = number.and_then(|number| number.parse::<f64>().ok());
        match percent {
            Some(percent) if (0.0..100.0).contains(&percent) => Ok(Self(percent / 100.0)),
            _ => Err("expected a percentage from 0% to below 100%, e.g. 5%".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_say_so() {
        for (text, share) in [("5%", 0.05), ("0%", 0.0), ("2.5 %", 0.025)] {
            assert_eq!(text.parse(), Ok(Percent(share)));
        }
        for bad in ["5", "0.05", "-1%", "100%", "NaN%", "inf%", "%", ""] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }
}
