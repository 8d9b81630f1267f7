//! run: plan + images → run directory. The only stage that touches machines.
//!
//! [`dispatch`] takes machines from a testbed and starts one worker for each block; [`worker`]
//! stands inside the machines' network and runs the block's trials through the plugins.

mod attempts;
pub mod batch;
mod bench;
pub mod clock;
mod connection;
pub mod dispatch;
pub mod environment;
pub mod files;
mod inline;
pub mod leftovers;
mod load;
pub mod local;
pub mod lock;
pub mod log;
pub mod manifest;
pub mod node;
mod pause;
mod restored;
mod route;
mod side_by_side;
mod spawn;
pub mod ssh;
pub mod taken;
mod together;
mod traced;
mod trial;
pub(crate) use trial::window_of as trial_window;
mod urgent;
pub mod worker;
