//! Traffic generators.

pub mod iperf3;
pub mod netperf;
pub mod ping;
mod ports;
