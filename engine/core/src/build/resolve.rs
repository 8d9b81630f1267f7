//! From package names to an exact list: asks the archive once, for the lock.

use std::path::Path;

use vexp_api::digest::Digest;

use super::command::{capture, mortal};
use super::definition::{ImageDef, PackageName};
use super::floor::{self, Floor};
use super::lockfile::{Architecture, LockedPackage, PoolPath, Use, Version};
use super::mirror::{Mirror, VARIABLE};
use super::{BuildError, stage};

/// Resolves an image's packages with apt's own solver, from the index that the archive's signature
/// covers, of the first mirror that has them all. apt's state of a suite is kept in `scratch`, and
/// images of one suite share it.
///
/// # Errors
/// The first mirror's, where none has them, or none that are not older than the floor.
pub(super) fn resolve(
    definition: &ImageDef,
    images: &Path,
    mirrors: &[Mirror],
    scratch: &Path,
    floor: &Floor<'_>,
) -> Result<Vec<LockedPackage>, BuildError> {
    let mut first = None;
    for (i, mirror) in mirrors.iter().enumerate() {
        let state = scratch.join(format!("apt-{}-{i}", definition.suite));
        match resolve_from(definition, images, mirror, (scratch, &state), floor) {
            Ok(packages) => return Ok(packages),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or_else(|| Ok(Vec::new()), Err)
}

fn resolve_from(
    definition: &ImageDef,
    images: &Path,
    mirror: &Mirror,
    (scratch, state): (&Path, &Path),
    floor: &Floor<'_>,
) -> Result<Vec<LockedPackage>, BuildError> {
    let folder = scratch.join("definitions").join(definition.name.as_str());
    stage::definition(definition, images, &folder)?;
    let mut command = mortal(images.join("common/resolve.sh"));
    command
        .arg(&folder)
        .arg(state)
        .env(VARIABLE, mirror.to_string());
    let step = format!("resolve the packages of image {}", definition.name);
    let log = floor
        .store
        .logs()
        .join(format!("{}.resolve.log", definition.name));
    let text = capture(&step, &mut command, &log)?;
    let mut packages = text
        .lines()
        .map(|line| {
            parse(line).ok_or_else(|| BuildError::Resolved {
                image: definition.name.clone(),
                line: line.to_owned(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    packages.sort();
    check(definition, &packages)?;
    let (image, suite) = (&definition.name, &definition.suite);
    floor.check(image, suite, floor::released(state)?, &packages)?;
    Ok(packages)
}

/// `USE PACKAGE VERSION ARCHITECTURE SHA256 SIZE FILENAME`
fn parse(line: &str) -> Option<LockedPackage> {
    let words: Vec<_> = line.split(' ').collect();
    let [
        usage,
        package,
        version,
        architecture,
        sha256,
        size,
        filename,
    ] = words[..]
    else {
        return None;
    };
    Some(LockedPackage {
        usage: match usage {
            "install" => Use::Install,
            "extract" => Use::Extract,
            _ => return None,
        },
        package: PackageName::try_from(package.to_owned()).ok()?,
        version: Version::try_from(version.to_owned()).ok()?,
        architecture: match architecture {
            "all" => Architecture::All,
            "amd64" => Architecture::Amd64,
            _ => return None,
        },
        size: size.parse().ok()?,
        digest: Digest::try_from(format!("sha256:{sha256}")).ok()?,
        filename: PoolPath::try_from(filename.to_owned()).ok()?,
    })
}

/// Every package that was asked for must be among those that were found.
fn check(definition: &ImageDef, packages: &[LockedPackage]) -> Result<(), BuildError> {
    let installed = |name: &PackageName| {
        (packages.iter()).any(|p| p.usage == Use::Install && p.package == *name)
    };
    let kernel = (packages.iter())
        .any(|p| p.usage == Use::Extract && p.package.as_str().starts_with("linux-image-"));
    let hypervisor = |name: &PackageName| {
        (packages.iter()).any(|p| p.usage == Use::Extract && p.package == *name)
    };
    let missing = (definition.packages.iter())
        .find(|name| !installed(name))
        .or_else(|| definition.kernel.as_ref().filter(|_| !kernel))
        .or_else(|| definition.hypervisor.iter().find(|name| !hypervisor(name)));
    match missing {
        None => Ok(()),
        Some(package) => Err(BuildError::NotFound {
            image: definition.name.clone(),
            package: package.clone(),
            suite: definition.suite.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::lockfile::tests::lock;

    const IPERF: &str = "install iperf3 3.18-2+deb13u1 amd64 \
        3e2a1fcd3e2a1fcd3e2a1fcd3e2a1fcd3e2a1fcd3e2a1fcd3e2a1fcd3e2a1fcd 41000 \
        pool/main/i/iperf3/iperf3_3.18-2+deb13u1_amd64.deb";

    #[test]
    fn reads_resolved_lines_and_refuses_others() {
        let package = parse(IPERF).unwrap();
        assert_eq!(package.package.as_str(), "iperf3");
        assert_eq!(package.size, 41_000);
        for (from, to) in [
            ("install", "remove"),
            ("amd64 ", "arm64 "),
            ("41000", "many"),
            ("pool/", "/pool/"),
            ("3e2a1fcd ", "3e2a1fc "),
            (" 41000", ""),
        ] {
            assert_eq!(parse(&IPERF.replacen(from, to, 1)), None, "{from}");
        }
    }

    #[test]
    fn everything_asked_for_must_be_found() {
        let definition = lock(vec![]).definition;
        let line = |usage: &str, name: &str| {
            parse(&IPERF.replacen("install iperf3", &format!("{usage} {name}"), 1)).unwrap()
        };
        let mut packages = vec![line("install", "busybox-static")];
        assert!(matches!(
            check(&definition, &packages),
            Err(BuildError::NotFound { package, .. }) if package.as_str() == "linux-image-amd64"
        ));
        packages.push(line("extract", "linux-image-6.12.1-amd64"));
        assert!(check(&definition, &packages).is_ok());
    }

    #[test]
    fn changed_lines_of_apt_are_read_or_refused() {
        vexp_testkit::hostile::on_changed_text(200, IPERF, |text| {
            if let Some(package) = parse(text) {
                assert!(!package.filename.as_str().starts_with('/'));
            }
        });
    }
}
