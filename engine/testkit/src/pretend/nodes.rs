//! Nodes that do whatever they are told, and say nothing.

use std::path::Path;
use std::sync::Arc;
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
        Ok(Arc::new(Willing(node.clone())))
    }
}

#[derive(Debug)]
struct Willing(Name);

#[async_trait]
impl Shell for Willing {
    fn node(&self) -> &Name {
        &self.0
    }

    async fn start(&self, _: Cmd) -> Result<Box<dyn Process>, ShellError> {
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
