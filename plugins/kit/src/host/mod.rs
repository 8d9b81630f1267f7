//! What hypervisors share: interfaces and bridges of a host, guests' files on it, MAC addresses, versions.

pub mod files;
pub mod mac;
pub mod network;
pub mod version;
