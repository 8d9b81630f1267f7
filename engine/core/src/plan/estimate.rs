//! What a plan costs, roughly.
//!
//! The constants are estimates for a machine of two cores without virtualization hardware, rounded
//! up from first runs of the images there. They decide nothing: a run shows its own progress.

use vexp_api::plan::{Block, Estimate};
use vexp_api::units::{ByteSize, TimeSpan};

/// Power-on of a machine until it answers and its hypervisor is ready, and its power-off, seconds.
const MACHINE_BOOT_S: u64 = 30;
/// Start of a guest until it answers, seconds.
const GUEST_BOOT_S: u64 = 10;
/// Starting and stopping the tools of a trial and collecting what they leave, seconds.
const TRIAL_S: u64 = 5;
/// Building an image from nothing with packages at hand, seconds.
const IMAGE_S: u64 = 90;
/// A built image, bytes.
const IMAGE_BYTES: u64 = 400 << 20;
/// Raw data of a trial, bytes.
const TRIAL_BYTES: u64 = 256 << 10;
/// Logs and environment of a block, bytes.
const BLOCK_BYTES: u64 = 1 << 20;

/// The estimate; saturates instead of wrapping.
pub(super) fn of(blocks: &[Block], images: usize) -> Estimate {
    let images = images as u64;
    let mut run: u64 = 0;
    let mut disk = images.saturating_mul(IMAGE_BYTES);
    for block in blocks {
        let boots = MACHINE_BOOT_S + GUEST_BOOT_S * u64::from(block.machine.max_vms);
        run = run.saturating_add(TimeSpan::from_secs(boots).nanos());
        disk = disk.saturating_add(BLOCK_BYTES);
        for trial in &block.trials {
            run = run
                .saturating_add(TimeSpan::from_secs(TRIAL_S).nanos())
                .saturating_add(trial.warm_up.nanos())
                .saturating_add(trial.window.nanos());
            disk = disk.saturating_add(TRIAL_BYTES);
        }
    }
    Estimate {
        run: TimeSpan::new(run),
        build: TimeSpan::from_secs(images.saturating_mul(IMAGE_S)),
        disk: ByteSize::new(disk),
    }
}
