//! Replies of evaluations whose inputs have not changed since.
//!
//! Evaluating a study takes tenths of a second, and every verb begins with it. A reply holds the
//! text of all files that were read: as long as they are what they were, evaluating them again
//! with the same binary and the same contracts gives the same reply. Only values are kept, never
//! findings.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use vexp_api::digest::Digest;

use super::protocol::{Reply, Request};

/// Most replies that are kept; the oldest go first.
const MOST: usize = 64;

/// Where a reply to a request is kept; `None` if the binary can't be told from another.
pub(super) fn place(folder: &Path, executable: &Path, request: &Request) -> Option<PathBuf> {
    let binary = fs::metadata(executable).ok()?;
    let built = binary.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let identity = (
        env!("CARGO_PKG_VERSION"),
        binary.len(),
        built.as_nanos().to_string(),
        request,
    );
    let key = Digest::of_value(&identity).ok()?;
    Some(folder.join(format!("{}.json", key.hex())))
}

/// The reply that is kept there, if every file that it stands on is what it was.
pub(super) fn find(place: &Path, root: &Path) -> Option<Reply> {
    let reply: Reply = serde_json::from_slice(&fs::read(place).ok()?).ok()?;
    let unchanged = |(name, text): (&String, &String)| {
        fs::read_to_string(root.join(name)).is_ok_and(|now| now == *text)
    };
    (reply.value.is_some() && !reply.sources.is_empty())
        .then_some(())
        .filter(|()| reply.sources.iter().all(unchanged))?;
    Some(reply)
}

/// Keeps a reply. That it can't be kept costs time and nothing else.
pub(super) fn keep(place: &Path, reply: &[u8]) {
    let Some(folder) = place.parent() else { return };
    if fs::create_dir_all(folder).is_err() {
        return;
    }
    make_room(folder);
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        std::io::Write::write_all(&mut file, reply)?;
        file.persist(place).map_err(|error| error.error)
    });
    // See above: the next evaluation is made anew.
    drop(written);
}

fn make_room(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut kept: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(MOST);
    for (_, path) in kept.iter().take(surplus) {
        // One that stays is in the way of nothing.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load::protocol::Limits;

    fn request(root: &Path) -> Request {
        Request {
            root: root.to_owned(),
            main: "study.ncl".to_owned(),
            study: None,
            limits: Limits::default(),
        }
    }

    fn reply() -> Vec<u8> {
        let reply = Reply {
            value: Some(serde_json::json!({"name": "a"})),
            sources: BTreeMap::from([("study.ncl".to_owned(), "{}".to_owned())]),
            ..Reply::default()
        };
        serde_json::to_vec(&reply).unwrap()
    }

    #[test]
    fn a_reply_lasts_as_long_as_its_sources() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("study.ncl"), "{}").unwrap();
        let binary = root.join("vexp");
        fs::write(&binary, "binary").unwrap();
        let kept = place(&root.join("cache"), &binary, &request(root)).unwrap();
        assert!(find(&kept, root).is_none());
        keep(&kept, &reply());
        assert!(find(&kept, root).is_some());
        fs::write(root.join("study.ncl"), "{ }").unwrap();
        assert!(find(&kept, root).is_none());
        fs::remove_file(root.join("study.ncl")).unwrap();
        assert!(find(&kept, root).is_none());
        // Another binary, another place.
        fs::write(&binary, "another").unwrap();
        assert_ne!(
            place(&root.join("cache"), &binary, &request(root)).unwrap(),
            kept
        );
    }

    #[test]
    fn damage_and_surplus_are_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("study.ncl"), "{}").unwrap();
        for n in 0..MOST + 3 {
            keep(&root.join("cache").join(format!("{n}.json")), &reply());
        }
        assert_eq!(fs::read_dir(root.join("cache")).unwrap().count(), MOST);
        let last = root.join("cache").join(format!("{}.json", MOST + 2));
        assert!(find(&last, root).is_some());
        fs::write(&last, &reply()[..20]).unwrap();
        assert!(find(&last, root).is_none());
    }
}
