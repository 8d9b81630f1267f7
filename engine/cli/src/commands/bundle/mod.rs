//! What is in a bundle of a run: the run's own files, and everything that can be made of them.
//!
//! `vexp export` packs it; `vexp verify` makes it again from what it unpacked, and compares.

mod again;
mod anonymous;
pub(crate) mod claims;
pub(crate) mod export;
mod license;
pub(crate) mod lint;
mod names;
pub(crate) mod parts;
mod place;
pub(crate) mod read;
pub(crate) mod rerun;
pub(crate) mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vexp_api::exit::Exit;
use vexp_api::ids::{Doi, Name};
use vexp_api::registry::Registry;
use vexp_api::spec::Study;
use vexp_engine::build::Manifest as ImageManifest;
use vexp_engine::bundle::{BundleError, BundlePath, Contents, Source, elf};
use vexp_engine::run::batch;
use vexp_engine::run::files;
use vexp_engine::run::leftovers::is_partial;
use vexp_engine::run::lock::RunLock;
use vexp_engine::store::{Bucket, Store, digest_file};
use vexp_report::bundle::{About, Binary, Image};
use vexp_report::derived::{Derived, derive};

pub(crate) use license::License;

use super::report;
use crate::error::{Failure, OrExit as _};

/// `export.json`: what was asked of `vexp export`, so that the same can be asked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// `1`; a reader refuses any other.
    format: u32,
    /// Whether the images are in the bundle.
    images: bool,
    /// Whether vexp's executable is in the bundle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    vexp: bool,
    /// Whether the report was made with templates of the bundle's own.
    templates: bool,
    /// What the authors allow.
    license: Option<License>,
    /// Who made the run.
    authors: Vec<String>,
    /// Who answers about it, if not whom the study names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contact: Option<String>,
    /// DOI of the archive, if not the study's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    archive: Option<Doi>,
    /// Address of the repository, if not the study's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Whether names of people and places were taken out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    anonymous: bool,
}

impl Options {
    /// Who answers: as was asked, else as the study says. Nobody in a bundle without names.
    fn contact<'a>(&'a self, study: &'a Study) -> Option<&'a str> {
        let paper = study.paper.as_ref().filter(|_| !self.anonymous);
        let of_paper = paper.and_then(|paper| paper.contact.as_deref());
        self.contact.as_deref().or(of_paper)
    }

    fn archive<'a>(&'a self, study: &'a Study) -> Option<&'a str> {
        let paper = study.paper.as_ref().filter(|_| !self.anonymous);
        let of_paper = paper.and_then(|paper| paper.archive.as_ref());
        self.archive.as_ref().or(of_paper).map(Doi::as_str)
    }

    fn code<'a>(&'a self, study: &'a Study) -> Option<&'a str> {
        let paper = study.paper.as_ref().filter(|_| !self.anonymous);
        let of_paper = paper.and_then(|paper| paper.code.as_deref());
        self.code.as_deref().or(of_paper)
    }
}

/// The version of `export.json`.
const FORMAT: u32 = 1;
/// Its name, and those of the folders beside it.
const OPTIONS: &str = "export.json";
const RUN: &str = "run";
/// The folder of a run with the pages that set it beside the run that it measures again.
const ANSWER: &str = "answer";
/// What the pages of the author's own templates begin with, in the run's folder.
const AUTHORS: &str = "report/author-";
const TEMPLATES: &str = "templates";
const IMAGES: &str = "images";
/// vexp's executable.
const BINARY: &str = "bin/vexp";

/// Where the images of a bundle are.
enum Images {
    Store(Store),
    Unpacked(PathBuf),
}

impl Images {
    fn folder(&self, name: &Name, manifest: &ImageManifest) -> PathBuf {
        match self {
            Self::Store(store) => {
                let found = store.find(Bucket::Images, &manifest.key);
                found.unwrap_or_else(|| store.path(Bucket::Images, &manifest.key))
            }
            Self::Unpacked(folder) => folder.join(name.as_str()),
        }
    }
}

/// What a bundle is made of.
struct Ingredients<'a> {
    /// The run's folder.
    run: &'a Path,
    /// Version of the vexp that makes the bundle.
    vexp: &'a str,
    options: Options,
    templates: Option<PathBuf>,
    images: Option<Images>,
    /// vexp's executable.
    binary: Option<PathBuf>,
}

