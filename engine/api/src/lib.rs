//! Traits, plain data and the run-record format of vexp.
//!
//! This is the only crate that a third-party plugin needs. It runs nothing and prints nothing, and
//! opens files in [`run_dir`] alone: [`spec`] says what a study asks for, [`plan`] what will be run, [`record`] what
//! was seen, [`plugin`] how testbeds, hypervisors and measures are driven, and [`registry`] finds
//! them by name.

pub mod batch;
pub mod compared;
pub mod diagnostic;
pub mod digest;
pub mod environment;
pub mod event;
pub mod exit;
pub mod hold;
pub mod host;
pub mod ids;
pub mod looks;
pub mod meminfo;
pub mod metric;
pub mod modes;
pub mod plan;
pub mod plugin;
pub mod record;
pub mod registry;
pub mod remote;
pub mod run_dir;
pub mod sample;
pub mod shell;
pub mod shown;
pub mod site;
pub mod spec;
pub mod trace;
pub mod units;
pub mod window;
