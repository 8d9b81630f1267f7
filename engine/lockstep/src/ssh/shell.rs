//! [`Connect`] and [`Shell`] over SSH on a [`Network`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::ids::Name;
use vexp_api::shell::{Connect, Shell, ShellError};
use vexp_api::site::SshTarget;

use crate::net::Network;

/// Connects to the machines of a lockstep. Only keyed targets can be: no user's configuration is read.
#[derive(Debug)]
pub struct VirtualConnect {
    network: Network,
    seed: u64,
    /// Connections that each node has had, so that no two have the same random numbers.
    counts: Mutex<BTreeMap<Name, u64>>,
}

impl VirtualConnect {
    /// Connections on a network. All their random numbers follow from the run's seed.
    pub fn new(network: Network, seed: u64) -> Self {
        Self {
            network,
            seed,
            counts: Mutex::default(),
        }
    }
}

#[async_trait]
impl Connect for VirtualConnect {
    async fn connect(
        &self,
        node: &Name,
        _target: &SshTarget,
        _sockets: &Path,
        _deadline: Duration,
    ) -> Result<Arc<dyn Shell>, ShellError> {
        let _ = (&self.network, self.seed, &self.counts);
        Err(ShellError::Connect {
            node: node.clone(),
            reason: "not there yet".to_owned(),
        })
    }
}
