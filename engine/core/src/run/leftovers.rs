//! What a run that died has left half-written in its folder.

use std::path::{Path, PathBuf};

use super::batch;
use super::files::{self, FileError};
use super::lock::RunLock;

/// Names of files and folders that are renamed when they are whole.
const PARTIAL: [&str; 2] = [".tmp", ".writing-"];
/// What a machine in virtual time left, before it is looked through.
const INCOMING: &str = "incoming";
/// Folders below the run's that are written to while trials are run, and how deep they go.
const FOLDERS: [&str; 5] = ["trials", "blocks", "failed", "taken", batch::FOLDER];
const DEPTH: usize = 3;

/// Finds it. Some of it may belong to a vexp that still runs on this computer. Nothing of a run that is out on a batch
/// engine: its tasks are writing there just now.
pub fn find(run: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    if !batch::out(run)?.is_empty() {
        return Ok(found);
    }
    // In the run's own folder a report may be being made just now: its folders are not looked at.
    for (path, folder) in entries(run)? {
        let incoming = folder && path.ends_with(INCOMING);
        if incoming || (!folder && is_half_written(&path)) {
            found.push(path);
        }
    }
    for folder in FOLDERS {
        collect(&run.join(folder), DEPTH, &mut found)?;
    }
    Ok(found)
}

/// Removes it; gives its paths. Whoever has the lock is the only one who writes there, beside tasks of a batch engine.
pub fn remove(run: &Path, _lock: &RunLock) -> Result<Vec<PathBuf>, FileError> {
    let found = find(run)?;
    for path in &found {
        crate::remove::remove(path).map_err(files::io("remove", path))?;
    }
    Ok(found)
}

/// Finds what is half-written below a folder. Links are not followed.
fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), FileError> {
    for (path, is_folder) in entries(folder)? {
        if is_half_written(&path) {
            found.push(path);
        } else if is_folder && depth > 1 {
            collect(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

fn is_half_written(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(is_partial)
}

/// Whether a file or folder of this name is renamed when it is whole.
pub fn is_partial(name: &str) -> bool {
    PARTIAL.iter().any(|start| name.starts_with(start))
}

/// What is in a folder, and whether it is a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>, FileError> {
    let io = |source| files::io("list", folder)(source);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    entries
        .map(|entry| {
            let entry = entry.map_err(io)?;
            Ok((entry.path(), entry.file_type().map_err(io)?.is_dir()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_written_goes_and_the_rest_stays() {
        let run = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = run.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        let whole = [
            "run.json",
            "trials/a/trial.json",
            "trials/a/raw/x.txt",
            "blocks/b/env/host.txt",
            ".tmpReport/report.html",
        ];
        let half = [
            ".tmpAbc",
            "trials/.writing-1/raw/x.txt",
            "blocks/b/.tmp1",
            "blocks/b/env/.tmp2",
            "incoming/trials/c/trial.json",
            "batch/stage-1/claims/.tmp3",
        ];
        whole.iter().chain(&half).for_each(|name| put(name));
        std::os::unix::fs::symlink("/", run.path().join("trials/link")).unwrap();
        let lock = RunLock::take(run.path()).unwrap();
        // As long as tasks are out, they are writing it.
        put("batch/jobs.jsonl");
        let jobs = run.path().join("batch/jobs.jsonl");
        let submitted = r#"{"what":"submit","array":"r-1","tasks":1,"stage":1,"at":""}"#;
        std::fs::write(&jobs, format!("{submitted}\n")).unwrap();
        assert!(remove(run.path(), &lock).unwrap().is_empty());
        let over = r#"{"what":"over","array":"r-1"}"#;
        std::fs::write(&jobs, format!("{submitted}\n{over}\n")).unwrap();
        assert_eq!(remove(run.path(), &lock).unwrap().len(), half.len());
        assert!(half.iter().all(|name| !run.path().join(name).exists()));
        assert!(whole.iter().all(|name| run.path().join(name).exists()));
        assert!(remove(run.path(), &lock).unwrap().is_empty());
    }
}
