//! What a machine needs that was restored from a snapshot: it woke up with the clock and the random
//! numbers of the moment when it was kept.

use std::time::{SystemTime, UNIX_EPOCH};

use vexp_api::plugin::{Node, PluginError};
use vexp_api::shell::Cmd;

use super::together::each;

const STEP: &str = "wake a restored machine";
/// A constant script, since each command costs an emulated machine a tenth of a second: sets the clock
/// to its argument, and mixes its input into the random numbers.
const WAKE: &str = r#"date -u -s "$1" && exec dd of=/dev/urandom status=none"#;
/// Bytes for a node's random number generator: as many as its key has, twice.
const ENTROPY: usize = 64;

/// Gives each node the present time, and random numbers of its own: all that were restored from one
/// snapshot would draw the same ones.
pub(super) async fn put_right(nodes: &[Node]) -> Result<(), PluginError> {
    let done = each(nodes.to_vec(), |node| async move {
        let failed = |error| PluginError::shell(STEP, &node.name, error);
        let seed = entropy().map_err(|error| PluginError {
            source: Some(Box::new(error)),
            ..PluginError::new(STEP, "worker", "can't read /dev/urandom")
        })?;
        // The command's delay is the clock's error.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = format!("@{:.3}", now.unwrap_or_default().as_secs_f64());
        let wake = Cmd::new("sh").args(["-c", WAKE, "wake", &now]).stdin(seed);
        node.shell.check(wake).await.map_err(failed).map(drop)
    });
    done.await.into_iter().collect()
}

fn entropy() -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; ENTROPY];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}
