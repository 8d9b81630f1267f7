//! Good, bad and hostile specs, through the real child.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::path::PathBuf;

use support::{checked, folder, render, try_check};

fn specs(folder_name: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder(folder_name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "ncl"))
        .collect();
    found.sort();
    found
}

/// Every file in `bad/` is refused, with exactly these findings.
#[test]
fn bad_specs_are_refused_with_all_their_findings() {
    let all = specs("tests/bad");
    assert!(all.len() >= 40, "only {} bad specs", all.len());
    for path in all {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Err((findings, sources)) = try_check(&path) else {
            panic!("{name} passes");
        };
        insta::with_settings!({ snapshot_path => "bad", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, render(&findings, &sources));
        });
    }
}

#[test]
fn good_specs_pass() {
    for folder in ["tests/good", "../../experiments/examples"] {
        let all = specs(folder);
        assert!(!all.is_empty(), "{folder}");
        for path in all {
            checked(&path);
        }
    }
    checked(&folder("../../experiments/paper.ncl"));
}
