//! What people see. Data goes to standard output, words and progress to standard error.

pub(crate) mod compare;
mod eta;
pub(crate) mod findings;
mod plain;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod show;
pub(crate) mod since;
pub(crate) mod table;
pub(crate) mod trend;
pub(crate) mod verdicts;
pub(crate) mod verified;

use std::io::{IsTerminal, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use vexp_api::exit::Exit;

use crate::error::Failure;

/// Columns where there is no terminal to ask.
const WIDTH: usize = 100;
/// Fewer columns than this are no help to anyone.
const LEAST_WIDTH: usize = 40;

/// Whether colours may be used on standard error (see no-color.org).
pub(crate) fn colour() -> bool {
    colour_on(&std::io::stderr())
}

/// Whether colours may be used on standard output.
pub(crate) fn colour_out() -> bool {
    colour_on(&std::io::stdout())
}

fn colour_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns to fill: `COLUMNS` if it is set, else the terminal's, else 100.
pub(crate) fn width() -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let terminal = || {
        // Either stream may be in a pipe while the other is looked at.
        terminal_size::terminal_size_of(std::io::stdout())
            .or_else(|| terminal_size::terminal_size_of(std::io::stderr()))
            .map(|(width, _)| usize::from(width.0))
    };
    set.or_else(terminal).unwrap_or(WIDTH).max(LEAST_WIDTH)
}

/// A line broken where the terminal ends, with what its first and its other lines begin with.
pub(crate) fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let options = textwrap::Options::new(width())
        .initial_indent(first)
        .subsequent_indent(rest)
        .break_words(false)
        // `xen-3.1` is one word.
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace);
    format!("{}\n", textwrap::fill(text, options))
}

/// Whether anything was printed to standard output.
static PRINTED: AtomicBool = AtomicBool::new(false);

/// Prints an error as JSON, if nothing else was printed: whoever reads JSON gets a document, whatever
/// the exit code.
pub(crate) fn failure_as_json(failure: &Failure) {
    if !PRINTED.load(Ordering::Relaxed) {
        // Strings and numbers can always be written.
        if let Ok(text) = serde_json::to_string_pretty(&failure.document()) {
            out(&format!("{text}\n"));
        }
    }
}

/// Why something could not be printed to standard output.
static LOST: OnceLock<String> = OnceLock::new();

/// Prints to standard output.
pub(crate) fn out(text: &str) {
    out_bytes(plain::plain(text, colour_out()).as_bytes());
}

/// Writes data to standard output, whatever it is.
pub(crate) fn out_bytes(bytes: &[u8]) {
    PRINTED.store(true, Ordering::Relaxed);
    let mut stdout = std::io::stdout();
    printed(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

/// Takes note of whether something was printed. A reader that has gone away is no error of ours; a full
/// disk is, see [`lost`].
pub(crate) fn printed(result: std::io::Result<()>) {
    if let Err(error) = result
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        // The first says most.
        let _ = LOST.set(error.to_string());
    }
}

/// What is missing on standard output makes a verb fail that has else gone well.
pub(crate) fn lost() -> Option<Failure> {
    let why = LOST.get()?;
    let message = format!("could not write to standard output: {why}");
    let failure = Failure::new(Exit::Infrastructure, message);
    Some(failure.hint("what was written there is cut: make room, and run the command again"))
}

/// Prints a long text in UTF-8 to standard output while it is written.
#[derive(Default)]
pub(crate) struct Pieces(Vec<u8>);

impl Pieces {
    /// Bytes that are printed at a time.
    const PIECE: usize = 64 << 10;

    /// Prints the rest, and this.
    pub(crate) fn end(mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
        out(&String::from_utf8_lossy(&self.0));
    }
}

impl std::io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() >= Self::PIECE {
            // The last character may be there in part only.
            let whole = match std::str::from_utf8(&self.0) {
                Ok(text) => text,
                Err(error) => str::from_utf8(&self.0[..error.valid_up_to()]).unwrap_or_default(),
            };
            out(whole);
            self.0.drain(..whole.len());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Prints a line to standard error.
pub(crate) fn say(text: &str) {
    let text = plain::plain(text, colour());
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
