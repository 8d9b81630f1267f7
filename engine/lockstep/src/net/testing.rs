//! Machines for tests: smoltcp with an echo server each, 20 µs of wire away.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::stack::{Frames, instant};
use super::{Addresses, Wire, WireError};

/// What goes over the links: link, time of departure, whether vexp sent it, frame.
pub(super) type Log = Arc<Mutex<Vec<(usize, u64, bool, Vec<u8>)>>>;

/// ns on the wire, and between two looks of a machine.
const DELAY: u64 = 20_000;
const STEP: u64 = 100_000;
/// Where echo servers listen.
pub(super) const ECHO: u16 = 7;

/// vexp's own place.
pub(super) fn addresses(links: usize) -> Addresses {
    Addresses {
        links,
        mac: [0x52, 0x54, 0, 0, 0xff, 1],
        address: Ipv4Addr::new(198, 19, 255, 1),
        prefix: 24,
        seed: 1,
    }
}

/// Where the machine on a link is.
pub(super) fn address(link: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 255, 2 + u8::try_from(link).unwrap())
}

/// All machines, each on a link of its own.
pub(super) struct Machines {
    now: u64,
    machines: Vec<Machine>,
    pub(super) log: Log,
    /// When an emulator dies.
    pub(super) dies: u64,
}

impl Machines {
    pub(super) fn new(links: usize, start: u64) -> Self {
        Self {
            now: start,
            machines: (0..links).map(|link| Machine::new(link, start)).collect(),
            log: Log::default(),
            dies: u64::MAX,
        }
    }
}

impl Wire for Machines {
    fn now(&self) -> u64 {
        self.now
    }

    fn send(&mut self, link: usize, frame: &[u8]) {
        assert!(frame.len() >= 60, "a runt");
        let mut log = self.log.lock().unwrap();
        log.push((link, self.now, true, frame.to_vec()));
        self.machines[link]
            .due
            .push((self.now + DELAY, frame.to_vec()));
    }

    fn advance(&mut self, until: u64) -> Result<Vec<(usize, u64, Vec<u8>)>, WireError> {
        assert!(until > self.now, "time goes forward");
        if until >= self.dies {
            return Err(WireError(
                "qemu of machine 0 ended with signal 9".to_owned(),
            ));
        }
        let mut arrived = Vec::new();
        for (link, machine) in self.machines.iter_mut().enumerate() {
            for at in (self.now..until).step_by(usize::try_from(STEP).unwrap()) {
                for frame in machine.look(at) {
                    self.log
                        .lock()
                        .unwrap()
                        .push((link, at, false, frame.clone()));
                    machine.out.push((at + DELAY, frame));
                }
            }
            let here = machine.out.extract_if(.., |(at, _)| *at <= until);
            arrived.extend(here.map(|(at, frame)| (link, at, frame)));
        }
        self.now = until;
        Ok(arrived)
    }
}

struct Machine {
    interface: Interface,
    sockets: SocketSet<'static>,
    echoes: Vec<SocketHandle>,
    device: Frames,
    /// On their way to it and from it, with their times of arrival.
    due: Vec<(u64, Vec<u8>)>,
    out: Vec<(u64, Vec<u8>)>,
}

impl Machine {
    fn new(link: usize, start: u64) -> Self {
        let mut device = Frames::default();
        let mac = [0x52, 0x54, 0, 0, 0xff, 2 + u8::try_from(link).unwrap()];
        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = 100 + link as u64;
        let mut interface = Interface::new(config, &mut device, instant(start));
        interface.update_ip_addrs(|list| {
            list.push(IpCidr::new(address(link).into(), 24)).unwrap();
        });
        let mut sockets = SocketSet::new(Vec::new());
        let echoes = (0..4).map(|_| {
            let buffer = || SocketBuffer::new(vec![0; 256 << 10]);
            sockets.add(Socket::new(buffer(), buffer()))
        });
        let echoes = echoes.collect();
        Self {
            interface,
            sockets,
            echoes,
            device,
            due: Vec::new(),
            out: Vec::new(),
        }
    }

    /// What it sends at a time.
    fn look(&mut self, at: u64) -> Vec<Vec<u8>> {
        let due = self.due.extract_if(.., |(due, _)| *due <= at);
        self.device.received.extend(due.map(|(_, frame)| frame));
        for _ in 0..2 {
            let (device, sockets) = (&mut self.device, &mut self.sockets);
            self.interface.poll(instant(at), device, sockets);
            for handle in &self.echoes {
                echo(self.sockets.get_mut(*handle));
            }
        }
        std::mem::take(&mut self.device.sent)
    }
}

fn echo(socket: &mut Socket<'_>) {
    if !socket.is_open() {
        socket.abort();
        socket.listen(ECHO).unwrap();
    }
    let room = socket.send_capacity() - socket.send_queue();
    if socket.can_recv() && room > 0 {
        let mut bytes = vec![0; room];
        let n = socket.recv_slice(&mut bytes).unwrap();
        // Whoever has gone away hears no echo.
        let _ = socket.send_slice(&bytes[..n]);
    } else if socket.may_send() && !socket.may_recv() && socket.send_queue() == 0 {
        socket.close();
    }
}
