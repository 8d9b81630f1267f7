//! vexp's side of the lockstep, as a worker's network has it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::plugin::{Driver, PluginError, Witness, Workplace};
use vexp_api::trace::Traffic;
use vexp_lockstep::net::{self, Addresses, Network, Wire, WireError};
use vexp_lockstep::side::Side;
use vexp_lockstep::ssh::VirtualConnect;

use super::super::emulated::address::Who;
use super::fleet::Fleet;
use super::recording::Recording;

/// How long an emulator may take until it is heard of again, in this computer's time: the longest is its boot, on a
/// busy computer. One that has ended is noticed at once..
pub(super) const PATIENCE: Duration = Duration::from_secs(900);
/// MAC address of vexp's side, below `52:54:00:00:ff`.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0xff, 1];

/// vexp's side, for one worker after the other.
#[derive(Debug)]
pub(super) struct Shared {
    side: Mutex<Side>,
    fleet: Arc<Fleet>,
    /// Late borders and frames that were told already.
    told: Mutex<u64>,
    /// The trace of a trial that runs.
    recording: Mutex<Option<Recording>>,
}

impl Shared {
    pub(super) fn new(side: Side, fleet: Arc<Fleet>) -> Arc<Self> {
        Arc::new(Self {
            side: Mutex::new(side),
            fleet,
            told: Mutex::new(0),
            recording: Mutex::new(None),
        })
    }

    pub(super) fn side(&self) -> MutexGuard<'_, Side> {
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recording(&self) -> MutexGuard<'_, Option<Recording>> {
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a worker whose network has random numbers of this seed.
    pub(super) fn workplace(self: &Arc<Self>, seed: u64) -> Workplace {
        let IpAddr::V4(address) = Who::Lab.control() else {
            // The lab's addresses are IPv4 ones; this one answers nobody.
            return self.at(Ipv4Addr::UNSPECIFIED, seed);
        };
        self.at(address, seed)
    }

    fn at(self: &Arc<Self>, address: Ipv4Addr, seed: u64) -> Workplace {
        let addresses = Addresses {
            links: self.side().links().len(),
            mac: MAC,
            address,
            prefix: 24,
            seed,
        };
        let (network, driver) = Network::new(Line(Arc::clone(self)), &addresses);
        Workplace {
            connect: Arc::new(VirtualConnect::new(network, seed)),
            driver: Box::new(Time(driver)),
            witness: Arc::clone(self) as Arc<dyn Witness>,
        }
    }
}

impl Witness for Shared {
    fn doubt(&self) -> Option<String> {
        let late = self.side().counters().late();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let new = late.saturating_sub(*told);
        *told = late;
        (new > 0).then(|| {
            format!(
                "{new} borders or frames of the lockstep were late, so that it may not be the same elsewhere"
            )
        })
    }

    fn now_ns(&self) -> u64 {
        self.side().now()
    }

    fn begin_trace(&self) {
        *self.recording() = Some(Recording::begin(&self.side()));
    }

    fn end_trace(&self) -> Option<Traffic> {
        let recording = self.recording().take()?;
        Some(recording.end(&self.side()))
    }
}

struct Line(Arc<Shared>);

impl Wire for Line {
    fn now(&self) -> u64 {
        self.0.side().now()
    }

    fn send(&mut self, link: usize, frame: &[u8]) {
        self.0.side().send(link, frame);
    }

    fn advance(&mut self, until: u64) -> Result<Vec<(usize, u64, Vec<u8>)>, WireError> {
        let fleet = &self.0.fleet;
        let mut side = self.0.side();
        let arrived = side.advance(until, PATIENCE, &|| fleet.ended());
        if let (Ok(_), Some(recording)) = (&arrived, &mut *self.0.recording()) {
            recording.step(&side);
        }
        drop(side);
        let frames = arrived.map_err(|error| match fleet.ended() {
            Some(ended) => WireError(ended),
            None => WireError(error.to_string()),
        })?;
        Ok((frames.into_iter())
            .map(|frame| (frame.link, frame.at, frame.bytes))
            .collect())
    }
}

struct Time(net::Driver<Line>);

#[async_trait(?Send)]
impl Driver for Time {
    async fn drive(mut self: Box<Self>) -> PluginError {
        let error = self.0.run().await;
        PluginError::new("move virtual time", "machines", error.to_string())
    }
}
