//! Hypervisors, driven by commands on their hosts.

mod files;
pub mod kvm;
pub mod linux;
mod mac;
mod network;
#[cfg(test)]
mod testing;
mod version;
pub mod xen;
