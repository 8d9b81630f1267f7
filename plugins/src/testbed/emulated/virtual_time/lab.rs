//! A lab in virtual time, seen from the process that holds its QEMU.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use vexp_api::digest::Digest;
use vexp_api::plan::Machine;
use vexp_api::plugin::MachineRequest;
use vexp_api::shell::tail;
use vexp_api::site::Site;

use super::super::lab::{self, Kind, Lab, LabRequest};
use super::super::qemu::{self, Clock, Start};
use super::super::qmp::Qmp;
use super::super::run::LabError;
use super::super::snapshot::{Kept, Origin, Shelf};
use super::super::{emulator, start};
use super::inside::InsideRequest;
use super::mailbox::{Outside, Word};
use super::seed::{self, Program};

/// How long a machine may take until its lab is up. Its time runs several times slower than this
/// computer's, which may have other things to do.
const DEADLINE: Duration = Duration::from_secs(900);
/// An instruction in a nanosecond: a processor of 2 GHz that does one in two cycles.
const SHIFT: u8 = 0;
const STEP: &str = "boot the machine";
/// Where all labs of this computer find each other's locks.
const LOCKS: &str = "/run/lock";

pub(in super::super) fn mailbox() -> PathBuf {
    Path::new(lab::LAB).join("mailbox")
}

fn clock(processor: usize) -> Clock {
    Clock {
        shift: SHIFT,
        mailbox: mailbox(),
        processor,
    }
}

/// One of the processors that this process may use, which no other machine in virtual time has: two on
/// one would take twice as long. It is this lab's until the process ends.
fn processor(locks: &Path) -> usize {
    let all = rustix::thread::sched_getaffinity(None);
    let all: Vec<usize> = all.map_or_else(
        |_| vec![0],
        |set| {
            (0..rustix::thread::CpuSet::MAX_CPU)
                .filter(|n| set.is_set(*n))
                .collect()
        },
    );
    for processor in &all {
        let path = locks.join(format!("vexp-processor-{processor}"));
        let Ok(file) = std::fs::File::create(path) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // The lock goes with the process.
            std::mem::forget(file);
            return *processor;
        }
    }
    // There are more machines than processors, or no place for locks: one by chance.
    let nth = SystemTime::now().duration_since(UNIX_EPOCH);
    let nth = nth.unwrap_or_default().subsec_nanos() as usize / 1000;
    all.get(nth % all.len().max(1)).copied().unwrap_or(0)
}

fn program() -> Result<Program, LabError> {
    const STEP: &str = "find this program's files";
    let executable = std::env::current_exe().map_err(LabError::io(STEP))?;
    Program::own(&executable).map_err(LabError::io(STEP))
}

/// The digest of this program, read once: it is large, and asked for as often as a machine is planned.
fn own_digest() -> Option<Digest> {
    static OWN: OnceLock<Option<Digest>> = OnceLock::new();
    OWN.get_or_init(|| program().ok()?.digest().ok()).clone()
}

/// Where the machines are kept from which a lab would start, and by what.
pub(in super::super) fn keeping(
    request: &MachineRequest,
    folder: &Path,
) -> Option<(Shelf, Origin)> {
    lab::keeping_by(request, folder, Some(&clock(0)), |start, digests| {
        let own = own_digest()?;
        Some(Origin::whole(start.machine, digests, own, start.key()))
    })
}

