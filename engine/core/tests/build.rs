//! The build stage from a lock to the store, with scripts that stand for the real ones, and one
//! real image. Builds need root: without it these tests say that they are skipped.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use vexp_api::digest::Digest;
use vexp_api::event::NoEvents;
use vexp_api::ids::Name;
use vexp_engine::build::{
    BuildError, BuiltImage, Lock, LockError, Locked, audit, build, relock, verify,
};
use vexp_engine::store::{Bucket, Store};

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: building images needs root");
    }
    root
}

/// A folder of images with one, `tiny`, whose build script packs names and packages, an archive
/// with its packages, and a store.
struct World {
    folder: tempfile::TempDir,
    store: Store,
}

const RESOLVE: &str = "#!/bin/sh
mkdir -p \"$2\"
cp \"$(dirname \"$0\")/../released\" \"$2/released\"
cat \"$(dirname \"$0\")/../resolved\"
";

/// Takes the arguments of the real one, IMAGE_DIR LOCK CACHE WORK OUT.
const BUILD: &str = "#!/bin/sh
set -eu
read -r suite < \"$1/suite\"
grep -q broken \"$1/modules\" && { echo 'no module broken' >&2; exit 3; }
for file in root.squashfs vmlinuz initramfs.img; do
    { echo \"$file $suite $SOURCE_DATE_EPOCH\"; cat \"$3\"/*.deb; } > \"$5/$file\"
done
";

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let world = Self { folder, store };
        for (name, text) in [("resolve.sh", RESOLVE), ("build.sh", BUILD)] {
            let path = world.put(&format!("images/common/{name}"), text.as_bytes());
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        world.define("loop");
        world.serve("1");
        world
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn define(&self, module: &str) {
        let text = format!(
            r#"{{ name = "tiny", about = "", suite = "trixie", source_date_epoch = 7,
                kernel = "linux-image-amd64", packages = ["tool"], modules = ["{module}"] }}"#
        );
        self.put("images/tiny/image.ncl", text.as_bytes());
    }

    /// Lets the archive have this version of the packages only.
    fn serve(&self, version: &str) {
        let _ = std::fs::remove_dir_all(self.folder.path().join("archive"));
        let mut lines = String::new();
        for (usage, package) in [("extract", "linux-image-6-amd64"), ("install", "tool")] {
            let filename = format!("pool/main/t/{package}_{version}_amd64.deb");
            let bytes = filename.as_bytes();
            self.put(&format!("archive/{filename}"), bytes);
            let digest = Digest::of(bytes);
            let (sha256, size) = (digest.hex(), bytes.len());
            lines += &format!("{usage} {package} {version} amd64 {sha256} {size} {filename}\n");
        }
        self.put("images/resolved", lines.as_bytes());
        self.put("images/released", b"1700000000\n");
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    fn build(&self, policy: Locked) -> Result<BuiltImage, BuildError> {
        let mut built = build(&[tiny()], &self.images(), &self.store, policy, &NoEvents)?;
        Ok(built.remove(0))
    }
}

fn tiny() -> Name {
    Name::new("tiny").unwrap()
}

/// Is set in a process that [`with_archive`] has started.
const CHILD: &str = "VEXP_TEST_WORLD";

/// Runs `body` in a process of its own. The mirror is a variable of the
/// environment, which threads of one process share.
fn with_archive(test: &str, body: impl FnOnce(&World)) {
    if !root() {
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        let mut world = World::new();
        let archive = std::env::var("VEXP_DEBIAN_MIRROR").unwrap();
        // The archive's address was decided before this process began.
        let link = archive.strip_prefix("file:").unwrap();
        std::os::unix::fs::symlink(world.folder.path().join("archive"), link).unwrap();
        world.store = Store::open(world.folder.path().join("store")).unwrap();
        body(&world);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = in_a_world(&mut child, test, folder.path()).status();
    assert!(status.unwrap().success());
}

/// Runs one test of this binary again, as its [`CHILD`], with an archive below a folder.
fn in_a_world<'c>(command: &'c mut Command, test: &str, folder: &Path) -> &'c mut Command {
    command
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("VEXP_DEBIAN_MIRROR", format!("file:{}/a", folder.display()))
}

