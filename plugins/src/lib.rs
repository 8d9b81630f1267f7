//! Testbeds, hypervisors, traffic generators and monitors.

pub mod batch;
pub mod command;
pub mod hypervisor;
pub mod monitor;
pub mod own_file;
#[cfg(test)]
mod testing;
pub mod traffic;

use vexp_api::registry::Registry;
pub(crate) use vexp_plugin_kit::{capture, options, text};

/// Every hypervisor, traffic generator and monitor of this crate.
pub fn registry() -> Registry {
    Registry::new()
        .hypervisor(hypervisor::linux::Linux)
        .hypervisor(hypervisor::xen::Xen)
        .hypervisor(hypervisor::kvm::Kvm)
        .batch_engine(batch::slurm::Slurm::default())
        .batch_engine(batch::command::Command::default())
        .measure(command::Command)
        .measure(command::CommandMonitor)
        .measure(traffic::iperf::Iperf)
        .measure(traffic::iperf3::Iperf3)
        .measure(traffic::netperf::Netperf)
        .measure(traffic::ping::Ping)
        .measure(monitor::xentop::Xentop)
        .measure(monitor::sar::Sar)
        .measure(monitor::uptime::Uptime)
        .measure(monitor::mpstat::Mpstat)
        .measure(monitor::pidstat::Pidstat)
        .measure(monitor::counters::Counters)
}
pub mod testbed;

#[cfg(test)]
mod tests;
