//! Nodes that do whatever they are told, and say nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use vexp_api::ids::Name;
use vexp_api::shell::{Cmd, Connect, Output, Process, Shell, ShellError};
use vexp_api::site::SshTarget;

use super::Pretend;

/// The way to them.
pub(super) struct Wires(pub(super) Pretend);

#[async_trait]
impl Connect for Wires {
    async fn connect(
        &self,
        node: &Name,
        _: &SshTarget,
        _: &Path,
        _: Duration,
    ) -> Result<Arc<dyn Shell>, ShellError> {
        if self
            .0
            .fault("silent")
            .is_some_and(|silent| *node == *silent)
        {
            return Err(ShellError::Connect {
                node: node.clone(),
                reason: "connection timed out".to_owned(),
            });
        }
        let of = |fault| self.0.fault(fault).is_some_and(|named| *node == *named);
        // How often it says what it is.
        let says = match (of("unread"), of("unread-after")) {
            (true, _) => 0,
            (_, true) => 1,
            _ => u32::MAX,
        };
        Ok(Arc::new(Willing {
            node: node.clone(),
            says: AtomicU32::new(says),
        }))
    }
}

#[derive(Debug)]
struct Willing {
    node: Name,
    says: AtomicU32,
}

#[async_trait]
impl Shell for Willing {
    fn node(&self) -> &Name {
        &self.node
    }

    async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError> {
        if cmd.args.last().is_some_and(|last| last == "environment") {
            let less = |says: u32| says.checked_sub(1);
            let said = self.says.fetch_update(Relaxed, Relaxed, less);
            said.map_err(|_| ShellError::Lost {
                node: self.node.clone(),
                command: cmd.to_string(),
                reason: "connection reset".to_owned(),
            })?;
        }
        Ok(Box::new(Done(Instant::now())))
    }
}

struct Done(Instant);

#[async_trait]
impl Process for Done {
    async fn wait(self: Box<Self>) -> Result<Output, ShellError> {
        Ok(Output {
            status: Some(0),
            stdout: Vec::new(),
            stderr: Vec::new(),
            timed_out: false,
            truncated: false,
            line_times: Vec::new(),
            started: self.0,
            ended: self.0,
        })
    }
}
