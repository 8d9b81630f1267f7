//! How a machine's start ends.

use std::process::Child;
use std::time::{Duration, Instant};

use vexp_api::shell::tail;

use super::qemu::Start;
use super::run::LabError;

/// How long a machine may take to say that it is ready, under full emulation.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);
const STEP: &str = "boot the machine";

/// Waits until the machine says on its console that it is ready.
pub(super) fn await_ready(
    start: &Start<'_>,
    qemu: &mut Child,
    since: Instant,
) -> Result<(), LabError> {
    loop {
        let text = std::fs::read(start.console()).unwrap_or_default();
        let said = String::from_utf8_lossy(&text);
        // The console's lines end with CR LF, and the kernel may write in the middle of ours.
        if said.contains("vexp: ready host") {
            return Ok(());
        }
        if let Some(reason) = failed(start) {
            return Err(LabError::new(STEP, format!("its set-up failed: {reason}")));
        }
        if let Some(error) = ended(start, qemu) {
            return Err(error);
        }
        if since.elapsed() > BOOT_DEADLINE {
            let message = format!(
                "it was not ready within {} s; last lines of its console:\n{}",
                BOOT_DEADLINE.as_secs(),
                tail(&text, 2000)
            );
            return Err(LabError::new(STEP, message));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Why the machine could not set itself up, if it says so on its console.
pub(super) fn failed(start: &Start<'_>) -> Option<String> {
    let text = std::fs::read(start.console()).unwrap_or_default();
    let said = String::from_utf8_lossy(&text);
    let (_, reason) = said.split_once("vexp: failed ")?;
    Some(
        reason
            .lines()
            .next()
            .unwrap_or_default()
            .trim_end()
            .to_owned(),
    )
}

/// What QEMU said, if it has ended.
pub(super) fn ended(start: &Start<'_>, qemu: &mut Child) -> Option<LabError> {
    let status = match qemu.try_wait() {
        Ok(None) => return None,
        Ok(Some(status)) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let read = |path| std::fs::read(path).unwrap_or_default();
    let message = format!(
        "QEMU ended with {status}: {}\nlast lines of the console:\n{}",
        tail(&read(start.log()), 2000),
        tail(&read(start.console()), 2000)
    );
    Some(LabError::new(STEP, message))
}
