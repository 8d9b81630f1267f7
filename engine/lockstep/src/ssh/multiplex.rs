//! Channels of a connection (RFC 4254), as the server's messages change them. Nothing here waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::data::{Reader, Writer};
use super::error::SshError;
use super::number;
use super::packet::Packet;
use super::transport::{of_consequence, unexpected};

/// Bytes that the server may send on a channel before it is told that they were taken, and in one message.
pub(super) const WINDOW: u32 = 2 << 20;
pub(super) const LARGEST: u32 = 32 << 10;
/// The only kind of extended data.
const STDERR: u32 = 1;
/// Reason code of RFC 4254, section 5.1.
const PROHIBITED: u32 = 1;
/// Most bytes of a refusal's or a signal's words that are kept.
const WORDS: usize = 200;

/// What the writer gets.
#[derive(Debug)]
pub(super) enum Out {
    Message(Vec<u8>),
    /// The connection is over.
    End,
}

/// What happens on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Standard output; never empty.
    Stdout(Vec<u8>),
    /// Standard error; never empty.
    Stderr(Vec<u8>),
    /// Neither has any more.
    Eof,
    /// The program has ended with a status.
    Status(u32),
    /// A signal has ended it: its name without `SIG`.
    Signal(String),
    /// The channel is over.
    Closed,
}

/// What the server has said about a channel, in order.
#[derive(Debug)]
pub(super) enum Said {
    Open,
    Refused(SshError),
    Runs,
    NotRun,
    Event(Event),
}

/// One channel.
struct Entry {
    said: mpsc::UnboundedSender<Said>,
    /// Told whenever there is more room to send, and when the channel ends.
    room: Arc<Notify>,
    /// The server's number; `None` until it has opened the channel.
    remote: Option<u32>,
    /// Bytes that may be sent, all in all and in one message.
    send: u32,
    largest: u32,
    /// Bytes that the server may still send.
    receive: u32,
    /// Whether anybody still waits for it.
    wanted: bool,
    eof_sent: bool,
    close_sent: bool,
    /// Whether the server has said that the program runs.
    runs: bool,
    eof_taken: bool,
    /// Whether the server has said how the program ended.
    ended: bool,
}

#[derive(Default)]
struct State {
    channels: BTreeMap<u32, Entry>,
    next: u32,
    failed: Option<SshError>,
}

/// All channels of a connection.
#[derive(Default)]
pub(super) struct Multiplex(Mutex<State>);

impl std::fmt::Debug for Multiplex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Multiplex").finish_non_exhaustive()
    }
}

/// A new channel's number, what is said about it, and room to send.
pub(super) type Begun = (u32, mpsc::UnboundedReceiver<Said>, Arc<Notify>);

impl Multiplex {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no channel, not even one that closes.
    pub(super) fn is_idle(&self) -> bool {
        self.state().channels.is_empty()
    }

    pub(super) fn failure(&self) -> Option<SshError> {
        self.state().failed.clone()
    }

    /// Ends everything with an error, unless it has ended.
    pub(super) fn fail(&self, error: SshError) {
        let mut state = self.state();
        state.failed.get_or_insert(error);
        for entry in std::mem::take(&mut state.channels).into_values() {
            entry.room.notify_waiters();
        }
    }

    /// A new channel, and the message that asks for it.
    pub(super) fn begin(&self) -> Result<(Begun, Vec<u8>), SshError> {
        let mut state = self.state();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        let id = state.next;
        // Numbers aren't used twice: 2^32 channels take more than a connection may carry.
        state.next = id.wrapping_add(1);
        let (said, hear) = mpsc::unbounded_channel();
        let room = Arc::new(Notify::new());
        let entry = Entry {
            said,
            room: Arc::clone(&room),
            remote: None,
            send: 0,
            largest: 0,
            receive: WINDOW,
            wanted: true,
            eof_sent: false,
            close_sent: false,
            runs: false,
            eof_taken: false,
            ended: false,
        };
        state.channels.insert(id, entry);
        let message = Writer::message(number::CHANNEL_OPEN)
            .string("session")
            .number(id)
            .number(WINDOW)
            .number(LARGEST);
        Ok(((id, hear, room), message.done()))
    }

