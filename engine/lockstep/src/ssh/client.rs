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
    one_at_a_time: bool,
}

impl Client {
    /// Connects and logs in over a byte stream. It has no timeout of its own. Tasks on the runtime carry the connection.
    pub async fn connect<S>(stream: S, login: &Login, random: Random) -> Result<Self, SshError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut transport = Transport::new(stream, random);
        let session = transport.exchange_keys(&login.host_keys).await?;
        auth::log_in(&mut transport, &login.user, &login.key, &session.id).await?;
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
            one_at_a_time: closes_what_has_not_begun(&session.server),
        })
    }

    /// Opens a channel and has the user's shell there run a command line.
    pub async fn exec(&self, command: &[u8]) -> Result<Channel, SshError> {
        Channel::exec(&self.multiplex, &self.outgoing, command).await
    }

    /// Whether a program can be started now without endangering others.
    ///
    /// When a program ends, Dropbear before 2024.86 closes all channels of its connection on which nothing runs yet, and
    /// what is then asked on those ends the connection. There a connection is for one program at a time.
    pub fn has_place(&self) -> bool {
        !self.one_at_a_time || self.multiplex.is_idle()
    }

    /// Why the connection has ended, if it has.
    pub fn failure(&self) -> Option<SshError> {
        self.multiplex.failure()
    }
}

/// Dropbear's versions are a year and the number of the release.
fn closes_what_has_not_begun(server: &str) -> bool {
    let version = server.strip_prefix("SSH-2.0-dropbear_");
    let version = version.and_then(|version| version.split_once('.'));
    let Some((year, release)) = version else {
        return false;
    };
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    match (digits(year).parse::<u32>(), digits(release).parse::<u32>()) {
        (Ok(year), Ok(release)) => (year, release) < (2024, 86),
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_dropbear_that_close_what_has_not_begun_are_known() {
        let one_at_a_time = |version| closes_what_has_not_begun(version);
        assert!(one_at_a_time("SSH-2.0-dropbear_2022.83"));
        assert!(one_at_a_time("SSH-2.0-dropbear_2024.85"));
        assert!(!one_at_a_time("SSH-2.0-dropbear_2024.86"));
        assert!(!one_at_a_time("SSH-2.0-dropbear_2025.89 Debian-1"));
        assert!(!one_at_a_time("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7"));
        assert!(!one_at_a_time("SSH-2.0-dropbear"));
    }
}
