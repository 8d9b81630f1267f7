//! What vexp keeps on a machine of the inventory: a lock, a record of what is taken, and images.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{Node, PluginError};
use vexp_api::sample::NodeRole;
use vexp_api::shell::{Cmd, Process, Shell};
use vexp_api::site::GuestSlot;

use super::inventory::Entry;
use super::state::State;

/// vexp's folder on a machine: it stays from run to run, with the images.
pub(super) const FOLDER: &str = "/var/lib/vexp";
/// Held while a run has the machine.
const LOCK: &str = "/var/lib/vexp/lock";
/// What the run has taken, and how it was before.
const RECORD: &str = "/var/lib/vexp/taken.json";
/// The record's format. Leftovers of any other are not touched.
const FORMAT: u32 = 1;
/// How long one run may have a machine.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the lock may take to be had.
const LOCKING: Duration = Duration::from_secs(20);
/// Status of [`HOLD`] where somebody else has the lock.
const TAKEN: i32 = 9;
/// A constant script: takes the lock that its first argument names, says so, and keeps it until it is
/// ended or can't speak any more. It speaks all the time: a connection whose other end has gone
/// without a word is only noticed by who sends. What it starts has neither lock nor voice, which
/// would outlive it.
const HOLD: &str = r#"exec 9> "$1"
flock --nonblock 9 || exit "$2"
echo held
trap 'exit 0' TERM
while echo; do
    sleep 5 9>&- > /dev/null 2>&1 &
    wait "$!"
done"#;

/// Status of [`READ`] where there is no such file. A status and no text: texts get translated.
const NONE: i32 = 44;
/// A constant script: prints the file that its first argument names.
const READ: &str = r#"[ -e "$1" ] || exit "$2"
exec cat -- "$1""#;

/// A machine of the inventory that is connected.
#[derive(Clone)]
pub(super) struct Rack {
    /// Its name in the inventory.
    pub(super) name: Name,
    pub(super) entry: Entry,
    pub(super) shell: Arc<dyn Shell>,
}

/// What a run has taken on a machine; written there before it is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Taken {
    format: u32,
    /// The run.
    pub(super) run: Name,
    /// The computer that it is run from.
    pub(super) controller: String,
    /// How the machine was before.
    pub(super) before: State,
    /// The machine under test and its guests, on a host.
    pub(super) guests: Option<(Machine, Vec<GuestSlot>)>,
}

impl Taken {
    pub(super) fn new(
        run: Name,
        controller: String,
        before: State,
        guests: Option<(Machine, Vec<GuestSlot>)>,
    ) -> Self {
        Self {
            format: FORMAT,
            run,
            controller,
            before,
            guests,
        }
    }
}

impl Rack {
    /// As plugins see it.
    pub(super) fn node(&self) -> Node {
        Node {
            name: self.name.clone(),
            role: NodeRole::Host,
            shell: Arc::clone(&self.shell),
            data: self.entry.data.iter().map(|data| data.address.0).collect(),
        }
    }

    pub(super) fn fail(&self, step: &str, message: impl Into<String>) -> PluginError {
        PluginError::new(step, self.name.as_str(), message)
    }

    /// Runs a program that must succeed.
    pub(super) async fn check(&self, step: &str, cmd: Cmd) -> Result<String, PluginError> {
        let output = self.shell.check(cmd).await;
        output
            .map(|output| output.text())
            .map_err(|error| PluginError::shell(step, &self.name, error))
    }

    /// Takes the machine's lock, which is given back when the connection ends or the program is
    /// stopped, however that comes.
    pub(super) async fn lock(&self) -> Result<Box<dyn Process>, PluginError> {
        const STEP: &str = "lock the machine";
        self.check(
            STEP,
            Cmd::new("mkdir").args(["-p", "-m", "0700", "--", FOLDER]),
        )
        .await?;
        let hold = Cmd::new("sh")
            .args(["-c", HOLD, "hold", LOCK, &TAKEN.to_string()])
            .deadline(LONGEST)
            .stoppable();
        let failed = |error| PluginError::shell(STEP, &self.name, error);
        let mut process = self.shell.start(hold).await.map_err(failed)?;
        if process.printed(1, LOCKING).await {
            return Ok(process);
        }
        let output = process.stop().await.map_err(failed)?;
        if output.status == Some(TAKEN) {
            let by = match self.taken().await {
                Ok(Some(taken)) => format!("run {} from {}", taken.run, taken.controller),
                _ => "another run".to_owned(),
            };
            let message = format!("{by} has it: wait for its end, or end it");
            return Err(self.fail(STEP, message));
        }
        let message = format!(
            "its lock can't be had within {} s: {}",
            LOCKING.as_secs(),
            output.stderr_tail()
        );
        Err(self.fail(STEP, message))
    }

    /// What a run has taken and not given back.
    pub(super) async fn taken(&self) -> Result<Option<Taken>, PluginError> {
        const STEP: &str = "look for leftovers";
        let read = Cmd::new("sh").args(["-c", READ, "read", RECORD, &NONE.to_string()]);
        let output = self.shell.run(read).await;
        let output = output.map_err(|error| PluginError::shell(STEP, &self.name, error))?;
        if output.status == Some(NONE) {
            return Ok(None);
        }
        if !output.ok() {
            let said = output.stderr_tail();
            return Err(self.fail(STEP, format!("{RECORD} can't be read: {said}")));
        }
        let help = "see what is left of that run, put it right, and remove the file";
        let taken: Taken = serde_json::from_slice(&output.stdout)
            .map_err(|e| self.fail(STEP, format!("{RECORD} can't be read: {e}: {help}")))?;
        if taken.format != FORMAT {
            let message = format!("{RECORD} has format {}: {help}", taken.format);
            return Err(self.fail(STEP, message));
        }
        Ok(Some(taken))
    }

    /// Writes down what is about to be taken; it is on disk when this returns.
    pub(super) async fn write(&self, taken: &Taken) -> Result<(), PluginError> {
        const STEP: &str = "write down what is taken";
        let text = serde_json::to_vec(taken).map_err(|e| self.fail(STEP, e.to_string()))?;
        let new = format!("{RECORD}.new");
        let put = self.shell.put(&new, text).await;
        put.map_err(|error| PluginError::shell(STEP, &self.name, error))?;
        self.check(STEP, Cmd::new("sync").args(["--", &new]))
            .await?;
        self.check(STEP, Cmd::new("mv").args(["-f", "--", &new, RECORD]))
            .await?;
        self.check(STEP, Cmd::new("sync").args(["--", FOLDER]))
            .await
            .map(drop)
    }

    /// All is given back.
    pub(super) async fn forget(&self) -> Result<(), PluginError> {
        let remove = Cmd::new("rm").args(["-f", "--", RECORD]);
        self.check("remove the record of what was taken", remove)
            .await
            .map(drop)
    }
}