    /// A message about an open channel that this side has not closed; `None` where there is none such any more.
    pub(super) fn message(&self, id: u32, kind: u8) -> Option<Writer> {
        let state = self.state();
        let entry = state.channels.get(&id).filter(|entry| !entry.close_sent)?;
        Some(Writer::message(kind).number(entry.remote?))
    }

    /// The message with as many of these bytes as may be sent now, and their number, which may be 0.
    pub(super) fn data(&self, id: u32, bytes: &[u8]) -> Result<(usize, Option<Vec<u8>>), SshError> {
        let mut state = self.state();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        let open = |entry: &&mut Entry| !entry.close_sent && !entry.eof_sent;
        let Some(entry) = state.channels.get_mut(&id).filter(open) else {
            return Err(SshError::NoInput);
        };
        let most = entry.send.min(entry.largest).min(LARGEST) as usize;
        let n = most.min(bytes.len());
        let Some(remote) = entry.remote.filter(|_| n > 0) else {
            return Ok((0, None));
        };
        // No more than what was allowed, so that it fits.
        entry.send -= u32::try_from(n).unwrap_or(entry.send);
        let message = Writer::message(number::CHANNEL_DATA)
            .number(remote)
            .string(&bytes[..n]);
        Ok((n, Some(message.done())))
    }

    /// The message that input has ended, once.
    pub(super) fn eof(&self, id: u32) -> Option<Vec<u8>> {
        let mut state = self.state();
        let entry = state.channels.get_mut(&id)?;
        let remote = entry.remote.filter(|_| !entry.close_sent)?;
        let first = !std::mem::replace(&mut entry.eof_sent, true);
        first.then(|| Writer::message(number::CHANNEL_EOF).number(remote).done())
    }

    /// Lets the server send as much again as was taken.
    pub(super) fn taken(&self, id: u32, bytes: u32) -> Option<Vec<u8>> {
        let mut state = self.state();
        let entry = state.channels.get_mut(&id)?;
        let remote = entry.remote.filter(|_| !entry.close_sent)?;
        entry.receive = entry.receive.saturating_add(bytes);
        let message = Writer::message(number::CHANNEL_WINDOW_ADJUST).number(remote);
        Some(message.number(bytes).done())
    }

    /// Nobody waits for a channel any more. The message that closes it, unless that was sent or must wait for the server.
    pub(super) fn leave(&self, id: u32) -> Option<Vec<u8>> {
        let mut state = self.state();
        let entry = state.channels.get_mut(&id)?;
        entry.wanted = false;
        entry.close()
    }

    /// What a packet of the server changes, and the answer to it. `bytes` have come so far.
    pub(super) fn take(&self, packet: Packet, bytes: u64) -> Result<Option<Vec<u8>>, SshError> {
        let sequence = packet.sequence;
        let Some(payload) = of_consequence(packet)? else {
            return Ok(None);
        };
        let message = Reader::new(&payload[1..], "message about a channel");
        match payload[0] {
            number::KEXINIT => Err(SshError::Rekey { bytes }),
            number::GLOBAL_REQUEST => global_request(message),
            // Nothing is ever asked that these could answer.
            number::REQUEST_SUCCESS | number::REQUEST_FAILURE => Ok(None),
            number::CHANNEL_OPEN => refuse_open(message),
            number::CHANNEL_OPEN_CONFIRMATION..=number::CHANNEL_FAILURE => {
                self.about_channel(payload[0], message)
            }
            // Numbers of the transport and of logging in, which are over.
            0..number::GLOBAL_REQUEST => Err(unexpected(&payload)),
            _ => Ok(Some(
                Writer::message(number::UNIMPLEMENTED)
                    .number(sequence)
                    .done(),
            )),
        }
    }

