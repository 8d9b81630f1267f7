//! Who measures a block, and how that has ended. Exactly one task has a block at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vexp_api::ids::Name;

use super::super::files::{self, FileError, io};

/// The file in the folder of a claim or an end.
const FILE: &str = "it.json";

/// A task that measures a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The task's array.
    pub(super) array: Name,
    /// The task in it.
    pub(super) index: u32,
    /// How often the engine had started it anew.
    pub(super) restart: u32,
    /// Its node.
    pub(super) node: String,
    /// What kind of node that is, where time is real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    /// Its process there.
    pub(super) pid: u32,
    /// When, by the node's clock. Nothing is concluded from it.
    pub(super) at: String,
}

/// How an attempt has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub(super) enum End {
    /// Each trial has a record.
    Measured,
    /// The task has stopped before: what it has measured is kept.
    GivenBack {
        /// Why.
        why: String,
    },
    /// The task has died.
    Lost {
        /// What is known of it.
        why: String,
    },
}

/// Claims and ends of a stage.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    claims: PathBuf,
    ended: PathBuf,
}

/// What was claimed and what has ended, when it was looked.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// The last attempt of each block.
    pub(super) last: BTreeMap<String, u32>,
    ended: BTreeSet<(String, u32)>,
}

impl Look {
    /// The attempt at which a block is measured now.
    pub(super) fn live(&self, block: &Name) -> Option<u32> {
        let last = *self.last.get(block.as_str())?;
        (!self.has_ended(block, last)).then_some(last)
    }

    pub(super) fn has_ended(&self, block: &Name, attempt: u32) -> bool {
        self.ended.contains(&(block.to_string(), attempt))
    }

    /// The last attempt, if it has ended.
    pub(super) fn over(&self, block: &Name) -> Option<u32> {
        let last = *self.last.get(block.as_str())?;
        self.has_ended(block, last).then_some(last)
    }

    /// The attempt that would be the next, unless one goes on.
    pub(super) fn next(&self, block: &Name) -> Option<u32> {
        match self.live(block) {
            Some(_) => None,
            None => Some(self.last.get(block.as_str()).map_or(1, |last| last + 1)),
        }
    }

    /// All attempts of a block.
    pub(super) fn attempts(&self, block: &Name) -> std::ops::RangeInclusive<u32> {
        1..=self.last.get(block.as_str()).copied().unwrap_or(0)
    }
}

impl Claims {
    /// Those of a stage, whose folders are made if they are not there.
    pub(super) fn open(stage: &Path) -> Result<Self, FileError> {
        let (claims, ended) = (stage.join("claims"), stage.join("ended"));
        files::create_dir(&claims)?;
        files::create_dir(&ended)?;
        Ok(Self { claims, ended })
    }

    /// Ends are looked at first: an attempt that ends meanwhile is seen as one that goes on.
    pub(super) fn look(&self) -> Result<Look, FileError> {
        let ended: BTreeSet<_> = list(&self.ended)?.into_iter().collect();
        let mut last: BTreeMap<String, u32> = BTreeMap::new();
        // An end may be seen before its claim, over NFS.
        for (block, attempt) in list(&self.claims)?.into_iter().chain(ended.iter().cloned()) {
            let known = last.entry(block).or_default();
            *known = attempt.max(*known);
        }
        Ok(Look { last, ended })
    }

    /// Claims a block. `false` if somebody else was faster.
    pub(super) fn claim(
        &self,
        block: &Name,
        attempt: u32,
        claim: &Claim,
    ) -> Result<bool, FileError> {
        put(&self.claims, &format!("{block}.{attempt}"), claim)
    }

    /// Who has claimed it.
    pub(super) fn claimed(&self, block: &Name, attempt: u32) -> Result<Claim, FileError> {
        read(&self.claims, block, attempt)
    }

    /// Ends an attempt. `false` if it has another end already: a task that was taken for dead has lost its claim.
    pub(super) fn end(&self, block: &Name, attempt: u32, end: &End) -> Result<bool, FileError> {
        put(&self.ended, &format!("{block}.{attempt}"), end)
    }

    /// How an attempt has ended.
    pub(super) fn ended(&self, block: &Name, attempt: u32) -> Result<End, FileError> {
        read(&self.ended, block, attempt)
    }

    /// Whether an attempt has an end.
    pub(super) fn has_ended(&self, block: &Name, attempt: u32) -> bool {
        self.ended.join(format!("{block}.{attempt}")).exists()
    }
}

