//! What a plan costs, roughly.
//!
//! The constants were measured under emulation on a machine of 2 cores without virtualization
//! hardware and with nothing else to do, and are the upper ends of what was seen. They decide
//! nothing: a run holds them against what it sees, and corrects the time that it says is left.

use std::collections::BTreeMap;

use vexp_api::ids::Name;
use vexp_api::plan::{Block, Estimate, Plan, Trial};
use vexp_api::units::{ByteSize, TimeSpan};

/// Power-on of a machine until its hypervisor is ready, seconds: 8 to 17, Xen at the upper end.
const MACHINE_BOOT_S: f64 = 17.0;
/// Start of a guest until it answers, seconds: 13 to 18, in a domU as under KVM.
const GUEST_BOOT_S: f64 = 18.0;
/// Restoring a machine's snapshot until its first trial, seconds: 1.6 to 5.
const RESTORE_S: f64 = 3.5;
/// The same for each of its guests, seconds: 1.6 to 2.2.
const GUEST_RESTORE_S: f64 = 2.0;
/// A trial beside its warm-up and window, seconds: starting and stopping its tools and collecting
/// what they leave.
const TRIAL_S: f64 = 2.0;
/// The same for each guest, seconds: 0.7 to 1.5, most where guests forward.
const GUEST_TRIAL_S: f64 = 1.2;
/// Building an image from nothing with packages at hand, seconds: 17 to 34, and up to 100 where
/// the machine had other work.
const IMAGE_S: u64 = 34;
/// A built image, bytes: 70 MiB of root file system, 20 MiB of kernel and initramfs, and 150 MB
/// (143 MiB) of packages that are kept for the next build.
const IMAGE_BYTES: u64 = (70 + 20 + 143) << 20;
/// A snapshot of a machine, bytes: 255 MiB were written of one with 4 GiB and eight guests.
const SNAPSHOT_BYTES: u64 = 255 << 20;
/// Raw data of a trial, bytes.
const TRIAL_BYTES: u64 = 256 << 10;
/// Logs and environment of a block, bytes.
const BLOCK_BYTES: u64 = 1 << 20;

/// How much longer everything takes in virtual time: 3 to 6 times without guests, up to 15 with.
const VIRTUAL: f64 = 6.0;

/// How a block comes to its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// Something is booted: the machine, guests, or both.
    Booted,
    /// All is restored from a snapshot.
    Restored,
}

/// What a block is expected to take.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockCost {
    /// Block.
    pub block: Name,
    /// Its machine: blocks of one machine never run at the same time.
    pub machine: (Name, Name),
    /// How it comes to its machine.
    pub start: Start,
    /// Seconds until the machine and its guests are there.
    pub start_s: f64,
    /// Trials in their order, and the seconds of each.
    pub trials: Vec<(Name, f64)>,
}

impl BlockCost {
    /// Seconds in all.
    pub fn seconds(&self) -> f64 {
        self.start_s + self.trials.iter().map(|(_, seconds)| seconds).sum::<f64>()
    }
}

/// Seconds until blocks with these machines and times are over, of which `jobs` run at the same time.
pub fn together<'a>(blocks: impl IntoIterator<Item = (&'a (Name, Name), f64)>, jobs: usize) -> f64 {
    let mut machines: BTreeMap<&(Name, Name), f64> = BTreeMap::new();
    for (machine, seconds) in blocks {
        *machines.entry(machine).or_default() += seconds;
    }
    let sum: f64 = machines.values().sum();
    let longest = machines.values().copied().fold(0.0, f64::max);
    longest.max(sum / jobs.max(1) as f64)
}

/// Seconds until whole blocks are over, of which `jobs` run at the same time.
pub fn all(blocks: &[BlockCost], jobs: usize) -> f64 {
    let each = blocks.iter().map(|block| (&block.machine, block.seconds()));
    together(each, jobs)
}

/// What each block of a plan is expected to take, in the plan's order.
///
/// A machine that is kept is booted by the first block that needs it, which grows it guest by guest
/// and keeps it on the way; a block with more guests goes on from there, and others restore it.
/// `earlier` says with how many guests a snapshot of an earlier run has what a block needs.
pub fn blocks(
    plan: &Plan,
    virtual_time: bool,
    earlier: impl Fn(&Block) -> Option<u32>,
) -> Vec<BlockCost> {
    costs(&plan.blocks, virtual_time, earlier)
}

