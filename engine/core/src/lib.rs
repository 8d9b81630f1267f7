//! load, check, plan, build, run: Nickel and SSH live here.

pub mod run;

pub mod build;
pub mod bundle;
pub mod check;
pub mod load;
pub mod plan;
mod remove;
pub mod store;
