//! The courier: takes a worker's manifest into a machine whose time stands still, lets it go on until it
//! has stopped itself again, and brings out what the worker said and left.

use std::io::{Error, Read, Result, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::lab::LAB;
use super::super::qemu::SOCKET;
use super::super::qmp::Qmp;
use super::super::run::LabError;
use super::lab;
use super::mailbox::{Letter, Outside, Word};

/// The run's folder inside of the machine.
pub(super) const RUN: &str = "/run/lab/run";
/// The block of a worker that only grows a machine: whatever is to be run on it later, it grows the
/// same.
const GROW: &str = "grow";
/// How often what is said is looked for.
const LOOK: Duration = Duration::from_millis(30);

/// What a courier needs.
#[derive(Clone, Debug)]
pub struct Errand {
    mailbox: PathBuf,
    socket: PathBuf,
    /// The worker's manifest, on this computer.
    manifest: PathBuf,
}

impl Errand {
    /// An errand in the lab where this process stands.
    pub fn new(manifest: PathBuf) -> Self {
        Self {
            mailbox: lab::mailbox(),
            socket: Path::new(LAB).join(SOCKET),
            manifest,
        }
    }

    /// Runs it: writes the worker's events to `out` and its complaints to `err`, and says whether the
    /// worker has ended well.
    ///
    /// # Errors
    /// The machine has gone, or has stopped without a word, or has left what can't be stored.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<bool> {
        let manifest: Value = serde_json::from_slice(&std::fs::read(&self.manifest)?)?;
        let text = |at: &str| manifest.pointer(at).and_then(Value::as_str);
        let run = PathBuf::from(text("/run").unwrap_or_default());
        let block = text("/block/id").unwrap_or_default().to_owned();
        let grows = manifest.get("grow").is_some_and(|grow| !grow.is_null());
        let mut outside = Outside::open(&self.mailbox)?;
        let manifest = neutral(manifest.clone());
        outside.tell(&Letter { manifest })?;
        let mut qmp = Qmp::connect(&self.socket, || false).map_err(failed)?;
        qmp.go_on().map_err(failed)?;
        // Its lines are read in a thread of their own, and it is never asked: see `Qmp::await_stop`.
        let stop = std::thread::spawn(move || qmp.await_stop());
        let mut code = None;
        loop {
            let stopped = stop.is_finished();
            for word in outside.hear()? {
                match word {
                    Word::Event(line) => writeln!(out, "{}", named(&line, &block)?)?,
                    Word::Said(line) => writeln!(err, "{line}")?,
                    Word::Failed { step, message } => writeln!(err, "{step}: {message}")?,
                    Word::Ended(ended) => code = Some(ended),
                    Word::Ready(_) => {}
                }
            }
            out.flush()?;
            if stopped {
                break;
            }
            std::thread::sleep(LOOK);
        }
        let stopped = stop.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        stopped.map_err(failed)?;
        // What growing leaves has another block's name, and is of no use.
        if !grows {
            unpack(&outside.parcel()?, &run)?;
        }
        let code = code.ok_or_else(|| Error::other("the machine has stopped without a word"))?;
        Ok(code == 0)
    }
}

fn failed(error: LabError) -> Error {
    Error::other(error.to_string())
}

/// A manifest without what differs between two runs of the same plan, and without what a growing
/// machine has no need to know.
fn neutral(mut manifest: Value) -> Value {
    manifest["run"] = json!(RUN);
    manifest["boot_s"] = json!(0.0);
    if let Some(guests) = manifest.get("grow").filter(|grow| !grow.is_null()).cloned() {
        let block = &mut manifest["block"];
        block["id"] = json!(GROW);
        block["trials"] = json!([]);
        block["vms"] = guests;
        block["repetition"] = json!(1);
        block["boot"] = Value::Null;
    }
    manifest
}

/// An event with the block's own name.
fn named(line: &str, block: &str) -> Result<String> {
    let mut event: Value = serde_json::from_str(line)?;
    if event.get("block").is_some_and(|of| of == GROW) {
        event["block"] = json!(block);
    }
    Ok(event.to_string())
}

/// Stores what a machine has left below the run's folder. What is there already is left alone: a trial
/// that was run before, which then was run again only because its block is run as a whole.
fn unpack(parcel: &[u8], run: &Path) -> Result<()> {
    let incoming = run.join("incoming");
    if incoming.exists() {
        std::fs::remove_dir_all(&incoming)?;
    }
    std::fs::create_dir(&incoming)?;
    for entry in tar::Archive::new(parcel).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        let kind = entry.header().entry_type();
        if !path.components().all(plain) || !(kind.is_file() || kind.is_dir()) {
            let what = format!(
                "the machine has left {}, which is no plain file",
                path.display()
            );
            return Err(Error::other(what));
        }
        let target = incoming.join(&path);
        if kind.is_dir() {
            std::fs::create_dir_all(&target)?;
            continue;
        }
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let mut file = std::fs::File::create(&target)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
    }
    for kind in ["trials", "blocks"] {
        move_new(&incoming.join(kind), &run.join(kind))?;
    }
    std::fs::remove_dir_all(&incoming)
}

/// Moves what `to` does not have; folders that both have, file by file.
fn move_new(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else {
        return Ok(());
    };
    std::fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if !target.exists() {
            std::fs::rename(entry.path(), &target)?;
        } else if target.is_dir() && !target.join("trial.json").exists() {
            move_new(&entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_growing_machine_is_told_does_not_depend_on_the_plan() {
        let manifest = |id: &str, run: &str, boot_s: f64, grow: Value| {
            json!({"block": {"id": id, "trials": [id], "vms": 8, "repetition": 2, "boot": 1},
                "run": run, "boot_s": boot_s, "grow": grow})
        };
        let one = neutral(manifest("a", "/a", 1.5, json!(2)));
        assert_eq!(one, neutral(manifest("b", "/b", 2.0, json!(2))));
        assert_eq!(one["block"]["vms"], 2);
        let trials = neutral(manifest("a", "/a", 1.5, Value::Null));
        assert_eq!(trials["block"]["id"], "a");
        assert_eq!(trials, neutral(manifest("a", "/b", 3.0, Value::Null)));
        let event = named(r#"{"event":"guest_ready","block":"grow"}"#, "b1").unwrap();
        assert!(event.contains(r#""block":"b1""#), "{event}");
    }

    fn parcel(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            let name = &mut header.as_gnu_mut().unwrap().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            archive.append(&header, content.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn what_is_left_is_stored_and_replaces_nothing() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        std::fs::create_dir_all(run.join("trials/old")).unwrap();
        std::fs::create_dir_all(run.join("blocks/b")).unwrap();
        std::fs::write(run.join("trials/old/trial.json"), "before").unwrap();
        let files = [
            ("trials/old/trial.json", "again"),
            ("trials/old/raw", "again"),
            ("trials/new/trial.json", "new"),
            ("blocks/b/block.json", "b"),
        ];
        unpack(&parcel(&files), run).unwrap();
        let read = |path: &str| std::fs::read_to_string(run.join(path)).unwrap();
        assert_eq!(read("trials/old/trial.json"), "before");
        assert!(!run.join("trials/old/raw").exists());
        assert_eq!(read("trials/new/trial.json"), "new");
        assert_eq!(read("blocks/b/block.json"), "b");
        assert!(!run.join("incoming").exists());
        for path in ["../x", "/etc/x", "trials/../../x"] {
            assert!(unpack(&parcel(&[(path, "x")]), run).is_err(), "{path}");
        }
    }
}
