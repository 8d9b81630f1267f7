//! A small SSH-2 client whose every byte follows from a seed and from what the server says.
//!
//! RFC 4250 to 4254 with exactly one algorithm each: curve25519-sha256 (RFC 8731), ssh-ed25519 (RFC 8709), aes128-ctr
//! (RFC 4344), hmac-sha2-256 (RFC 6668), no compression; public-key authentication; `session` channels that run programs.
//! Keys are agreed on once: a connection ends after a gigabyte.
//!
//! [`packet`] turns bytes into payloads and back, [`transport`] agrees on keys, [`auth`] logs in; then [`client`] reads and
//! writes, and [`multiplex`] has the channels. [`shell`] is what the rest of vexp sees of it.

mod auth;
mod base64;
mod channel;
mod client;
mod data;
mod error;
pub mod key;
mod known;
mod multiplex;
mod number;
mod packet;
mod random;
mod shell;
mod transport;

pub use channel::{Channel, Input};
pub use client::{Client, Login};
pub use error::SshError;
pub use multiplex::Event;
pub use random::Random;
pub use shell::{Dial, VirtualConnect};
