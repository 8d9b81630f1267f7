//! Searches for the greatest load at which a system loses no more than a given share of its packets.
//!
//! [`Search`] is MLRsearch (draft-ietf-bmwg-mlrsearch): several [`Goal`]s at once, each satisfied by
//! many short trials. [`Binary`] is the search that RFC 2544 section 26.1 implies: one trial of 60 s
//! a load, no loss. Both are state machines without input or output. The caller asks for
//! the next [`Trial`], measures it, and records the [`Observation`]:
//!
//! ```
//! use vexp_search::{Goal, Observation, Search, Step};
//!
//! let mut search = Search::new(1_000.0, 10_000_000.0, vec![Goal::default()], None)?;
//! let results = loop {
//!     match search.step() {
//!         Step::Trial(trial) => {
//!             let offered = (trial.load * trial.seconds) as u64;
//!             let forwarded = offered.min((4_000_000.0 * trial.seconds) as u64);
//!             search.record(Observation::new(offered, forwarded))?;
//!         }
//!         Step::Done(results) => break results,
//!     }
//! };
//! let lower = results[0].lower.unwrap();
//! assert!(lower <= 4_000_000.0 && lower > 3_980_000.0);
//! assert_eq!(
//!     results[0].rfc2544.to_string(),
//!     "RFC 2544: no, trials of 1 s, up to 50 % of the time may exceed the loss ratio"
//! );
//! # Ok::<(), vexp_search::SearchError>(())
//! ```
//!
//! The next trial depends on nothing but the goals, the range and the recorded observations: a search over
//! a deterministic system repeats itself exactly.

mod binary;
mod error;
mod goal;
mod grid;
mod ledger;
mod mlr;
mod observation;
mod pursuit;
mod target;

pub use binary::{Binary, BinaryResult, BinaryStep};
pub use error::SearchError;
pub use goal::{Compliance, Goal};
pub use mlr::{GoalResult, Purpose, Search, Step, Trial};
pub use observation::Observation;
