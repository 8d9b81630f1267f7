//! What a plan costs, roughly.
//!
//! The constants were measured under emulation on a machine of 2 cores without virtualization
//! hardware and with nothing else to do, and are the upper ends of what was seen. They decide
//! nothing: a run shows its own progress.

use vexp_api::plan::{Block, Estimate};
use vexp_api::units::{ByteSize, TimeSpan};

/// Power-on of a machine until its hypervisor is ready, seconds: 8 to 17, Xen at the upper end.
const MACHINE_BOOT_S: u64 = 17;
/// Start of a guest until it answers, seconds: 13 to 18, in a domU as under KVM.
const GUEST_BOOT_S: u64 = 18;
/// A trial beside its warm-up and window, seconds: starting and stopping its tools and collecting
/// what they leave took 2 to 4.
const TRIAL_S: u64 = 4;
/// Building an image from nothing with packages at hand, seconds: 17 to 34, and up to 100 where
/// the machine had other work.
const IMAGE_S: u64 = 34;
/// A built image, bytes: 70 MiB of root file system, 20 MiB of kernel and initramfs, and 150 MB
/// (143 MiB) of packages that are kept for the next build.
const IMAGE_BYTES: u64 = (70 + 20 + 143) << 20;
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
        let boots = MACHINE_BOOT_S + GUEST_BOOT_S * u64::from(block.vms);
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
