//! Arguments of `vexp export`, `verify` and `gc`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use vexp_api::digest::Digest;
use vexp_api::ids::{Doi, Name};
use vexp_api::units::ByteSize;

use super::{Format, ImageArgs, MachinesArgs};
use crate::commands::bundle::License;

/// What `vexp export --help` teaches.
pub(crate) const EXPORT: &str = "\
From a run to a committee:
  vexp export RUN --check                       what is missing, each with its cure
  vexp export RUN --anonymous --hide INSTITUTE  for a double-blind review
  vexp export RUN --license CC-BY-4.0 --author 'FAMILY, GIVEN' --archive DOI
                                                the camera-ready version, of the same run

In the bundle, appendix.pdf has the claims and their commands on two pages, and README.md says how to check it.";

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
    /// Put vexp's executable in as bin/vexp, so that whoever has the bundle alone can verify it: this one, or FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(crate) with_vexp: Option<Option<PathBuf>>,
    /// Image store; by default as for `run`
    #[arg(long, env = "VEXP_STORE")]
    pub(crate) store: Option<PathBuf>,
    /// Folder with templates to make the report with, which are put in
    #[arg(long)]
    pub(crate) templates: Option<PathBuf>,
    /// What others may do with study, data and report: an SPDX expression, e.g. CC-BY-4.0
    #[arg(long, value_name = "SPDX")]
    pub(crate) license: Option<License>,
    /// Who made the run, best as "FAMILY, GIVEN"; may be given several times
    #[arg(long = "author", value_name = "NAME")]
    pub(crate) authors: Vec<String>,
    /// Whom evaluators can ask, an e-mail address or a page; by default the study's `paper.contact`
    #[arg(long)]
    pub(crate) contact: Option<String>,
    /// DOI under which an archive keeps the bundle; by default the study's `paper.archive`
    #[arg(long, value_name = "DOI")]
    pub(crate) archive: Option<Doi>,
    /// Repository in which the study is developed; by default the study's `paper.code`
    #[arg(long, value_name = "URL")]
    pub(crate) code: Option<String>,
    /// Only say what an evaluation committee would miss in the bundle, and write nothing; 5 if it would
    #[arg(long, conflicts_with = "output")]
    pub(crate) check: bool,
    /// Put other names in the stead of those of people and places, for a double-blind review
    ///
    /// Replaced are authors, users, hosts, the inventory's machines, addresses, keys, folders, e-mail addresses, time
    /// zones, repositories and DOIs: what this computer and the run know of, and what has the form of it. The bundle
    /// verifies; the run is not touched, so that the same export without this option is the camera-ready version.
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// A further name that --anonymous replaces, such as an institute's; may be given several times
    #[arg(long, value_name = "NAME", requires = "anonymous")]
    pub(crate) hide: Vec<String>,
    /// A name that means nobody, and that --anonymous and --check leave alone; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) show: Vec<String>,
    /// How to print what was made
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The bundle; by default the only *.vexp.tar.zst in this folder
    pub(crate) bundle: Option<PathBuf>,
    /// Digest that the file must have, as its authors published it: sha256:…
    #[arg(long, value_parser = digest)]
    pub(crate) digest: Option<Digest>,
    /// New or empty folder to unpack it into and to leave it in; a temporary one by default
    #[arg(long, value_name = "FOLDER")]
    pub(crate) into: Option<PathBuf>,
    /// Most that it may unpack to
    #[arg(long, value_name = "SIZE", default_value = "16GiB")]
    pub(crate) max_size: ByteSize,
    /// Run the study again as well, and compare claim by claim; its images are this machine's
    #[arg(long)]
    pub(crate) rerun: bool,
    /// Measure what tells most within this time, images included: 2h, 90min. Every claim that can be told here gets
    /// one repetition, most claims per minute first; then those claims get more. It says before it starts what it
    /// takes and leaves out. Ctrl-C stops it; the same command goes on
    #[arg(long, value_name = "TIME", requires = "rerun", value_parser = super::budget)]
    pub(crate) budget: Option<Duration>,
    /// Measure anew instead of going on with the run that has begun to measure this bundle
    #[arg(long, requires = "rerun")]
    pub(crate) fresh: bool,
    /// Run it at another effort than the bundle's
    #[arg(long, requires = "rerun")]
    pub(crate) effort: Option<Name>,
    /// Run it on another testbed; one that is not emulated must be named
    #[arg(long, requires = "rerun")]
    pub(crate) testbed: Option<Name>,
    /// Run only trials whose id matches
    #[arg(long, value_name = "GLOB", requires = "rerun")]
    pub(crate) only: Option<String>,
    #[command(flatten)]
    pub(crate) machines: MachinesArgs,
    /// Trust the bundle's study: on testbed `hosts` it runs programs of its own as root on your machines
    #[arg(long, requires = "rerun")]
    pub(crate) trust: bool,
    #[command(flatten)]
    pub(crate) build: ImageArgs,
    /// Folder for the new run [default: `runs` in this folder, or where that can't be written to,
    /// $XDG_STATE_HOME/vexp/runs]
    #[arg(long, env = "VEXP_RUNS")]
    pub(crate) runs: Option<PathBuf>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// What `vexp gc --help` teaches.
