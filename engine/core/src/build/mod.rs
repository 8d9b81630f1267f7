//! plan + store -> images: content-addressed, bit for bit reproducible, never rebuilt when nothing
//! changed.
//!
//! An image is defined by `images/NAME/image.ncl`; `images/NAME/image.lock` pins every package.
//! [`build`] makes what a plan needs, [`relock`] writes locks anew, [`verify`] builds twice and
//! compares, [`audit`] reads every byte of what is stored.

mod assemble;
mod command;
mod definition;
mod fetch;
mod floor;
mod lockfile;
mod manifest;
mod mirror;
mod resolve;
mod rootless;
mod stage;
mod stored;
mod tools;
mod verify;
mod version;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use vexp_api::digest::Digest;
use vexp_api::event::{Event, EventSink};
use vexp_api::ids::Name;
use vexp_api::plugin::ImageFiles;

use crate::store::{Bucket, Damage, Store, StoreError, StoreLock};
use floor::Floor;
use manifest::Inputs;

pub use command::CommandError;
pub use definition::{
    BadWord, DefinitionError, ImageDef, ModuleName, PackageName, Suite, evaluate, names,
};
pub use lockfile::{Architecture, Lock, LockError, LockedPackage, PoolPath, Use, Version};
pub use manifest::{Manifest, Script};
pub use stored::stored;
pub use tools::{Missing, NEEDED as NEEDED_TOOLS};
pub use verify::{Verification, verify};

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Neither root nor namespaces.
    #[error("building images needs namespaces, and this user gets none: {advice}")]
    NoNamespaces {
        /// What would help.
        advice: &'static str,
        /// What was tried.
        source: Box<CommandError>,
    },
    /// Host programs are missing.
    #[error("{} needed to build images: {}", tools_text(.0), install_text(.0))]
    Tools(Vec<Missing>),
    /// The definition can't be used.
    #[error("the definition of an image can't be used")]
    Definition(#[from] DefinitionError),
    /// The lock can't be used.
    #[error("the lock of an image can't be used")]
    Lock(#[from] LockError),
    /// The mirror's address can't be used.
    #[error("{} can't be used", mirror::VARIABLE)]
    Mirror(#[source] BadWord),
    /// Packages are no longer on the mirror.
    #[error(
        "the mirror no longer has {}: run `vexp build --relock` to take what it has now, or set \
         {} to a snapshot of the archive that still has them",
        packages_text(.0), mirror::VARIABLE
    )]
    Gone(Vec<LockedPackage>),
    /// What the mirror sent is not what the lock says.
    #[error("the mirror sent other bytes than the lock says: {}", wrong_text(.0))]
    WrongDigest(Vec<WrongDigest>),
    /// The archive has no such package.
    #[error("image {image}: suite {suite} has no package `{package}`")]
    NotFound {
        /// Image.
        image: Name,
        /// Package.
        package: PackageName,
        /// Suite.
        suite: Suite,
    },
    /// The archive is older than one that was seen.
    #[error(
        "suite {suite}: the archive's release is of {released}, and one of {seen} was seen: the mirror is behind, or \
         keeps back what was mended since; use another one ({}), or remove {} to allow older ones",
        mirror::VARIABLE, .path.display()
    )]
    OldRelease {
        /// Suite.
        suite: Suite,
        /// When the archive says that it was released, RFC 3339.
        released: String,
        /// The newest that was seen.
        seen: String,
        /// Where that is remembered.
        path: PathBuf,
    },
    /// The archive has older packages than the lock.
    #[error(
        "image {image}: the archive has only older packages than the locked ones: {older}; the mirror is behind, or \
         keeps back what was mended since: use another one ({}), or remove the image's lock to allow older ones",
        mirror::VARIABLE
    )]
    OldPackages {
        /// Image.
        image: Name,
        /// `PACKAGE VERSION (locked: VERSION), …`
        older: String,
    },
    /// The resolver wrote something else than a package.
    #[error("image {image}: resolving its packages gave `{}`", .line.escape_debug())]
    Resolved {
        /// Image.
        image: Name,
        /// The line.
        line: String,
    },
    /// A build step failed.
    #[error(transparent)]
    Command(#[from] Box<CommandError>),
    /// A build step succeeded without its output.
    #[error("the build left no {} (log: {})", .path.display(), .log.display())]
    NoOutput {
        /// What is missing.
        path: PathBuf,
        /// Output of the step.
        log: PathBuf,
    },
    /// The scripts were edited while they ran.
    #[error(
        "files of image {0} in the folder of images changed while it was built: build it again"
    )]
    Changed(Name),
    /// A node has not the image that its run was begun with.
    #[error(
        "image {image} of the run is neither in the store {} nor in the one from which it is filled: name the store with \
         which the run was begun (VEXP_STORE, or VEXP_STORE_FROM for one that is copied)",
        .root.display()
    )]
    NotStored {
        /// Image.
        image: Name,
        /// The store.
        root: PathBuf,
    },
    /// A stored file is not as it must be.
    #[error("{} is damaged: `vexp build` makes its image anew", .0.display())]
    DamagedHere(PathBuf),
    /// The store failed.
    #[error("the store of built images failed")]
    Store(#[from] StoreError),
    /// Data could not be written as JSON.
    #[error("could not write JSON")]
    Json(#[source] serde_json::Error),
}

/// A package that came with another digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongDigest {
    /// Package.
    pub package: PackageName,
    /// As locked.
    pub expected: Digest,
    /// As it came, if the downloader kept it.
    pub found: Option<Digest>,
}

