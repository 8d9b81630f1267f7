//! How a machine's start ends.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use vexp_api::shell::tail;

use super::qemu::Start;
use super::qmp::Qmp;
use super::run::LabError;
use super::snapshot::Kept;

/// How often its console is looked at.
const LOOK: Duration = Duration::from_millis(20);
const STEP: &str = "boot the machine";

/// Connects to a machine's QEMU that was just started.
pub(super) fn connect(start: &Start<'_>, qemu: &mut Child) -> Result<Qmp, LabError> {
    let connected = Qmp::connect(&start.socket(), || matches!(qemu.try_wait(), Ok(None)));
    connected.map_err(|error| ended(start, qemu).unwrap_or(error))
}

/// Restores a kept machine by `restore`, which is given the file with its memory. One that can't be
/// restored is removed. Gives how many guests run in it, and what is known of it.
pub(super) fn restore<T>(
    start: &Start<'_>,
    qemu: &mut Child,
    kept: Kept<T>,
    restore: impl FnOnce(&Path) -> Result<(), LabError>,
) -> Result<(u32, T), LabError> {
    if let Err(error) = restore(&kept.ram()) {
        kept.discard();
        let message = format!(
            "the machine that was kept can't be restored and is removed: {}",
            ended(start, qemu).unwrap_or(error)
        );
        return Err(LabError::new("restore the machine", message));
    }
    Ok((kept.running, kept.known))
}

/// Waits until `up` says that the machine is up; it is given what the console has said. Fails as soon
/// as that says that the machine could not set itself up, or QEMU has ended.
pub(super) fn await_up(
    start: &Start<'_>,
    qemu: &mut Child,
    deadline: Duration,
    up: impl Fn(&str) -> bool,
) -> Result<(), LabError> {
    let began = Instant::now();
    loop {
        let text = console(start);
        let said = String::from_utf8_lossy(&text);
        if let Some(reason) = failed(&said) {
            return Err(LabError::new(STEP, format!("its set-up failed: {reason}")));
        }
        if up(&said) {
            return Ok(());
        }
        if let Some(error) = ended(start, qemu) {
            return Err(error);
        }
        if began.elapsed() > deadline {
            let message = format!(
                "it was not ready within {} s; last lines of its console:\n{}",
                deadline.as_secs(),
                tail(&text, 2000)
            );
            return Err(LabError::new(STEP, message));
        }
        std::thread::sleep(LOOK);
    }
}

/// What the machine has said on its console so far. The lines end with CR LF, and the kernel may write
/// in the middle of ours.
pub(super) fn console(start: &Start<'_>) -> Vec<u8> {
    std::fs::read(start.console()).unwrap_or_default()
}

/// Why the machine could not set itself up, if it says so on its console.
fn failed(said: &str) -> Option<&str> {
    let (_, reason) = said.split_once("vexp: failed ")?;
    Some(reason.lines().next().unwrap_or_default().trim_end())
}

/// What QEMU said, if it has ended.
pub(super) fn ended(start: &Start<'_>, qemu: &mut Child) -> Option<LabError> {
    let status = match qemu.try_wait() {
        Ok(None) => return None,
        Ok(Some(status)) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let log = std::fs::read(start.log()).unwrap_or_default();
    let message = format!(
        "QEMU ended with {status}: {}\nlast lines of the console:\n{}",
        tail(&log, 2000),
        tail(&console(start), 2000)
    );
    Some(LabError::new(STEP, message))
}
