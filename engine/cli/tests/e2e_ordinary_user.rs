//! An ordinary user of this computer, with a store of their own: images that are root's to the last byte, and results
//! that are everybody's.
//!
//! It needs root, to become that user, and `make test` runs it one at a time and after all others.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

mod support;

use support::{Said, said, vexp};

const DATA: &str = "engine/cli/tests/data";
/// `nobody`, on every Debian: it owns nothing and has no subordinate ids.
const USER: &str = "65534";

struct User {
    home: tempfile::TempDir,
}

impl User {
    /// A home with vexp, the study and root's packages, so that nothing is fetched again.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::copy(env!("CARGO_BIN_EXE_vexp"), at("vexp")).unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["e2e.ncl", "witness.json"] {
            std::fs::copy(support::root().join(DATA).join(name), at(name)).unwrap();
        }
        std::fs::create_dir(at("store")).unwrap();
        let copy = |from: &Path| {
            Command::new("cp")
                .arg("-r")
                .arg(from)
                .arg(at("store"))
                .status()
        };
        let packages = Path::new("/var/cache/vexp/debs-v1");
        if packages.is_dir() {
            assert!(copy(packages).unwrap().success());
        }
        let own = format!("{USER}:{USER}");
        let mut chown = Command::new("chown");
        chown.args(["-R", &own]).arg(home.path());
        assert!(chown.status().unwrap().success());
        Self { home }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn vexp(&self, args: &[&str]) -> Said {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
            .arg(self.at("vexp"))
            .args(args)
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("VEXP_STORE", self.at("store"))
            .env("VEXP_RUNS", self.at("runs"));
        for variable in ["VEXP_MACHINES", "VEXP_IMAGES", "SUDO_UID", "XDG_CACHE_HOME"] {
            command.env_remove(variable);
        }
        said(&mut command)
    }
}

/// What is in the images of a store, by name: digests of their files.
fn images(store: &Path) -> Vec<(String, Value)> {
    let read = |folder: std::fs::DirEntry| {
        let text = std::fs::read(folder.path().join("manifest.json")).ok()?;
        let manifest: Value = serde_json::from_slice(&text).unwrap();
        let key = folder.file_name().into_string().unwrap();
        Some((key, manifest["files"].clone()))
    };
    let folders = std::fs::read_dir(store.join("images-v1")).unwrap();
    folders.filter_map(|folder| read(folder.unwrap())).collect()
}

#[test]
#[ignore = "builds images and boots machines as another user: needs root, and minutes"]
fn an_ordinary_user_gets_roots_images_and_everybodys_results() {
    let user = User::new();
    let doctor = user.vexp(&["doctor"]);
    let usable = doctor.out.contains("\ntestbed virtual: can be used\n");
    assert!(usable, "{}{}", doctor.out, doctor.err);

    let study = ["e2e.ncl", "--effort", "witness", "--only", "*.linux.*"];
    let args = [&["reproduce"], &study[..], &["--expect", "witness.json"]].concat();
    let Said { out, err, .. } = user.vexp(&args);
    assert!(out.contains("1 of 1 trials measured"), "{out}\n{err}");
    // Results follow from the images' bytes, and Debian's archive moves on; the images say so.
    let expected = out.contains("as expected, to the last bit: 1 trial");
    assert!(expected || out.contains("images differ"), "{out}\n{err}");

    let path = format!("{DATA}/e2e.ncl");
    let built = vexp(&["build", &path, "--effort", "witness"]);
    assert_eq!(built.code, 0, "{}", built.err);
    let roots = images(Path::new("/var/cache/vexp"));
    let own = images(&user.at("store"));
    assert!(own.len() >= 3, "{own:?}");
    for (key, files) in own {
        let same = roots.iter().find(|(other, _)| *other == key);
        assert_eq!(same.map(|(_, files)| files), Some(&files), "{key}");
    }
}
