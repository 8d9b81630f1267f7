//! `flake.nix` parses and, with a stub for nixpkgs, evaluates to the images of the locks.
//! Building with Nix is not tested: that needs nixpkgs itself.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use vexp_engine::build::{Lock, names};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Runs nix-instantiate without a store; `None`, visibly, where it is not installed.
fn nix(args: &[&str]) -> Option<String> {
    let mut command = Command::new("nix-instantiate");
    command.args(["--store", "dummy://"]).args(args);
    match command.output() {
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{args:?}: {stderr}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: nix-instantiate is missing: apt-get install nix-bin");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_flake_parses() {
    let flake = root().join("flake.nix");
    if let Some(text) = nix(&["--parse", flake.to_str().unwrap()]) {
        assert!(text.contains("outputs"), "{text}");
    }
}

#[test]
fn the_flake_has_the_package_and_every_image() {
    let flake = root().join("flake.nix");
    let outputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flake/outputs.nix");
    let expression = format!(
        "import {} {{ flake = {}; }}",
        outputs.display(),
        flake.display()
    );
    let Some(text) = nix(&["--eval", "--strict", "--json", "--expr", &expression]) else {
        return;
    };
    let outputs: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(outputs["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        outputs["shell"]
            .as_array()
            .unwrap()
            .contains(&"mmdebstrap".into())
    );
    let packages = outputs["packages"].as_array().unwrap();
    assert!(packages.contains(&"vexp".into()));

    let images = root().join("images");
    let names = names(&images).unwrap();
    assert_eq!(names.len(), 6);
    assert_eq!(outputs["images"].as_object().unwrap().len(), names.len());
    for name in names {
        let lock = Lock::read(&images.join(name.as_str()).join("image.lock")).unwrap();
        let image = &outputs["images"][format!("image-{}", name.as_str().replace('.', "_"))];
        assert_eq!(image["definition"], name.as_str());
        assert_eq!(image["vm"], true);
        let (lines, debs) = (
            image["lock"].as_str().unwrap(),
            image["debs"].as_str().unwrap(),
        );
        assert_eq!(lines.lines().count(), lock.packages.len());
        for (package, deb) in lock.packages.iter().zip(debs.lines()) {
            let sha256 = package.digest.hex();
            let fetched = format!("mirror://debian/{}#{sha256} {sha256}.deb", package.filename);
            assert_eq!(deb, fetched);
        }
    }
}
