//! A program on the other side of a connection.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::error::SshError;
use super::multiplex::{Event, Multiplex, Out, Said, WINDOW};
use super::number;

/// A channel on which a program runs. Dropping it closes the channel, whatever the program does.
#[derive(Debug)]
pub struct Channel {
    end: End,
    said: mpsc::UnboundedReceiver<Said>,
    /// Bytes that were taken since the server was told.
    taken: u32,
    input: Option<Input>,
}

/// What can be done to a channel.
#[derive(Clone, Debug)]
struct End {
    id: u32,
    multiplex: Arc<Multiplex>,
    outgoing: mpsc::UnboundedSender<Out>,
}

impl End {
    fn send(&self, message: Option<Vec<u8>>) {
        if let Some(message) = message {
            // The writer ends only with the connection, which whoever waits hears of.
            let _ = self.outgoing.send(Out::Message(message));
        }
    }

    fn failure(&self) -> SshError {
        self.multiplex.failure().unwrap_or(SshError::Closed)
    }
}

impl Channel {
    /// Opens a channel and has a command line run there.
    pub(super) async fn exec(
        multiplex: &Arc<Multiplex>,
        outgoing: &mpsc::UnboundedSender<Out>,
        command: &[u8],
    ) -> Result<Self, SshError> {
        let mut channel = Self::open(multiplex, outgoing).await?;
        channel.run(command).await?;
        Ok(channel)
    }

    async fn open(
        multiplex: &Arc<Multiplex>,
        outgoing: &mpsc::UnboundedSender<Out>,
    ) -> Result<Self, SshError> {
        let ((id, said, room), open) = multiplex.begin()?;
        let end = End {
            id,
            multiplex: Arc::clone(multiplex),
            outgoing: outgoing.clone(),
        };
        end.send(Some(open));
        let mut channel = Self {
            end: end.clone(),
            said,
            taken: 0,
            input: None,
        };
        match channel.said.recv().await {
            Some(Said::Open) => {
                channel.input = Some(Input { end, room });
                Ok(channel)
            }
            Some(Said::Refused(error)) => Err(error),
            _ => Err(end.failure()),
        }
    }

    /// Has a program run, and waits for the server's word that it does.
    async fn run(&mut self, command: &[u8]) -> Result<(), SshError> {
        let request = self
            .end
            .multiplex
            .message(self.end.id, number::CHANNEL_REQUEST);
        let request = request.map(|it| it.string("exec").boolean(true).string(command).done());
        self.end.send(request);
        loop {
            match self.said.recv().await {
                Some(Said::Runs) => return Ok(()),
                Some(Said::NotRun | Said::Event(Event::Closed)) => return Err(SshError::NotRun),
                // Nothing else can come before.
                Some(_) => (),
                None => return Err(self.end.failure()),
            }
        }
    }

    /// The program's standard input, the first time.
    pub fn input(&mut self) -> Option<Input> {
        self.input.take()
    }

    /// What happens next; after [`Event::Closed`] nothing does, and this is an error.
    pub async fn next(&mut self) -> Result<Event, SshError> {
        let event = match self.said.recv().await {
            Some(Said::Event(event)) => event,
            Some(Said::NotRun) => return Err(SshError::NotRun),
            Some(Said::Refused(error)) => return Err(error),
            Some(Said::Open | Said::Runs) | None => return Err(self.end.failure()),
        };
        if let Event::Stdout(bytes) | Event::Stderr(bytes) = &event {
            self.taken += u32::try_from(bytes.len()).unwrap_or(0);
            if self.taken >= WINDOW / 2 {
                let taken = std::mem::take(&mut self.taken);
                self.end.send(self.end.multiplex.taken(self.end.id, taken));
            }
        }
        Ok(event)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.end.send(self.end.multiplex.leave(self.end.id));
    }
}

/// A program's standard input. Dropping it is the input's end.
#[derive(Debug)]
pub struct Input {
    end: End,
    room: Arc<Notify>,
}

impl Input {
    /// Sends all of it, as the program takes it. An error where it takes no more.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), SshError> {
        while !bytes.is_empty() {
            // Before the look: what is told in between must not be missed.
            let room = self.room.notified();
            let (n, message) = self.end.multiplex.data(self.end.id, bytes)?;
            self.end.send(message);
            bytes = &bytes[n..];
            if n == 0 {
                room.await;
            }
        }
        Ok(())
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.end.send(self.end.multiplex.eof(self.end.id));
    }
}
