//! load, check, plan, build, run: Nickel and SSH live here.

pub mod run;

pub mod build;
pub mod load;
pub mod store;
