//! Batch engines: they run vexp's tasks on the nodes of a cluster.

pub mod command;
pub(crate) mod program;
mod script;
pub mod slurm;

/// A text of an engine on one line, for messages: its lines joined, at most 1000 characters of the end.
pub(crate) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = (text.lines().map(str::trim))
        .filter(|line| !line.is_empty())
        .collect();
    vexp_api::shell::tail(lines.join("; ").as_bytes(), 1000)
}
