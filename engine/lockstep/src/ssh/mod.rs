//! A small SSH-2 client whose every byte follows from a seed and from what the server says.
//!
//! RFC 4250 to 4254 with exactly one algorithm each: curve25519-sha256 (RFC 8731), ssh-ed25519 (RFC 8709), aes128-ctr
//! (RFC 4344), hmac-sha2-256 (RFC 6668), no compression; public-key authentication; `session` channels that run programs.
//! Keys are agreed on once: a connection ends after a gigabyte.

mod base64;
mod data;
pub mod key;
mod known;
mod random;
mod shell;

pub use random::Random;
pub use shell::VirtualConnect;