#[test]
fn an_image_is_built_once_and_found_again() {
    with_archive("an_image_is_built_once_and_found_again", |world| {
        let missing = world.build(Locked::Strict).unwrap_err();
        assert!(
            matches!(missing, BuildError::Lock(LockError::Missing(_))),
            "{missing:?}"
        );
        let images = world.images();
        assert_eq!(
            relock(&[tiny()], &images, &world.store, &NoEvents).unwrap(),
            [tiny()]
        );
        assert!(
            relock(&[tiny()], &images, &world.store, &NoEvents)
                .unwrap()
                .is_empty()
        );
        let first = world.build(Locked::Strict).unwrap();
        let text = std::fs::read_to_string(&first.files.root).unwrap();
        assert!(text.starts_with("root.squashfs trixie 7\npool/"), "{text}");
        let boot = first.files.boot.as_ref().unwrap();
        assert_eq!(boot.hypervisor, None);
        assert_eq!(first.deviation, None);

        // With neither scripts that work nor an archive, the image is found all the same.
        std::fs::remove_dir_all(world.folder.path().join("archive")).unwrap();
        let time = first.files.root.metadata().unwrap().modified().unwrap();
        assert_eq!(world.build(Locked::Strict).unwrap(), first);
        assert_eq!(
            first.files.root.metadata().unwrap().modified().unwrap(),
            time
        );
        let left = std::fs::read_dir(world.store.root().join("tmp"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "nothing half-made stays");

        let same = verify(&[tiny()], &images, &world.store, Locked::Strict, &NoEvents).unwrap();
        assert!(same[0].same(), "{same:?}");
    });
}

#[test]
fn a_flipped_byte_is_found_and_the_image_is_built_anew() {
    with_archive(
        "a_flipped_byte_is_found_and_the_image_is_built_anew",
        |world| {
            relock(&[tiny()], &world.images(), &world.store, &NoEvents).unwrap();
            let built = world.build(Locked::Strict).unwrap();
            let kernel = built.files.boot.clone().unwrap().kernel;
            let whole = std::fs::read(&kernel).unwrap();
            assert_eq!(
                audit(std::slice::from_ref(&built), &world.store, &NoEvents).unwrap(),
                []
            );

            let mut bytes = whole.clone();
            bytes[3] ^= 1;
            let before = kernel.metadata().unwrap().modified().unwrap();
            std::fs::write(&kernel, bytes).unwrap();
            let file = std::fs::File::options().write(true).open(&kernel).unwrap();
            file.set_modified(before).unwrap();
            let damaged = audit(std::slice::from_ref(&built), &world.store, &NoEvents).unwrap();
            assert_eq!(damaged[0].0, tiny());
            assert_eq!(damaged[0].1[0].file, "vmlinuz");
            assert_eq!(world.store.find(Bucket::Images, &built.key), None);

            assert_eq!(world.build(Locked::Strict).unwrap(), built);
            assert_eq!(std::fs::read(&kernel).unwrap(), whole);

            // One that anybody wrote to is found without being asked for.
            std::fs::write(&built.files.root, "x").unwrap();
            assert_eq!(world.build(Locked::Strict).unwrap(), built);
            assert!(std::fs::read(&built.files.root).unwrap().len() > 1);
        },
    );
}

#[test]
fn packages_that_are_gone_are_an_error_or_a_deviation() {
    with_archive(
        "packages_that_are_gone_are_an_error_or_a_deviation",
        |world| {
            let path = world.images().join("tiny/image.lock");
            relock(&[tiny()], &world.images(), &world.store, &NoEvents).unwrap();
            let locked = std::fs::read_to_string(&path).unwrap();
            world.serve("2");
            match world.build(Locked::Strict).unwrap_err() {
                BuildError::Gone(packages) => assert_eq!(packages.len(), 2),
                other => panic!("{other:?}"),
            }
            let fresh = world.build(Locked::Refresh).unwrap();
            let deviation = fresh.deviation.clone().unwrap();
            assert!(deviation.contains("2 of 2 packages") && deviation.contains("tool 2"));
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                locked,
                "the lock stays"
            );
            let used: Vec<_> = fresh
                .manifest
                .lock
                .packages
                .iter()
                .map(|p| p.version.as_str())
                .collect();
            assert_eq!(used, ["2", "2"]);
            // The next build takes the same ones, without the archive.
            std::fs::remove_dir_all(world.folder.path().join("archive")).unwrap();
            assert_eq!(world.build(Locked::Refresh).unwrap(), fresh);
        },
    );
}