    fn about_channel(
        &self,
        kind: u8,
        mut message: Reader<'_>,
    ) -> Result<Option<Vec<u8>>, SshError> {
        let id = message.number()?;
        let mut state = self.state();
        let Some(entry) = state.channels.get_mut(&id) else {
            let reason = format!("message {kind} is about channel {id}, which is not open");
            return Err(SshError::Protocol(reason));
        };
        let opening = matches!(
            kind,
            number::CHANNEL_OPEN_CONFIRMATION | number::CHANNEL_OPEN_FAILURE
        );
        if opening != entry.remote.is_none() {
            let reason = format!("message {kind} has no place on channel {id}");
            return Err(SshError::Protocol(reason));
        }
        let answer = entry.take(kind, message)?;
        let over = kind == number::CHANNEL_CLOSE || kind == number::CHANNEL_OPEN_FAILURE;
        if over {
            state.channels.remove(&id);
        }
        Ok(answer)
    }
}

impl Entry {
    fn say(&self, said: Said) {
        // Somebody who left hears nothing.
        let _ = self.said.send(said);
    }

    fn event(&self, event: Event) {
        self.say(Said::Event(event));
    }

    /// The message that closes it, once it is open.
    fn close(&mut self) -> Option<Vec<u8>> {
        let remote = self.remote?;
        let first = !std::mem::replace(&mut self.close_sent, true);
        first.then(|| Writer::message(number::CHANNEL_CLOSE).number(remote).done())
    }

    fn take(&mut self, kind: u8, mut message: Reader<'_>) -> Result<Option<Vec<u8>>, SshError> {
        match kind {
            number::CHANNEL_OPEN_CONFIRMATION => {
                self.remote = Some(message.number()?);
                (self.send, self.largest) = (message.number()?, message.number()?);
                if !self.wanted {
                    return Ok(self.close());
                }
                self.say(Said::Open);
            }
            number::CHANNEL_OPEN_FAILURE => {
                let (code, text) = (message.number()?, words(&mut message)?);
                self.say(Said::Refused(SshError::Refused { code, text }));
            }
            number::CHANNEL_WINDOW_ADJUST => {
                let more = self.send.checked_add(message.number()?);
                let beyond = || SshError::Protocol("a window is beyond 2^32 bytes".to_owned());
                self.send = more.ok_or_else(beyond)?;
                self.room.notify_waiters();
            }
            number::CHANNEL_DATA => {
                let bytes = message.string()?;
                self.data(bytes, Event::Stdout)?;
            }
            number::CHANNEL_EXTENDED_DATA => {
                let kind = message.number()?;
                let bytes = message.string()?;
                match kind {
                    STDERR => self.data(bytes, Event::Stderr)?,
                    _ => return Err(SshError::Protocol(format!("extended data {kind}"))),
                }
            }
            number::CHANNEL_EOF if self.eof_taken => (),
            number::CHANNEL_EOF => {
                self.eof_taken = true;
                self.event(Event::Eof);
            }
            number::CHANNEL_CLOSE => {
                self.event(Event::Closed);
                self.room.notify_waiters();
                return Ok(self.close());
            }
            number::CHANNEL_REQUEST => return self.request(message),
            number::CHANNEL_FAILURE => self.say(Said::NotRun),
            // SSH_MSG_CHANNEL_SUCCESS. Only one thing is ever asked.
            _ if self.runs => {
                return Err(SshError::Protocol(
                    "it says twice that a program runs".to_owned(),
                ));
            }
            _ => {
                self.runs = true;
                self.say(Said::Runs);
            }
        }
        Ok(None)
    }

    fn data(&mut self, bytes: &[u8], event: fn(Vec<u8>) -> Event) -> Result<(), SshError> {
        let n = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let left = self.receive.checked_sub(n);
        let beyond = || SshError::Protocol("it sent more than it may".to_owned());
        self.receive = left.ok_or_else(beyond)?;
        if self.eof_taken {
            return Err(SshError::Protocol(
                "it sent data after their end".to_owned(),
            ));
        }
        if n > 0 {
            self.event(event(bytes.to_vec()));
        }
        Ok(())
    }

