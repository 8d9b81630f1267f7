//! frame → judge → report: from a run directory to tidy samples, metrics with intervals, verdicts
//! on claims, and a report.
//!
//! Everything here is a pure function of a run directory and a [`Registry`](vexp_api::registry::Registry)
//! of parsers: the same bytes in give the same bytes out, years later and on another machine. The
//! random numbers of the bootstrap come from the study's seed, and nothing looks at the clock.
//!
//! | module | step |
//! |---|---|
//! | [`run`] | run directory → typed records; refuses unknown formats |
//! | [`raw`] | artefact → samples; refuses flipped bytes |
//! | [`window`] | samples → those of the measured window |
//! | [`frame`] | trials → one tidy table |
//! | [`table`] | tidy table → Parquet, CSV, JSON lines |
//! | [`stats`] | series → mean, interval, fairness |
//! | [`metrics`] | trials → metrics of each point of the matrix |
//! | [`calibration`] | trials of a calibration → link rate |
//! | [`judge`] | metrics → verdicts on claims |
//! | [`summary`] | run → each metric in each repetition, and the environment |
//! | [`compare`] | two series of runs → what became better or worse |
//! | [`expected`] | a run's results → whether they are those that stand beside the study |
//! | [`parting`] | two runs → the first moment at which they are not the same |
//! | [`assurance`] | a run, and what it was compared with → how far its results are known to be the same elsewhere |
//! | [`identity`] | two runs → whether they are the same to the last bit |
//! | [`trend`] | a history of runs → where metrics changed, and a site |
//! | [`report`] | all of it → HTML, Markdown, SVG, CSV |
//! | [`derived`] | run directory → the bytes of all of these, and nothing written |
//! | [`bundle`] | the same → what a bundle says about itself: research object, artifact appendix |

pub mod assurance;
pub mod bundle;
pub mod calibration;
pub mod compare;
pub mod derived;
pub mod expected;
mod files;
pub mod frame;
pub mod identity;
pub mod judge;
pub mod metrics;
pub mod parting;
pub mod raw;
pub mod report;
pub mod run;
pub mod stats;
pub mod summary;
mod svg;
pub mod table;
pub mod trend;
pub use vexp_api::window;

pub use frame::{Frames, frame};
pub use judge::{Cause, CauseKind, ClaimVerdict, Verdict, Verdicts, judge};

pub use report::{ReportError, ReportSummary, report};
pub use table::{Format, samples_to};
