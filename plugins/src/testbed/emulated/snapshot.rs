//! Machines that are kept: their memory, and the keys that their nodes know.
//!
//! ```text
//! FOLDER/KEY/ram             QEMU's migration stream with mapped-ram: a sparse file; in virtual time one
//!                            for each emulator of peers too (`ram.peers0`), and the links (`*.link`, `*.side`)
//! FOLDER/KEY/snapshot.json   Snapshot; locked (flock(2)) by those who read `ram`, its time is that
//!                            of the last use
//! FOLDER/KEY/restored-by-*   the same for other computers that share the folder
//! FOLDER/KEY.lock            flock(2), held while a process of this computer boots the machine to keep it
//! FOLDER/saving-HOST/        half-made; renamed when it is whole
//! FOLDER/gone-*              renamed before it is removed
//! FOLDER/lock                held while something is added or removed: `vexp_api::hold::across`
//! ```
//!
//! Machines have their nodes' private keys, so that a folder is one user's alone: what another user has kept can't be
//! read, and is not found.

mod blocks;
mod fill;
mod mark;

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::hold::across::Held;
use vexp_api::hold::{Hold, hold};
use vexp_api::plan::Machine;
use vexp_api::run_dir::read_named;
use vexp_api::units::{BitRate, ByteSize};

use super::run::LabError;
use blocks::Written;
use mark::Mark;

/// The version of what is kept and of what its key stands for. A reader refuses any other.
const FORMAT: u32 = 1;
/// Most that is kept; what was not used for longest goes first.
const MOST: ByteSize = ByteSize::new(40_000_000_000);

/// How long another vexp may be adding to the folder: writing a machine's memory takes minutes on a slow disk.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Bytes of a `snapshot.json`.
const DESCRIPTION_BYTES: u64 = 16 << 20;

/// `snapshot.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Snapshot<T> {
    /// [`FORMAT`].
    format: u32,
    /// What is to be known of it: its keys, say.
    known: T,
    /// Its other files by name, so that a copy can be held against them. None of an older vexp's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<String, Written>,
}

/// Everything that a kept machine depends on, but for the number of its running guests. Link
/// rates and peers are outside of the machine.
#[derive(Clone, Debug, Serialize)]
pub(in crate::testbed) struct Origin {
    format: u32,
    vexp: &'static str,
    machine: Machine,
    boot: u32,
    host: Digest,
    guest: Digest,
    emulator: Digest,
    accelerator: String,
    /// QEMU's arguments, the same in every run.
    arguments: Vec<String>,
}

impl Origin {
    /// Boot `boot` of a machine.
    pub(in crate::testbed) fn new(
        machine: &Machine,
        boot: u32,
        images: [&Digest; 3],
        accelerator: &str,
        arguments: Vec<String>,
    ) -> Self {
        let mut machine = machine.clone();
        for nic in &mut machine.nics {
            nic.rate = BitRate::new(0);
        }
        machine.peers = 0;
        let [host, guest, emulator] = images.map(Clone::clone);
        Self {
            format: FORMAT,
            vexp: env!("CARGO_PKG_VERSION"),
            machine,
            boot,
            host,
            guest,
            emulator,
            accelerator: accelerator.to_owned(),
            arguments,
        }
    }

    /// A machine in virtual time. All its boots are one, and its links and peers are parts of it.
    pub(in crate::testbed) fn whole(
        machine: &Machine,
        images: [&Digest; 3],
        arguments: Vec<String>,
    ) -> Self {
        Self {
            machine: machine.clone(),
            ..Self::new(machine, 1, images, "icount", arguments)
        }
    }

    /// The key of the machine with so many guests running.
    fn key(&self, running: u32) -> Result<Digest, LabError> {
        let json = |e: serde_json::Error| LabError::new("name a kept machine", e.to_string());
        Digest::of_value(&(self, running)).map_err(json)
    }
}

/// Where machines are kept.
#[derive(Clone, Debug)]
pub(in crate::testbed) struct Shelf {
    folder: PathBuf,
    most: ByteSize,
}

/// A machine that can be restored. While this lives, it is not removed.
#[derive(Debug)]
pub(in crate::testbed) struct Kept<T> {
    /// What is to be known of it.
    pub(in crate::testbed) known: T,
    /// Guests that run in it.
    pub(in crate::testbed) running: u32,
    folder: PathBuf,
    files: BTreeMap<String, Written>,
    _mark: Mark,
    _lock: File,
}

