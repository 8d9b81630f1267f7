//! The SSH client against a real Dropbear, the images' server, on loopback: all that every shell promises.
//! Skipped, visibly, where it is not installed or can't be started.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

#[path = "../../core/tests/contract/mod.rs"]
mod contract;
mod loopback;
#[path = "dropbear/sshd.rs"]
mod sshd;

use loopback::Loopback;
use vexp_lockstep::ssh::VirtualConnect;

/// Programs that the server runs at a time on so many connections: before 2024.86 each needs one of its own.
const PROGRAMS: u32 = 40;
const CONNECTIONS: usize = 40;
/// Whether the server waits for the output of children that a program leaves behind: it ends a channel with its program.
const WAITS_FOR_CHILDREN: bool = false;

fn connector() -> VirtualConnect<Loopback> {
    VirtualConnect::new(Loopback, 1)
}
