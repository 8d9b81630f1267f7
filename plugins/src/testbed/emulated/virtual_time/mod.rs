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

/// Bytes of the memory that machine and computer share.
pub(super) const MAILBOX_SIZE: usize = mailbox::SIZE;
