//! Testbeds: where machines come from.

pub mod emulated;
pub mod hosts;
pub mod virtual_time;
