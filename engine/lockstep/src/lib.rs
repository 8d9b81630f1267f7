//! Emulators in lockstep virtual time, and the side of it on which vexp stands.
//!
//! [`side`] is a side of the lockstep without a processor: its clock goes from border to border. [`net`] has a TCP/IP
//! stack on it whose time is tokio's paused clock, and [`ssh`] the client by which steps reach the machines.

mod channel;
pub mod counters;
pub mod generator;
mod map;
pub mod net;
pub mod side;
pub mod ssh;
pub mod topology;
mod wait;

/// The library that QEMU loads: `emulator/lockstep.c`, compiled with this crate.
pub const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lockstep.so"));
