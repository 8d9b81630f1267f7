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
        wait_for_port(tool, &flow, (protocol, port), listening, LISTEN).await
    });
    waits.await?.into_iter().collect()
}

async fn wait_for_port(
    tool: &'static str,
    flow: &Flow,
    (protocol, port): (Protocol, u16),
    listening: bool,
    within: Duration,
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
        if began.elapsed() > within {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vexp_api::ids::Name;
    use vexp_api::shell::{Output, Process, Shell, ShellError};
    use vexp_testkit::{FakeShell, ok};

    use super::*;
    use crate::testing::{flow, name};

    /// A node on which `ss` always says the same.
    #[derive(Debug)]
    struct Same(Name, &'static str);

    #[async_trait::async_trait]
    impl Shell for Same {
        fn node(&self) -> &Name {
            &self.0
        }

        async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError> {
            assert_eq!(cmd.to_string(), "ss -H -l -n -t sport = :5201");
            Ok(Box::new(Said(ok(self.1))))
        }
    }

    struct Said(Output);

    #[async_trait::async_trait]
    impl Process for Said {
        async fn wait(self: Box<Self>) -> Result<Output, ShellError> {
            Ok(self.0)
        }
    }

    /// How waiting for port 5201 ends.
    async fn waited(said: &'static str, listening: bool) -> Result<(), String> {
        let silent = FakeShell::replay(name("vm1"), "");
        let mut flow = flow(&silent, &silent);
        flow.sink.name = name("peer1");
        flow.sink.shell = Arc::new(Same(name("peer1"), said));
        let within = Duration::from_millis(120);
        let waited = wait_for_port("iperf3", &flow, (Protocol::Tcp, 5201), listening, within);
        waited.await.map_err(|error| error.to_string())
    }

    /// As ss 6.15 prints it.
    const LISTENS: &str = "LISTEN 0      4096               *:5201            *:*   \n";

    #[tokio::test]
    async fn a_server_that_never_listens_is_an_error() {
        waited(LISTENS, true).await.unwrap();
        let error = waited("", true).await.unwrap_err();
        assert_eq!(
            error,
            "prepare port 5201 for iperf3 on peer1: the server does not listen: is iperf3 installed there?"
        );
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        waited("", false).await.unwrap();
        let error = waited(LISTENS, false).await.unwrap_err();
        assert_eq!(
            error,
            "prepare port 5201 for iperf3 on peer1: another program listens there: choose another `port`, or end it"
        );
    }
}