impl<T> Kept<T> {
    /// Its memory.
    pub(in crate::testbed) fn ram(&self) -> PathBuf {
        self.folder.join("ram")
    }

    /// Its folder.
    pub(in crate::testbed) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes one away that turned out to be of no use.
    pub(in crate::testbed) fn discard(self) {
        // If it can't be removed now, it goes when it is the oldest.
        let _ = take_out(&self.folder);
    }
}

/// The right to boot a machine that is to be kept: others of this computer wait for the one that does.
#[derive(Debug)]
pub(in crate::testbed) struct Growing(#[expect(dead_code, reason = "held")] File);

impl Shelf {
    /// The shelf at `folder`, which is made; it holds keys, so nobody else may look at it.
    pub(in crate::testbed) fn open(folder: &Path) -> Result<Self, LabError> {
        const STEP: &str = "open the folder of kept machines";
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::set_permissions(folder, Permissions::from_mode(0o700)))
            .map_err(LabError::io(STEP))?;
        Ok(Self {
            folder: folder.to_owned(),
            most: MOST,
        })
    }

    /// Its folder.
    pub(in crate::testbed) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The machine with the most guests, but no more than `most`.
    pub(in crate::testbed) fn find<T: DeserializeOwned>(
        &self,
        origin: &Origin,
        most: u32,
    ) -> Result<Option<Kept<T>>, LabError> {
        for running in (0..=most).rev() {
            let folder = self.folder.join(origin.key(running)?.hex());
            if let Some(kept) = open(folder, running) {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    /// With how many guests [`Shelf::find`] would find it; nothing is marked as used.
    pub(in crate::testbed) fn has(&self, origin: &Origin, most: u32) -> Option<u32> {
        has(&self.folder, origin, most)
    }

    /// Removes the machine with so many guests, unless somebody uses it.
    pub(in crate::testbed) fn remove(&self, origin: &Origin, running: u32) {
        // What can't be removed now goes when it is the oldest.
        if let (Ok(_lock), Ok(key)) = (lock(&self.folder), origin.key(running)) {
            let _ = remove_unused(&self.folder.join(key.hex()));
        }
    }

    /// Removes the machine with any number of guests up to `most`, unless somebody uses it.
    pub(in crate::testbed) fn forget(&self, origin: &Origin, most: u32) {
        // What can't be removed now goes when it is the oldest.
        let Ok(_lock) = lock(&self.folder) else {
            return;
        };
        for key in (0..=most).filter_map(|running| origin.key(running).ok()) {
            let _ = remove_unused(&self.folder.join(key.hex()));
        }
    }

    /// Tries to get the right to boot a machine to be kept; `None` while another process of this computer has it. Where
    /// the folder is shared, other computers may boot the same one: the first that has kept it serves all.
    pub(in crate::testbed) fn grow(&self, origin: &Origin) -> Result<Option<Growing>, LabError> {
        const STEP: &str = "wait for the machine";
        let path = self.folder.join(format!("{}.lock", origin.key(0)?.hex()));
        match hold(&path).map_err(LabError::io(STEP))? {
            Hold::Ours(file) => Ok(Some(Growing(file))),
            Hold::Theirs(_) => Ok(None),
        }
    }

    /// Keeps a machine, whose memory `write` puts into the file that it is given. Others wait.
    pub(in crate::testbed) fn keep<T: Serialize + DeserializeOwned>(
        &self,
        origin: &Origin,
        running: u32,
        known: &T,
        write: impl FnOnce(&Path) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        const STEP: &str = "keep the machine";
        let io = || LabError::io(STEP);
        let _lock = lock(&self.folder).map_err(io())?;
        let folder = self.folder.join(origin.key(running)?.hex());
        if open::<T>(folder.clone(), running).is_some() {
            return Ok(());
        }
        let saving = new_saving(&self.folder).map_err(io())?;
        let ram = saving.join("ram");
        let written = write(&ram).and_then(|()| {
            let named = |path: PathBuf| -> std::io::Result<(String, Written)> {
                let name = path.file_name().unwrap_or_default();
                Ok((name.to_string_lossy().into_owned(), blocks::read(&path)?))
            };
            let files = files(&saving).map_err(io())?.into_iter().map(named);
            let snapshot = Snapshot {
                format: FORMAT,
                known,
                files: files.collect::<std::io::Result<_>>().map_err(io())?,
            };
            let text = serde_json::to_vec(&snapshot)
                .map_err(|error| LabError::new(STEP, error.to_string()))?;
            std::fs::write(saving.join("snapshot.json"), text).map_err(io())?;
            // Holes that a crash leaves would be zeros to the machine.
            for path in self::files(&saving).map_err(io())? {
                let synced = File::open(path).and_then(|file| file.sync_all());
                synced.map_err(io())?;
            }
            finish(&saving, &folder).map_err(io())
        });
        if written.is_err() {
            // It is removed before the next one is saved anyway.
            let _ = std::fs::remove_dir_all(&saving);
        }
        written?;
        self.tidy(&folder).map_err(io())
    }

    /// Removes what was not used for longest until no more than [`MOST`] is left; never `newest`
    /// and never what is being restored.
    fn tidy(&self, newest: &Path) -> std::io::Result<()> {
        let mut all: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for (used, path) in all_kept(&self.folder)? {
            let bytes = on_disk(&path)?;
            all.push((used, bytes, path));
        }
        all.sort();
        let mut bytes: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in all {
            if bytes <= self.most.bytes() {
                break;
            }
            if path != newest && remove_unused(&path)? {
                bytes -= size;
            }
        }
        Ok(())
    }
}

/// With how many guests, but no more than `most`, a machine is in a folder of kept ones.
pub(in crate::testbed) fn has(folder: &Path, origin: &Origin, most: u32) -> Option<u32> {
    let known = |running: &u32| {
        let key = origin.key(*running).ok();
        key.is_some_and(|key| folder.join(key.hex()).join("snapshot.json").exists())
    };
    (0..=most).rev().find(known)
}

/// Waits for the right to add and remove kept machines.
fn lock(folder: &Path) -> std::io::Result<Held> {
    vexp_api::hold::within(&folder.join("lock"), PATIENCE)
}

/// Where this computer's half-made machine is.
fn saving_in(folder: &Path) -> PathBuf {
    folder.join(format!("saving-{}", mark::host()))
}

/// An empty folder for a machine that is being made, by the holder of the lock.
fn new_saving(folder: &Path) -> std::io::Result<PathBuf> {
    let saving = saving_in(folder);
    if saving.exists() {
        std::fs::remove_dir_all(&saving)?;
    }
    std::fs::create_dir(&saving)?;
    Ok(saving)
}

/// Puts a machine that is whole into its place, for good. One that is there and that this vexp can't read goes; where
/// another computer was faster, this one's goes.
fn finish(saving: &Path, to: &Path) -> std::io::Result<()> {
    File::open(saving)?.sync_all()?;
    if to.exists() && open::<serde_json::Value>(to.to_owned(), 0).is_none() {
        take_out(to)?;
    }
    match std::fs::rename(saving, to) {
        Err(_) if to.exists() => std::fs::remove_dir_all(saving)?,
        renamed => renamed?,
    }
    match to.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a kept machine, which is out of sight first: it is never found in part.
fn take_out(machine: &Path) -> std::io::Result<()> {
    let parent = machine.parent().unwrap_or(machine);
    let gone = tempfile::Builder::new()
        .prefix("gone-")
        .tempdir_in(parent)?;
    std::fs::rename(machine, gone.path().join("machine"))?;
    gone.close()
}

/// Folders of all kept machines below `folder`, with the time of their last use.
fn all_kept(folder: &Path) -> std::io::Result<Vec<(SystemTime, PathBuf)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // What has none is no kept machine, or is being saved.
        if let Ok(used) = path.join("snapshot.json").metadata() {
            all.push((used.modified()?, path));
        }
    }
    Ok(all)
}

/// Bytes of a kept machine: its blocks, since holes take no place.
fn on_disk(machine: &Path) -> std::io::Result<u64> {
    let blocks = files(machine)?
        .into_iter()
        .map(|file| Ok(file.metadata()?.blocks()));
    Ok(blocks.sum::<std::io::Result<u64>>()? * 512)
}

/// The files in a folder.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Folders of the kept machines below `folder` that were not used since a moment, with their bytes
/// on disk.
pub fn unused(folder: &Path, since: SystemTime) -> std::io::Result<Vec<(PathBuf, u64)>> {
    let kept = match all_kept(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        kept => kept?,
    };
    let mut found = Vec::new();
    for (used, path) in kept {
        if used < since {
            let bytes = on_disk(&path).unwrap_or(0);
            found.push((path, bytes));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes kept machines, but none that is being restored.
pub fn discard(folder: &Path, machines: &[PathBuf]) -> std::io::Result<()> {
    let _lock = lock(folder)?;
    for path in machines {
        remove_unused(path)?;
    }
    Ok(())
}

/// Removes a kept machine; false if somebody uses it.
fn remove_unused(folder: &Path) -> std::io::Result<bool> {
    let file = File::open(folder.join("snapshot.json"))?;
    let unused = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && !mark::is_used_elsewhere(folder);
    if unused {
        take_out(folder)?;
    }
    Ok(unused)
}

/// A kept machine, if it is there and whole.
fn open<T: DeserializeOwned>(folder: PathBuf, running: u32) -> Option<Kept<T>> {
    let path = folder.join("snapshot.json");
    let file = File::open(&path).ok()?;
    flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
    let mark = Mark::put(&folder);
    // It may have been removed between the two.
    let snapshot: Snapshot<T> = parse(&read_named(&path, DESCRIPTION_BYTES).ok()?)?;
    if !folder.join("ram").exists() {
        return None;
    }
    // Only the order in which they go depends on it.
    let _ = file.set_modified(SystemTime::now());
    Some(Kept {
        known: snapshot.known,
        running,
        folder,
        files: snapshot.files,
        _mark: mark,
        _lock: file,
    })
}

/// A kept machine's description, if this vexp can read it.
fn parse<T: DeserializeOwned>(text: &[u8]) -> Option<Snapshot<T>> {
    let snapshot: Snapshot<T> = serde_json::from_slice(text).ok()?;
    (snapshot.format == FORMAT).then_some(snapshot)
}

/// What was half-made or half-removed when somebody died, unless a machine is being kept just now; with `remove` it goes.
pub(super) fn left(folder: &Path, remove: bool) -> std::io::Result<Vec<PathBuf>> {
    let Ok(lock) = File::open(folder.join("lock")) else {
        return Ok(Vec::new());
    };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(Vec::new());
    }
    let own = saving_in(folder);
    let is_left = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let old = || is_old(path).unwrap_or(false);
        let anothers = name.starts_with("saving-") || name.starts_with("gone-");
        *path == own || name == "saving" || anothers && old()
    };
    let mut found: Vec<PathBuf> = files(folder)?.into_iter().filter(is_left).collect();
    found.sort();
    for path in found.iter().filter(|_| remove) {
        std::fs::remove_dir_all(path)?;
    }
    Ok(found)
}

/// Whether what another computer makes or removes there was left by one that has died.
fn is_old(path: &Path) -> std::io::Result<bool> {
    let made = path.symlink_metadata()?.modified()?;
    let age = SystemTime::now().duration_since(made).unwrap_or_default();
    Ok(age > 2 * PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::super::keys::{KeyPair, Keys};
    use super::*;

    fn machine() -> Machine {
        serde_json::from_value(serde_json::json!({
            "platform": "xen-3.1", "hardware": "h", "cpus": 1, "memory": "4GiB",
            "nics": [{"model": "e1000", "rate": "200Mb/s"}],
            "image": "xen-4.20", "guest_image": "guest", "hypervisor": "xen", "version": "4.20",
            "toolstack": "xl", "scheduler": "credit", "dom0_weight": 256, "nic": null,
            "guest": {"vcpus": 1, "memory": "256MiB"}, "max_vms": 8, "peers": 8, "options": {}
        }))
        .unwrap()
    }

    fn origin(machine: &Machine, boot: u32) -> Origin {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        Origin::new(machine, boot, [&a, &b, &c], "tcg", vec!["-m".to_owned()])
    }

    fn keys() -> Keys {
        let pair = |name: &str| KeyPair {
            private: format!("private {name}"),
            public: format!("ssh-ed25519 {name}"),
        };
        Keys {
            client: pair("client"),
            host: pair("host"),
            guests: vec![pair("vm1")],
        }
    }

    fn find(shelf: &Shelf, origin: &Origin, most: u32) -> Result<Option<Kept<Keys>>, LabError> {
        shelf.find(origin, most)
    }

    /// Stands for an emulator that writes its memory.
    fn put(ram: &str) -> impl FnOnce(&Path) -> Result<(), LabError> {
        move |path| std::fs::write(path, ram).map_err(LabError::io("save"))
    }

    #[test]
    fn the_key_is_of_the_machine_and_not_of_what_is_around_it() {
        let here = machine();
        let key = origin(&here, 1).key(2).unwrap();
        let mut around = here.clone();
        around.nics[0].rate = "50Mb/s".parse().unwrap();
        around.peers = 16;
        assert_eq!(origin(&around, 1).key(2).unwrap(), key);

        let changes: [fn(&mut Machine); 5] = [
            |m| m.max_vms = 4,
            |m| m.dom0_weight = Some(512),
            |m| m.memory = "2GiB".parse().unwrap(),
            |m| m.nics[0].model = "virtio".parse().unwrap(),
            |m| m.nics.push(m.nics[0].clone()),
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut other = here.clone();
            change(&mut other);
            assert_ne!(origin(&other, 1).key(2).unwrap(), key, "change {n}");
        }
        assert_ne!(origin(&here, 2).key(2).unwrap(), key);
        assert_ne!(origin(&here, 1).key(1).unwrap(), key);
        let origins: [fn(&mut Origin); 6] = [
            |o| o.format += 1,
            |o| o.host = Digest::of(b"x"),
            |o| o.guest = Digest::of(b"x"),
            |o| o.emulator = Digest::of(b"x"),
            |o| o.accelerator = "kvm".to_owned(),
            |o| o.arguments.push("-S".to_owned()),
        ];
        for (n, change) in origins.iter().enumerate() {
            let mut other = origin(&here, 1);
            change(&mut other);
            assert_ne!(other.key(2).unwrap(), key, "origin {n}");
        }
    }

    #[test]
    fn unused_machines_are_listed_and_discarded_but_not_while_they_are_restored() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(
            unused(&root.path().join("none"), SystemTime::now()).unwrap(),
            []
        );
        let shelf = Shelf::open(root.path()).unwrap();
        let origin = origin(&machine(), 1);
        for running in 1..=2 {
            shelf.keep(&origin, running, &keys(), put("ram")).unwrap();
        }
        std::fs::create_dir(root.path().join("other")).unwrap();
        assert_eq!(unused(root.path(), SystemTime::UNIX_EPOCH).unwrap(), []);
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        let all: Vec<PathBuf> = (unused(root.path(), later).unwrap().into_iter())
            .map(|(path, _)| path)
            .collect();
        assert_eq!(all.len(), 2);
        let held = find(&shelf, &origin, 1).unwrap().unwrap();
        discard(root.path(), &all).unwrap();
        assert!(held.ram().exists());
        assert_eq!(unused(root.path(), later).unwrap().len(), 1);
        assert!(root.path().join("other").exists());
    }

    #[test]
    fn the_nearest_below_is_found() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(&root.path().join("snapshots-v1")).unwrap();
        let origin = origin(&machine(), 1);
        assert!(find(&shelf, &origin, 8).unwrap().is_none());
        for running in [1, 4] {
            let ram = format!("ram {running}");
            shelf.keep(&origin, running, &keys(), put(&ram)).unwrap();
        }
        for (asked, found) in [
            (0, None),
            (1, Some(1)),
            (3, Some(1)),
            (4, Some(4)),
            (8, Some(4)),
        ] {
            let kept = find(&shelf, &origin, asked).unwrap();
            assert_eq!(kept.as_ref().map(|k| k.running), found, "{asked}");
            if let Some(kept) = kept {
                assert_eq!(kept.known, keys());
                let ram = std::fs::read_to_string(kept.ram()).unwrap();
                assert_eq!(ram, format!("ram {}", kept.running));
            }
        }
        let mode = shelf.folder().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // One that is there is not written again.
        let again = |_: &Path| panic!("it is there");
        shelf.keep(&origin, 4, &keys(), again).unwrap();
        find(&shelf, &origin, 8).unwrap().unwrap().discard();
        assert_eq!(find(&shelf, &origin, 8).unwrap().unwrap().running, 1);

        let used = find(&shelf, &origin, 8).unwrap().unwrap();
        shelf.keep(&origin, 2, &keys(), put("ram 2")).unwrap();
        shelf.keep(&origin, 8, &keys(), put("ram 8")).unwrap();
        shelf.forget(&origin, 4);
        assert_eq!(shelf.has(&origin, 7), Some(1), "it is in use");
        drop(used);
        shelf.forget(&origin, 4);
        assert_eq!(shelf.has(&origin, 7), None);
        assert_eq!(shelf.has(&origin, 8), Some(8));
    }

    #[test]
    fn what_fails_or_is_of_another_format_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path()).unwrap();
        let origin = origin(&machine(), 1);
        let fails = |path: &Path| {
            std::fs::write(path, "half").unwrap();
            Err(LabError::new("save", "no space left"))
        };
        shelf.keep(&origin, 1, &keys(), fails).unwrap_err();
        assert!(find(&shelf, &origin, 1).unwrap().is_none());
        assert!(!saving_in(root.path()).exists());

        shelf.keep(&origin, 1, &keys(), put("ram")).unwrap();
        let file = root
            .path()
            .join(origin.key(1).unwrap().hex())
            .join("snapshot.json");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen("\"format\":1", "\"format\":2", 1)).unwrap();
        assert!(find(&shelf, &origin, 1).unwrap().is_none());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_and_nothing_in_use() {
        let root = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::open(root.path()).unwrap();
        shelf.most = "300kB".parse().unwrap();
        let origin = origin(&machine(), 1);
        let large = "1".repeat(128 << 10);
        let there = |running| {
            let kept = find(&shelf, &origin, running).unwrap();
            kept.is_some_and(|kept| kept.running == running)
        };
        shelf.keep(&origin, 1, &keys(), put(&large)).unwrap();
        let used = find(&shelf, &origin, 1).unwrap().unwrap();
        shelf.keep(&origin, 2, &keys(), put(&large)).unwrap();
        assert!(there(1) && there(2));
        // Number 1 is the older one, but in use.
        let old = SystemTime::UNIX_EPOCH;
        File::open(used.folder.join("snapshot.json"))
            .unwrap()
            .set_modified(old)
            .unwrap();
        shelf.keep(&origin, 3, &keys(), put(&large)).unwrap();
        assert!(used.ram().exists());
        assert!(!there(2));
        assert!(there(3));
    }

    #[test]
    fn what_was_half_kept_goes_unless_somebody_is_at_it() {
        let root = tempfile::tempdir().unwrap();
        assert!(left(root.path(), true).unwrap().is_empty());
        let saving = root.path().join("saving");
        std::fs::create_dir(&saving).unwrap();
        std::fs::write(saving.join("ram"), "half").unwrap();
        std::fs::create_dir(root.path().join("kept")).unwrap();
        let lock = File::create(root.path().join("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        assert!(left(root.path(), true).unwrap().is_empty());
        drop(lock);
        // Another test may just be starting a program, which has our files until it is one.
        while left(root.path(), false).unwrap().is_empty() {}
        assert_eq!(
            left(root.path(), true).unwrap(),
            std::slice::from_ref(&saving)
        );
        assert!(!saving.exists() && root.path().join("kept").exists());
    }

    #[test]
    fn a_node_is_filled_with_the_nearest_machine_once_and_with_none_that_is_damaged() {
        let [shared, own] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (shared, own) = (shared.path(), own.path());
        let (there, here) = (Shelf::open(shared).unwrap(), Shelf::open(own).unwrap());
        let origin = origin(&machine(), 1);
        for running in [1, 4, 8] {
            let ram = format!("ram {running}");
            there.keep(&origin, running, &keys(), put(&ram)).unwrap();
        }
        let ram = |running: u32| shared.join(origin.key(running).unwrap().hex()).join("ram");
        here.fill(shared, &origin, 6).unwrap();
        let kept = find(&here, &origin, 8).unwrap().unwrap();
        assert_eq!((kept.running, &kept.known), (4, &keys()));
        assert_eq!(std::fs::read_to_string(kept.ram()).unwrap(), "ram 4");
        // It is not copied again, and one with fewer guests is not copied.
        std::fs::write(ram(4), "other").unwrap();
        here.fill(shared, &origin, 6).unwrap();
        assert_eq!(here.has(&origin, 3), None);
        // What is damaged, as here by a byte, is not copied, but the next nearest one would be.
        std::fs::write(ram(8), "ram 9").unwrap();
        here.fill(shared, &origin, 8).unwrap();
        assert_eq!(here.has(&origin, 8), Some(4));
        assert!(left(own, false).unwrap().is_empty());
        // The other way, what is kept here is shared, once.
        here.keep(&origin, 5, &keys(), put("ram 5")).unwrap();
        assert_eq!(has(shared, &origin, 5), Some(4));
        for _ in 0..2 {
            there.fill(own, &origin, 5).unwrap();
        }
        assert_eq!(has(shared, &origin, 7), Some(5));
        // Somebody else's can't be read, and there may be no such folder.
        here.fill(&shared.join("none"), &origin, 8).unwrap();
    }

    #[test]
    fn what_another_computer_restores_or_makes_stays() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path()).unwrap();
        let origin = origin(&machine(), 1);
        shelf.keep(&origin, 1, &keys(), put("ram")).unwrap();
        let folder = root.path().join(origin.key(1).unwrap().hex());
        let mark = folder.join("restored-by-0123abcd-7-0");
        std::fs::write(&mark, "").unwrap();
        shelf.forget(&origin, 1);
        assert_eq!(shelf.has(&origin, 1), Some(1));
        let saving = root.path().join("saving-0123abcd");
        std::fs::create_dir(&saving).unwrap();
        assert!(left(root.path(), true).unwrap().is_empty());
        std::fs::remove_file(mark).unwrap();
        shelf.forget(&origin, 1);
        assert_eq!(shelf.has(&origin, 1), None);
        // Nothing is left of it.
        let names = files(root.path()).unwrap();
        assert!(
            names
                .iter()
                .all(|path| path.ends_with("lock") || *path == saving),
            "{names:?}"
        );
    }

    #[test]
    fn a_machine_that_another_computer_has_kept_meanwhile_serves_and_an_unreadable_one_goes() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path()).unwrap();
        let origin = origin(&machine(), 1);
        let folder = root.path().join(origin.key(1).unwrap().hex());
        // The other one keeps the same while we write ours.
        let other = tempfile::tempdir().unwrap();
        let elsewhere = Shelf::open(other.path()).unwrap();
        elsewhere.keep(&origin, 1, &keys(), put("first")).unwrap();
        let theirs = other.path().join(folder.file_name().unwrap());
        let slow = |path: &Path| {
            std::fs::rename(&theirs, &folder).unwrap();
            put("second")(path)
        };
        shelf.keep(&origin, 1, &keys(), slow).unwrap();
        let kept = find(&shelf, &origin, 1).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(kept.ram()).unwrap(), "first");
        drop(kept);
        std::fs::write(folder.join("snapshot.json"), "{").unwrap();
        shelf.keep(&origin, 1, &keys(), put("third")).unwrap();
        let kept = find(&shelf, &origin, 1).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(kept.ram()).unwrap(), "third");
    }

    #[test]
    fn one_process_of_a_computer_boots_a_machine_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path()).unwrap();
        let (one, other) = (origin(&machine(), 1), origin(&machine(), 2));
        let growing = shelf.grow(&one).unwrap().unwrap();
        assert!(shelf.grow(&one).unwrap().is_none());
        assert!(shelf.grow(&other).unwrap().is_some());
        drop(growing);
        // Another test may just be starting a program, which has our files until it is one.
        while shelf.grow(&one).unwrap().is_none() {}
    }

    /// A store may come from another computer.
    #[test]
    fn changed_descriptions_of_kept_machines_are_read_or_refused() {
        use proptest::prelude::*;
        use vexp_testkit::hostile::{changed, changed_json};
        let snapshot = Snapshot {
            format: FORMAT,
            known: keys(),
            files: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&snapshot).unwrap();
        assert_eq!(parse::<Keys>(&bytes), Some(snapshot));
        let whole: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let cases = vexp_testkit::cases(200);
        let check = |bytes: &[u8]| {
            let read = parse::<Keys>(bytes);
            assert!(read.is_none_or(|read| read.format == FORMAT));
        };
        proptest!(cases.clone(), |(bytes in changed(&bytes))| check(&bytes));
        proptest!(cases, |(value in changed_json(&whole))| check(value.to_string().as_bytes()));
    }
}