impl WrongDigest {
    fn new(package: &LockedPackage, found: Option<Digest>) -> Self {
        Self {
            package: package.package.clone(),
            expected: package.digest.clone(),
            found,
        }
    }
}

fn tools_text(missing: &[Missing]) -> String {
    let tools: Vec<_> = missing.iter().map(|m| format!("`{}`", m.tool)).collect();
    let verb = if tools.len() == 1 { "is" } else { "are" };
    format!("{} {verb} missing and", tools.join(", "))
}

fn install_text(missing: &[Missing]) -> String {
    let mut packages: Vec<_> = missing.iter().map(|m| m.package).collect();
    packages.sort_unstable();
    packages.dedup();
    format!("apt-get install {}", packages.join(" "))
}

fn packages_text(packages: &[LockedPackage]) -> String {
    let name = |p: &LockedPackage| format!("{} {}", p.package, p.version);
    let mut text: Vec<_> = packages.iter().take(5).map(name).collect();
    if packages.len() > 5 {
        text.push(format!("{} others", packages.len() - 5));
    }
    text.join(", ")
}

fn wrong_text(wrong: &[WrongDigest]) -> String {
    let text = |w: &WrongDigest| match &w.found {
        Some(found) => format!("{} is {found} and not {}", w.package, w.expected),
        None => format!("{} is not {}", w.package, w.expected),
    };
    wrong.iter().map(text).collect::<Vec<_>>().join("; ")
}

/// How strictly a lock is kept to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// Exactly the locked packages, or an error.
    Strict,
    /// If the mirror no longer has locked packages, or the lock is stale, its present ones are
    /// taken. They are written into the image's manifest, never into the lock, and
    /// [`BuiltImage::deviation`] says so.
    Refresh,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Name.
    pub name: Name,
    /// Digest of what went into it.
    pub key: Digest,
    /// What it is: for `images.json` in the run's folder.
    pub manifest: Manifest,
    /// Where its parts are.
    pub files: ImageFiles,
    /// How it differs from what the lock asks for, in one sentence, if it does.
    pub deviation: Option<String>,
}

/// Makes sure that images are in the store and gives them in the order of `names`. `images` is
/// the folder of the definitions. Where nothing changed this only compares digests of the small
/// files in `images`, and sizes and times of the built ones. Building needs root or user namespaces, and gives the same
/// bytes with either; reading needs neither.
pub fn build(
    names: &[Name],
    images: &Path,
    store: &Store,
    policy: Locked,
    events: &dyn EventSink,
) -> Result<Vec<BuiltImage>, BuildError> {
    let images = &canonical(images)?;
    let tools = tools::versions()?;
    let mut wanted = names
        .iter()
        .map(|name| Wanted::new(name, images, &tools, store, policy))
        .collect::<Result<Vec<_>, _>>()?;
    for wanted in &wanted {
        stored::copy_in(&wanted.key, store, events)?;
    }
    let mut found = (wanted.iter())
        .map(|wanted| wanted.find(store))
        .collect::<Result<Vec<_>, _>>()?;
    if found.iter().any(Option::is_none) {
        make(&mut wanted, &found, images, store, policy, events)?;
        for (found, wanted) in found.iter_mut().zip(&wanted) {
            *found = wanted.find(store)?;
        }
    } else {
        for image in names.iter().cloned() {
            events.event(&Event::ImageReady { image });
        }
    }
    let lost = |wanted: &Wanted| BuildError::NoOutput {
        path: wanted.name.as_str().into(),
        log: store.logs(),
    };
    (found.into_iter().zip(&wanted))
        .map(|(found, wanted)| found.ok_or_else(|| lost(wanted)))
        .collect()
}

