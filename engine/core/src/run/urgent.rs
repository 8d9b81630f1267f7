//! What is said on the machine under test must be heard at once: monitors' lines are dated by their
//! arrival, and a server that waits for its turn behind the traffic would date them late.

use vexp_api::plugin::{Node, PluginError};
use vexp_api::shell::Cmd;

/// A constant script: puts the servers of the connection that it was started through into a real-time
/// class, and what they start into the usual one (sched(7)).
const SERVERS: &str = r#"pid=$$
while [ "$pid" -gt 1 ]; do
    read -r name < "/proc/$pid/comm"
    case $name in
        sshd* | dropbear) chrt --reset-on-fork --fifo --pid 10 "$pid" || exit ;;
    esac
    while read -r key value; do
        [ "$key" != PPid: ] || break
    done < "/proc/$pid/status"
    pid=$value
done"#;

/// Lets the node's answers go before its other work.
pub(super) async fn answers(node: &Node) -> Result<(), PluginError> {
    let cmd = Cmd::new("sh").args(["-c", SERVERS]);
    let result = node.shell.check(cmd).await;
    let step = "put the connection before other work";
    result
        .map(drop)
        .map_err(|error| PluginError::shell(step, &node.name, error))
}
