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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use vexp_api::digest::Digest;
    use vexp_testkit::FakeShell;

    use super::*;

    /// Goes on by a nanosecond each time that it is looked at.
    struct Ticks(AtomicU64);

    impl Witness for Ticks {
        fn doubt(&self) -> Option<String> {
            None
        }

        fn now_ns(&self) -> u64 {
            self.0.fetch_add(1, Relaxed)
        }
    }

    const TRANSCRIPT: &str =
        "$ uname -r\n6.12\n$ iperf3 -s\nlistening\n$ false\n! 1 no\n$ nproc\n2\n";

    struct Replay;

    #[async_trait]
    impl Connect for Replay {
        async fn connect(
            &self,
            node: &Name,
            _: &SshTarget,
            _: &Path,
            _: Duration,
        ) -> Result<Arc<dyn Shell>, ShellError> {
            Ok(Arc::new(FakeShell::replay(node.clone(), TRANSCRIPT)))
        }
    }

    #[tokio::test]
    async fn all_that_is_run_is_noted_with_its_times_and_what_it_left() {
        let commands = Commands::default();
        let connect = commands.trace(Arc::new(Replay), Arc::new(Ticks(AtomicU64::new(100))));
        let node = Name::new("host").unwrap();
        let target: SshTarget = serde_json::from_value(serde_json::json!({"keyed": {
            "address": "198.18.0.1", "port": 22, "user": "root", "identity": "", "known_hosts": "",
        }}))
        .unwrap();
        let connected = connect.connect(&node, &target, Path::new("/tmp"), Duration::ZERO);
        let shell = connected.await.unwrap();
        shell.check(Cmd::new("uname").arg("-r")).await.unwrap();
        // It is started before the first list is taken, and ends after that.
        let server = shell.start(Cmd::new("iperf3").arg("-s")).await.unwrap();
        let first = commands.take();
        assert_eq!(first.len(), 2);
        assert_eq!((first[0].sent_ns, first[0].ended_ns), (100, Some(101)));
        assert_eq!(first[0].command, "uname -r");
        assert_eq!(first[0].output, Some((5, Digest::of(b"6.12\n"))));
        assert_eq!((first[1].sent_ns, first[1].ended_ns), (102, None));
        assert!(!shell.run(Cmd::new("false")).await.unwrap().ok());
        server.stop().await.unwrap();
        let nproc = shell.start(Cmd::new("nproc")).await.unwrap();
        nproc.stop().await.unwrap();
        let second = commands.take();
        let said: Vec<_> = second
            .iter()
            .map(|one| (one.command.as_str(), one.status, one.ended_ns.is_some()))
            .collect();
        assert_eq!(said, [("false", Some(1), true), ("nproc", Some(0), true)]);
        assert_eq!(second[0].errors.as_ref().unwrap().0, 2);
        assert_eq!(commands.take(), []);
    }
}