    fn request(&mut self, mut message: Reader<'_>) -> Result<Option<Vec<u8>>, SshError> {
        let (kind, wants_reply) = (message.string()?, message.boolean()?);
        let event = match kind {
            b"exit-status" => Some(Event::Status(message.number()?)),
            b"exit-signal" => Some(Event::Signal(words(&mut message)?)),
            _ => None,
        };
        let known = event.is_some();
        if let Some(event) = event.filter(|_| !std::mem::replace(&mut self.ended, known)) {
            self.event(event);
        }
        // Nothing that a server asks on a channel of this client needs anything done.
        let answer = match known {
            true => number::CHANNEL_SUCCESS,
            false => number::CHANNEL_FAILURE,
        };
        let remote = self.remote.filter(|_| wants_reply && !self.close_sent);
        Ok(remote.map(|remote| Writer::message(answer).number(remote).done()))
    }
}

fn words(message: &mut Reader<'_>) -> Result<String, SshError> {
    Ok(message.text()?.chars().take(WORDS).collect())
}

fn global_request(mut message: Reader<'_>) -> Result<Option<Vec<u8>>, SshError> {
    message.string()?;
    let failure = Writer::message(number::REQUEST_FAILURE).done();
    Ok(message.boolean()?.then_some(failure))
}

