//! Machines of a lockstep that are kept: the memory of each emulator, and the links with the frames on them.

use std::path::Path;
use std::time::Duration;

use vexp_api::digest::Digest;
use vexp_api::event::Event;
use vexp_api::plugin::{Context, MachineRequest, PluginError};

use super::super::emulated::nodes::data_networks;
use super::super::emulated::run::LabError;
use super::super::emulated::snapshot::{Growing, Kept, Origin, Shelf, has};
use super::command::{Shape, with_all_peers};
use super::emulator;
use super::fleet::Fleet;
use super::lease::{bootable, topology};
use super::regime::Regime;
use super::seeds::PEERS;
use super::wire::{PATIENCE, Shared};

const STEP: &str = "keep the machines";
/// Below the store; shared with testbed `emulated`, whose keys are others.
const FOLDER: &str = "snapshots-v1";
/// Virtual time before the stop in which nothing happens, in ns: QEMU's e1000 takes no frames for a second after its
/// mode was changed (`flush_queue_timer`, hw/net/e1000.c), Linux changes it up to two seconds after a link has come up,
/// and a snapshot does not have that timer.
const REST: u64 = 4_000_000_000;

/// Where the machines are kept from which a lockstep would start, and by what: all that they can see.
pub(super) fn keeping(request: &MachineRequest, store: &Path) -> Option<(Shelf, Origin)> {
    let (image, guest_image) = (request.image.as_ref()?, request.guest_image.as_ref()?);
    let emulator = request.tools.get(emulator::IMAGE)?;
    let machine = &with_all_peers(&request.machine);
    let regime = Regime::of(&request.options).ok()?;
    let shapes = std::iter::once(Shape::machine(machine, bootable(image).ok()?))
        .chain(data_networks(machine).map(|net| Shape::peers(machine, net)));
    let mut arguments: Vec<String> = shapes
        .flat_map(|shape| shape.args(regime.shift()))
        .collect();
    arguments.push(format!("{:?} {regime:?}", topology(machine, regime)));
    arguments.push(Digest::of(vexp_lockstep::LIBRARY).to_string());
    arguments.push(Digest::of(PEERS.as_bytes()).to_string());
    let digests = [&image.digest, &guest_image.digest, &emulator.digest];
    let origin = Origin::whole(machine, digests, arguments);
    Some((Shelf::open(&store.join(FOLDER)).ok()?, origin))
}

/// Copies the nearest machine from the store from which this one is filled, if that one has more guests.
pub(super) fn fill(request: &MachineRequest, store: &Path, from: &Path) -> Result<(), LabError> {
    match keeping(request, store) {
        Some((shelf, origin)) => shelf.fill(&from.join(FOLDER), &origin, request.vms),
        None => Ok(()),
    }
}

/// With how many guests a machine is kept here, or in the store from which this one is filled.
pub(super) fn kept(request: &MachineRequest, store: &Path, from: Option<&Path>) -> Option<u32> {
    let (shelf, origin) = keeping(request, store)?;
    let there = from.and_then(|from| has(&from.join(FOLDER), &origin, request.vms));
    // `None` is less than anything.
    shelf.has(&origin, request.vms).max(there)
}

/// Copies a machine that was just kept to the store from which this one is filled, for other computers. Where that one
/// can't be written to, they boot their own.
pub(super) fn share(
    shelf: &Shelf,
    origin: &Origin,
    running: u32,
    from: &Path,
) -> Result<(), LabError> {
    match Shelf::open(&from.join(FOLDER)) {
        Ok(there) => there.fill(shelf.folder(), origin, running),
        Err(_) => Ok(()),
    }
}

/// The right to boot a machine that is to be kept, if nobody has kept it yet. While another process of this computer
/// boots the same one, this waits until that has kept it, or has ended.
pub(super) async fn growing(
    request: &MachineRequest,
    store: &Path,
    cx: &Context,
) -> Result<Option<Growing>, PluginError> {
    let wanted = request.boot.and_then(|_| keeping(request, store));
    let Some((shelf, origin)) = wanted else {
        return Ok(None);
    };
    let mut said = false;
    loop {
        let growing = shelf.grow(&origin);
        let growing =
            growing.map_err(|error| PluginError::new(error.step, "controller", error.message))?;
        // Looked at after the lock: whoever had it may have kept the machine.
        if shelf.has(&origin, request.vms) == Some(request.vms) {
            return Ok(None);
        }
        if growing.is_some() {
            return Ok(growing);
        }
        if !said {
            said = true;
            let text = format!(
                "another vexp on this computer is booting {} on {}: waiting until its machine is kept",
                request.machine.platform, request.machine.hardware
            );
            cx.events.event(&Event::Note { text });
        }
        tokio::time::sleep(OFTEN).await;
    }
}

/// How often that is looked at.
const OFTEN: Duration = Duration::from_millis(200);

/// Stops all machines at one moment of virtual time, keeps them, and lets them go on.
pub(super) fn save(
    shelf: &Shelf,
    origin: &Origin,
    running: u32,
    fleet: &Fleet,
    shared: &Shared,
    links: &Path,
) -> Result<(), LabError> {
    let mut side = shared.side();
    let gone = || fleet.ended();
    let stop = side.now() + REST;
    // What arrives is for nobody: no worker stands here.
    side.stop_at(stop, PATIENCE, &gone)
        .map_err(|error| LabError::new(STEP, error.to_string()))?;
    shelf.keep(origin, running, &(), |ram| {
        let folder = ram.parent().unwrap_or(ram);
        copy_links(links, folder).map_err(LabError::io(STEP))?;
        fleet.save(folder)
    })?;
    side.resume();
    // Also where the machines were kept by somebody else meanwhile.
    fleet.go_on()
}

/// Restores emulators that wait for it. Gives the number of guests that run. What can't be restored is removed.
pub(super) fn restore(fleet: &Fleet, kept: Kept<()>) -> Result<u32, LabError> {
    match fleet.restore(kept.folder()) {
        Ok(()) => Ok(kept.running),
        Err(error) => {
            kept.discard();
            let why = fleet.ended().unwrap_or_else(|| error.to_string());
            let message =
                format!("the machines that were kept can't be restored and are removed: {why}");
            Err(LabError::new("restore the machines", message))
        }
    }
}

/// Copies the files of links and sides.
pub(super) fn copy_links(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let kind = path.extension().unwrap_or_default();
        if kind == "link" || kind == "side" {
            std::fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}
