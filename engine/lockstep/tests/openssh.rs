//! The SSH client against a real OpenSSH server on loopback: all that every shell promises.
//! Skipped, visibly, where `sshd` is not installed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

#[path = "../../core/tests/contract/mod.rs"]
mod contract;
mod loopback;
#[path = "../../core/tests/sshd/mod.rs"]
mod sshd;

use loopback::Loopback;
use vexp_lockstep::ssh::VirtualConnect;

/// Programs that the server runs at a time on so many connections.
const PROGRAMS: u32 = 200;
const CONNECTIONS: usize = 1;
/// Whether the server waits for the output of children that a program leaves behind.
const WAITS_FOR_CHILDREN: bool = true;

fn connector() -> VirtualConnect<Loopback> {
    VirtualConnect::new(Loopback, 1)
}