/// Of images, those that [`build`] would have to build. Nothing is written and nothing is fetched.
pub fn missing(
    names: &[Name],
    images: &Path,
    store: &Store,
    policy: Locked,
) -> Result<Vec<Name>, BuildError> {
    let images = &canonical(images)?;
    let tools = tools::versions()?;
    let mut missing = Vec::new();
    for name in names {
        let wanted = Wanted::new(name, images, &tools, store, policy)?;
        if wanted.find(store)?.is_none() {
            missing.push(name.clone());
        }
    }
    Ok(missing)
}

/// Whether this user can build images: as root, or in user namespaces. It is tried.
///
/// # Errors
/// What was tried and how it ended, with what would help.
pub fn possible() -> Result<(), BuildError> {
    let log =
        tempfile::NamedTempFile::new().map_err(StoreError::io("create", Path::new("a log")))?;
    rootless::possible(log.path())
}

/// The keys of images: digests of all that they are built from. Nothing is written and nothing is fetched.
pub fn keys(
    names: &[Name],
    images: &Path,
    store: &Store,
    policy: Locked,
) -> Result<BTreeMap<Name, Digest>, BuildError> {
    let images = &canonical(images)?;
    let tools = tools::versions()?;
    let key = |name: &Name| -> Result<(Name, Digest), BuildError> {
        let wanted = Wanted::new(name, images, &tools, store, policy)?;
        Ok((name.clone(), wanted.key))
    };
    names.iter().map(key).collect()
}

fn canonical(images: &Path) -> Result<PathBuf, BuildError> {
    std::fs::canonicalize(images).map_err(|source| {
        BuildError::Definition(DefinitionError::Io {
            path: images.to_owned(),
            source,
        })
    })
}

/// An image that is asked for, and what it is to be built from.
struct Wanted {
    name: Name,
    /// Digest of the repository's lock: what a refreshed one stands for.
    locked: Digest,
    inputs: Inputs,
    key: Digest,
    /// Why the packages are to be resolved anew before anything else.
    stale: bool,
    deviation: Option<String>,
}

impl Wanted {
    fn new(
        name: &Name,
        images: &Path,
        tools: &std::collections::BTreeMap<String, String>,
        store: &Store,
        policy: Locked,
    ) -> Result<Self, BuildError> {
        let source = definition::source_digest(images, name)?;
        let path = lock_path(images, name);
        let mut lock = Lock::read(&path)?;
        let mut stale = false;
        if lock.source != source {
            let definition = evaluate(images, name)?;
            stale = definition != lock.definition;
            if stale && policy == Locked::Strict {
                return Err(LockError::Stale(path).into());
            }
            lock.definition = definition;
        }
        let inputs = Inputs {
            lock,
            scripts: manifest::scripts(images, name)?,
            tools: tools.clone(),
        };
        let mut wanted = Self {
            name: name.clone(),
            locked: inputs.lock.digest(),
            key: inputs.key()?,
            inputs,
            stale,
            deviation: None,
        };
        if policy == Locked::Refresh && (stale || wanted.find(store)?.is_none()) {
            wanted.use_refreshed(store)?;
        }
        Ok(wanted)
    }

    /// Takes the packages that an earlier build resolved for this lock, if there are any.
    fn use_refreshed(&mut self, store: &Store) -> Result<(), BuildError> {
        if let Some(path) = store.find(Bucket::Refreshed, &self.locked)
            && let Ok(lock) = Lock::read(&path)
        {
            self.refresh(lock)?;
        }
        Ok(())
    }