pub(crate) const RULES: &str = "\
What processes that died have left half-written always goes; what is in use is locked, and stays.
Machines of an inventory have `vexp release`; labs leave nothing, for the kernel ends them.

With --keep or --keep-last, runs go too. A run is kept if ANY of these is true:
  - it was started within --keep TIME;
  - it is among the --keep-last N that were started last, of those of its study, testbed and
    effort that have ended;
  - there is a file `keep` in its folder: `touch RUN/keep` keeps a base for ever;
  - it has not ended, and something happened in it within a day: it may be running.

What a kept run needs is kept with it: its images, the packages that they are built of, the
calibration that it used, and for one that has not ended the machines that it would restore when
it is resumed. This counts for runs in other folders too, if they were made with this store. All
else in the store goes when it was not used within --keep TIME, and never within a day.

Nothing is touched that is not named like vexp's own: other files in the folder of runs and in the
store stay, and links are not followed.

For a nightly run: vexp gc --keep 30d --keep-last 10";

#[derive(Debug, clap::Args)]
pub(crate) struct GcArgs {
    /// Keep what was started or used within this time: 12h, 30d, 8w
    #[arg(long, value_name = "TIME")]
    pub(crate) keep: Option<Age>,
    /// Keep the last N runs of each study, testbed and effort
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<usize>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Folder with runs
    #[arg(long, env = "VEXP_RUNS", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Image store; by default as for `run`
    #[arg(long, env = "VEXP_STORE")]
    pub(crate) store: Option<PathBuf>,
    /// How to print what is removed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// A time to look back: whole hours, days or weeks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age(pub(crate) Duration);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a number of hours, days or weeks: 12h, 30d, 8w");
        let (number, hours) = [("h", 1), ("d", 24), ("w", 7 * 24)]
            .into_iter()
            .find_map(|(unit, hours)| Some((text.strip_suffix(unit)?, hours)))
            .ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        let seconds = number.checked_mul(hours * 3600).ok_or_else(bad)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        let hours = |text: &str| text.parse::<Age>().map(|age| age.0.as_secs() / 3600);
        assert_eq!(hours("12h"), Ok(12));
        assert_eq!(hours("30d"), Ok(720));
        assert_eq!(hours("8w"), Ok(1344));
        for bad in [
            "",
            "30",
            "d",
            "-1d",
            "1.5d",
            "99999999999999999999w",
            "30 d",
            "3m",
        ] {
            assert!(hours(bad).is_err(), "{bad}");
        }
    }
}
