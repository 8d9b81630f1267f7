//! What ends a verb early: a text for people and an exit code for programs.

use serde::Serialize;
use vexp_api::exit::Exit;

/// What a verb with `--format json` prints where it fails before it has anything else to print.
#[derive(Serialize, schemars::JsonSchema)]
pub(crate) struct ErrorDocument<'a> {
    /// [`FORMAT`].
    format: u32,
    error: ErrorBody<'a>,
}

#[derive(Serialize, schemars::JsonSchema)]
struct ErrorBody<'a> {
    /// The exit code.
    exit: u8,
    /// What went wrong, then its causes.
    messages: &'a [String],
    /// What the user can do.
    hint: Option<&'a str>,
}

/// The version of the format of [`ErrorDocument`].
const FORMAT: u32 = 1;

/// An error of a verb.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) exit: Exit,
    /// What went wrong, then its causes, outermost first. Empty when all has been said.
    pub(crate) messages: Vec<String>,
    /// What the user can do.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            messages: vec![message.into()],
            hint: None,
        }
    }

    /// An error with its chain of causes. A cause that the error before it has said already is not said twice.
    pub(crate) fn of(exit: Exit, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut messages = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !messages.last().is_some_and(|said| said.ends_with(&text)) {
                messages.push(text);
            }
            source = cause.source();
        }
        Self {
            exit,
            messages,
            hint: None,
        }
    }

    /// Ends with a code when everything has been printed already.
    pub(crate) fn said(exit: Exit) -> Self {
        Self {
            exit,
            messages: Vec::new(),
            hint: None,
        }
    }

    /// The same for programs.
    pub(crate) fn document(&self) -> ErrorDocument<'_> {
        ErrorDocument {
            format: FORMAT,
            error: ErrorBody {
                exit: self.exit as u8,
                messages: &self.messages,
                hint: self.hint.as_deref(),
            },
        }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `result.or_exit(Exit::Build)?`
pub(crate) trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: std::error::Error + 'static> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::of(exit, &error))
    }
}