/// The same for some blocks of a plan.
pub fn costs(
    blocks: &[Block],
    virtual_time: bool,
    earlier: impl Fn(&Block) -> Option<u32>,
) -> Vec<BlockCost> {
    let slower = if virtual_time { VIRTUAL } else { 1.0 };
    let mut kept: BTreeMap<(&Name, &Name, u32), u32> = BTreeMap::new();
    let mut costs = Vec::new();
    for block in blocks {
        let machine = &block.machine;
        let have = block.boot.and_then(|boot| {
            let key = (&machine.platform, &machine.hardware, boot);
            let before = kept.get(&key).copied();
            kept.insert(key, before.unwrap_or(0).max(block.vms));
            // `None` is less than anything.
            before.max(earlier(block))
        });
        let restored = have.map(|have| have.min(block.vms));
        let guests = f64::from(block.vms - restored.unwrap_or(0)) * GUEST_BOOT_S;
        let start_s = match restored {
            None => MACHINE_BOOT_S + guests,
            Some(old) => RESTORE_S + GUEST_RESTORE_S * f64::from(old) + guests,
        };
        costs.push(BlockCost {
            block: block.id.clone(),
            machine: (machine.platform.clone(), machine.hardware.clone()),
            start: match restored == Some(block.vms) {
                true => Start::Restored,
                false => Start::Booted,
            },
            start_s: start_s * slower,
            trials: (block.trials.iter())
                .map(|t| trial(t, block.vms))
                .map(|(name, seconds)| (name, seconds * slower))
                .collect(),
        });
    }
    costs
}

fn trial(trial: &Trial, guests: u32) -> (Name, f64) {
    let tools = TRIAL_S + GUEST_TRIAL_S * f64::from(guests);
    let seconds = tools + trial.warm_up.secs_f64() + trial.window.secs_f64();
    (trial.id.clone(), seconds)
}

/// How many snapshots a plan keeps: one of each VM count of each machine and boot.
fn snapshots(blocks: &[Block]) -> u64 {
    let all: std::collections::BTreeSet<_> = blocks
        .iter()
        .filter_map(|block| {
            let machine = &block.machine;
            Some((&machine.platform, &machine.hardware, block.boot?, block.vms))
        })
        .collect();
    all.len() as u64
}

/// What a part of a plan costs: the trials that are `wanted`, with the boots that they need.
pub fn of_part(plan: &Plan, virtual_time: bool, wanted: &dyn Fn(&Name) -> bool) -> Estimate {
    let blocks = part(plan, wanted);
    of(&blocks, virtual_time, plan.images.len())
}

/// The blocks of a plan with those trials that are `wanted`.
pub fn part(plan: &Plan, wanted: &dyn Fn(&Name) -> bool) -> Vec<Block> {
    let of_part = |block: &Block| {
        let trials = block.trials.iter().filter(|trial| wanted(&trial.id));
        let trials: Vec<Trial> = trials.cloned().collect();
        (!trials.is_empty()).then(|| Block {
            trials,
            id: block.id.clone(),
            machine: block.machine.clone(),
            ..*block
        })
    };
    plan.blocks.iter().filter_map(of_part).collect()
}

/// The estimate; saturates instead of wrapping.
pub(super) fn of(blocks: &[Block], virtual_time: bool, images: usize) -> Estimate {
    let images = images as u64;
    let seconds: f64 = costs(blocks, virtual_time, |_| None)
        .iter()
        .map(BlockCost::seconds)
        .sum();
    let trials: u64 = blocks.iter().map(|block| block.trials.len() as u64).sum();
    let disk = [
        (images, IMAGE_BYTES),
        (snapshots(blocks), SNAPSHOT_BYTES),
        (blocks.len() as u64, BLOCK_BYTES),
        (trials, TRIAL_BYTES),
    ];
    let disk = disk.iter().fold(0_u64, |sum, (count, bytes)| {
        sum.saturating_add(count.saturating_mul(*bytes))
    });
    Estimate {
        // Whole seconds: it is no better than that. Conversions of large numbers saturate.
        run: TimeSpan::from_secs(seconds.ceil() as u64),
        build: TimeSpan::from_secs(images.saturating_mul(IMAGE_S)),
        disk: ByteSize::new(disk),
    }
}
