//! Blocks on nodes of a batch engine.

pub mod alike;
pub mod needs;
