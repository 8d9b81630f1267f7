//! Roots made of images: a read-only squashfs below, a folder of the lab's tmpfs above.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use super::run::{LabError, run};

/// Mounts an image's root read-only at `target`, which is created.
pub(super) fn image(step: &str, image: &Path, target: &Path) -> Result<(), LabError> {
    std::fs::create_dir(target).map_err(LabError::io(step))?;
    let (image, target) = (image.display().to_string(), target.display().to_string());
    // mount(8) sets the loop device up.
    let args = ["-t", "squashfs", "-o", "ro,loop", &image, &target];
    run(step, "mount", &args, "").map(drop)
}

/// A writable root over an image, below `base`.
pub(super) struct Root<'a> {
    step: &'a str,
    path: PathBuf,
}

impl<'a> Root<'a> {
    /// Lays a folder of `base` over the image that is mounted at `lower`.
    pub(super) fn over(step: &'a str, lower: &Path, base: &Path) -> Result<Self, LabError> {
        let [upper, work, path] = ["upper", "work", "root"].map(|name| base.join(name));
        for folder in [&upper, &work, &path] {
            std::fs::create_dir_all(folder).map_err(LabError::io(step))?;
        }
        let mut options = b"lowerdir=".to_vec();
        options.extend(lower.as_os_str().as_bytes());
        options.extend(b",upperdir=");
        options.extend(upper.as_os_str().as_bytes());
        options.extend(b",workdir=");
        options.extend(work.as_os_str().as_bytes());
        let root = Self { step, path };
        root.mount("overlay", "", Some(options))?;
        Ok(root)
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where `path`, absolute or not, is in it.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Shows the lab's file or folder `path` at the same place.
    pub(super) fn show(&self, path: impl AsRef<Path>) -> Result<(), LabError> {
        self.bind(path.as_ref()).map(drop)
    }

    /// The same, so that it can't be written to.
    pub(super) fn show_read_only(&self, path: impl AsRef<Path>) -> Result<(), LabError> {
        let target = self.bind(path.as_ref())?;
        mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, "")
            .map_err(|error| self.failed(&target, error))
    }

    fn bind(&self, path: &Path) -> Result<PathBuf, LabError> {
        let target = self.at(path);
        let made = if path.is_dir() {
            std::fs::create_dir_all(&target)
        } else {
            (target.parent().map_or(Ok(()), std::fs::create_dir_all))
                .and_then(|()| std::fs::write(&target, b""))
        };
        made.map_err(LabError::io(self.step))?;
        mount_bind(path, &target).map_err(|error| self.failed(&target, error))?;
        Ok(target)
    }

    fn mount(&self, kind: &str, path: &str, options: Option<Vec<u8>>) -> Result<(), LabError> {
        let target = self.at(path);
        let options = options
            .map(CString::new)
            .transpose()
            .map_err(|error| LabError::new(self.step, error.to_string()))?;
        mount(kind, &target, kind, MountFlags::empty(), options.as_deref())
            .map_err(|error| self.failed(&target, error))
    }

    fn failed(&self, target: &Path, error: rustix::io::Errno) -> LabError {
        LabError::new(
            self.step,
            format!("cannot mount {}: {error}", target.display()),
        )
    }
}
