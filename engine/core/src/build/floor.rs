//! What an archive must not fall below: a signature says who made an archive, and not when. A mirror can
//! serve an older one, which is signed as well and has packages whose faults are known.

use std::path::Path;

use vexp_api::ids::Name;

use super::definition::Suite;
use super::lockfile::{LockedPackage, Use};
use super::{BuildError, version};
use crate::store::{Store, StoreError, StoreLock};

/// Packages and releases that were seen.
pub(super) struct Floor<'a> {
    pub(super) store: &'a Store,
    pub(super) lock: &'a StoreLock,
    /// The image's packages so far.
    pub(super) locked: &'a [LockedPackage],
}

impl Floor<'_> {
    /// Refuses a release that is older than one that was seen of its suite, and packages that are older
    /// than the locked ones; else remembers the release. `released` are seconds since 1970.
    ///
    /// # Errors
    /// Either of these, or the store can't be written to.
    pub(super) fn check(
        &self,
        image: &Name,
        suite: &Suite,
        released: u64,
        fresh: &[LockedPackage],
    ) -> Result<(), BuildError> {
        let path = self.store.release(suite.as_str());
        let seen = std::fs::read_to_string(&path).unwrap_or_default();
        let seen = seen.trim().parse().unwrap_or(0);
        if released < seen {
            return Err(BuildError::OldRelease {
                suite: suite.clone(),
                released: date(released),
                seen: date(seen),
                path,
            });
        }
        let older = older(self.locked, fresh);
        if !older.is_empty() {
            return Err(BuildError::OldPackages {
                image: image.clone(),
                older: older.join(", "),
            });
        }
        if released > seen {
            let text = format!("{released}\n");
            self.store.remember_release(self.lock, &path, &text)?;
        }
        Ok(())
    }
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

/// What a package is called whatever its version: those of kernels and hypervisors have it in their names.
fn stem(package: &LockedPackage) -> &str {
    let name = package.package.as_str();
    let end = match package.usage {
        Use::Install => None,
        Use::Extract => name.find(|c: char| c.is_ascii_digit()),
    };
    &name[..end.unwrap_or(name.len())]
}

/// Packages that are older than locked ones, each with the version that is locked.
fn older(locked: &[LockedPackage], fresh: &[LockedPackage]) -> Vec<String> {
    let below = |new: &&LockedPackage| {
        let same = locked
            .iter()
            .filter(|old| old.usage == new.usage && stem(old) == stem(new));
        let newest = same.max_by(|a, b| version::compare(&a.version, &b.version))?;
        let older = version::compare(&new.version, &newest.version).is_lt();
        let (name, old) = (&new.package, &new.version);
        older.then(|| format!("{name} {old} (locked: {})", newest.version))
    };
    fresh.iter().filter_map(|new| below(&new)).collect()
}

/// Seconds since 1970 of the release that packages were resolved from, as the script wrote them.
pub(super) fn released(state: &Path) -> Result<u64, BuildError> {
    let path = state.join("released");
    let text = std::fs::read_to_string(&path).map_err(StoreError::io("read", &path))?;
    text.trim().parse().map_err(|error| {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        StoreError::io("read", &path)(error).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::lockfile::Version;
    use crate::build::lockfile::tests::package;
    use vexp_api::event::NoEvents;

    fn at(name: &str, usage: Use, version: &str) -> LockedPackage {
        LockedPackage {
            usage,
            version: Version::try_from(version.to_owned()).unwrap(),
            ..package(name, b"")
        }
    }

    #[test]
    fn packages_that_are_older_than_the_locked_ones_are_named() {
        let locked = [
            at("openssl", Use::Install, "3.5.1-1+deb13u1"),
            at("linux-image-6.12.88+deb13-amd64", Use::Extract, "6.12.88-1"),
            at("gone", Use::Install, "9"),
        ];
        let same = older(&locked, &locked);
        assert!(same.is_empty(), "{same:?}");
        let newer = [
            at("openssl", Use::Install, "3.5.1-1+deb13u2"),
            at(
                "linux-image-6.12.100+deb13-amd64",
                Use::Extract,
                "6.12.100-1",
            ),
            at("new", Use::Install, "0.1"),
        ];
        assert!(older(&locked, &newer).is_empty());
        let back = [
            at("openssl", Use::Install, "3.5.1-1"),
            at("linux-image-6.12.9+deb13-amd64", Use::Extract, "6.12.9-1"),
        ];
        let named = older(&locked, &back);
        assert_eq!(named.len(), 2, "{named:?}");
        assert_eq!(named[0], "openssl 3.5.1-1 (locked: 3.5.1-1+deb13u1)");
    }

    #[test]
    fn a_release_older_than_one_that_was_seen_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let lock = store.lock(&NoEvents).unwrap();
        let floor = Floor {
            store: &store,
            lock: &lock,
            locked: &[],
        };
        let image = Name::new("tiny").unwrap();
        let suite = |name: &str| Suite::try_from(name.to_owned()).unwrap();
        let check = |name: &str, released| floor.check(&image, &suite(name), released, &[]);
        for released in [1_700_000_000, 1_700_000_000, 1_700_000_001] {
            check("trixie", released).unwrap();
        }
        let refused = check("trixie", 1_700_000_000).unwrap_err().to_string();
        assert!(refused.contains("2023-11-14T22:13:20Z"), "{refused}");
        assert!(refused.contains("VEXP_DEBIAN_MIRROR"), "{refused}");
        check("bookworm", 1).unwrap();
    }
}