/// What is in a bundle, and what it says.
struct Made {
    contents: Contents,
    derived: Derived,
    binary: Option<Binary>,
}

impl Ingredients<'_> {
    fn made(&self, registry: &Registry) -> Result<Made, Failure> {
        let mut contents = Contents::new();
        self.copy_run(&mut contents)?;
        // vexp's own page first: a page of the author's own may say anything.
        let derived = derive(self.run, registry, None);
        let derived = derived.map_err(|error| report::unreadable(&error))?;
        for (name, bytes) in &derived.files {
            add(&mut contents, &format!("{RUN}/{name}"), bytes.clone())?;
        }
        if let Some(folder) = &self.templates {
            let own = derive(self.run, registry, Some(folder));
            let own = own.map_err(|error| report::unreadable(&error))?;
            for page in ["report.html", "report.md"] {
                let bytes = own.files.get(&format!("report/{page}")).cloned();
                let name = format!("{RUN}/{AUTHORS}{page}");
                add(&mut contents, &name, bytes.unwrap_or_default())?;
            }
        }
        let manifests: BTreeMap<Name, ImageManifest> =
            files::read_json(&self.run.join("images.json")).or_exit(Exit::Usage)?;
        for (name, manifest) in &manifests {
            let lock = manifest.lock.to_text().or_exit(Exit::Usage)?;
            add(
                &mut contents,
                &format!("locks/{name}.lock"),
                lock.into_bytes(),
            )?;
            self.add_image(&mut contents, name, manifest)?;
        }
        if let Some(folder) = &self.templates {
            copy_tree(folder, TEMPLATES, &mut contents, &|_| true)?;
        }
        let binary = self.binary.as_deref().map(binary).transpose()?;
        if let Some(path) = &self.binary {
            contents.insert(bundle_path(BINARY)?, Source::File(path.clone()));
        }
        let options = vexp_api::digest::canonical_json(&self.options).or_exit(Exit::Usage)?;
        add(&mut contents, OPTIONS, format!("{options}\n").into_bytes())?;
        self.add_words(&mut contents, &derived, (&manifests, binary.as_ref()))?;
        Ok(Made {
            contents,
            derived,
            binary,
        })
    }

    /// The run as it is, but for what follows from it, what a crash left half written, what is held
    /// while it is run, and the mark that `vexp gc` is to keep it.
    fn copy_run(&self, contents: &mut Contents) -> Result<(), Failure> {
        let wanted = |path: &str| {
            // What a batch engine was told names people and hosts, and says nothing of results.
            let derived = ["frames", "report", ANSWER, batch::FOLDER].contains(&path);
            let mark = path == "keep";
            let name = path.rsplit('/').next().unwrap_or(path);
            let passing = is_partial(name) || name.starts_with(RunLock::FILE);
            !(derived || mark || passing)
        };
        copy_tree(self.run, RUN, contents, &wanted)
    }

    /// What the bundle says about itself.
    fn add_words(
        &self,
        contents: &mut Contents,
        derived: &Derived,
        (manifests, binary): (&BTreeMap<Name, ImageManifest>, Option<&Binary>),
    ) -> Result<(), Failure> {
        let mut sizes = BTreeMap::new();
        for (path, source) in contents.iter() {
            let size = match source {
                Source::Bytes(bytes) => bytes.len() as u64,
                Source::File(file) => {
                    let found = file.metadata().map_err(|error| unread(file, &error))?;
                    found.len()
                }
            };
            sizes.insert(path.to_string(), size);
        }
        let images: Vec<_> = manifests.values().map(image).collect();
        let study = &derived.frames.run.study;
        let about = About {
            derived,
            vexp: self.vexp,
            license: self.options.license.as_ref().map(License::as_str),
            authors: &self.options.authors,
            contact: self.options.contact(study),
            archive: self.options.archive(study),
            code: self.options.code(study),
            anonymous: self.options.anonymous,
            images: &images,
            with_images: self.options.images,
            binary,
            files: &sizes,
        };
        let words = vexp_report::bundle::files(&about);
        for (name, bytes) in words.or_exit(Exit::Incomplete)? {
            add(contents, name, bytes)?;
        }
        Ok(())
    }

    fn add_image(
        &self,
        contents: &mut Contents,
        name: &Name,
        manifest: &ImageManifest,
    ) -> Result<(), Failure> {
        let Some(images) = &self.images else {
            return Ok(());
        };
        let folder = images.folder(name, manifest);
        let damage = manifest.files.damage(&folder).or_exit(Exit::Usage)?;
        if let Some(damage) = damage.first() {
            let what = match &damage.found {
                Some(_) => "is not the one that was used",
                None => "is not there",
            };
            let file = folder.join(&damage.file);
            let message = format!("image {name}: {} {what}", file.display());
            return Err(Failure::new(Exit::Usage, message).hint(
                "`vexp build` makes it again, or leave the images out: their locks are in the bundle",
            ));
        }
        for file in manifest.files.0.keys() {
            let path = bundle_path(&format!("{IMAGES}/{name}/{file}"))?;
            contents.insert(path, Source::File(folder.join(file)));
        }
        Ok(())
    }
}

