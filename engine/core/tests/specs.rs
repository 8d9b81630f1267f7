//! Good, bad and hostile specs, through the real child.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::path::PathBuf;
use std::sync::LazyLock;

use support::{checked, folder, render, try_check};
use vexp_engine::check::check;
use vexp_engine::load::{LoadError, Loaded};

fn specs(folder_name: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder(folder_name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "ncl"))
        .collect();
    found.sort();
    found
}

type Bad = (PathBuf, Result<Loaded, LoadError>);

/// The bad specs, each evaluated once, several at a time.
static BAD: LazyLock<Vec<Bad>> = LazyLock::new(|| {
    let next = std::sync::Mutex::new(specs("tests/bad").into_iter());
    let work = || {
        let mut done = Vec::new();
        loop {
            // The lock is not held while a spec is evaluated.
            let Some(path) = next.lock().unwrap().next() else {
                return done;
            };
            let loaded = support::loader().study(&path, &support::registry());
            done.push((path, loaded));
        }
    };
    let mut all: Vec<Bad> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        let done = threads.into_iter().map(|thread| thread.join().unwrap());
        done.flatten().collect()
    });
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
});

/// Every file in `bad/` is refused, with exactly these findings.
#[test]
fn bad_specs_are_refused_with_all_their_findings() {
    assert!(BAD.len() >= 40, "only {} bad specs", BAD.len());
    for (path, loaded) in BAD.iter() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (findings, sources) = match loaded {
            Ok(loaded) => match check(loaded, &support::registry()) {
                Ok(_) => panic!("{name} passes"),
                Err(findings) => (findings, &loaded.sources),
            },
            Err(LoadError::Findings(_, found)) => (found.findings.clone(), &found.sources),
            Err(error) => panic!("{name}: {error:?}"),
        };
        insta::with_settings!({ snapshot_path => "bad", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, render(&findings, sources));
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

/// Contracts and schema say the same: what the check finds in the shape of a field, the contract
/// library refuses as well.
#[test]
fn contracts_refuse_what_the_check_refuses() {
    let shapes = [
        "type",
        "unit",
        "range",
        "text",
        "name",
        "doi",
        "choice",
        "empty",
        "unknown-field",
        "missing-field",
        "options",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (path, loaded) in BAD.iter() {
        let Ok(loaded) = loaded else {
            continue;
        };
        let findings = check(loaded, &support::registry()).unwrap_err();
        let shape = findings.iter().find(|f| shapes.contains(&f.code.as_str()));
        seen.extend(shape.map(|finding| finding.code.clone()));
        // A quantity's exactness, and whether it is 0, is only known when it is computed.
        let computed = findings.iter().any(|f| {
            f.message.contains("whole number of") || f.message == "it must be more than 0"
        });
        if !computed {
            assert_eq!(
                loaded.contract.is_some(),
                shape.is_some(),
                "{}: {:?}",
                path.display(),
                loaded.contract
            );
        }
    }
    let all: std::collections::BTreeSet<_> = shapes.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(seen, all, "every kind of mistake has a bad spec");
}

/// Hostile specs end within the limits, with a finding.
#[test]
fn hostile_specs_end_with_a_finding() {
    let mut loader = support::loader();
    loader.limits.memory = 768 << 20;
    loader.limits.cpu_s = 3;
    loader.limits.wall_s = 10;
    for path in specs("tests/hostile") {
        let start = std::time::Instant::now();
        let error = loader.study(&path, &support::registry()).unwrap_err();
        let LoadError::Findings(_, found) = error else {
            panic!("{}: {error:?}", path.display());
        };
        assert_eq!(found.findings.len(), 1, "{}", path.display());
        assert_eq!(found.findings[0].code, "limit", "{found:?}");
        assert!(start.elapsed().as_secs() < 12, "{}", path.display());
    }
}

/// A file that nobody imported can't be reached, however the import is written.
#[test]
fn secrets_stay_outside() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "the-secret").unwrap();
    let inside = outside.path().join("study");
    std::fs::create_dir(&inside).unwrap();
    std::os::unix::fs::symlink("../secret", inside.join("link")).unwrap();
    std::os::unix::fs::symlink("..", inside.join("up")).unwrap();
    let absolute = outside.path().join("secret");
    for import in [
        "../secret",
        "./x/../../secret",
        "link",
        "up/secret",
        absolute.to_str().unwrap(),
        "/proc/self/environ",
        "/dev/stdin",
    ] {
        let spec = inside.join("spec.ncl");
        std::fs::write(&spec, format!("{{ name = import \"{import}\" as 'Text }}")).unwrap();
        let (findings, sources) = try_check(&spec).unwrap_err();
        assert!(findings.iter().all(|f| f.code == "import"), "{import}");
        let said = format!("{findings:?}{sources:?}");
        assert!(!said.contains("the-secret"), "{import}: {said}");
    }
}

/// Image definitions are loaded without a study's contracts.
#[test]
fn any_file_can_be_loaded_as_a_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.ncl");
    std::fs::write(
        &path,
        "{ suite = \"trixie\", packages = import \"p.json\" }",
    )
    .unwrap();
    std::fs::write(dir.path().join("p.json"), "[\"iperf3\"]").unwrap();
    let loaded = support::loader().value(&path).unwrap();
    assert_eq!(loaded.value["packages"][0], "iperf3");
    assert_eq!(loaded.sources.len(), 2);
    assert_eq!(loaded.main, "image.ncl");
    let suite = vexp_engine::load::FieldPath::of(&["suite"]);
    assert_eq!(loaded.spans.value(&suite).unwrap().column, 11);
}

/// Whatever value a study has: it is checked, and planned, or refused.
#[test]
fn changed_studies_are_checked_without_a_panic() {
    use proptest::prelude::*;
    let registry = support::registry();
    let path = folder("../../experiments/paper.ncl");
    let loaded = support::loader().study(&path, &registry).unwrap();
    let cases = vexp_testkit::cases(200);
    proptest!(cases, |(value in vexp_testkit::hostile::changed_json(&loaded.value))| {
        let changed = Loaded { value, ..loaded.clone() };
        if let Ok(checked) = check(&changed, &registry) {
            for (testbed, effort) in [("emulated", "quick"), ("virtual", "full")] {
                let name = |text: &str| vexp_api::ids::Name::new(text).unwrap();
                let _ = vexp_engine::plan::plan(&checked, &name(testbed), &name(effort), None, None);
            }
        }
    });
}

/// Whatever text a study is: the child that evaluates it says what is wrong, and does not die of it.
#[test]
fn changed_texts_of_studies_are_evaluated_or_refused() {
    let registry = support::registry();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.ncl");
    let paper = std::fs::read(self::folder("../../experiments/paper.ncl")).unwrap();
    vexp_testkit::hostile::on_changes(6, &paper, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        match support::loader().study(&path, &registry) {
            Ok(loaded) => drop(check(&loaded, &registry)),
            Err(LoadError::Findings(..) | LoadError::Path(_) | LoadError::Read(..)) => {}
            Err(error) => panic!("{error}"),
        }
    });
}
