//! The system's ssh against a real `sshd` on loopback, with keys and a configuration of its own.
//! Skipped, visibly, where `sshd` is not installed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

mod contract;
mod sshd;

use vexp_engine::run::ssh::Ssh;

/// Programs that the server runs at a time on so many connections.
const PROGRAMS: u32 = 200;
const CONNECTIONS: usize = 1;
/// Whether the server waits for the output of children that a program leaves behind.
const WAITS_FOR_CHILDREN: bool = true;

fn connector() -> Ssh {
    Ssh
}
