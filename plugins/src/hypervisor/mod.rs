//! Hypervisors, driven by commands on their hosts.

pub mod kvm;
pub mod linux;
#[cfg(test)]
pub(crate) mod testing;

pub mod xen;

pub(crate) use vexp_plugin_kit::host::network::default_bridge;
pub(crate) use vexp_plugin_kit::host::{files, mac, network, version};
