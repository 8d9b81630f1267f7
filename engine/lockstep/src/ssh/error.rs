//! What can go wrong with an SSH connection.

use super::data::Malformed;

/// An error that ends a connection, or keeps a channel from being opened. Every channel of a connection has the same, so
/// it can be cloned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// The transport failed.
    #[error("the connection failed: {0}")]
    Stream(String),
    /// The server closed the transport without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The connection was closed here.
    #[error("the connection was closed by vexp")]
    Left,
    /// The server ended the connection and said why.
    #[error("the server disconnected with code {code}: {text}")]
    Disconnected {
        /// Reason code of RFC 4253, section 11.1.
        code: u32,
        /// Its words.
        text: String,
    },
    /// A message that can't be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A packet whose length can't be, or whose code of authenticity is wrong.
    #[error("a packet of the server was damaged: {0}")]
    Packet(&'static str),
    /// A message that has no place where it came.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The server has none of this client's algorithms.
    #[error("the server offers `{offered}` as {what}, this client `{wanted}` only")]
    Algorithm {
        /// What is to be agreed on.
        what: &'static str,
        /// This client's.
        wanted: &'static str,
        /// The server's.
        offered: String,
    },
    /// The host key is another one, or the server does not have it.
    #[error(
        "its host key is not the one that is known, and it is not trusted: it shows {shown}. Host key verification failed."
    )]
    HostKey {
        /// What the server shows.
        shown: String,
    },
    /// The user or key is refused.
    #[error(
        "Permission denied (publickey): the server lets `{user}` in by `{methods}` only, or not with this key"
    )]
    Denied {
        /// User.
        user: String,
        /// Methods that may go on.
        methods: String,
    },
    /// The server has no place for another channel.
    #[error("channel open refused by peer with code {code}: {text}")]
    Refused {
        /// Reason code of RFC 4254, section 5.1.
        code: u32,
        /// Its words.
        text: String,
    },
    /// The server does not run the program.
    #[error("the server refuses to run the program, or closed its channel before")]
    NotRun,
    /// The program has ended, or closed its standard input.
    #[error("the program takes no more input")]
    NoInput,
    /// Keys are agreed on once.
    #[error(
        "the connection has carried {bytes} bytes and would need new keys, which this client does not make: move less than 1 GiB of data over one connection"
    )]
    Rekey {
        /// Bytes in both directions.
        bytes: u64,
    },
}

impl SshError {
    pub(super) fn stream(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Stream(error.to_string()),
        }
    }
}
