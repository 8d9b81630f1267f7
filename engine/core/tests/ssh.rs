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

fn connector() -> Ssh {
    Ssh
}
