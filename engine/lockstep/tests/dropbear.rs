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

fn connector() -> VirtualConnect<Loopback> {
    VirtualConnect::new(Loopback, 1)
}