#[test]
fn a_mirror_that_is_down_is_an_error_unless_all_is_built() {
    with_archive(
        "a_mirror_that_is_down_is_an_error_unless_all_is_built",
        |world| {
            relock(&[tiny()], &world.images(), &world.store, &NoEvents).unwrap();
            let archive = world.folder.path().join("archive");
            let down = world.folder.path().join("down");
            std::fs::rename(&archive, &down).unwrap();
            for policy in [Locked::Strict, Locked::Refresh] {
                let error = world.build(policy).unwrap_err();
                let mut text = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    text += &format!(": {cause}");
                    source = cause.source();
                }
                assert!(text.contains("linux-image-6-amd64"), "{policy:?}: {text}");
            }
            let left = std::fs::read_dir(world.store.root().join("images-v1"));
            assert_eq!(left.unwrap().count(), 0);
            std::fs::rename(&down, &archive).unwrap();
            let built = world.build(Locked::Strict).unwrap();
            std::fs::rename(&archive, &down).unwrap();
            assert_eq!(world.build(Locked::Strict).unwrap(), built);
        },
    );
}

/// Needs more than the disk has.
const GREEDY: &str = "#!/bin/sh
set -eu
head -c 4194304 /dev/zero > \"$5/root.squashfs\"
";

#[test]
fn a_full_disk_fails_a_build_and_leaves_nothing() {
    const NAME: &str = "a_full_disk_fails_a_build_and_leaves_nothing";
    if std::env::var_os("VEXP_DEBIAN_MIRROR").is_some() {
        with_archive(NAME, |world| {
            world.put("images/common/build.sh", GREEDY.as_bytes());
            relock(&[tiny()], &world.images(), &world.store, &NoEvents).unwrap();
            let error = world.build(Locked::Strict).unwrap_err().to_string();
            for part in ["build image tiny", "No space left on device", "build.log"] {
                assert!(error.contains(part), "{part}: {error}");
            }
            for folder in ["images-v1", "tmp"] {
                let left = std::fs::read_dir(world.store.root().join(folder)).unwrap();
                assert_eq!(left.count(), 0, "{folder}");
            }
            world.put("images/common/build.sh", BUILD.as_bytes());
            world.build(Locked::Strict).unwrap();
        });
        return;
    }
    if !root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = "mount -t tmpfs -o size=2m tmpfs \"$TMPDIR\" && exec \"$@\"";
    let mut child = Command::new("unshare");
    child
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            disk,
            "sh",
        ])
        .arg(std::env::current_exe().unwrap())
        .env("TMPDIR", folder.path());
    let status = in_a_world(&mut child, NAME, folder.path()).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_changed_definition_makes_a_lock_stale_and_a_comment_does_not() {
    with_archive(
        "a_changed_definition_makes_a_lock_stale_and_a_comment_does_not",
        |world| {
            relock(&[tiny()], &world.images(), &world.store, &NoEvents).unwrap();
            let built = world.build(Locked::Strict).unwrap();
            let path = world.images().join("tiny/image.ncl");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("# why\n{text}")).unwrap();
            assert_eq!(world.build(Locked::Strict).unwrap().key, built.key);
            world.define("tun");
            let stale = world.build(Locked::Strict).unwrap_err();
            assert!(
                matches!(stale, BuildError::Lock(LockError::Stale(_))),
                "{stale:?}"
            );
            assert_ne!(world.build(Locked::Refresh).unwrap().key, built.key);
        },
    );
}

