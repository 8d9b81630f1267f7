//! Testbed `virtual`: the machine under test and its traffic peers in one QEMU whose time is the number of
//! its instructions (`-icount`). What is measured there does not depend on the computer that it runs on,
//! nor on what else that computer does.
//!
//! ```text
//!   QEMU, one processor, no disk, no chance
//!   ├─ machine under test ── e1000 ══ hub ══ e1000 ── namespace `lab` with bridge, link, peers
//!   │   └─ guests
//!   └─ mailbox (ivshmem) ── courier, on this computer
//! ```
//!
//! The lab is that of testbed `emulated`, inside of the machine. It ends there by stopping its own
//! processor ([`inside`]): at that instruction it can be kept, restored, and told what to do next
//! ([`courier`]). Only then does anything reach it from outside.

pub mod courier;
pub mod inside;
pub(super) mod lab;
mod mailbox;
mod seed;

use vexp_api::plan::Machine;

/// Bytes of the memory that machine and computer share.
pub(super) const MAILBOX_SIZE: usize = mailbox::SIZE;

/// What can't be the same everywhere.
pub(super) fn refuses(machine: &Machine) -> Option<String> {
    let what = |text: &str| Some(format!("hardware {}: {text}", machine.hardware));
    if machine.cpus != 1 {
        return what(
            "in virtual time a machine has one processor: QEMU shares the clock out among several \
             as this computer's moments have it",
        );
    }
    if machine.nics.iter().any(|nic| nic.model != *"e1000") {
        return what(
            "in virtual time NICs are e1000: other models send in another thread of QEMU, at moments \
             that are this computer's",
        );
    }
    None
}
