//! Machines, hypervisors and traffic that pretend, for tests of what a run does when something fails.

mod machines;
mod monitor;
mod nodes;
mod traffic;

use std::path::PathBuf;
use std::sync::Arc;

use vexp_api::registry::Registry;
use vexp_api::shell::Connect;

/// A world that pretends: testbed `fake`, hypervisors `linux` and `fakevisor` (which has guests), traffic
/// `steady`, monitor `glance`.
#[derive(Clone, Debug, Default)]
pub struct Pretend {
    /// What is to fail, with its argument after a colon, separated by spaces:
    ///
    /// - `lost-host:PLATFORM` can't be had, `silent:NODE` does not answer
    /// - `lost:NODE`: the connection is lost while traffic flows
    /// - `cleanup:GUEST` can't be stopped, `slow-cleanup:SECONDS`
    /// - `slow:MS`: traffic flows so long
    /// - `early:STATUS`: the monitor ends early
    /// - `uneven`: rates are another in each trial, by a hundredth at most
    /// - `say:TEXT`: what the traffic generator prints instead of its values
    pub faults: String,
    /// A file to which is written what was done, a line each.
    pub journal: Option<PathBuf>,
}

impl Pretend {
    /// The plugins.
    pub fn registry(&self) -> Registry {
        let visor = |guests| machines::Fakevisor {
            world: self.clone(),
            guests,
        };
        Registry::new()
            .testbed(machines::Machines(self.clone()))
            .hypervisor(visor(false))
            .hypervisor(visor(true))
            .measure(traffic::Steady(self.clone()))
            .measure(monitor::Glance(self.clone()))
    }

    /// The way to the nodes.
    pub fn connect(&self) -> Arc<dyn Connect> {
        Arc::new(nodes::Wires(self.clone()))
    }

    /// Whether something is to fail, and how.
    fn fault(&self, name: &str) -> Option<String> {
        self.faults.split(' ').find_map(|one| {
            let (found, rest) = one.split_once(':').unwrap_or((one, ""));
            (found == name).then(|| rest.to_owned())
        })
    }

    /// Writes down what was done. A test that misses it fails.
    fn did(&self, what: &str) {
        use std::io::Write as _;
        if let Some(path) = &self.journal {
            let file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(path);
            let _ = file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes()));
        }
    }
}
