//! What is run on machines in virtual time, with the moments at which it was sent and had ended.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use vexp_api::ids::Name;
use vexp_api::plugin::Witness;
use vexp_api::shell::{Cmd, Connect, Output, Process, Shell, ShellError};
use vexp_api::site::SshTarget;
use vexp_api::trace::Command;

/// Commands since they were last taken. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Commands(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    all: Vec<Command>,
    /// Counted up when they are taken: a program that was started before is none of those that follow.
    taken: u64,
}

impl Commands {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all.
    pub(super) fn take(&self) -> Vec<Command> {
        let mut list = self.list();
        list.taken += 1;
        std::mem::take(&mut list.all)
    }

    /// Connections on which everything is noted here.
    pub fn trace(&self, connect: Arc<dyn Connect>, witness: Arc<dyn Witness>) -> Arc<dyn Connect> {
        Arc::new(Traced {
            connect,
            notes: Notes {
                commands: self.clone(),
                witness,
            },
        })
    }
}

#[derive(Clone)]
struct Notes {
    commands: Commands,
    witness: Arc<dyn Witness>,
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notes").finish_non_exhaustive()
    }
}

/// A command's place in the list.
#[derive(Clone, Copy)]
struct Place {
    taken: u64,
    index: usize,
}

impl Notes {
    fn sent(&self, node: &Name, cmd: &Cmd) -> Place {
        let command = Command::sent(self.witness.now_ns(), node, cmd);
        let mut list = self.commands.list();
        list.all.push(command);
        Place {
            taken: list.taken,
            index: list.all.len() - 1,
        }
    }

    fn ended(&self, place: Place, output: &Output) {
        let now = self.witness.now_ns();
        let mut list = self.commands.list();
        if list.taken == place.taken
            && let Some(command) = list.all.get_mut(place.index)
        {
            command.ended(now, output);
        }
    }
}

struct Traced {
    connect: Arc<dyn Connect>,
    notes: Notes,
}

#[async_trait]
impl Connect for Traced {
    async fn connect(
        &self,
        node: &Name,
        target: &SshTarget,
        sockets: &Path,
        deadline: Duration,
    ) -> Result<Arc<dyn Shell>, ShellError> {
        let connected = self.connect.connect(node, target, sockets, deadline);
        Ok(Arc::new(TracedShell {
            shell: connected.await?,
            notes: self.notes.clone(),
        }))
    }
}

#[derive(Debug)]
struct TracedShell {
    shell: Arc<dyn Shell>,
    notes: Notes,
}

#[async_trait]
impl Shell for TracedShell {
    fn node(&self) -> &Name {
        self.shell.node()
    }

    fn control(&self) -> Option<IpAddr> {
        self.shell.control()
    }

    async fn start(&self, cmd: Cmd) -> Result<Box<dyn Process>, ShellError> {
        let place = self.notes.sent(self.node(), &cmd);
        Ok(Box::new(TracedProcess {
            process: self.shell.start(cmd).await?,
            notes: self.notes.clone(),
            place,
        }))
    }
}

struct TracedProcess {
    process: Box<dyn Process>,
    notes: Notes,
    place: Place,
}

#[async_trait]
impl Process for TracedProcess {
    async fn printed(&mut self, lines: usize, within: Duration) -> bool {
        self.process.printed(lines, within).await
    }

    async fn ready(&mut self, within: Duration) -> bool {
        self.process.ready(within).await
    }

    async fn release(&mut self) -> Result<(), ShellError> {
        self.process.release().await
    }

    async fn wait(self: Box<Self>) -> Result<Output, ShellError> {
        let output = self.process.wait().await?;
        self.notes.ended(self.place, &output);
        Ok(output)
    }

    async fn stop(self: Box<Self>) -> Result<Output, ShellError> {
        let output = self.process.stop().await?;
        self.notes.ended(self.place, &output);
        Ok(output)
    }
}
