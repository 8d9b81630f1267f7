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

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

impl Protocol {
    /// Where the kernel lists its sockets: proc_pid_net(5).
    fn sockets(self) -> [&'static str; 2] {
        match self {
            Self::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
            Self::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        }
    }

    /// Whether one of the listed sockets waits for others to begin: one of TCP that listens, or one of
    /// UDP that is bound and not connected (`TCP_LISTEN` and `TCP_CLOSE` of include/net/tcp_states.h).
    fn listens(self, sockets: &str, port: u16) -> bool {
        let waits = match self {
            Self::Tcp => "0A",
            Self::Udp => "07",
        };
        let port = format!(":{port:04X}");
        sockets.lines().any(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let here = words.next().is_some_and(|local| local.ends_with(&port));
            here && words.nth(1) == Some(waits)
        })
    }
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
    // ss(8) would say the same, and takes an emulated processor twice as long.
    let look = Cmd::new("cat").args(protocol.sockets());
    let began = tokio::time::Instant::now();
    loop {
        let output = sink.shell.run(look.clone()).await;
        let output = output.map_err(|e| PluginError::shell(&step, &sink.name, e))?;
        let said = output.text();
        // The second list is missing where the kernel has no IPv6, the first nowhere.
        if !said.contains("local_address") {
            let message = format!("`{look}` listed no sockets: {}", output.stderr_tail());
            return Err(PluginError::new(step, sink.name.as_str(), message));
        }
        if protocol.listens(&said, port) == listening {
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

/// What the kernel says of its sockets, for tests.
#[cfg(test)]
pub(super) mod recorded {
    macro_rules! recorded {
        ($file:literal) => {
            include_str!(concat!("../../testdata/proc-net-linux-6.18/", $file))
        };
    }

    /// iperf3 listens on port 5201, and has a connection.
    pub(in super::super) const TCP_LISTENS: &str = recorded!("tcp-listens.txt");
    /// It was ended, and the connection is about to.
    pub(in super::super) const TCP_LET_GO: &str = recorded!("tcp-let-go.txt");
    /// iperf listens on port 5001.
    pub(in super::super) const UDP_BOUND: &str = recorded!("udp-bound.txt");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vexp_api::ids::Name;
    use vexp_api::shell::{Output, Process, Shell, ShellError};
    use vexp_testkit::{FakeShell, ok};

    use super::recorded::{TCP_LET_GO, TCP_LISTENS, UDP_BOUND};
    use super::*;
    use crate::testing::{flow, name};

    /// A node on which the kernel always says the same.
    #[derive(Debug)]
    struct Same(Name, &'static str);

    #[async_trait::async_trait]
    impl Shell for Same {
        fn node(&self) -> &Name {
            &self.0
        }

        async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError> {
            assert_eq!(cmd.to_string(), "cat /proc/net/tcp /proc/net/tcp6");
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

    #[tokio::test]
    async fn a_server_that_never_listens_is_an_error() {
        waited(TCP_LISTENS, true).await.unwrap();
        let error = waited(TCP_LET_GO, true).await.unwrap_err();
        assert_eq!(
            error,
            "prepare port 5201 for iperf3 on peer1: the server does not listen: is iperf3 installed there?"
        );
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        waited(TCP_LET_GO, false).await.unwrap();
        let error = waited(TCP_LISTENS, false).await.unwrap_err();
        assert_eq!(
            error,
            "prepare port 5201 for iperf3 on peer1: another program listens there: choose another `port`, or end it"
        );
    }

    #[tokio::test]
    async fn a_list_that_is_none_is_an_error() {
        let error = waited("", false).await.unwrap_err();
        assert_eq!(
            error,
            "prepare port 5201 for iperf3 on peer1: `cat /proc/net/tcp /proc/net/tcp6` listed no sockets: "
        );
    }

    #[test]
    fn only_what_waits_for_others_listens() {
        assert!(Protocol::Tcp.listens(TCP_LISTENS, 5201));
        // The connection's far end, and a port whose number begins with that one.
        for port in [0x8bee, 0x145, 0x451] {
            assert!(!Protocol::Tcp.listens(TCP_LISTENS, port), "{port}");
        }
        assert!(!Protocol::Tcp.listens(TCP_LET_GO, 5201));
        assert!(Protocol::Udp.listens(UDP_BOUND, 5001));
        assert!(!Protocol::Udp.listens(UDP_BOUND, 5002));
        // One that is connected has a peer of its own.
        let connected = UDP_BOUND.replace(" 07 ", " 01 ");
        assert!(!Protocol::Udp.listens(&connected, 5001));
        for broken in ["", ":1451", "0: 00000000:1451", "local_address :1451 x"] {
            assert!(!Protocol::Tcp.listens(broken, 5201), "{broken}");
        }
    }
}
