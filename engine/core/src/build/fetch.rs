//! Gets locked packages into the store, with apt's own downloader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use vexp_api::digest::Digest;

use super::command::{CommandError, failed, mortal, status};
use super::lockfile::LockedPackage;
use super::mirror::Mirror;
use super::{BuildError, WrongDigest};
use crate::store::{Bucket, Store, StoreError, StoreLock, digest_file};

/// Downloads that run at once, and packages that each gets. What a finished download brought is in
/// the store at once: an interrupted build goes on from there.
const PARALLEL: usize = 4;
const CHUNK: usize = 12;

/// Packages of `wanted` that are not in the store, each digest once. Those that are there are
/// read in full, and damaged ones are put aside.
pub(super) fn missing<'a>(
    store: &Store,
    lock: &StoreLock,
    wanted: impl IntoIterator<Item = &'a LockedPackage>,
) -> Result<Vec<LockedPackage>, BuildError> {
    let mut seen = BTreeSet::new();
    let mut missing = Vec::new();
    for package in wanted {
        if !seen.insert(&package.digest) {
            continue;
        }
        match store.find(Bucket::Debs, &package.digest) {
            Some(path) if digest_file(&path)? == package.digest => {}
            Some(_) => {
                store.quarantine(lock, Bucket::Debs, &package.digest)?;
                missing.push(package.clone());
            }
            None => missing.push(package.clone()),
        }
    }
    Ok(missing)
}

/// Why packages did not come.
#[derive(Default)]
struct Failures {
    gone: BTreeMap<String, LockedPackage>,
    wrong: Vec<WrongDigest>,
    other: Option<Box<CommandError>>,
}

/// Gets packages into the store, from the first mirror that has them: what one does not give, the
/// next is asked for. All that can be got is got, whatever happens to the others.
///
/// # Errors
/// Where a mirror answers that packages are gone, that is the error, whatever ails the others; else
/// the first mirror's.
pub(super) fn fetch(
    store: &Store,
    lock: &StoreLock,
    mirrors: &[Mirror],
    packages: &[LockedPackage],
) -> Result<(), BuildError> {
    let mut left = packages.to_vec();
    let mut errors = Vec::new();
    for mirror in mirrors {
        match fetch_from(store, lock, mirror, &left) {
            Ok(()) => return Ok(()),
            Err(
                error @ (BuildError::Gone(_) | BuildError::WrongDigest(_) | BuildError::Command(_)),
            ) => errors.push(error),
            Err(error) => return Err(error),
        }
        left = missing(store, lock, &left)?;
    }
    let gone = |error: &BuildError| matches!(error, BuildError::Gone(_));
    let at = errors.iter().position(gone).unwrap_or(0);
    match errors.get(at) {
        Some(_) => Err(errors.swap_remove(at)),
        None => Ok(()),
    }
}

/// Gets packages from one mirror.
fn fetch_from(
    store: &Store,
    lock: &StoreLock,
    mirror: &Mirror,
    packages: &[LockedPackage],
) -> Result<(), BuildError> {
    let scratch = store.scratch(lock)?;
    let chunks = Mutex::new(packages.chunks(CHUNK).enumerate());
    let next = || chunks.lock().map_or(None, |mut chunks| chunks.next());
    let work = || {
        let mut failures = Failures::default();
        while let Some((number, chunk)) = next() {
            let folder = scratch.path().join(number.to_string());
            fetch_chunk(store, lock, mirror, chunk, number, &folder, &mut failures)?;
        }
        Ok(failures)
    };
    let results: Vec<Result<Failures, BuildError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let mut all = Failures::default();
    for result in results {
        let failures = result?;
        all.gone.extend(failures.gone);
        all.wrong.extend(failures.wrong);
        all.other = all.other.or(failures.other);
    }
    if !all.wrong.is_empty() {
        return Err(BuildError::WrongDigest(all.wrong));
    }
    match (all.other, all.gone.is_empty()) {
        (Some(error), _) => Err(BuildError::Command(error)),
        (None, false) => Err(BuildError::Gone(all.gone.into_values().collect())),
        (None, true) => Ok(()),
    }
}

