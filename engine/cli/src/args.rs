//! The command line, as typed.

mod history;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::units::ByteSize;

pub(crate) use history::{CompareArgs, CompareFormat, Compat, Pick, TrendArgs};

/// Rerun systems experiments that are declared, not scripted.
///
/// A study is a Nickel file: hardware, hypervisors, guests, traffic, published values and claims.
/// vexp checks it, builds the images, runs every trial on real hypervisors, keeps every raw byte,
/// and says of each claim whether it was reproduced.
#[derive(Debug, Parser)]
#[command(name = "vexp", version, max_term_width = 100)]
#[command(after_help = "Start here:\n  \
    vexp check experiments/paper.ncl\n  \
    vexp plan experiments/paper.ncl --effort quick\n  \
    sudo vexp reproduce experiments/paper.ncl --effort quick\n\n\
    Exit codes:\n    \
      0  fine\n    \
      1  a claim was not reproduced, or a regression\n    \
      2  bad spec or usage\n    \
      3  image build failed\n    \
      4  testbed or infrastructure failed\n    \
      5  inconclusive or incomplete\n  \
    130  interrupted")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Type-check a study and print every finding
    Check {
        /// The study
        file: PathBuf,
        /// How to print the findings
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show what would be run: trials, boots, images, link rate, deviations, time and disk
    Plan {
        #[command(flatten)]
        study: StudyArgs,
        /// Store with the link rates that were found; by default as for `run`
        #[arg(long, env = "VEXP_STORE")]
        store: Option<PathBuf>,
        /// How to print the plan; json is stable: same study and link rate, same bytes
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Build a study's images, or say that they are there
    Build {
        #[command(flatten)]
        study: StudyArgs,
        #[command(flatten)]
        images: ImageArgs,
        /// Build each image twice, in other folders and on other CPU counts, and compare digests
        #[arg(long)]
        verify: bool,
        /// Resolve the packages anew and write the lock files
        #[arg(long, conflicts_with = "verify")]
        relock: bool,
    },
    /// Run a study's trials and keep the raw data
    Run {
        #[command(flatten)]
        study: StudyArgs,
        #[command(flatten)]
        images: ImageArgs,
        #[command(flatten)]
        runs: RunsArgs,
    },
    /// Read raw output of a tool: tidy samples on standard output
    ///
    /// FILE.times beside FILE, as a run keeps it, gives each line's time of arrival.
    Parse {
        /// Plugin that made the files: iperf3, ping, xentop, sar
        #[arg(long)]
        tool: Name,
        /// Raw files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How to print the samples
        #[arg(long, value_enum, default_value_t)]
        format: FrameFormat,
    },
    /// Make a run's report again, from its folder alone
    Report {
        /// The run's folder
        run: PathBuf,
        /// Folder with templates to use instead of the built-in ones
        #[arg(long)]
        templates: Option<PathBuf>,
        /// How to print the verdicts
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Check, plan, build, run and report, ending in the claims table
    Reproduce {
        #[command(flatten)]
        study: StudyArgs,
        #[command(flatten)]
        images: ImageArgs,
        #[command(flatten)]
        runs: RunsArgs,
        /// Fail unless the results are these to the last bit: a digest as this verb prints it, or the
        /// folder of another run, with which the first sample that differs is shown. Only testbed
        /// `virtual` gives the same results twice
        #[arg(long, value_name = "DIGEST|RUN")]
        expect: Option<Expected>,
    },
    /// Put a run with all that it stands on into one file: the same run gives the same digest
    Export(ExportArgs),
    /// Check every digest of a bundle and compute everything in it again
    Verify(VerifyArgs),
    /// Compare two runs, or two series of runs: what became better or worse
    Compare(CompareArgs),
    /// Find where metrics changed in a history of runs, and make a site that shows it
    Trend(TrendArgs),
    /// List the runs in a folder
    Runs {
        /// Folder with runs
        #[arg(long, env = "VEXP_RUNS", default_value = "runs")]
        runs: PathBuf,
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Say what this machine can do, and what it lacks; or what the machines of a study are like
    ///
    /// With a study: looks at the machines of its inventory as `run` does before it takes them, and
    /// says where they are not what the study asks for. Nothing is changed on them.
    Doctor {
        /// The study whose machines are looked at
        file: Option<PathBuf>,
        /// How much of it: quick, standard, full, as the study defines them
        #[arg(long, default_value = "quick", requires = "file")]
        effort: Name,
        /// The study's testbed
        #[arg(long, default_value = "hosts", requires = "file")]
        testbed: Name,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Put right what runs that died have left on a study's machines
    ///
    /// A run does the same with the machines that it takes. What others have made is left alone.
    Release {
        /// The study whose machines are looked at
        file: PathBuf,
        /// The study's testbed
        #[arg(long, default_value = "hosts")]
        testbed: Name,
    },
    /// Evaluates a spec in a bounded child.
    #[command(hide = true)]
    EvalSpec,
    /// First process of a lab.
    #[command(hide = true)]
    Lab,
    /// Takes a worker's manifest into a machine in virtual time.
    #[command(hide = true)]
    Courier {
        /// The block's manifest
        manifest: PathBuf,
    },
    /// What a machine in virtual time does by itself.
    #[command(hide = true)]
    Inside {
        /// Which part of it
        #[arg(value_enum)]
        part: Inside,
    },
    /// Runs a block's trials from inside the machines' network.
    #[command(hide = true)]
    Worker {
        /// The block's manifest
        manifest: PathBuf,
    },
}

/// What a machine in virtual time does by itself.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Inside {
    /// Makes keys and its own identity
    Prepare,
    /// Sets the lab up and runs workers
    Agent,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StudyArgs {
    /// The study
    pub(crate) file: PathBuf,
    /// How much of it: quick, standard, full, as the study defines them
    #[arg(long, default_value = "quick")]
    pub(crate) effort: Name,
    /// Where to run it
    #[arg(long, default_value = "emulated")]
    pub(crate) testbed: Name,
    /// Only trials whose id matches, e.g. 'send-tcp.xen-*'
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// Folder with the image definitions
    #[arg(long, env = "VEXP_IMAGES", default_value = "images")]
    pub(crate) images: PathBuf,
    /// Image store; by default /var/cache/vexp for root, else below ~/.cache
    #[arg(long, env = "VEXP_STORE")]
    pub(crate) store: Option<PathBuf>,
    /// Fail if a locked package is no longer to be had, instead of using today's and saying so
    #[arg(long)]
    pub(crate) locked: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// Folder for runs
    #[arg(long, env = "VEXP_RUNS", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Finish this run instead of starting a new one: only missing trials are run
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<PathBuf>,
    /// Measure this machine's link rate anew instead of using the one that is kept
    #[arg(long, conflicts_with = "resume")]
    pub(crate) recalibrate: bool,
}

/// Results that a run is to have, to the last bit.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Their digest, as `vexp reproduce` prints it.
    Digest(Digest),
    /// Another run's, with which the first difference can be shown.
    Run(PathBuf),
}

impl std::str::FromStr for Expected {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(digest(text).map_or_else(|_| Self::Run(text.into()), Self::Digest))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// File to write; RUN.vexp.tar.zst in this folder by default
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// Put the built images in as well, hundreds of megabytes; their locks are in it anyway
    #[arg(long)]
    pub(crate) images: bool,
    /// Image store; by default as for `run`
    #[arg(long, env = "VEXP_STORE")]
    pub(crate) store: Option<PathBuf>,
    /// Folder with templates to make the report with, which are put in
    #[arg(long)]
    pub(crate) templates: Option<PathBuf>,
    /// How to print what was made
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Digest that the file must have, as its authors published it: sha256:…
    #[arg(long, value_parser = digest)]
    pub(crate) digest: Option<Digest>,
    /// New or empty folder to unpack it into and to leave it in; a temporary one by default
    #[arg(long, value_name = "FOLDER")]
    pub(crate) into: Option<PathBuf>,
    /// Most that it may unpack to
    #[arg(long, value_name = "SIZE", default_value = "16GiB")]
    pub(crate) max_size: ByteSize,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::try_from(text.to_owned()).map_err(|error| error.to_string())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
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
