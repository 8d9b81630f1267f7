//! smoltcp on the control network.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{self, Socket, SocketBuffer};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint};
use tokio::time::Instant;

use super::arp::{self, Neighbours};
use super::{Addresses, WireError};

/// Bytes that a connection holds in each direction: what fits into two grid points at 400 Mb/s.
const BUFFER: usize = 512 << 10;
/// Local ports (RFC 6335's dynamic ones), in turn.
const FIRST_PORT: u16 = 49152;
/// Virtual time after which smoltcp is told again who has which address, in µs: it forgets after a minute.
const REMINDER: u64 = 20_000_000;
/// Virtual time for which a connection that nobody has any more may still be closing, in µs.
const CLOSING: u64 = 60_000_000;

/// Interface, connections, and the time that both are at.
pub(super) struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    device: Frames,
    /// Virtual time of the present grid point.
    now: smoltcp::time::Instant,
    /// The same on tokio's clock.
    reached: Instant,
    /// Whether what was said at the present point stands in `device` already.
    settled: bool,
    port: u16,
    neighbours: Neighbours,
    /// When smoltcp is told again who they are.
    reminder: smoltcp::time::Instant,
    /// Connections without an owner, and until when they may close.
    closing: Vec<(SocketHandle, smoltcp::time::Instant)>,
    failed: Option<WireError>,
}

impl Stack {
    pub(super) fn new(addresses: &Addresses, now_ns: u64) -> Self {
        let mut device = Frames::default();
        let mut config = Config::new(EthernetAddress(addresses.mac).into());
        config.random_seed = addresses.seed;
        let now = instant(now_ns);
        let mut interface = Interface::new(config, &mut device, now);
        interface.update_ip_addrs(|list| {
            // A new interface has room for an address.
            let _ = list.push(IpCidr::new(addresses.address.into(), addresses.prefix));
        });
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            device,
            now,
            reached: Instant::now(),
            settled: false,
            // A machine may still know a connection of the seed before.
            port: FIRST_PORT + (addresses.seed % 8) as u16 * 2000,
            neighbours: Neighbours::new(addresses),
            reminder: now,
            closing: Vec::new(),
            failed: None,
        }
    }

    /// A frame that [`Stack::reached`] will look at.
    pub(super) fn arrives(&mut self, frame: Vec<u8>) {
        self.neighbours.hear(&frame);
        self.device.received.push_back(frame);
    }

    /// The machines have reached a point. Takes what arrived up to it, and gives what leaves at once.
    pub(super) fn reached(&mut self, now_ns: u64, reached: Instant) -> Vec<Vec<u8>> {
        (self.now, self.reached, self.settled) = (instant(now_ns), reached, false);
        if self.now >= self.reminder {
            self.reminder = self.now + smoltcp::time::Duration::from_micros(REMINDER);
            self.device.received.extend(self.neighbours.answers());
        }
        self.poll();
        self.reap();
        std::mem::take(&mut self.device.sent)
    }

    /// What leaves at the present point, which is over.
    pub(super) fn leaving(&mut self) -> Vec<Vec<u8>> {
        if !std::mem::replace(&mut self.settled, true) {
            self.poll();
        }
        std::mem::take(&mut self.device.sent)
    }

    /// Comes before everything that a task does. Where tokio's clock is past the present point, what was said at that
    /// point leaves without what comes now.
    fn touch(&mut self) -> Result<(), WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if !self.settled && Instant::now() > self.reached {
            self.settled = true;
            self.poll();
        }
        Ok(())
    }

    fn poll(&mut self) {
        let own = std::mem::take(&mut self.device.sent);
        self.interface
            .poll(self.now, &mut self.device, &mut self.sockets);
        self.device.sent.retain(|frame| !arp::is_question(frame));
        self.device.sent.splice(0..0, own);
    }

    /// Asks who has an address, unless that is known.
    pub(super) fn ask(&mut self, address: Ipv4Addr) {
        self.device.sent.extend(self.neighbours.question(address));
    }

    /// Removes connections that have closed, or had their time for it.
    fn reap(&mut self) {
        let (sockets, now) = (&mut self.sockets, self.now);
        self.closing.retain(|(handle, until)| {
            let socket = sockets.get_mut::<Socket<'_>>(*handle);
            let gone = match socket.state() {
                // One that was aborted says so first.
                tcp::State::Closed => socket.remote_endpoint().is_none(),
                state => state == tcp::State::TimeWait,
            };
            let gone = gone || now > *until;
            if gone {
                sockets.remove(*handle);
            }
            !gone
        });
    }

    /// Ends all connections.
    pub(super) fn fail(&mut self, error: WireError) {
        self.failed.get_or_insert(error);
        for (_, socket) in self.sockets.iter_mut() {
            // This wakes their tasks.
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            socket.abort();
        }
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.sockets.iter().count()
    }

    /// Begins to connect.
    pub(super) fn open(&mut self, to: SocketAddrV4) -> std::io::Result<SocketHandle> {
        self.touch().map_err(std::io::Error::other)?;
        let buffer = || SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = Socket::new(buffer(), buffer());
        // What is said is said whole, and answered at once.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let remote = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        let connected = socket.connect(self.interface.context(), remote, self.port);
        connected.map_err(|error| {
            let kind = std::io::ErrorKind::AddrNotAvailable;
            std::io::Error::new(kind, format!("{to}: {error}"))
        })?;
        self.port = self.port.checked_add(1).unwrap_or(FIRST_PORT);
        Ok(self.sockets.add(socket))
    }

    /// A connection whose task may act now.
    pub(super) fn socket(
        &mut self,
        handle: SocketHandle,
    ) -> Result<&mut Socket<'static>, WireError> {
        self.touch()?;
        Ok(self.sockets.get_mut(handle))
    }

    /// Closes a connection whose owner is gone.
    pub(super) fn abandon(&mut self, handle: SocketHandle) {
        // If the wire has failed the connection is closed already.
        let _ = self.touch();
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        if socket.state() == tcp::State::SynSent {
            self.sockets.remove(handle);
            return;
        }
        socket.close();
        let until = self.now + smoltcp::time::Duration::from_micros(CLOSING);
        self.closing.push((handle, until));
    }
}

/// smoltcp counts µs.
pub(super) fn instant(ns: u64) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(ns / 1000).unwrap_or(i64::MAX))
}

/// Frames on their way in and out of the stack.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) received: VecDeque<Vec<u8>>,
    pub(super) sent: Vec<Vec<u8>>,
}

impl Device for Frames {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        // 1500 and the Ethernet header.
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sent<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }
}

pub(super) struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(super) struct Sent<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}