fn fetch_chunk(
    store: &Store,
    lock: &StoreLock,
    mirror: &Mirror,
    chunk: &[LockedPackage],
    number: usize,
    folder: &Path,
    failures: &mut Failures,
) -> Result<(), BuildError> {
    std::fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
    let log = store.logs().join(format!("fetch-{number}.log"));
    let mut command = downloader(mirror, chunk, folder);
    let step = "fetch packages";
    let ended = status(step, &mut command, &log).map_err(BuildError::Command)?;
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let reasons = reasons(&text);
    for package in chunk {
        let path = folder.join(package.digest.hex());
        if path.is_file() {
            let found = digest_file(&path)?;
            if found == package.digest {
                store.publish(lock, Bucket::Debs, &package.digest, &path)?;
            } else {
                failures.wrong.push(WrongDigest::new(package, Some(found)));
            }
            continue;
        }
        match reasons.get(&decoded(&mirror.join(&package.filename))) {
            Some(Reason::Gone) => {
                let name = package.filename.to_string();
                failures.gone.insert(name, package.clone());
            }
            Some(Reason::WrongDigest) => {
                failures
                    .wrong
                    .push(WrongDigest::new(package, found_digest(&path)?));
            }
            Some(Reason::Other) | None => {
                failures.other = Some(failed(step, &command, &log, ended));
            }
        }
    }
    Ok(())
}

/// What apt-helper keeps of a file with another digest.
fn found_digest(path: &Path) -> Result<Option<Digest>, StoreError> {
    let kept = path.with_extension("FAILED");
    match kept.is_file() {
        true => digest_file(&kept).map(Some),
        false => Ok(None),
    }
}

fn downloader(mirror: &Mirror, chunk: &[LockedPackage], folder: &Path) -> Command {
    let mut command = mortal("/usr/lib/apt/apt-helper");
    command
        .args(["-qq", "-o", "APT::Sandbox::User=root"])
        .args(["-o", "Acquire::Retries=3"])
        .arg("download-file");
    for package in chunk {
        command
            .arg(mirror.join(&package.filename))
            .arg(folder.join(package.digest.hex()))
            .arg(format!("SHA256:{}", package.digest.hex()));
    }
    command
}

#[derive(Debug, PartialEq, Eq)]
enum Reason {
    Gone,
    WrongDigest,
    Other,
}

/// An address without `%xx`: apt writes those into some of its messages and not into others.
fn decoded(address: &str) -> String {
    let mut parts = address.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => text.push(char::from(byte)),
            None => text.push('%'),
        }
        text.push_str(if byte.is_some_and(|b| b.is_ascii()) {
            &part[2..]
        } else {
            part
        });
    }
    text
}

