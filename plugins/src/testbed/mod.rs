//! Testbeds: where machines come from.

mod console;
pub mod emulated;
pub mod hosts;
mod limits;
pub mod virtual_time;
