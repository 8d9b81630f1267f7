//! The emulators of a lockstep: started, looked after, ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};

use vexp_api::shell::tail;
use vexp_lockstep::topology::plugin_argument;

use super::super::console::Console;
use super::super::emulated::qmp::Qmp;
use super::super::emulated::run::LabError;
use super::command::{self, Shape};
use super::emulator::Emulator;

const STEP: &str = "start an emulator";
/// The machine under test, in the lockstep.
pub(super) const MACHINE: &str = "machine";

/// A machine that is to be started.
pub(super) struct Start<'a> {
    /// Its name in the lockstep.
    pub(super) name: &'a str,
    pub(super) shape: &'a Shape,
    /// Its folder, with what it boots.
    pub(super) folder: &'a Path,
    /// Where its console and QEMU's words are kept.
    pub(super) logs: &'a Path,
    /// Whether it waits for what it is restored from.
    pub(super) restored: bool,
}

impl Start<'_> {
    fn log(&self, kind: &str) -> PathBuf {
        let prefix = match self.name {
            MACHINE => String::new(),
            other => format!("{other}."),
        };
        self.logs.join(format!("{prefix}{kind}.log"))
    }
}

struct Member {
    name: String,
    child: Child,
    socket: PathBuf,
    /// Open as long as the emulator lives, once there is one.
    qmp: Option<Qmp>,
    log: PathBuf,
    console: PathBuf,
    _kept: Console,
}

/// All emulators of a lockstep. They end with this.
#[derive(Default)]
pub(super) struct Fleet {
    members: Mutex<Vec<Member>>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Fleet {
    /// Starts an emulator.
    pub(super) fn start(
        &self,
        emulator: &Emulator,
        library: &Path,
        links: &Path,
        start: &Start<'_>,
        shift: u8,
    ) -> Result<(), LabError> {
        let (log, console) = (start.log("qemu"), start.log("console"));
        let plugin = plugin_argument(library, links, start.name);
        let plugin = plugin.map_err(|error| LabError::new(STEP, error.to_string()))?;
        let kept = Console::begin(&console).map_err(LabError::io(STEP))?;
        let mut command = emulator.command();
        command
            .args(start.shape.args(shift))
            .args(command::outside(&console))
            .arg("-plugin")
            .arg(plugin);
        if start.restored {
            command.args(["-incoming", "defer"]);
        }
        let words = File::create(&log).map_err(LabError::io(STEP))?;
        let child = command
            .current_dir(start.folder)
            .stdin(Stdio::null())
            .stdout(words.try_clone().map_err(LabError::io(STEP))?)
            .stderr(words)
            .spawn()
            .map_err(LabError::io(STEP))?;
        self.lock().push(Member {
            name: start.name.to_owned(),
            child,
            socket: start.folder.join(command::QMP),
            qmp: None,
            log,
            console,
            _kept: kept,
        });
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an emulator that has ended has said, if one has.
    pub(super) fn ended(&self) -> Option<String> {
        self.lock().iter_mut().find_map(|member| {
            let status = match member.child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let read = |path: &Path| std::fs::read(path).unwrap_or_default();
            Some(format!(
                "the emulator of {} ended with {status}: {}\nlast lines of its console:\n{}",
                member.name,
                tail(&read(&member.log), 2000),
                tail(&read(&member.console), 2000)
            ))
        })
    }

    /// Talks to each emulator.
    fn each(
        &self,
        mut talk: impl FnMut(&str, &mut Qmp) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        for member in self.lock().iter_mut() {
            let child = &mut member.child;
            let runs = || matches!(child.try_wait(), Ok(None));
            let qmp = match &mut member.qmp {
                Some(qmp) => qmp,
                none => none.insert(Qmp::connect(&member.socket, runs)?),
            };
            talk(&member.name, qmp)?;
        }
        Ok(())
    }

    /// Writes the memory of all, which have stopped, to files in a folder.
    pub(super) fn save(&self, folder: &Path) -> Result<(), LabError> {
        self.each(|name, qmp| qmp.write(&memory(folder, name)))
    }

    /// Lets all go on that have stopped.
    pub(super) fn go_on(&self) -> Result<(), LabError> {
        self.each(|_, qmp| qmp.tell_go_on())
    }

    /// Restores all from such files, and lets them go on.
    pub(super) fn restore(&self, folder: &Path) -> Result<(), LabError> {
        self.each(|name, qmp| qmp.restore(&memory(folder, name)))?;
        self.go_on()
    }

    /// Ends all.
    pub(super) fn end(&self) {
        for mut member in self.lock().drain(..) {
            // One that has ended can't be killed, and is waited for all the same.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

/// The file with an emulator's memory.
fn memory(folder: &Path, name: &str) -> PathBuf {
    match name {
        MACHINE => folder.join("ram"),
        other => folder.join(format!("ram.{other}")),
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end();
    }
}
