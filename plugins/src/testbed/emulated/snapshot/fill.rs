//! Filling a node's folder of kept machines from one that all nodes share, once per node.

use std::fs::File;
use std::path::Path;

use super::{Kept, Origin, Shelf, finish, lock, new_saving, open};
use crate::testbed::emulated::run::LabError;

use super::blocks;

const STEP: &str = "copy the machine";

impl Shelf {
    /// Copies the machine with the most guests, but no more than `most`, from another folder, if that has one with more
    /// than this one. Whoever kept it there makes no difference: it is found by its key. One that can't be read, is not
    /// what its description says, or has no digests (an older vexp's) is none. Others of this node wait, and find it.
    pub(in crate::testbed) fn fill(
        &self,
        from: &Path,
        origin: &Origin,
        most: u32,
    ) -> Result<(), LabError> {
        let more = || self.has(origin, most).map_or(0, |have| have + 1)..=most;
        for running in more().rev() {
            let key = origin.key(running)?;
            let Some(there) = open::<serde_json::Value>(from.join(key.hex()), running) else {
                continue;
            };
            let _lock = lock(&self.folder).map_err(LabError::io(STEP))?;
            if !more().contains(&running) {
                // Another process of this node was faster.
                return Ok(());
            }
            if self.copy(&there, &self.folder.join(key.hex()))? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Copies a machine; false if it is damaged there.
    fn copy(&self, there: &Kept<serde_json::Value>, to: &Path) -> Result<bool, LabError> {
        let io = || LabError::io(STEP);
        let saving = new_saving(&self.folder).map_err(io())?;
        for (name, expected) in &there.files {
            let copied = blocks::copy(&there.folder.join(name), &saving.join(name));
            match copied {
                Ok(found) if found == *expected => {}
                // It is removed there just now, or damaged.
                Ok(_) => return discard(&saving),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return discard(&saving);
                }
                Err(error) => {
                    let _ = std::fs::remove_dir_all(&saving);
                    return Err(io()(error));
                }
            }
        }
        let name = "snapshot.json";
        let described = std::fs::copy(there.folder.join(name), saving.join(name))
            .and_then(|_| File::open(saving.join(name))?.sync_all())
            .and_then(|()| finish(&saving, to));
        if described.is_err() {
            let _ = std::fs::remove_dir_all(&saving);
        }
        described.map_err(io())?;
        self.tidy(to).map_err(io())?;
        Ok(true)
    }
}

fn discard(saving: &Path) -> Result<bool, LabError> {
    std::fs::remove_dir_all(saving).map_err(LabError::io(STEP))?;
    Ok(false)
}
