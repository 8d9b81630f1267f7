//! Whether somebody else could put another file in the place of one that vexp relies on: what sshd(8) asks
//! of the files that say who may log in (StrictModes in sshd_config(5)).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Why a folder is not the user's alone.
#[derive(Debug, thiserror::Error)]
pub enum ModesError {
    /// It, or a folder above it, is somebody else's.
    #[error(
        "{} belongs to user {owner}, who could change what is below it: `chown` it, or name another folder",
        .path.display()
    )]
    Owner {
        /// The folder or file that is somebody else's.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Others can write to it, or to a folder above it.
    #[error(
        "{who} can write to {}, and could change what is below it: `chmod go-w` it, or name another folder",
        .path.display()
    )]
    Writable {
        /// What they can write to.
        path: PathBuf,
        /// `everybody`, `group 100`.
        who: String,
    },
    /// It can't be looked at.
    #[error("cannot look at {}: {source}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Whom files and folders may belong to, besides root and the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// To these two alone.
    Nobody,
    /// Whoever has called sudo(8): they decide what vexp does here as root.
    Caller,
}

/// Whether nobody else can change a file or folder, nor any folder above it.
///
/// # Errors
/// The first of them that somebody else can change. In a sticky folder everybody changes only their own, and
/// a group with the number of the file's owner is that user's alone.
pub fn only_ours(path: &Path, others: Others) -> Result<(), ModesError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ModesError::Io { path, source }
    };
    let whole = path.canonicalize().map_err(io(path))?;
    for part in whole.ancestors() {
        let about = part.metadata().map_err(io(part))?;
        looks_ours(part, &about, others)?;
    }
    Ok(())
}

/// The same of one file or folder alone.
///
/// # Errors
/// As for [`only_ours`].
pub fn looks_ours(
    path: &Path,
    about: &std::fs::Metadata,
    others: Others,
) -> Result<(), ModesError> {
    let user = rustix::process::geteuid().as_raw();
    let caller = (others == Others::Caller && user == 0)
        .then(|| std::env::var("SUDO_UID").ok()?.parse().ok());
    let owner = about.uid();
    if owner != 0 && owner != user && Some(Some(owner)) != caller {
        let path = path.to_owned();
        return Err(ModesError::Owner { path, owner });
    }
    let sticky = about.is_dir() && about.mode() & 0o1000 != 0;
    let who = match about.mode() {
        _ if sticky => return Ok(()),
        mode if mode & 0o002 != 0 => "everybody".to_owned(),
        mode if mode & 0o020 != 0 && about.gid() != owner => format!("group {}", about.gid()),
        _ => return Ok(()),
    };
    let path = path.to_owned();
    Err(ModesError::Writable { path, who })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn put(name: &str, mode: u32) -> PathBuf {
        let path = std::env::temp_dir().join(format!("vexp-modes-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("below")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_folder_is_ours_if_nobody_else_can_write_to_it_or_above_it() {
        let of = |name: &str, mode| {
            let path = put(name, mode);
            let said = only_ours(&path.join("below"), Others::Caller);
            std::fs::remove_dir_all(&path).unwrap();
            said.map_err(|error| error.to_string())
        };
        assert_eq!(of("own", 0o755), Ok(()));
        assert_eq!(of("sticky", 0o1777), Ok(()));
        // Its group has the number of its owner, or is another's.
        let own_group = rustix::process::getegid().as_raw() == rustix::process::geteuid().as_raw();
        assert_eq!(of("group", 0o775).is_ok(), own_group);
        let refused = of("all", 0o777).unwrap_err();
        assert!(refused.starts_with("everybody can write to"), "{refused}");
        assert!(refused.contains("chmod go-w"), "{refused}");
    }

    #[test]
    fn what_belongs_to_another_user_is_not_ours() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let path = put("theirs", 0o755);
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let refused = only_ours(&path.join("below"), Others::Nobody).unwrap_err();
        assert!(
            matches!(refused, ModesError::Owner { owner: 65_534, .. }),
            "{refused}"
        );
        std::os::unix::fs::chown(&path, Some(0), Some(65_534)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o775)).unwrap();
        let refused = only_ours(&path, Others::Nobody).unwrap_err().to_string();
        assert!(refused.starts_with("group 65534 can write to"), "{refused}");
        std::fs::remove_dir_all(&path).unwrap();
    }
}
