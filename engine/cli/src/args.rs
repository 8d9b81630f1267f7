//! The command line, as typed.

mod bundle;
mod history;
mod parse;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use vexp_api::digest::Digest;
use vexp_api::ids::{BadName, Name};
use vexp_api::registry::Registry;
use vexp_api::spec::Study;

pub(crate) use bundle::{ExportArgs, GcArgs, VerifyArgs};
pub(crate) use history::{CompareArgs, CompareFormat, Compat, NightlyArgs, Pick, TrendArgs};
pub(crate) use parse::{FrameFormat, ParseArgs, Side, command};

/// Rerun systems experiments that are declared, not scripted.
///
/// A study is a Nickel file: hardware, hypervisors, guests, traffic, published values and claims.
/// vexp checks it, builds the images, runs every trial on real hypervisors, keeps every raw byte,
/// and says of each claim whether it was reproduced.
#[derive(Debug, Parser)]
#[command(name = "vexp", version = crate::VERSION, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Start here:\n  \
    vexp init my-study\n  \
    vexp check experiments/paper.ncl\n  \
    vexp plan experiments/paper.ncl --effort quick\n  \
    vexp reproduce experiments/paper.ncl --effort quick\n  \
    vexp verify RUN.vexp.tar.zst --rerun --budget 2h\n\n\
    Exit codes:\n    \
      0  fine\n    \
      1  a claim was not reproduced, or a regression\n    \
      2  bad spec or usage\n    \
      3  image build failed\n    \
      4  testbed or infrastructure failed\n    \
      5  inconclusive, out of regime or incomplete\n    \
      6  recorded data can't be read or trusted: nothing was judged\n  \
    130  interrupted\n\n\
    Environment (options have theirs beside them):\n  \
    VEXP_MEMORY_MIB  most memory for reading runs and bundles, in MiB\n                   \
                     (8192, or 3/4 of the computer's if that is less)")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a study to begin with, which passes `check` and runs
    Init {
        /// New or empty folder for it; its name becomes the study's
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
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
        /// Show what must be measured again after an edit, and which field and line made it stale: RUN measured
        /// the study before
        #[arg(long, value_name = "RUN")]
        since: Option<PathBuf>,
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
    /// Go on with a run that is out on a batch engine, or cancel its tasks
    ///
    /// Finds the run's jobs again, wherever they were submitted from, shows how they get on and ends when all trials are
    /// in. What is missing and not out is submitted again; nothing is submitted twice.
    Attach {
        /// The run's folder
        run: PathBuf,
        /// Cancel its tasks instead: what is measured is kept, and can be resumed
        #[arg(long)]
        cancel: bool,
        #[command(flatten)]
        images: ImageArgs,
        #[command(flatten)]
        machines: MachinesArgs,
        /// Trust this study: on testbed `hosts` it runs programs of its own as root on your machines
        #[arg(long)]
        trust: bool,
    },
    /// Read raw output of a tool: tidy samples on standard output
    ///
    /// Names of files mean nothing: a file of a run is read as the run's record describes it, any other
    /// as it stands. FILE.times beside FILE, as a run keeps it, gives each line's time of arrival. Samples
    /// have no time where the tool prints none.
    Parse(ParseArgs),
    /// Make a run's report again, from its folder alone
    Report(ReportArgs),
    /// Check, plan, build, run and report, ending in the claims table
    Reproduce {
        #[command(flatten)]
        study: StudyArgs,
        #[command(flatten)]
        images: ImageArgs,
        #[command(flatten)]
        runs: RunsArgs,
        /// Fail unless the results are these to the last bit: a digest as this verb prints it, a file
        /// with a digest a trial (`vexp report --write-expected`), or the folder of another run, of which it is
        /// shown where they part. What was compared is kept in the run and shown in its report. Only testbed
        /// `virtual` gives the same results twice.
        /// Without it, STUDY/expected/EFFORT.json is compared if it is there, and decides nothing
        #[arg(long, value_name = "DIGEST|FILE|RUN")]
        expect: Option<Expected>,
    },
    /// Put a run with all that it stands on into one file: the same run gives the same digest
    #[command(after_long_help = bundle::EXPORT)]
    Export(ExportArgs),
    /// Check every digest of a bundle and compute everything in it again
    Verify(VerifyArgs),
    /// Compare two runs, or two series of runs: what became better or worse
    Compare(CompareArgs),
    /// Find where metrics changed in a history of runs, and make a site that shows it
    Trend(TrendArgs),
    /// Run a study, compare the run with the last good nights, and make their trend
    ///
    /// In FOLDER: `runs` has every run, `good` links to those without a regression, `site` the trend of
    /// these, `compare.xml` the last comparison as JUnit XML. Ends as `compare` does: 0 and 5 make the
    /// run a good night, 1 is a regression, 2 another environment, 6 a run that can't be read.
    Nightly(NightlyArgs),
    /// Remove what died processes have left; with rules, also runs, images and machines that none keeps
    #[command(after_long_help = bundle::RULES)]
    Gc(GcArgs),
    /// List the runs in a folder
    Runs {
        /// Folder with runs, as --runs
        #[arg(value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// Folder with runs
        #[arg(long, env = "VEXP_RUNS", default_value = "runs")]
        runs: PathBuf,
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show everything about a trial on one screen, or what became of each trial of a run
    ///
    /// With a trial: how it ended and why, what was read back before it, every program that ran with its times,
    /// samples in numbers, and where its files are. Without: all trials with their outcome.
    Show {
        /// The run's folder
        run: PathBuf,
        /// The trial, as the list names it: send-tcp.xen-3.2.v2.r1
        trial: Option<Name>,
    },
    /// Say what this machine can do, and what it lacks; or what the machines of a study are like
    ///
    /// With a study: looks at the machines of its inventory as `run` does before it takes them, and
    /// says where they are not what the study asks for. Nothing is changed on them.
    Doctor {
        /// The study whose machines are looked at
        file: Option<PathBuf>,
        #[command(flatten)]
        machines: MachinesArgs,
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
        #[command(flatten)]
        machines: MachinesArgs,
        /// The study's testbed
        #[arg(long, default_value = "hosts")]
        testbed: Name,
    },
    /// Explain a verb, or a tool, hypervisor or testbed with its options
    Help {
        /// Which, e.g. run, iperf3, hosts; without it, all verbs are listed
        name: Option<String>,
    },
    /// Print a shell's completion script
    Completions {
        /// Shell to complete in
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the library that studies import into a folder, for editors
    ///
    /// Nickel's language server finds it there by NICKEL_IMPORT_PATH, and then shows what every
    /// field of a study is.
    Library {
        /// Folder for it
        folder: PathBuf,
    },
    /// Print the JSON Schema of a study, of an output or of a file of a run
    Schema {
        /// Which one; without it, all are listed
        name: Option<String>,
    },
    /// Writes a manual page for vexp and for each verb.
    #[command(hide = true)]
    Man {
        /// Folder for the pages
        folder: PathBuf,
    },
    /// Evaluates a spec in a bounded child.
    #[command(hide = true)]
    EvalSpec,
    /// Reads what may be a stranger's in a bounded child, for a verb that also measures.
    #[command(hide = true)]
    Read,
    /// First process of a lab.
    #[command(hide = true)]
    Lab,
    /// Becomes a lab's traffic peer or emulator, with no more rights than it needs.
    #[command(hide = true)]
    Enclose {
        /// Which of them
        #[arg(value_enum)]
        part: Enclose,
        /// The emulator's root
        root: Option<PathBuf>,
        /// The emulator's program and its arguments
        #[arg(last = true)]
        argv: Vec<String>,
    },
    /// Runs a block's trials from inside the machines' network. Its manifest is on standard input.
    #[command(hide = true)]
    Worker,
    /// Takes one missing block of a run after the other: what a batch engine starts.
    #[command(hide = true)]
    Task {
        /// The run's folder
        run: PathBuf,
        /// The job's name
        #[arg(long)]
        array: Name,
        /// Whose blocks
        #[arg(long)]
        stage: u32,
        /// Seconds for which it may run
        #[arg(long)]
        limit: u64,
    },
}

/// What is enclosed in a lab.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Enclose {
    /// A traffic peer's namespaces
    Peer,
    /// A traffic peer's first process
    PeerRoot,
    /// The emulator
    Emulator,
}

impl Verb {
    /// Whether its standard output is to be one JSON document.
    pub(crate) fn prints_json(&self) -> bool {
        match self {
            Self::Check { format, .. }
            | Self::Plan { format, .. }
            | Self::Runs { format, .. }
            | Self::Doctor { format, .. } => *format == Format::Json,
            Self::Report(args) => args.format == Format::Json,
            Self::Export(args) => args.format == Format::Json,
            Self::Verify(args) => args.format == Format::Json,
            Self::Trend(args) => args.format == Format::Json,
            Self::Gc(args) => args.format == Format::Json,
            // A comparison that fails is a document of its own.
            _ => false,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// Folder for `frames` and `report`; by default the run's, which must be writable then
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Folder with templates to use instead of the built-in ones
    #[arg(long)]
    pub(crate) templates: Option<PathBuf>,
    /// Write into FILE what this run, in virtual time, gives on every computer: a digest a trial
    #[arg(long, value_name = "FILE")]
    pub(crate) write_expected: Option<PathBuf>,
    /// A run of the same study at another link rate: show whether verdicts are the same over the range, or
    /// where they turn; may be given several times
    #[arg(long, value_name = "RUN", conflicts_with = "format")]
    pub(crate) with: Vec<PathBuf>,
    /// How to print the verdicts
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

impl ReportArgs {
    /// Those of `vexp report RUN`.
    pub(crate) fn of(run: &std::path::Path) -> Self {
        Self {
            run: run.to_owned(),
            out: None,
            templates: None,
            write_expected: None,
            with: Vec::new(),
            format: Format::Text,
        }
    }
}

/// What is chosen where the command line names no testbed, best first.
const USUAL_TESTBEDS: [&str; 2] = ["virtual", "emulated"];

#[derive(Debug, clap::Args)]
pub(crate) struct StudyArgs {
    /// The study
    pub(crate) file: PathBuf,
    /// How much of it: quick, standard, full, as the study defines them [default: quick]
    #[arg(long)]
    pub(crate) effort: Option<Name>,
    /// Where to run it [default: `virtual` if the study has it, else `emulated`, else its only one]
    #[arg(long)]
    pub(crate) testbed: Option<Name>,
    /// Only trials whose id matches, e.g. 'send-tcp.xen-*'
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Option<String>,
    /// Repeat trials only until their claims are decided: vexp looks at the claims after as many boots (in
    /// virtual time, seeds) as the study's `looks` say, and goes on with those that are open. The
    /// effort's number of repetitions is not used
    #[arg(long, value_enum)]
    pub(crate) until: Option<Until>,
}

/// Until when trials are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// All claims are decided, given up or out of regime, or the last look was taken
    Decided,
}

impl StudyArgs {
    /// What it says, with the effort that is usual.
    pub(crate) fn chosen(&self) -> Result<Chosen, BadName> {
        Ok(Chosen {
            file: self.file.clone(),
            effort: match &self.effort {
                Some(effort) => effort.clone(),
                None => Name::new("quick")?,
            },
            testbed: self.testbed.clone(),
            only: self.only.clone(),
            until: self.until,
        })
    }
}

/// The part of a study that is meant.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) file: PathBuf,
    pub(crate) effort: Name,
    /// None: the study's usual one, see [`Chosen::testbed`].
    pub(crate) testbed: Option<Name>,
    pub(crate) only: Option<String>,
    pub(crate) until: Option<Until>,
}

impl Chosen {
    /// The testbed that is meant: what most people want, where everybody gets the same results, or else where nothing
    /// is needed but this computer.
    pub(crate) fn testbed(&self, study: &Study) -> Result<Name, BadName> {
        let has = |name: &&str| study.testbeds.keys().any(|other| other.as_str() == *name);
        let mut all = study.testbeds.keys();
        match (&self.testbed, USUAL_TESTBEDS.iter().find(|name| has(name))) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(usual)) => Name::new(*usual),
            // If it has none, or several, the plan says which.
            (None, None) => match (all.next(), all.next()) {
                (Some(only), None) => Ok(only.clone()),
                _ => Name::new(USUAL_TESTBEDS[0]),
            },
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// Folder with the definitions of images; by default those that vexp was built with
    #[arg(long, env = "VEXP_IMAGES", value_name = "FOLDER")]
    pub(crate) images: Option<PathBuf>,
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
    /// Finish this run instead of starting a new one: only missing trials are run, of the run's effort,
    /// testbed and --only
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<PathBuf>,
    /// Take over from RUN the trials that are still valid after an edit of the study, and measure the rest;
    /// `vexp plan --since RUN` shows which
    #[arg(long, value_name = "RUN", conflicts_with_all = ["resume", "until"])]
    pub(crate) since: Option<PathBuf>,
    /// With --until decided: take no look that would be reached later than after this time: 4h, 90min
    #[arg(long, value_name = "TIME", value_parser = budget)]
    pub(crate) budget: Option<Duration>,
    /// Measure this machine's link rate anew instead of using the one that is kept
    #[arg(long, conflicts_with = "resume")]
    pub(crate) recalibrate: bool,
    /// How many blocks of trials run at the same time; by default as many as the testbed can without changing a
    /// result: in virtual time as many as processors and memory carry, else 1
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    pub(crate) machines: MachinesArgs,
    /// Trust this study: on testbed `hosts` it runs programs of its own as root on your machines
    #[arg(long)]
    pub(crate) trust: bool,
    /// Have blocks of trials measured by tasks of this batch engine, e.g. slurm; --jobs is then the number of tasks at
    /// the same time. The run's folder and the store must be where all nodes see them
    #[arg(long, value_name = "ENGINE")]
    pub(crate) on: Option<Name>,
    /// With --on: return once tasks are submitted; `vexp attach RUN` goes on
    #[arg(long)]
    pub(crate) detach: bool,
}

impl RunsArgs {
    /// Those of `vexp run --resume RUN`.
    pub(crate) fn resume(run: &std::path::Path, machines: MachinesArgs) -> Self {
        Self {
            runs: PathBuf::from("runs"),
            resume: Some(run.to_owned()),
            since: None,
            budget: None,
            recalibrate: false,
            jobs: None,
            machines,
            trust: false,
            on: None,
            detach: false,
        }
    }
}

/// A number of hours or minutes.
fn budget(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a number of hours or minutes: 4h, 90min");
    let (number, seconds) = [("h", 3600), ("min", 60)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = number.checked_mul(seconds).filter(|n| *n > 0);
    seconds.map(Duration::from_secs).ok_or_else(bad)
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct MachinesArgs {
    /// What you say of your own machines: ssh's configuration, keys, sudo, tools; by default
    /// ~/.config/vexp/machines.json
    #[arg(long, env = "VEXP_MACHINES", value_name = "FILE")]
    pub(crate) machines: Option<PathBuf>,
}

impl MachinesArgs {
    /// Tells testbeds.
    pub(crate) fn tell(&self, registry: &Registry) {
        if let Some(file) = &self.machines {
            let testbeds = registry.testbeds().values();
            testbeds.for_each(|testbed| testbed.machines_file(file));
        }
    }
}

/// Results that a run is to have, to the last bit.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Their digest, as `vexp reproduce` prints it.
    Digest(Digest),
    /// Those of a file with a digest a trial.
    File(PathBuf),
    /// Another run's, with which the first difference can be shown.
    Run(PathBuf),
}

impl std::str::FromStr for Expected {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match Digest::try_from(text.to_owned()) {
            Ok(digest) => Self::Digest(digest),
            Err(_) if std::path::Path::new(text).is_file() => Self::File(text.into()),
            Err(_) => Self::Run(text.into()),
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_a_unit_and_is_something() {
        assert_eq!(budget("4h"), Ok(Duration::from_secs(4 * 3600)));
        assert_eq!(budget("90min"), Ok(Duration::from_secs(90 * 60)));
        for bad in [
            "",
            "4",
            "h",
            "0h",
            "-1h",
            "1.5h",
            "4 h",
            "99999999999999999999h",
        ] {
            assert!(budget(bad).is_err(), "{bad}");
        }
    }
}