#[test]
fn a_failed_step_says_what_it_printed_and_where_the_log_is() {
    with_archive(
        "a_failed_step_says_what_it_printed_and_where_the_log_is",
        |world| {
            world.define("broken");
            relock(&[tiny()], &world.images(), &world.store, &NoEvents).unwrap();
            let error = world.build(Locked::Strict).unwrap_err().to_string();
            for part in [
                "build image tiny",
                "exit status: 3",
                "no module broken",
                "build.log",
            ] {
                assert!(error.contains(part), "{part}: {error}");
            }
            let left = std::fs::read_dir(world.store.root().join("images-v1"))
                .unwrap()
                .count();
            assert_eq!(left, 0);
        },
    );
}

#[test]
fn an_image_whose_scripts_were_edited_meanwhile_is_not_kept() {
    with_archive(
        "an_image_whose_scripts_were_edited_meanwhile_is_not_kept",
        |world| {
            let edit = format!("{BUILD}echo '# edited' >> \"$0\"\n");
            world.put("images/common/build.sh", edit.as_bytes());
            relock(&[tiny()], &world.images(), &world.store, &NoEvents).unwrap();
            let error = world.build(Locked::Strict).unwrap_err();
            assert!(
                matches!(&error, BuildError::Changed(name) if *name == tiny()),
                "{error:?}"
            );
            let left = std::fs::read_dir(world.store.root().join("images-v1"))
                .unwrap()
                .count();
            assert_eq!(left, 0);
        },
    );
}

/// Says that it runs, in a file that it keeps locked for as long as it lives.
const ENDLESS: &str = "#!/bin/sh
exec 9> \"$5/held\"
flock 9
echo up >&9
sleep 1000
";

