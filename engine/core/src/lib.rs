//! load, check, plan, build, run: Nickel and SSH live here.

pub mod run;

pub mod load;