fn refuse_open(mut message: Reader<'_>) -> Result<Option<Vec<u8>>, SshError> {
    message.string()?;
    let refusal = Writer::message(number::CHANNEL_OPEN_FAILURE)
        .number(message.number()?)
        .number(PROHIBITED)
        .string("this client opens channels itself")
        .string("");
    Ok(Some(refusal.done()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(multiplex: &Multiplex, message: Writer) -> Result<Option<Vec<u8>>, SshError> {
        let payload = message.done();
        let sequence = 7;
        multiplex.take(Packet { sequence, payload }, 100)
    }

    /// A channel that the server has opened as its number 9, with a window of 10 bytes.
    fn opened() -> (Multiplex, u32, mpsc::UnboundedReceiver<Said>) {
        let multiplex = Multiplex::default();
        let ((id, mut said, _), _) = multiplex.begin().unwrap();
        let open = Writer::message(number::CHANNEL_OPEN_CONFIRMATION);
        let open = open.number(id).number(9).number(10).number(4);
        take(&multiplex, open).unwrap();
        assert!(matches!(said.try_recv(), Ok(Said::Open)));
        (multiplex, id, said)
    }

    fn about(kind: u8, id: u32) -> Writer {
        Writer::message(kind).number(id)
    }

    #[test]
    fn input_keeps_to_the_window_and_to_the_largest_message() {
        let (multiplex, id, _said) = opened();
        let sent = |bytes: &[u8]| multiplex.data(id, bytes).unwrap().0;
        assert_eq!([sent(b"abcdef"), sent(b"ef"), sent(b"abcdef")], [4, 2, 4]);
        assert_eq!(multiplex.data(id, b"x").unwrap(), (0, None));
        let adjust = about(number::CHANNEL_WINDOW_ADJUST, id).number(1);
        take(&multiplex, adjust).unwrap();
        assert_eq!(sent(b"xy"), 1);
        assert!(multiplex.eof(id).is_some() && multiplex.eof(id).is_none());
        assert_eq!(multiplex.data(id, b"x"), Err(SshError::NoInput));
        let beyond = about(number::CHANNEL_WINDOW_ADJUST, id).number(u32::MAX);
        assert!(take(&multiplex, beyond).is_ok());
        let beyond = about(number::CHANNEL_WINDOW_ADJUST, id).number(1);
        assert!(take(&multiplex, beyond).is_err());
    }

    #[test]
    fn a_server_that_sends_more_than_it_may_is_refused() {
        let (multiplex, id, mut said) = opened();
        let data = || about(number::CHANNEL_DATA, id).string(vec![1; 1 << 20]);
        assert!(take(&multiplex, data()).is_ok() && take(&multiplex, data()).is_ok());
        let error = take(&multiplex, about(number::CHANNEL_DATA, id).string("x")).unwrap_err();
        assert!(error.to_string().contains("more than it may"), "{error}");
        assert!(matches!(said.try_recv(), Ok(Said::Event(Event::Stdout(_)))));
        multiplex.taken(id, 1).unwrap();
        assert!(take(&multiplex, about(number::CHANNEL_DATA, id).string("x")).is_ok());
    }

    #[test]
    fn messages_without_a_place_end_the_connection() {
        let wrong = |message: fn(u32) -> Writer| {
            let (multiplex, id, _said) = opened();
            take(&multiplex, message(id)).unwrap_err()
        };
        wrong(|id| about(number::CHANNEL_DATA, id + 1).string("x"));
        wrong(|id| {
            about(number::CHANNEL_OPEN_CONFIRMATION, id)
                .number(1)
                .number(1)
                .number(1)
        });
        wrong(|id| {
            about(number::CHANNEL_OPEN_FAILURE, id)
                .number(1)
                .string("")
                .string("")
        });
        wrong(|id| {
            about(number::CHANNEL_EXTENDED_DATA, id)
                .number(2)
                .string("x")
        });
        wrong(|id| about(number::CHANNEL_DATA, id).number(5).raw(b"1234"));
        wrong(|_| Writer::message(number::USERAUTH_SUCCESS));
        wrong(|_| Writer::message(number::NEWKEYS));
        let disconnect = wrong(|_| Writer::message(number::DISCONNECT).number(2).string("a\nb"));
        let text = "a b".to_owned();
        assert_eq!(disconnect, SshError::Disconnected { code: 2, text });
        let rekey = wrong(|_| Writer::message(number::KEXINIT));
        assert_eq!(rekey, SshError::Rekey { bytes: 100 });
    }

    #[test]
    fn what_a_server_asks_is_answered() {
        let (multiplex, id, _said) = opened();
        let request = Writer::message(number::GLOBAL_REQUEST).string("keepalive@openssh.com");
        let answer = take(&multiplex, request.boolean(true)).unwrap();
        assert_eq!(answer, Some(vec![number::REQUEST_FAILURE]));
        let unknown = about(number::CHANNEL_REQUEST, id).string("keepalive@openssh.com");
        let answer = take(&multiplex, unknown.boolean(true)).unwrap();
        assert_eq!(answer, Some(about(number::CHANNEL_FAILURE, 9).done()));
        let open = Writer::message(number::CHANNEL_OPEN)
            .string("x11")
            .number(3);
        let answer = take(&multiplex, open).unwrap().unwrap();
        assert!(answer.starts_with(&[number::CHANNEL_OPEN_FAILURE, 0, 0, 0, 3]));
        let answer = take(&multiplex, Writer::message(200)).unwrap();
        assert_eq!(answer, Some(vec![number::UNIMPLEMENTED, 0, 0, 0, 7]));
    }

    #[test]
    fn a_channel_that_nobody_waits_for_closes_once_it_is_open() {
        let multiplex = Multiplex::default();
        let ((id, said, _), _) = multiplex.begin().unwrap();
        drop(said);
        assert_eq!(multiplex.leave(id), None);
        let open = about(number::CHANNEL_OPEN_CONFIRMATION, id);
        let close = take(&multiplex, open.number(9).number(10).number(4)).unwrap();
        assert_eq!(close, Some(about(number::CHANNEL_CLOSE, 9).done()));
        assert_eq!(take(&multiplex, about(number::CHANNEL_CLOSE, id)), Ok(None));
        assert!(multiplex.is_idle());
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(512))]

        /// Any messages after any others: an answer or an error, and never more kept than may come.
        #[test]
        fn whatever_a_server_says_ends_well(
            messages in proptest::collection::vec(
                (prop_oneof![80_u8..=100, any::<u8>()], 0_u32..3, proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()),
                1..30,
            )
        ) {
            let (multiplex, _, mut said) = opened();
            let (_second, _) = multiplex.begin().unwrap();
            for (kind, id, rest, lengths) in messages {
                let message = about(kind, id);
                let message = if lengths { message.string(rest) } else { message.raw(&rest) };
                if take(&multiplex, message).is_err() {
                    break;
                }
            }
            multiplex.fail(SshError::Closed);
            prop_assert!(multiplex.is_idle());
            let mut bytes = 0;
            while let Ok(event) = said.try_recv() {
                if let Said::Event(Event::Stdout(data) | Event::Stderr(data)) = event {
                    bytes += data.len();
                }
            }
            prop_assert!(bytes <= WINDOW as usize);
        }
    }
}
