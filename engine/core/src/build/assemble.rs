//! Builds one image from its locked packages.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use vexp_api::event::{Event, EventSink};

use super::command::{contained_as, run};
use super::manifest::{self, FILE, FORMAT, Inputs, Manifest};
use super::{BuildError, stage};
use crate::store::{Bucket, Contents, Store, StoreError};

/// Circumstances that must not matter; [`super::verify`] varies them.
#[derive(Clone, Debug, Default)]
pub(super) struct Circumstances {
    /// Only this processor may be used.
    pub(super) one_cpu: bool,
    /// In a user namespace, as one who is not root builds.
    pub(super) without_root: bool,
    /// Variables that are set beside the usual ones.
    pub(super) environment: Vec<(&'static str, &'static str)>,
    /// Name of the scratch folder's part that differs.
    pub(super) path: &'static str,
}

/// Builds an image below `scratch` from packages that are in the store. Gives the folder with the
/// image's files and its manifest.
pub(super) fn assemble(
    inputs: &Inputs,
    images: &Path,
    store: &Store,
    scratch: &Path,
    circumstances: &Circumstances,
    events: &dyn EventSink,
) -> Result<(PathBuf, Manifest), BuildError> {
    let name = &inputs.lock.definition.name;
    let event = |step: &str| {
        events.event(&Event::ImageBuilding {
            image: name.clone(),
            step: step.to_owned(),
        });
    };
    let base = scratch.join(format!("{}{name}", circumstances.path));
    let (folder, out) = (
        base.join("definition").join(name.as_str()),
        base.join("out"),
    );
    stage::definition(&inputs.lock.definition, images, &folder)?;
    std::fs::create_dir_all(&out).map_err(StoreError::io("create", &out))?;
    let locked = base.join("lock");
    stage::lock(&inputs.lock, &locked)?;
    let cache = base.join("cache");
    link_packages(inputs, store, &cache)?;

    event("installing packages");
    let script = images.join("common/build.sh");
    let without_root = circumstances.without_root;
    let mut command = match circumstances.one_cpu {
        true => {
            let mut command = contained_as(without_root, "taskset");
            command.args(["--cpu-list", "0"]).arg(script);
            command
        }
        false => contained_as(without_root, script),
    };
    command
        .arg(&folder)
        .arg(&locked)
        .arg(&cache)
        .arg(base.join("work"))
        .arg(&out)
        .env(
            "SOURCE_DATE_EPOCH",
            inputs.lock.definition.source_date_epoch.to_string(),
        )
        .envs(circumstances.environment.iter().copied());
    let log = store
        .logs()
        .join(format!("{}{name}.build.log", circumstances.path));
    run(&format!("build image {name}"), &mut command, &log)?;

    // The scripts are used where they are: were they edited meanwhile, the key would be wrong.
    if manifest::scripts(images, name)? != inputs.scripts {
        return Err(BuildError::Changed(name.clone()));
    }

    event("computing digests");
    let names = Manifest::file_names(&inputs.lock);
    for name in &names {
        let path = out.join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).map_err(|_| {
            BuildError::NoOutput {
                path,
                log: log.clone(),
            }
        })?;
    }
    let files = Contents::read(&out, names)?;
    let manifest = Manifest {
        format: FORMAT,
        name: name.clone(),
        key: inputs.key()?,
        files,
        tools: inputs.tools.clone(),
        scripts: inputs.scripts.clone(),
        lock: inputs.lock.clone(),
    };
    let path = out.join(FILE);
    let text = serde_json::to_vec(&manifest).map_err(BuildError::Json)?;
    std::fs::write(&path, text).map_err(StoreError::io("write", &path))?;
    manifest.files.stamp(&out)?;
    Ok((out, manifest))
}

/// The build's own view of the packages: `SHA256.deb`, hard links where the file system can.
fn link_packages(inputs: &Inputs, store: &Store, cache: &Path) -> Result<(), BuildError> {
    std::fs::create_dir_all(cache).map_err(StoreError::io("create", cache))?;
    for package in &inputs.lock.packages {
        let from = store.path(Bucket::Debs, &package.digest);
        let to = cache.join(format!("{}.deb", package.digest.hex()));
        std::fs::hard_link(&from, &to)
            .or_else(|_| std::fs::copy(&from, &to).map(drop))
            .map_err(StoreError::io("use", &from))?;
    }
    Ok(())
}
