//! Traffic generators.

pub mod iperf;
pub mod iperf3;
pub mod netperf;
pub mod ping;
mod ports;
mod rate;
