//! Servers' ports: free before, listened to after they were started.

use std::time::Duration;

use serde::Deserialize;
use vexp_api::plugin::{Flow, PluginError};
use vexp_api::shell::Cmd;

use crate::capture::together;

/// Time in which a server must listen, and in which an earlier one must have let go of the port.
const LISTEN: Duration = Duration::from_secs(40);
/// Time between two looks at a port.
const LOOK: Duration = Duration::from_millis(50);

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// Waits until every flow's port is listened to on its sink, or until none is.
pub(super) async fn wait_for_ports(
    tool: &'static str,
    flows: &[(Flow, u16)],
    protocol: Protocol,
    listening: bool,
) -> Result<(), PluginError> {
    let waits = together(flows.to_vec(), move |(flow, port)| async move {
        wait_for_port(tool, &flow, (protocol, port), listening).await
    });
    waits.await?.into_iter().collect()
}

async fn wait_for_port(
    tool: &'static str,
    flow: &Flow,
    (protocol, port): (Protocol, u16),
    listening: bool,
) -> Result<(), PluginError> {
    let sink = &flow.sink;
    let step = format!("prepare port {port} for {tool}");
    // `-l` shows a UDP socket that is bound and not connected.
    let kind = match protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
    };
    let look = Cmd::new("ss").args(["-H", "-l", "-n", kind, "sport", "=", &format!(":{port}")]);
    let began = tokio::time::Instant::now();
    loop {
        let output = sink.shell.check(look.clone()).await;
        let output = output.map_err(|e| PluginError::shell(&step, &sink.name, e))?;
        if output.text().trim().is_empty() != listening {
            return Ok(());
        }
        if began.elapsed() > LISTEN {
            let message = if listening {
                format!("the server does not listen: is {tool} installed there?")
            } else {
                "another program listens there: choose another `port`, or end it".to_owned()
            };
            return Err(PluginError::new(step, sink.name.as_str(), message));
        }
        tokio::time::sleep(LOOK).await;
    }
}
