//! What `vexp` says with its exit code.

/// Exit codes of every verb. [`Exit::NotWritten`] is between vexp and its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Fine = 0,
    /// A claim was not reproduced, or a regression was found.
    Refuted = 1,
    /// The spec or the command line is wrong.
    Usage = 2,
    /// An image could not be built.
    Build = 3,
    /// The testbed or another part of the infrastructure failed.
    Infrastructure = 4,
    /// Inconclusive or incomplete.
    Incomplete = 5,
    /// Recorded data can't be read or can't be trusted, so that nothing was judged. Never used for
    /// what was judged and is open: that is [`Exit::Incomplete`].
    Unreadable = 6,
    /// A worker can't write its results (`EX_IOERR` of sysexits(3)).
    NotWritten = 74,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
