//! Fakes and contexts for tests.

mod cases;
pub mod hostile;
mod pretend;
mod shell;

pub use cases::cases;
pub use pretend::Pretend;
pub use shell::{FakeShell, ok, status};

use std::sync::{Arc, Mutex, PoisonError};

use vexp_api::event::{Event, EventSink};

/// Keeps the notes among the events.
#[derive(Default)]
pub struct Notes(pub Mutex<Vec<String>>);

impl EventSink for Notes {
    fn event(&self, event: &Event) {
        if let Event::Note { text } = event {
            let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push(text.clone());
        }
    }
}

/// A plugin context that ignores events and keeps logs nowhere.
pub fn context() -> vexp_api::plugin::Context {
    vexp_api::plugin::Context {
        events: Arc::new(vexp_api::event::NoEvents),
        logs: std::env::temp_dir(),
    }
}