    fn refresh(&mut self, lock: Lock) -> Result<(), BuildError> {
        self.deviation = deviation(&self.inputs.lock, &lock);
        self.inputs.lock = lock;
        self.key = self.inputs.key()?;
        self.stale = false;
        Ok(())
    }

    /// The image, if the store has it and it looks whole. One whose files' times have changed is
    /// read in full.
    fn find(&self, store: &Store) -> Result<Option<BuiltImage>, BuildError> {
        if self.stale {
            return Ok(None);
        }
        let Some(folder) = store.find(Bucket::Images, &self.key) else {
            return Ok(None);
        };
        let Some(manifest) = Manifest::read(&folder).filter(|m| m.key == self.key) else {
            return Ok(None);
        };
        if !manifest.files.looks_whole(&folder) {
            if !manifest.files.damage(&folder)?.is_empty() {
                return Ok(None);
            }
            // A copied store has other times. If it can't be written to, it is read again.
            let _ = manifest.files.stamp(&folder);
        }
        Ok(Some(BuiltImage {
            name: self.name.clone(),
            key: self.key.clone(),
            files: manifest.image_files(&folder),
            manifest,
            deviation: self.deviation.clone(),
        }))
    }
}

fn lock_path(images: &Path, name: &Name) -> PathBuf {
    images.join(name.as_str()).join("image.lock")
}

/// How a refreshed lock differs, in one sentence.
fn deviation(locked: &Lock, used: &Lock) -> Option<String> {
    let differs = |p: &&LockedPackage| !locked.packages.contains(p);
    let changed: Vec<_> = used.packages.iter().filter(differs).cloned().collect();
    (!changed.is_empty()).then(|| {
        format!(
            "image {}: {} of {} packages are not as locked, the archive having moved on: {}",
            used.definition.name,
            changed.len(),
            used.packages.len(),
            packages_text(&changed)
        )
    })
}

/// Builds what is missing, under the store's lock.
fn make(
    wanted: &mut [Wanted],
    found: &[Option<BuiltImage>],
    images: &Path,
    store: &Store,
    policy: Locked,
    events: &dyn EventSink,
) -> Result<(), BuildError> {
    tools::check()?;
    rootless::possible(&store.logs().join("namespaces.log"))?;
    let lock = store.lock(events)?;
    let scratch = store.scratch(&lock)?;
    let mut todo = Vec::new();
    for (wanted, found) in wanted.iter_mut().zip(found) {
        // Another vexp may have built it while this one waited for the lock.
        if found.is_some() || wanted.find(store)?.is_some() {
            let image = wanted.name.clone();
            events.event(&Event::ImageReady { image });
            continue;
        }
        if store.path(Bucket::Images, &wanted.key).exists() && !wanted.stale {
            let kept = store.quarantine(&lock, Bucket::Images, &wanted.key)?;
            let text = format!(
                "image {} was damaged in the store and is built anew; the damaged one is in {}",
                wanted.name,
                kept.display()
            );
            events.event(&Event::Note { text });
        }
        todo.push(wanted);
    }
    for wanted in &mut todo {
        // The packages of a stale lock are not worth fetching.
        let outdated = wanted.stale
            || match prepare(store, &lock, [&wanted.inputs.lock], events) {
                Err(BuildError::Gone(_)) if policy == Locked::Refresh => true,
                ready => ready.map(|()| false)?,
            };
        if outdated {
            refresh(wanted, images, store, &lock, scratch.path(), events)?;
        }
    }
    assemble_all(&todo, images, store, &lock, scratch.path(), events)
}

/// Gets all packages of locks into the store.
fn prepare<'a>(
    store: &Store,
    lock: &StoreLock,
    locks: impl IntoIterator<Item = &'a Lock>,
    events: &dyn EventSink,
) -> Result<(), BuildError> {
    for locked in locks {
        let missing = fetch::missing(store, lock, &locked.packages)?;
        if missing.is_empty() {
            continue;
        }
        let bytes: u64 = missing.iter().map(|package| package.size).sum();
        events.event(&Event::ImageBuilding {
            image: locked.definition.name.clone(),
            step: format!(
                "fetching {} packages, {} MB",
                missing.len(),
                bytes / 1_000_000
            ),
        });
        let mirrors = mirror::find(&store.logs())?;
        fetch::fetch(store, lock, &mirrors, &missing)?;
    }
    Ok(())
}