fn image(manifest: &ImageManifest) -> Image {
    Image {
        name: manifest.name.clone(),
        about: manifest.lock.definition.about.clone(),
        digest: manifest.digest(),
        size: manifest.files.0.values().map(|file| file.size).sum(),
        packages: manifest.lock.packages.len(),
    }
}

/// What is said of vexp's executable, which is looked at and not executed.
fn binary(path: &Path) -> Result<Binary, Failure> {
    let found = elf::executable(path).map_err(|error| {
        let mut failure = Failure::of(Exit::Usage, &error);
        let message = format!("{} can't be vexp's executable", path.display());
        failure.messages.insert(0, message);
        failure
    })?;
    let digest = digest_file(path).or_exit(Exit::Usage)?;
    let mut libraries = found.libraries;
    libraries.extend(found.interpreter);
    Ok(Binary {
        sha256: digest.hex().to_owned(),
        machine: found.machine.to_owned(),
        libraries,
    })
}

fn bundle_path(path: &str) -> Result<BundlePath, Failure> {
    BundlePath::new(path).map_err(|error| {
        Failure::of(Exit::Usage, &error).hint("rename it, and run the study again")
    })
}

fn add(contents: &mut Contents, path: &str, bytes: Vec<u8>) -> Result<(), Failure> {
    contents.insert(bundle_path(path)?, Source::Bytes(bytes));
    Ok(())
}

/// All files of a folder whose path below it is wanted. What is neither file nor folder is an
/// error: a link's target is not the run's.
fn copy_tree(
    folder: &Path,
    name: &str,
    contents: &mut Contents,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    let mut queue = vec![(folder.to_owned(), String::new())];
    while let Some((folder, below)) = queue.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| unread(&folder, &error))? {
            let entry = entry.map_err(|error| unread(&folder, &error))?;
            let path = entry.path();
            let Ok(file) = entry.file_name().into_string() else {
                let message = format!("{} has no name in UTF-8", path.display());
                return Err(Failure::new(Exit::Usage, message));
            };
            let below = if below.is_empty() {
                file
            } else {
                format!("{below}/{file}")
            };
            if !wanted(&below) {
                continue;
            }
            let kind = entry.file_type().map_err(|error| unread(&path, &error))?;
            if kind.is_dir() {
                queue.push((path, below));
            } else if kind.is_file() {
                contents.insert(bundle_path(&format!("{name}/{below}"))?, Source::File(path));
            } else {
                let message = format!("{} is neither a file nor a folder", path.display());
                return Err(
                    Failure::new(Exit::Usage, message).hint("a run has none such: remove it")
                );
            }
        }
    }
    Ok(())
}

fn unread(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot read {}: {error}", path.display());
    Failure::new(Exit::Usage, message)
}

/// What is wrong with the bundle or the command line is 2; what is wrong with the disk is 4.
fn failure(error: &BundleError) -> Failure {
    let exit = match error {
        BundleError::Io { source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            Exit::Infrastructure
        }
        _ => Exit::Usage,
    };
    Failure::of(exit, error)
}
