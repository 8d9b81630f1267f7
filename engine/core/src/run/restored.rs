//! What a machine needs that was restored from a snapshot: it woke up with the clock and the random
//! numbers of the moment when it was kept.

use std::time::Duration;

use vexp_api::plugin::{Node, PluginError};
use vexp_api::shell::Cmd;

use super::clock::Clock;
use super::together::each;

const STEP: &str = "wake a restored machine";
/// A constant script, since each command costs an emulated machine a tenth of a second: sets the clock
/// to its argument, if it has one, and mixes its input into the random numbers.
const WAKE: &str = r#"[ -z "$1" ] || date -u -s "$1" || exit; exec dd of=/dev/urandom status=none"#;
/// A constant script: has what trials run read from the disk, so that a machine which is kept then has
/// it in memory. A program that is read for the first time costs an emulated guest a second. Nothing
/// is measured, and a node may lack any of them.
const WARM: &str = r#"for tool in cat chrt date dd ethtool ip mpstat pgrep pidstat ping sar sysctl tc xentop; do
    $tool -V
done
for tool in iperf iperf3; do
    $tool -v
done
for tool in netperf netserver; do
    $tool -4 -V
done
/usr/libexec/sysstat/sadc -V
/usr/lib/sysstat/sadc -V
xl list
exit 0"#;
/// How long that may take.
const WARMING: Duration = Duration::from_secs(60);

/// Gives each node the present time, and random numbers of its own: all that were restored from one
/// snapshot would draw the same ones.
pub(super) async fn put_right(nodes: &[Node], clock: &Clock) -> Result<(), PluginError> {
    let nodes = nodes.iter().map(|node| (node.clone(), clock.clone()));
    let done = each(nodes.collect(), |(node, clock)| async move {
        let failed = |error| PluginError::shell(STEP, &node.name, error);
        let seed = clock.entropy(&node.name).map_err(|error| PluginError {
            source: Some(Box::new(error)),
            ..PluginError::new(STEP, "worker", "can't read /dev/urandom")
        })?;
        // The command's delay is the clock's error.
        let now = clock.wall().map(|seconds| format!("@{seconds:.3}"));
        let now = now.unwrap_or_default();
        let wake = Cmd::new("sh").args(["-c", WAKE, "wake", &now]).stdin(seed);
        node.shell.check(wake).await.map_err(failed).map(drop)
    });
    done.await.into_iter().collect()
}

/// Has the nodes of a machine that is about to be kept read what its trials will run. Only their speed
/// depends on it.
pub(super) async fn warm(nodes: &[Node]) {
    each(nodes.to_vec(), |node| async move {
        let script = Cmd::new("sh").args(["-c", WARM]);
        let _ = node.shell.run(script.deadline(WARMING)).await;
    })
    .await;
}