/// Resolves an image's packages anew, for the store only.
fn refresh(
    wanted: &mut Wanted,
    images: &Path,
    store: &Store,
    lock: &StoreLock,
    scratch: &Path,
    events: &dyn EventSink,
) -> Result<(), BuildError> {
    events.event(&Event::ImageBuilding {
        image: wanted.name.clone(),
        step: "resolving packages anew, the mirror no longer having the locked ones".to_owned(),
    });
    let mirrors = mirror::find(&store.logs())?;
    let mut fresh = wanted.inputs.lock.clone();
    let floor = Floor {
        store,
        lock,
        locked: &wanted.inputs.lock.packages,
    };
    fresh.packages = resolve::resolve(&fresh.definition, images, &mirrors, scratch, &floor)?;
    let staged = scratch.join("refreshed.lock");
    fresh.write(&staged)?;
    prepare(store, lock, [&fresh], events)?;
    store.publish(lock, Bucket::Refreshed, &wanted.locked, &staged)?;
    wanted.refresh(fresh)
}

/// Builds images, as many at once as there are processors: each is mostly one thread.
fn assemble_all(
    todo: &[&mut Wanted],
    images: &Path,
    store: &Store,
    lock: &StoreLock,
    scratch: &Path,
    events: &dyn EventSink,
) -> Result<(), BuildError> {
    let queue = Mutex::new(todo.iter());
    let next = || queue.lock().map_or(None, |mut queue| queue.next());
    let work = || {
        while let Some(wanted) = next() {
            let start = Instant::now();
            let circumstances = assemble::Circumstances::default();
            let (folder, manifest) = assemble::assemble(
                &wanted.inputs,
                images,
                store,
                scratch,
                &circumstances,
                events,
            )?;
            store.publish(lock, Bucket::Images, &manifest.key, &folder)?;
            events.event(&Event::ImageBuilt {
                image: wanted.name.clone(),
                seconds: start.elapsed().as_secs_f64(),
            });
        }
        Ok(())
    };
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        (threads.into_iter())
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            // All are waited for, whichever fails first.
            .fold(Ok(()), Result::and)
    })
}

/// Writes locks anew from what the mirror has now, into `images`. Gives the names of those that
/// changed.
pub fn relock(
    names: &[Name],
    images: &Path,
    store: &Store,
    events: &dyn EventSink,
) -> Result<Vec<Name>, BuildError> {
    let images = &canonical(images)?;
    tools::check()?;
    let lock = store.lock(events)?;
    let scratch = store.scratch(&lock)?;
    let mirrors = mirror::find(&store.logs())?;
    let mut changed = Vec::new();
    for name in names {
        events.event(&Event::ImageBuilding {
            image: name.clone(),
            step: "resolving packages".to_owned(),
        });
        let definition = evaluate(images, name)?;
        let path = lock_path(images, name);
        let before = Lock::read(&path).ok();
        let floor = Floor {
            store,
            lock: &lock,
            locked: before.as_ref().map_or(&[], |lock| &lock.packages),
        };
        let packages = resolve::resolve(&definition, images, &mirrors, scratch.path(), &floor)?;
        let fresh = Lock {
            format: lockfile::FORMAT,
            source: definition::source_digest(images, name)?,
            definition,
            packages,
        };
        if before.as_ref() != Some(&fresh) {
            fresh.write(&path)?;
            changed.push(name.clone());
        }
    }
    Ok(changed)
}

/// Reads every byte of built images. Damaged ones are put aside, so that the next [`build`] makes
/// them anew; what was wrong is returned by image.
pub fn audit(
    built: &[BuiltImage],
    store: &Store,
    events: &dyn EventSink,
) -> Result<Vec<(Name, Vec<Damage>)>, BuildError> {
    let mut damaged = Vec::new();
    for image in built {
        let own = store.path(Bucket::Images, &image.key);
        let folder = store.find(Bucket::Images, &image.key);
        let damage = image
            .manifest
            .files
            .damage(folder.as_ref().unwrap_or(&own))?;
        if !damage.is_empty() {
            // What is in another store is its owner's to put aside.
            if own.exists() {
                let lock = store.lock(events)?;
                store.quarantine(&lock, Bucket::Images, &image.key)?;
            }
            damaged.push((image.name.clone(), damage));
        }
    }
    Ok(damaged)
}
