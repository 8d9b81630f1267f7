//! The SSH client against what a real Dropbear has said, as it was and damaged.
//!
//! A client whose every byte follows from a seed says the same each time, so that a recorded server fits it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

#[path = "dropbear/sshd.rs"]
#[expect(dead_code, reason = "recording needs little of it")]
mod sshd;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use vexp_lockstep::ssh::key::KeyPair;
use vexp_lockstep::ssh::{Client, Event, Login, Random, SshError};

/// How long a server that says nothing is waited for, and all of a session: virtual.
const PATIENCE: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(100);

/// What was said: the server's pieces, each after so many bytes of the client's, and all of the client's.
#[derive(Clone, Debug, Default, PartialEq)]
struct Script {
    server: Vec<(usize, Vec<u8>)>,
    client: Vec<u8>,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/dropbear-2022.83/session.txt")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

impl Script {
    fn write(&self) -> String {
        let mut text = format!("client {}\n", hex(&self.client));
        for (after, piece) in &self.server {
            writeln!(text, "server {after} {}", hex(piece)).unwrap();
        }
        text
    }

    fn read() -> Self {
        let mut script = Self::default();
        for line in std::fs::read_to_string(file()).unwrap().lines() {
            match *line.split(' ').collect::<Vec<_>>() {
                ["client", bytes] => script.client = unhex(bytes),
                ["server", after, bytes] => {
                    script.server.push((after.parse().unwrap(), unhex(bytes)));
                }
                _ => unreachable!("{line}"),
            }
        }
        script
    }
}

/// A session of three programs; what happened on each channel.
async fn session<S>(stream: S) -> Result<Vec<Vec<Event>>, SshError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let [host, client] = ["host", "client"].map(|owner| KeyPair::from_seed(1, owner));
    let login = Login {
        user: "root".to_owned(),
        key: client,
        host_keys: vec![host.public()],
    };
    let client = Client::connect(stream, &login, Random::new(1, "recorded", 0)).await?;
    let mut all = Vec::new();
    for command in ["cat; exit 3", "echo out; echo err >&2", "kill -9 $$"] {
        let mut channel = client.exec(command.as_bytes()).await?;
        if let Some(mut input) = channel.input() {
            // A program may end without reading it.
            let _ = input.write(b"some input\n").await;
        }
        let mut events = Vec::new();
        while events.last() != Some(&Event::Closed) {
            events.push(channel.next().await?);
        }
        all.push(events);
    }
    Ok(all)
}

/// A server that says what stands in a script.
struct Replay {
    server: std::vec::IntoIter<(usize, Vec<u8>)>,
    client: Arc<Mutex<Vec<u8>>>,
    reading: Option<Waker>,
    patience: Pin<Box<Sleep>>,
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let said = self.client.lock().unwrap().len();
        let Some((after, _)) = self.server.as_slice().first() else {
            return Poll::Ready(Ok(()));
        };
        if said < *after {
            self.reading = Some(context.waker().clone());
            return self.patience.as_mut().poll(context).map(Ok);
        }
        self.patience
            .as_mut()
            .reset(tokio::time::Instant::now() + PATIENCE);
        buffer.put_slice(&self.server.next().unwrap().1);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.client.lock().unwrap().extend_from_slice(bytes);
        if let Some(reading) = self.reading.take() {
            reading.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What comes of a script, and what the client has said.
fn replay(server: Vec<(usize, Vec<u8>)>) -> (Result<Vec<Vec<Event>>, SshError>, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Arc::new(Mutex::new(Vec::new()));
        let stream = Replay {
            server: server.into_iter(),
            client: Arc::clone(&client),
            reading: None,
            patience: Box::pin(tokio::time::sleep(PATIENCE)),
        };
        let done = tokio::time::timeout(WHOLE, session(stream)).await;
        // What is still to be said of the end.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let said = client.lock().unwrap().clone();
        // An error here is a client that hangs.
        (done.unwrap(), said)
    })
}

#[test]
fn a_recorded_server_is_understood_and_told_the_same_bytes() {
    let script = Script::read();
    let (done, said) = replay(script.server);
    let stdout = |text: &str| Event::Stdout(text.into());
    let done = done.unwrap();
    let status = |status| [Event::Status(status), Event::Closed];
    assert_eq!(done[0].first(), Some(&stdout("some input\n")));
    assert_eq!(done[1].first(), Some(&stdout("out\n")));
    assert!(done[1].contains(&Event::Stderr("err\n".into())));
    assert!(done[0].ends_with(&status(3)) && done[1].ends_with(&status(0)));
    assert!(done[2].contains(&Event::Signal("KILL".to_owned())));
    // Byte for byte: what a run has measured depends on it.
    assert!(said == script.client, "{}", hex(&said));
}

proptest! {
    #![proptest_config(vexp_testkit::cases(200))]

    /// A bit, a cut, a repeated or a missing piece: an error that says so, and neither a panic nor a client that hangs.
    #[test]
    fn a_damaged_server_ends_the_connection(
        place in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        kind in 0..4,
    ) {
        let script = Script::read();
        let mut server = script.server.clone();
        let at = place.index(server.len());
        let (_, piece) = &mut server[at];
        let byte = byte.index(piece.len());
        match kind {
            0 => piece[byte] ^= 1 << bit,
            1 => {
                piece.truncate(byte);
                server.truncate(at + 1);
            }
            2 => server.insert(at, server[at].clone()),
            _ => drop(server.remove(at)),
        }
        let (done, said) = replay(server);
        if let Ok(done) = done {
            // Only the very end may be missed, when all was seen.
            prop_assert_eq!(done, replay(script.server).0.unwrap());
        }
        prop_assert!(said.len() <= 2 * script.client.len());
    }
}

/// Notes what goes over a stream.
struct Recorder {
    stream: tokio::net::TcpStream,
    script: Arc<Mutex<Script>>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let piece = buffer.filled()[before..].to_vec();
        if !piece.is_empty() {
            let mut script = self.script.lock().unwrap();
            let after = script.client.len();
            script.server.push((after, piece));
        }
        read
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(n)) = written {
            self.script
                .lock()
                .unwrap()
                .client
                .extend_from_slice(&bytes[..n]);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
#[ignore = "makes testdata anew, which must be looked at before it is committed"]
async fn record() {
    let Some(server) = sshd::Sshd::start() else {
        return;
    };
    server.wait_until_up();
    let script = Arc::new(Mutex::new(Script::default()));
    let stream = Recorder {
        stream: tokio::net::TcpStream::connect(server.socket())
            .await
            .unwrap(),
        script: Arc::clone(&script),
    };
    session(stream).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::create_dir_all(file().parent().unwrap()).unwrap();
    std::fs::write(file(), script.lock().unwrap().write()).unwrap();
}
