//! A connection that programs share.

use std::sync::Arc;

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::sync::mpsc;

use super::auth;
use super::channel::Channel;
use super::data::Writer;
use super::error::SshError;
use super::key::{KeyPair, PublicKey};
use super::multiplex::{Multiplex, Out};
use super::number;
use super::packet::{Opener, Sealer};
use super::random::Random;
use super::transport::Transport;

/// Reason code of RFC 4253, section 11.1.
const BY_APPLICATION: u32 = 11;
/// Messages that are sent in one write.
const TOGETHER: usize = 64;

/// Who logs in, and to whom.
#[derive(Clone, Debug)]
pub struct Login {
    /// User.
    pub user: String,
    /// Its key.
    pub key: KeyPair,
    /// Keys of which the server must have one.
    pub host_keys: Vec<PublicKey>,
}

/// A connection. It ends when this and all its channels are gone.
#[derive(Clone, Debug)]
pub struct Client {
    multiplex: Arc<Multiplex>,
    outgoing: mpsc::UnboundedSender<Out>,
}

impl Client {
    /// Connects and logs in over a byte stream. It has no timeout of its own. Tasks on the runtime carry the connection.
    pub async fn connect<S>(stream: S, login: &Login, random: Random) -> Result<Self, SshError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut transport = Transport::new(stream, random);
        let session = transport.exchange_keys(&login.host_keys).await?;
        auth::log_in(&mut transport, &login.user, &login.key, &session).await?;
        let Transport {
            stream,
            opener,
            sealer,
            ..
        } = transport;
        let (input, output) = tokio::io::split(stream);
        let (outgoing, out) = mpsc::unbounded_channel();
        let multiplex = Arc::new(Multiplex::default());
        let reader = Reading {
            input,
            opener,
            multiplex: Arc::clone(&multiplex),
            outgoing: outgoing.downgrade(),
        };
        let reader = tokio::spawn(reader.run()).abort_handle();
        let failing = Arc::clone(&multiplex);
        tokio::spawn(async move {
            let error = write(output, sealer, out).await.err();
            failing.fail(error.unwrap_or(SshError::Left));
            reader.abort();
        });
        Ok(Self {
            multiplex,
            outgoing,
        })
    }

    /// Opens a channel and has the user's shell there run a command line.
    pub async fn exec(&self, command: &[u8]) -> Result<Channel, SshError> {
        Channel::exec(&self.multiplex, &self.outgoing, command).await
    }

    /// Why the connection has ended, if it has.
    pub fn failure(&self) -> Option<SshError> {
        self.multiplex.failure()
    }
}

/// What reads a connection.
struct Reading<S> {
    input: ReadHalf<S>,
    opener: Opener,
    multiplex: Arc<Multiplex>,
    /// Weak: a connection that nobody uses ends.
    outgoing: mpsc::WeakUnboundedSender<Out>,
}

impl<S: AsyncRead + AsyncWrite> Reading<S> {
    async fn run(mut self) {
        let Err(error) = self.read().await;
        self.multiplex.fail(error);
        if let Some(outgoing) = self.outgoing.upgrade() {
            // Only the writer's end closes the stream.
            let _ = outgoing.send(Out::End);
        }
    }

    async fn read(&mut self) -> Result<std::convert::Infallible, SshError> {
        let mut piece = vec![0; 32 << 10];
        loop {
            while let Some(packet) = self.opener.next()? {
                let answer = self.multiplex.take(packet, self.opener.bytes())?;
                if let (Some(answer), Some(outgoing)) = (answer, self.outgoing.upgrade()) {
                    let _ = outgoing.send(Out::Message(answer));
                }
            }
            let read = self.input.read(&mut piece).await;
            match read.map_err(|error| SshError::stream(&error))? {
                0 => return Err(SshError::Closed),
                n => self.opener.feed(&piece[..n]),
            }
        }
    }
}

/// Sends what tasks have to say, together where they say it at the same time.
async fn write<S: AsyncWrite>(
    mut output: WriteHalf<S>,
    mut sealer: Sealer,
    mut messages: mpsc::UnboundedReceiver<Out>,
) -> Result<(), SshError> {
    let (mut some, mut bytes) = (Vec::new(), Vec::new());
    let mut last = false;
    while !last {
        last = messages.recv_many(&mut some, TOGETHER).await == 0;
        for message in some.drain(..) {
            match message {
                Out::Message(payload) => sealer.seal(&payload, &mut bytes)?,
                Out::End => last = true,
            }
        }
        if last {
            sealer.seal(&goodbye(), &mut bytes)?;
        }
        let written = output.write_all(&bytes).await;
        written.map_err(|error| SshError::stream(&error))?;
        bytes.clear();
    }
    let ended = output.shutdown().await;
    ended.map_err(|error| SshError::stream(&error))
}

fn goodbye() -> Vec<u8> {
    Writer::message(number::DISCONNECT)
        .number(BY_APPLICATION)
        .string("")
        .string("")
        .done()
}
