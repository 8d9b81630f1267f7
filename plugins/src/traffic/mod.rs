//! Traffic generators.

pub mod iperf3;
pub mod ping;
