//! A TCP/IP stack on control links of the lockstep, whose time is tokio's paused clock.
//!
//! ```text
//!  tasks ── TcpStream ──┐                      ┌── link 0: a machine, and its guests behind a bridge
//!                       ├─ Stack ── Switch ────┼── link 1: a machine
//!  Driver: the grid ────┘                      └── …
//! ```
//!
//! Tasks act at points of a grid of virtual time, [`GRID`] apart, and take no virtual time. tokio moves its paused clock
//! to the next timer only when every task is idle, so that all that is said at one point leaves together. Then
//! [`Driver::run`] blocks the thread in [`Wire::advance`] until the machines have reached the next point, and what they
//! sent wakes the tasks. Whatever is said between two points, by a timer that is not on the grid, leaves at the next.
//!
//! One interface stands on all links, which a learning switch joins: nodes reach each other by way of the control network
//! too, a grid point later. Nothing here depends on the host's time, addresses or random numbers.

mod arp;
mod stack;
mod stream;
mod switch;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use stack::Stack;
pub use stream::TcpStream;
use switch::{Switch, To};

/// Virtual time between two points at which vexp acts, and the precision to which it dates what machines say.
pub const GRID: Duration = Duration::from_millis(5);
const GRID_NS: u64 = 5_000_000;
/// Shortest frame, without its checksum (IEEE 802.3): shorter ones are padded.
const SHORTEST: usize = 60;

/// A side of the lockstep without a processor, and its links.
pub trait Wire: Send {
    /// Virtual time, in ns.
    fn now(&self) -> u64;

    /// Sends a frame, without its checksum, at the present.
    fn send(&mut self, link: usize, frame: &[u8]);

    /// Blocks the thread until the machines have reached `until`, in ns, and takes what has arrived up to then: link,
    /// time of arrival in ns, frame.
    fn advance(&mut self, until: u64) -> Result<Vec<(usize, u64, Vec<u8>)>, WireError>;
}

/// The lockstep has ended although it should not: an emulator died, or did not answer in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machines' lockstep has ended: {0}")]
pub struct WireError(pub String);

/// vexp's own place on the control network.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Number of links; machines stand on links 0, 1, …
    pub links: usize,
    /// MAC address.
    pub mac: [u8; 6],
    /// Address.
    pub address: Ipv4Addr,
    /// Prefix length of the network. There are no routers.
    pub prefix: u8,
    /// Seed of TCP's initial sequence numbers.
    pub seed: u64,
}

/// The control network, as tasks use it. Clones are the same network.
#[derive(Clone)]
pub struct Network {
    stack: Arc<Mutex<Stack>>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    /// A network, and what must run for anything to happen on it.
    pub fn new<W: Wire>(wire: W, addresses: &Addresses) -> (Self, Driver<W>) {
        let network = Self {
            stack: Arc::new(Mutex::new(Stack::new(addresses, wire.now()))),
        };
        let driver = Driver {
            wire,
            network: network.clone(),
            switch: Switch::new(addresses.links, addresses.mac),
        };
        (network, driver)
    }

    /// Opens a connection. `timeout` is virtual; a node that does not answer at all is an error only then.
    pub async fn connect(&self, to: SocketAddrV4, timeout: Duration) -> std::io::Result<TcpStream> {
        TcpStream::connect(self, to, timeout).await
    }

    fn stack(&self) -> MutexGuard<'_, Stack> {
        // A panic elsewhere has ended its task; the stack is whole between two calls.
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What moves a [`Network`]'s time.
#[derive(Debug)]
pub struct Driver<W> {
    wire: W,
    network: Network,
    switch: Switch,
}

impl<W: Wire> Driver<W> {
    /// Carries the network from grid point to grid point, until the wire fails; all streams fail with it.
    ///
    /// It must run on a current-thread runtime whose clock is paused, and nothing else may move that clock. It can be
    /// dropped wherever it waits and called again: points are those of the wire's time.
    pub async fn run(&mut self) -> WireError {
        let (virtual_start, start) = (self.wire.now(), Instant::now());
        let mut point = virtual_start - virtual_start % GRID_NS;
        let origin = point;
        let said = self.network.stack().reached(virtual_start, start);
        self.send(said);
        loop {
            point += GRID_NS;
            tokio::time::sleep_until(start + Duration::from_nanos(point - origin)).await;
            if let Err(error) = self.step(point) {
                self.network.stack().fail(error.clone());
                return error;
            }
        }
    }

    /// From the present point to the next.
    fn step(&mut self, point: u64) -> Result<(), WireError> {
        let said = self.network.stack().leaving();
        self.send(said);
        let mut arrived = self.wire.advance(point)?;
        arrived.sort_by_key(|(link, at, _)| (*at, *link));
        let mut stack = self.network.stack();
        for (link, _, frame) in arrived {
            let To { links, own } = self.switch.heard(link, &frame);
            for link in links {
                self.wire.send(link, &frame);
            }
            if own {
                stack.arrives(frame);
            }
        }
        let answers = stack.reached(point, Instant::now());
        drop(stack);
        self.send(answers);
        Ok(())
    }

    fn send(&mut self, frames: Vec<Vec<u8>>) {
        for mut frame in frames {
            if frame.len() < SHORTEST {
                frame.resize(SHORTEST, 0);
            }
            for link in self.switch.said(&frame) {
                self.wire.send(link, &frame);
            }
        }
    }

    /// The wire, for what is done to it while no task runs.
    pub fn wire(&mut self) -> &mut W {
        &mut self.wire
    }

    /// Gives the wire back; streams that are still open fail.
    pub fn into_wire(self) -> W {
        let ended = WireError("vexp has left the control network".to_owned());
        self.network.stack().fail(ended);
        self.wire
    }
}
