//! Hypervisors, driven by commands on their hosts.

mod files;
pub mod kvm;
pub mod linux;
mod mac;
mod network;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod version;

pub mod xen;

pub(crate) use network::default_bridge;