pub(in super::super) fn set_up(request: &LabRequest) -> Result<(Site, Lab), LabError> {
    let machine = &request.machine;
    lab::check(machine)?;
    let folder = Path::new(lab::LAB);
    // Before `/run` is the lab's own.
    let clock = clock(processor(Path::new(LOCKS)));
    lab::private_folder(folder)?;
    Outside::create(&mailbox()).map_err(LabError::io("make the mailbox"))?;
    let shelf = request.snapshots.as_deref().map(Shelf::open).transpose()?;
    let emulator = lab::mount_emulator(request, folder, shelf.as_ref())?;
    let images = [&request.image, &request.guest_image];
    let mut start = Start::new(machine, images, &request.logs, "tcg", Some(&clock))?;
    let digests = [&request.image, &request.guest_image, &request.emulator].map(|i| &i.digest);
    let program = program()?;
    let digest = (program.digest()).map_err(LabError::io("read this program"))?;
    let origin = Origin::whole(machine, digests, digest, start.key());
    let kept = match &shelf {
        Some(shelf) => shelf.find::<Site>(&origin, request.vms)?,
        None => None,
    };
    let with_image = program.with_libraries_of(emulator.root());
    let inside = InsideRequest {
        machine: machine.clone(),
        facts: facts(machine, request, with_image.is_some()),
    };
    let program = with_image.unwrap_or(program);
    // One that is restored has it in its memory.
    let archive = match &kept {
        Some(_) => Vec::new(),
        None => seed::archive(
            &request.image.root,
            &request.guest_image.root,
            &program,
            &inside,
        )
        .map_err(LabError::io("write the machine's seed"))?,
    };
    start.seed = &archive;
    let qemu = start.spawn(&emulator, kept.is_some())?;
    let site = come_up(&start, qemu, kept)?;
    let lab = Lab {
        socket: start.socket(),
        // `boot` says whether it is to be kept; which boot it is makes no difference.
        keeping: shelf.zip(Some(origin)).filter(|_| request.boot.is_some()),
        machine: Kind::Still(Box::new(site.clone())),
    };
    Ok((site, lab))
}

/// Waits until the machine has stopped itself, or restores it.
fn come_up(start: &Start<'_>, mut qemu: Child, kept: Option<Kept<Site>>) -> Result<Site, LabError> {
    let mut qmp = start::connect(start, &mut qemu)?.patient()?;
    let site = match kept {
        Some(kept) => {
            let restore = |ram: &Path| qmp.restore(ram);
            let (running, known) = start::restore(start, &mut qemu, kept, restore)?;
            // Not before: it waits for other threads then.
            emulator::main_loop_first(qemu.id())?;
            Site {
                running,
                restored: true,
                ..known
            }
        }
        None => {
            emulator::main_loop_first(qemu.id())?;
            qmp.go_on()?;
            await_stop(start, qmp, &mut qemu)?
        }
    };
    // Its end changes nothing here: whoever talks to it notices.
    std::thread::spawn(move || qemu.wait());
    Ok(site)
}

fn await_stop(start: &Start<'_>, mut qmp: Qmp, qemu: &mut Child) -> Result<Site, LabError> {
    let stop = std::thread::spawn(move || qmp.await_stop());
    start::await_up(start, qemu, DEADLINE, |_| stop.is_finished())?;
    let stopped = stop
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // The socket's end may be that of QEMU.
    stopped.map_err(|error| start::ended(start, qemu).unwrap_or(error))?;
    let words = Outside::open(&mailbox()).and_then(|mut outside| outside.hear());
    match words.map_err(LabError::io(STEP))?.into_iter().next() {
        Some(Word::Ready(site)) => Ok(*site),
        Some(Word::Failed { step, message }) => Err(LabError::new(step, message)),
        other => {
            let console = tail(&start::console(start), 2000);
            let message = format!("it stopped and said {other:?}; its console:\n{console}");
            Err(LabError::new(STEP, message))
        }
    }
}

/// What was used. Nothing in it may differ between two computers: the machine knows it.
fn facts(machine: &Machine, request: &LabRequest, portable: bool) -> BTreeMap<String, String> {
    let libraries = match portable {
        true => "the emulator's image",
        // The program was built for newer ones.
        false => "this computer's: other libraries may give other numbers",
    };
    [
        ("emulator_image", request.emulator.digest.to_string()),
        ("worker_libraries", libraries.to_owned()),
        ("accelerator", "tcg".to_owned()),
        (
            "clock",
            format!("virtual time, instruction model: {} ns", 1 << SHIFT),
        ),
        ("cpu", qemu::cpu(machine, "tcg")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_a_processor_of_its_own_while_there_are_some() {
        let locks = tempfile::tempdir().unwrap();
        let all = rustix::thread::sched_getaffinity(None).unwrap().count() as usize;
        let taken: std::collections::BTreeSet<_> =
            (0..all).map(|_| processor(locks.path())).collect();
        assert_eq!(taken.len(), all);
        assert!(taken.contains(&processor(locks.path())), "they are shared");
        assert!(taken.contains(&processor(Path::new("/nowhere"))));
    }
}