#[test]
fn a_killed_build_leaves_no_process() {
    const NAME: &str = "a_killed_build_leaves_no_process";
    if std::env::var_os("VEXP_DEBIAN_MIRROR").is_some() {
        with_archive(NAME, |world| {
            world.put("images/common/build.sh", ENDLESS.as_bytes());
            relock(&[tiny()], &world.images(), &world.store, &NoEvents).unwrap();
            let ended = world.build(Locked::Strict);
            panic!("the build must not end: {ended:?}");
        });
        return;
    }
    if !root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.env("TMPDIR", folder.path());
    let mut vexp = in_a_world(&mut child, NAME, folder.path()).spawn().unwrap();
    let held = loop {
        let found = find(folder.path(), "held");
        if let Some(path) = found.filter(|path| path.metadata().is_ok_and(|m| m.len() > 0)) {
            break path;
        }
        assert!(vexp.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(20));
    };
    vexp.kill().unwrap();
    vexp.wait().unwrap();
    let file = std::fs::File::open(&held).unwrap();
    let free = || flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !free() {
        assert!(
            Instant::now() < deadline,
            "a process of the build still runs"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let paths = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .into_iter()
        .find_map(|path| match path.is_dir() && !path.is_symlink() {
            true => find(&path, name),
            false => path.file_name().is_some_and(|n| n == name).then_some(path),
        })
}

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images")
}

#[test]
fn the_locks_are_those_of_the_definitions() {
    for name in vexp_engine::build::names(&images()).unwrap() {
        let lock = Lock::read(&images().join(name.as_str()).join("image.lock")).unwrap();
        let definition = vexp_engine::build::evaluate(&images(), &name).unwrap();
        assert_eq!(
            lock.definition, definition,
            "{name}: run `vexp build --relock`"
        );
    }
}

/// The real thing, in the store that runs use: quick where it is there already.
#[test]
fn the_smallest_real_image_is_built_and_whole() {
    if !root() {
        return;
    }
    let name = Name::new("linux").unwrap();
    let store = Store::open_default().unwrap();
    let built = build(&[name], &images(), &store, Locked::Refresh, &NoEvents).unwrap();
    assert_eq!(audit(&built, &store, &NoEvents).unwrap(), []);
    let mut magic = [0; 4];
    let mut root = std::fs::File::open(&built[0].files.root).unwrap();
    std::io::Read::read_exact(&mut root, &mut magic).unwrap();
    assert_eq!(&magic, b"hsqs", "root is a squashfs");
}

#[test]
fn apt_takes_no_key_or_setting_of_the_host_and_no_unsigned_archive() {
    if !root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let put = |name: &str, text: &str| {
        std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        std::fs::write(at(name), text).unwrap();
    };
    for (name, text) in [
        ("image/suite", "trixie\n"),
        ("image/packages", "tool\n"),
        ("image/extract", ""),
        // Whoever may have said so on the host: none of it is asked for.
        (
            "host.conf",
            "APT::Get::AllowUnauthenticated \"true\";\nAcquire::AllowInsecureRepositories \"true\";\n\
             Acquire::AllowWeakRepositories \"true\";\nAcquire::http::Proxy \"http://proxy.example:1\";\n",
        ),
        (
            "archive/dists/trixie/Release",
            "Suite: trixie\nDate: Sat, 01 Nov 2025 00:00:00 UTC\n",
        ),
        ("archive/dists/trixie/main/binary-amd64/Packages", ""),
    ] {
        put(name, text);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/common/resolve.sh");
    let archive = format!("copy:{}/", at("archive").display());
    let said = Command::new(script)
        .args([at("image"), at("state")])
        .env("VEXP_DEBIAN_MIRROR", archive)
        .env("APT_CONFIG", at("host.conf"))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success(), "{words}");
    assert!(words.contains("is not signed"), "{words}");
    assert!(!at("state/released").exists());
    let known = Command::new("apt-config")
        .arg("dump")
        .env("APT_CONFIG", at("state/apt.conf"))
        .output()
        .unwrap();
    let known = String::from_utf8(known.stdout).unwrap();
    for line in known.lines().filter(|line| line.contains("Allow")) {
        assert!(
            !line.ends_with("\"true\";") || line.contains("Release-Info"),
            "{line}"
        );
    }
    let etc = format!("Dir::Etc \"{}\";", at("state/etc").display());
    // The way to the archive is the host's, and nothing else is.
    for part in [
        etc.as_str(),
        "Acquire::http::Proxy \"http://proxy.example:1\";",
    ] {
        assert!(known.contains(part), "{part}: {known}");
    }
    let sources = std::fs::read_to_string(at("state/etc/sources.list")).unwrap();
    let keys = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ";
    assert!(sources.starts_with(keys), "{sources}");
}

#[test]
fn packages_older_than_the_locked_ones_are_refused() {
    with_archive("packages_older_than_the_locked_ones_are_refused", |world| {
        let images = world.images();
        world.serve("2");
        relock(&[tiny()], &images, &world.store, &NoEvents).unwrap();
        // A mirror that answers that version 2 is gone, and offers version 1, signed as it is.
        world.serve("1");
        let before = std::fs::read_to_string(images.join("tiny/image.lock")).unwrap();
        for tried in [
            world.build(Locked::Refresh).map(drop),
            relock(&[tiny()], &images, &world.store, &NoEvents).map(drop),
        ] {
            let refused = tried.unwrap_err();
            assert!(
                matches!(refused, BuildError::OldPackages { .. }),
                "{refused:?}"
            );
            assert!(
                refused.to_string().contains("tool 1 (locked: 2)"),
                "{refused}"
            );
        }
        let after = std::fs::read_to_string(images.join("tiny/image.lock")).unwrap();
        assert_eq!(before, after);
        // Newer packages of an older archive than one that was seen are none, either.
        world.serve("3");
        world.put("images/released", b"1600000000\n");
        let refused = world.build(Locked::Refresh).map(drop).unwrap_err();
        assert!(
            matches!(refused, BuildError::OldRelease { .. }),
            "{refused:?}"
        );
        world.put("images/released", b"1800000000\n");
        assert!(world.build(Locked::Refresh).unwrap().deviation.is_some());
    });
}
