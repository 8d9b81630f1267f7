//! Fakes and contexts for tests.

pub mod hostile;
mod pretend;
mod shell;

pub use pretend::Pretend;
pub use shell::{FakeShell, ok, status};

use std::sync::Arc;

/// A plugin context that ignores events and keeps logs nowhere.
pub fn context() -> vexp_api::plugin::Context {
    vexp_api::plugin::Context {
        events: Arc::new(vexp_api::event::NoEvents),
        logs: std::env::temp_dir(),
    }
}
