//! What people see. Data goes to standard output, words and progress to standard error.

pub(crate) mod findings;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod verdicts;

use std::io::{IsTerminal as _, Write as _};

use crate::error::Failure;

/// Whether colours may be used on standard error (see no-color.org).
pub(crate) fn colour() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints to standard output. A reader that has gone away is no error of ours.
pub(crate) fn out(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a line to standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints why a verb ended early.
pub(crate) fn failure(failure: &Failure) {
    let (red, cyan, reset) = if colour() {
        ("\x1b[31;1m", "\x1b[36m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let mut messages = failure.messages.iter();
    if let Some(first) = messages.next() {
        say(&format!("{red}error{reset}: {first}"));
    }
    for cause in messages {
        say(&format!("  because: {cause}"));
    }
    if let Some(hint) = &failure.hint {
        say(&format!("{cyan}hint{reset}: {hint}"));
    }
}