fn read<T: DeserializeOwned>(folder: &Path, block: &Name, attempt: u32) -> Result<T, FileError> {
    files::read_json(&folder.join(format!("{block}.{attempt}")).join(FILE))
}

/// Names in a folder: a block, and the number of an attempt.
fn list(folder: &Path) -> Result<Vec<(String, u32)>, FileError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let entry = entry.map_err(io("list", folder))?;
        let name = entry.file_name();
        let parts = name.to_str().and_then(|name| name.rsplit_once('.'));
        // Others are being written.
        if let Some((block, attempt)) = parts.filter(|(block, _)| !block.is_empty())
            && let Ok(attempt) = attempt.parse()
        {
            found.push((block.to_owned(), attempt));
        }
    }
    Ok(found)
}

/// Puts something in a place that nobody else has it: all of it, or nothing. An answer of an NFS server may be lost,
/// and the question repeated: what is there then is our own.
fn put<T: Serialize + DeserializeOwned + PartialEq>(
    folder: &Path,
    name: &str,
    value: &T,
) -> Result<bool, FileError> {
    let to = folder.join(name);
    if to.exists() {
        return Ok(false);
    }
    let from = tempfile::Builder::new()
        .prefix(".tmp")
        .tempdir_in(folder)
        .map_err(io("write in", folder))?;
    files::write_json(&from.path().join(FILE), value)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(from.path(), mode).map_err(io("write", from.path()))?;
    match fs::rename(from.path(), &to) {
        Ok(()) => {
            // It is not there under its old name any more.
            let _ = from.keep();
            files::sync_dir(folder)?;
            Ok(true)
        }
        Err(error) => {
            let there = files::read_json::<T>(&to.join(FILE));
            let full = [ErrorKind::AlreadyExists, ErrorKind::DirectoryNotEmpty];
            match there {
                Ok(there) => Ok(there == *value),
                Err(_) if full.contains(&error.kind()) => Ok(false),
                Err(_) => Err(io("rename to", &to)(error)),
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn claim(index: u32) -> Claim {
        Claim {
            array: Name::new("r-1").unwrap(),
            index,
            restart: 0,
            node: format!("n{index}"),
            kind: None,
            pid: 1,
            at: String::new(),
        }
    }

    #[test]
    fn of_many_that_claim_a_block_at_once_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::open(folder.path()).unwrap();
        let blocks: Vec<Name> = (0..20)
            .map(|n| Name::new(format!("b.{n}")).unwrap())
            .collect();
        let tasks = 8;
        let all = std::sync::Barrier::new(tasks as usize);
        let (claims, blocks, all) = (&claims, &blocks, &all);
        let won: Vec<Vec<bool>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..tasks)
                .map(|index| {
                    scope.spawn(move || {
                        let one = |block| {
                            all.wait();
                            claims.claim(block, 1, &claim(index)).unwrap()
                        };
                        blocks.iter().map(one).collect()
                    })
                })
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for (at, block) in blocks.iter().enumerate() {
            let winners: Vec<u32> = (0..tasks).filter(|task| won[*task as usize][at]).collect();
            assert_eq!(winners.len(), 1, "{block}");
            assert_eq!(claims.claimed(block, 1).unwrap(), claim(winners[0]));
        }
        // Nothing half-written is left.
        let left = fs::read_dir(folder.path().join("claims")).unwrap();
        assert_eq!(left.count(), blocks.len());
    }

    #[test]
    fn whoever_was_taken_for_dead_can_t_end_what_it_has_lost() {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::open(folder.path()).unwrap();
        let block = Name::new("b").unwrap();
        assert_eq!(claims.look().unwrap().next(&block), Some(1));
        assert!(claims.claim(&block, 1, &claim(0)).unwrap());
        assert_eq!(claims.look().unwrap().next(&block), None);
        let lost = End::Lost {
            why: "NODE_FAIL".to_owned(),
        };
        assert!(claims.end(&block, 1, &lost).unwrap());
        assert!(!claims.end(&block, 1, &End::Measured).unwrap());
        assert_eq!(claims.ended(&block, 1).unwrap(), lost);
        assert_eq!(claims.look().unwrap().next(&block), Some(2));
        // The first attempt stays claimed: a slow reader can't claim it a second time.
        assert!(!claims.claim(&block, 1, &claim(1)).unwrap());
        assert!(claims.claim(&block, 2, &claim(1)).unwrap());
        assert_eq!(claims.look().unwrap().live(&block), Some(2));
    }
}
