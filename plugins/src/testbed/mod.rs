//! Testbeds: where machines come from.

pub mod emulated;
pub mod hosts;
mod limits;
pub mod virtual_time;
