//! Emulators in lockstep virtual time, and the side of it on which vexp stands.
//!
//! A lockstep has several *sides*: the emulators of machines, and vexp. *Links* with a rate and a delay join them. Each
//! side runs on its own, as far as its neighbours have promised what arrives, and all that happens on links happens at
//! exact virtual times, which depend only on what the machines do. See `channel.rs` for the shared memory, and
//! `emulator/README.md` for the library that QEMU loads.
//!
//! ```no_run
//! # use std::{path::Path, time::Duration};
//! # use vexp_lockstep::{LIBRARY, side::{LinkError, Side}, topology::{End, Link, LinkSpec, Nic, Topology, plugin_argument}};
//! # fn main() -> Result<(), LinkError> {
//! # let folder = Path::new("");
//! let nic = |hub, paused: Option<&str>| Nic { machine: "m1".into(), hub, paused: paused.map(Into::into), switched: None };
//! let topology = Topology {
//!     start_ns: 8_000_000_000, // by then the machines have booted
//!     quantum_ns: 20_000,
//!     patience: Duration::from_secs(60),
//!     links: vec![Link {
//!         name: "control-m1".into(),
//!         spec: LinkSpec::control(),
//!         ends: [End::Vexp, End::Nic(nic(0, None))],
//!     }],
//! };
//! // An empty folder on a tmpfs; LIBRARY is written to a file somewhere.
//! let mut side = Side::create(folder, &topology)?;
//! // Start each machine with `-icount shift=N,sleep=off -accel tcg,thread=single`, `-netdev hubport,id=n0,hubid=0`,
//! // an e1000 on it, and `-plugin` with this argument:
//! let argument = plugin_argument(Path::new("/lockstep.so"), folder, "m1")?;
//! let patience = Duration::from_secs(60);
//! loop {
//!     let frames = side.advance(side.now() + 5_000_000, patience, &|| None)?;
//!     for frame in frames {
//!         side.send(frame.link, &frame.bytes); // leaves at side.now()
//!     }
//!     # break;
//! }
//! // A snapshot: all stop at one time; then `migrate` each, and copy the folder. To restore, give a copy to `Side::open`,
//! // start each machine with `-incoming`, and `cont` it.
//! side.stop_at(side.earliest(), patience, &|| None)?;
//! // A trial is valid only if this is 0.
//! let late = side.counters().late();
//! # Ok(())
//! # }
//! ```
//!
//! While a machine waits for another side its emulator answers neither QMP nor signals but SIGKILL, since the wait holds
//! QEMU's big lock. So never `stop` a machine by QMP: [`Side::stop_at`](side::Side::stop_at) stops all of them.
//!
//! [`net`] has a TCP/IP stack on a side whose time is tokio's paused clock, and [`ssh`] the client by which steps reach
//! the machines.

mod channel;
pub mod counters;
pub mod generator;
mod map;
pub mod net;
pub mod observe;
pub mod side;
pub mod ssh;
pub mod topology;
mod wait;

/// The library that QEMU loads: `emulator/lockstep.c`, compiled with this crate.
pub const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lockstep.so"));
