//! What a node is: asked in a few commands, kept raw beside the results.

use std::path::Path;
use std::time::Duration;

use vexp_api::plugin::Node;
use vexp_api::shell::Cmd;

use super::files::{self, FileError};

/// File names and the commands whose output they keep.
const QUESTIONS: &[(&str, &[&str])] = &[
    ("uname.txt", &["uname", "-a"]),
    ("cmdline.txt", &["cat", "/proc/cmdline"]),
    ("cpuinfo.txt", &["cat", "/proc/cpuinfo"]),
    ("meminfo.txt", &["cat", "/proc/meminfo"]),
    ("modules.txt", &["cat", "/proc/modules"]),
    ("links.json", &["ip", "-d", "-s", "-j", "addr"]),
    ("qdiscs.json", &["tc", "-s", "-j", "qdisc"]),
];

/// Asks a node and writes the answers to `folder`. A question that a node can't answer is
/// recorded as such: it fails no run.
pub async fn record(node: &Node, folder: &Path) -> Result<(), FileError> {
    files::create_dir(folder)?;
    for (file, words) in QUESTIONS {
        let cmd = Cmd::new(words[0])
            .args(words[1..].iter().copied())
            .deadline(Duration::from_secs(20));
        let answer = match node.shell.run(cmd).await {
            Ok(output) if output.ok() => output.stdout,
            Ok(output) => format!("no answer: {}\n", output.stderr_tail()).into_bytes(),
            Err(error) => format!("no answer: {error}\n").into_bytes(),
        };
        files::write_atomic(&folder.join(file), &answer)?;
    }
    Ok(())
}
