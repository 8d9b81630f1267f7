//! Testbeds: where machines come from.

mod console;
pub mod emulated;
pub mod hosts;
pub mod virtual_time;
