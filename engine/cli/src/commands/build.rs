//! `vexp build`.

use std::collections::BTreeMap;
use std::path::Path;

use vexp_api::digest::Digest;
use vexp_api::event::EventSink;
use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_api::registry::Registry;
use vexp_engine::build::{self, BuildError, BuiltImage, Locked};
use vexp_engine::store::Store;

use super::images::Definitions;
use super::study;
use crate::args::{ImageArgs, StudyArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;
use crate::render::progress::Progress;

pub(super) fn run(
    study_args: &StudyArgs,
    images: &ImageArgs,
    verify: bool,
    relock: bool,
    registry: &Registry,
) -> Result<Exit, Failure> {
    let (checked, _) = study::checked(&study_args.file, registry)?;
    let chosen = study_args.chosen().or_exit(Exit::Usage)?;
    let plan = study::planned(&checked, &chosen, None)?;
    if relock && images.images.is_none() {
        let message = "--relock writes lock files, and --images does not say where";
        return Err(
            Failure::new(Exit::Usage, message).hint("`--images images` in vexp's own repository")
        );
    }
    let progress = Progress::new();
    let result = if relock {
        locks(&plan.images, images, &progress)
    } else if verify {
        twice(&plan.images, images, &progress)
    } else {
        once(&plan.images, images, &progress)
    };
    progress.finish();
    result
}

/// Builds images, as `run` and `reproduce` need them too.
pub(super) fn images(
    names: &[Name],
    args: &ImageArgs,
    events: &dyn EventSink,
) -> Result<Vec<BuiltImage>, Failure> {
    let definitions = Definitions::of(args)?;
    let folder = definitions.folder();
    build::build(names, folder, &store(args)?, policy(args), events).map_err(|e| failed(&e))
}

/// How many of these images are not built yet; `None` where that can't be told, which is no error of a
/// plan.
pub(super) fn to_build(names: &[Name], store: Option<&Path>) -> Option<usize> {
    let missing = looked(store, |folder, store, policy| {
        build::missing(names, folder, store, policy)
    });
    missing.map(|missing| missing.len())
}

/// The keys of these images; none where they can't be told, which is no error of a plan.
pub(super) fn keys(names: &[Name], store: Option<&Path>) -> BTreeMap<Name, Digest> {
    let keys = looked(store, |folder, store, policy| {
        build::keys(names, folder, store, policy)
    });
    keys.unwrap_or_default()
}

/// Looks at definitions and a store, of which a plan changes nothing.
fn looked<T>(
    store: Option<&Path>,
    look: impl FnOnce(&Path, &Store, Locked) -> Result<T, BuildError>,
) -> Option<T> {
    let root = match store {
        Some(root) => root.to_owned(),
        None => Store::default_root().ok()?,
    };
    if !root.is_dir() {
        return None;
    }
    let args = ImageArgs {
        images: std::env::var_os("VEXP_IMAGES").map(Into::into),
        store: Some(root.clone()),
        locked: false,
    };
    let store = match store {
        Some(_) => Store::look(root).ok()?,
        None => Store::look_default().ok()?,
    };
    let definitions = Definitions::of(&args).ok()?;
    look(definitions.folder(), &store, policy(&args)).ok()
}

fn policy(args: &ImageArgs) -> Locked {
    if args.locked {
        Locked::Strict
    } else {
        Locked::Refresh
    }
}

pub(super) fn store(args: &ImageArgs) -> Result<Store, Failure> {
    match &args.store {
        Some(root) => Store::open(root),
        None => Store::open_default(),
    }
    .or_exit(Exit::Build)
}

fn failed(error: &BuildError) -> Failure {
    Failure::of(Exit::Build, error)
}

fn once(names: &[Name], args: &ImageArgs, progress: &Progress) -> Result<Exit, Failure> {
    for image in images(names, args, progress)? {
        render::out(&format!("{:10} {}\n", image.name, image.key));
        if let Some(deviation) = image.deviation {
            render::say(&format!("note: {deviation}"));
        }
    }
    Ok(Exit::Fine)
}

fn locks(names: &[Name], args: &ImageArgs, progress: &Progress) -> Result<Exit, Failure> {
    let definitions = Definitions::of(args)?;
    let changed = build::relock(names, definitions.folder(), &store(args)?, progress)
        .map_err(|e| failed(&e))?;
    for name in names {
        let word = if changed.contains(name) {
            "changed"
        } else {
            "unchanged"
        };
        render::out(&format!("{name:10} {word}\n"));
    }
    Ok(Exit::Fine)
}

fn twice(names: &[Name], args: &ImageArgs, progress: &Progress) -> Result<Exit, Failure> {
    let definitions = Definitions::of(args)?;
    let folder = definitions.folder();
    let verified = build::verify(names, folder, &store(args)?, policy(args), progress)
        .map_err(|e| failed(&e))?;
    let mut exit = Exit::Fine;
    for image in verified {
        if image.same() {
            render::out(&format!("{:10} identical in all builds\n", image.name));
        } else {
            exit = Exit::Build;
            render::out(&format!(
                "{:10} differs: {}\n",
                image.name,
                image.different.join(", ")
            ));
        }
    }
    Ok(exit)
}