/// What apt says of each address: `E: Failed to fetch ADDRESS  REASON`.
fn reasons(text: &str) -> BTreeMap<String, Reason> {
    text.lines()
        .filter_map(|line| line.strip_prefix("E: Failed to fetch ")?.split_once("  "))
        .map(|(address, reason)| {
            let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
            let kind = if says(&["404 ", "410 ", "(2: No such file"]) {
                Reason::Gone
            } else if says(&["Hash Sum mismatch", "unexpected size"]) {
                Reason::WrongDigest
            } else {
                Reason::Other
            };
            (decoded(address), kind)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::lockfile::tests::package;
    use crate::build::mirror::VARIABLE;
    use std::path::PathBuf;
    use vexp_api::event::NoEvents;

    struct World {
        _root: tempfile::TempDir,
        archive: PathBuf,
        store: Store,
        mirrors: Vec<Mirror>,
    }

    /// A store, and an archive that is a folder.
    fn world() -> World {
        let root = tempfile::tempdir().unwrap();
        let archive = root.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        let store = Store::open(root.path().join("store")).unwrap();
        let mirror = Mirror::new(&format!("file:{}", archive.display())).unwrap();
        World {
            _root: root,
            archive,
            store,
            mirrors: vec![mirror],
        }
    }

    impl World {
        fn serve(&self, package: &LockedPackage, bytes: &[u8]) {
            let path = self.archive.join(package.filename.as_str());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }

        fn fetch(&self, packages: &[LockedPackage]) -> Result<(), BuildError> {
            let lock = self.store.lock(&NoEvents).unwrap();
            let missing = missing(&self.store, &lock, packages)?;
            fetch(&self.store, &lock, &self.mirrors, &missing)
        }

        fn has(&self, package: &LockedPackage) -> bool {
            let path = self.store.find(Bucket::Debs, &package.digest);
            path.is_some_and(|path| digest_file(&path).unwrap() == package.digest)
        }
    }

    #[test]
    fn what_is_gone_is_named_and_the_rest_is_kept() {
        let world = world();
        let (here, gone) = (package("here", b"here"), package("gone", b"gone"));
        world.serve(&here, b"here");
        let error = world.fetch(&[gone.clone(), here.clone()]).unwrap_err();
        let text = error.to_string();
        match error {
            BuildError::Gone(packages) => assert_eq!(packages, [gone]),
            other => panic!("{other:?}"),
        }
        for part in ["gone 1:2.0+b1~x-3", "--relock", VARIABLE] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(world.has(&here));
        // What is in the store is not asked for again.
        std::fs::remove_dir_all(&world.archive).unwrap();
        world.fetch(&[here]).unwrap();
    }

    #[test]
    fn what_one_mirror_does_not_give_the_next_is_asked_for() {
        let mut world = world();
        let (here, there) = (package("here", b"here"), package("there", b"there"));
        let nowhere = package("nowhere", b"nowhere");
        world.serve(&here, b"here");
        // Forged in the second, right in the third; the first can't be reached.
        let mirror = |name: &str| {
            let folder = world._root.path().join(name);
            Mirror::new(&format!("file:{}", folder.display())).unwrap()
        };
        let (forged, right) = (mirror("forged"), mirror("right"));
        for (name, bytes) in [("forged", &b"other"[..]), ("right", b"there")] {
            let path = world._root.path().join(name).join(there.filename.as_str());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let down = Mirror::new("http://127.0.0.1:9/debian").unwrap();
        world.mirrors.splice(0..0, [down]);
        world.mirrors.extend([forged, right]);
        world.fetch(&[here.clone(), there.clone()]).unwrap();
        assert!(world.has(&here) && world.has(&there));
        match world.fetch(std::slice::from_ref(&nowhere)).unwrap_err() {
            BuildError::Gone(packages) => assert_eq!(packages, std::slice::from_ref(&nowhere)),
            other => panic!("{other:?}"),
        }
        world.mirrors.truncate(1);
        let error = world.fetch(&[nowhere]).unwrap_err();
        assert!(matches!(error, BuildError::Command(_)), "{error:?}");
    }

    #[test]
    fn a_wrong_digest_is_refused() {
        let world = world();
        let forged = package("forged", b"right");
        world.serve(&forged, b"wrong");
        match world.fetch(std::slice::from_ref(&forged)).unwrap_err() {
            BuildError::WrongDigest(wrong) => {
                assert_eq!(wrong[0].expected, forged.digest);
                assert_eq!(wrong[0].found, Some(Digest::of(b"wrong")));
            }
            other => panic!("{other:?}"),
        }
        assert!(!world.has(&forged));
    }

    #[test]
    fn a_package_damaged_in_the_store_is_fetched_again() {
        let world = world();
        let one = package("one", b"bytes");
        world.serve(&one, b"bytes");
        world.fetch(std::slice::from_ref(&one)).unwrap();
        let path = world.store.path(Bucket::Debs, &one.digest);
        std::fs::write(&path, b"bytez").unwrap();
        world.fetch(std::slice::from_ref(&one)).unwrap();
        assert!(world.has(&one));
    }

    #[test]
    fn many_packages_come_in_several_downloads() {
        let world = world();
        let packages: Vec<_> = (0..CHUNK * PARALLEL + 3)
            .map(|n| {
                let bytes = n.to_string();
                let package = package(&format!("p{n}"), bytes.as_bytes());
                world.serve(&package, bytes.as_bytes());
                package
            })
            .collect();
        world.fetch(&packages).unwrap();
        assert!(packages.iter().all(|package| world.has(package)));
    }

    #[test]
    fn reasons_of_a_real_apt_helper() {
        // apt 2.6.1, addresses replaced.
        let text = "\
E: Failed to fetch http://a.example/debian/pool/nope.deb  404  Not Found [IP: 203.0.113.80 80]
E: Failed to fetch http://a.example/debian/pool/b.deb  Hash Sum mismatch
   Hashes of expected file:
E: Failed to fetch http://a.example/debian/pool/c.deb  Could not connect to a.example:80
E: Failed to fetch copy:/tmp/n%2b%7e100%25  Failed to stat - stat (2: No such file or directory)
E: Download Failed
";
        let reasons = reasons(text);
        let of = |address: &str| &reasons[address];
        assert_eq!(*of("http://a.example/debian/pool/nope.deb"), Reason::Gone);
        assert_eq!(
            *of("http://a.example/debian/pool/b.deb"),
            Reason::WrongDigest
        );
        assert_eq!(*of("http://a.example/debian/pool/c.deb"), Reason::Other);
        assert_eq!(*of("copy:/tmp/n+~100%"), Reason::Gone);
        assert_eq!(reasons.len(), 4);
    }

    #[test]
    fn changed_words_of_apt_are_read_or_refused() {
        let text = "E: Failed to fetch http://a.example/n%2b%7e100%25.deb  404  Not Found\nE: Download Failed\n";
        vexp_testkit::hostile::on_changed_text(200, text, |text| drop(reasons(text)));
    }
}
