//! What the README says, and what the Makefile installs, is what the binary says.

#![expect(clippy::unwrap_used, reason = "tests")]

mod guide;
mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use support::{Said, command, root, said, vexp};

/// Beside those of `doctor`: for building vexp and for its tests.
const BUILD: [&str; 2] = ["gcc", "libc6-dev"];
const TEST: [&str; 9] = [
    "nix-bin",
    "dropbear-bin",
    "openssh-server",
    "python3-venv",
    "slurmctld",
    "slurmd",
    "slurm-client",
    "munge",
    "sudo",
];
/// On every Debian, and not to be named: dpkg would refuse to remove it.
const ESSENTIAL: [&str; 1] = ["coreutils"];

fn doctors() -> BTreeSet<String> {
    let checks: Value = serde_json::from_str(&vexp(&["doctor", "--format", "json"]).out).unwrap();
    (checks.as_array().unwrap().iter())
        .filter_map(|check| Some(check["package"].as_str()?.to_owned()))
        .filter(|package| !ESSENTIAL.contains(&package.as_str()))
        .collect()
}

/// The names in one of the script's two lists.
fn scripts(list: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("scripts/install-packages")).unwrap();
    let (_, rest) = text.split_once(&format!("\n{list}=(\n")).unwrap();
    let (lines, _) = rest.split_once("\n)").unwrap();
    lines
        .lines()
        .map(|line| {
            let (package, why) = line.trim().trim_matches('\'').split_once('|').unwrap();
            assert!(!why.is_empty(), "{package}");
            package.to_owned()
        })
        .collect()
}

#[test]
fn the_script_installs_what_doctor_looks_for() {
    let mut run = scripts("run");
    for package in BUILD {
        assert!(run.remove(package), "{package}");
    }
    assert_eq!(run, doctors());
    assert_eq!(scripts("test"), TEST.map(str::to_owned).into());
}

#[test]
fn the_debian_package_depends_on_them_and_its_files_are_there() {
    let folder = root().join("engine/cli");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let (_, depends) = manifest.split_once("\ndepends = \"\"\"").unwrap();
    let (depends, rest) = depends.split_once("\"\"\"").unwrap();
    let mut depends: BTreeSet<&str> = depends
        .split(',')
        .map(|one| one.trim_matches([' ', '\\', '\n']))
        .collect();
    // What dpkg-shlibdeps finds of the binary itself.
    assert!(depends.remove("$auto"));
    let run = scripts("run");
    let run = run
        .iter()
        .map(String::as_str)
        .filter(|package| !BUILD.contains(package));
    assert_eq!(depends, run.collect());

    let (_, assets) = rest.split_once("assets = [\n").unwrap();
    let (assets, _) = assets.split_once("\n]").unwrap();
    let patterns: Vec<&str> = assets
        .lines()
        .map(|line| line.split('"').nth(1).unwrap())
        .collect();
    assert!(patterns.len() > 10, "{patterns:?}");
    for pattern in patterns
        .iter()
        .filter(|pattern| !pattern.starts_with("target/release/"))
    {
        let pattern = folder.join(pattern);
        let found = glob::glob(pattern.to_str().unwrap()).unwrap().count();
        assert!(found > 0, "{}", pattern.display());
    }
}

#[test]
fn the_page_on_installing_names_them() {
    let page = std::fs::read_to_string(root().join("docs/install.md")).unwrap();
    for package in scripts("run").union(&scripts("test")) {
        assert!(page.contains(&format!("`{package}`")), "{package}");
    }
}

#[test]
fn doctor_prints_every_check_and_what_to_install() {
    let empty = tempfile::tempdir().unwrap();
    let Said { code, out, err } = said(command(&["doctor"]).env("PATH", empty.path()));
    assert_eq!(code, 4, "{err}");
    // It is in no folder that doctor looks at beside PATH.
    assert!(
        out.contains("LACKS  lab      unshare               apt install util-linux\n"),
        "{out}"
    );
    assert!(err.contains("this machine lacks "), "{err}");
    assert!(
        err.contains("hint: apt install ") && err.contains(" util-linux"),
        "{err}"
    );
    let json = said(command(&["doctor", "--format", "json"]).env("PATH", empty.path()));
    let checks: Value = serde_json::from_str(&json.out).unwrap();
    // Below the checks stands what each testbed lacks.
    let (virtual_time, emulated) = (
        "\ntestbed virtual: can't be used without ",
        "\ntestbed emulated: can't",
    );
    assert!(
        out.contains(virtual_time) && out.contains(emulated),
        "{out}"
    );
    assert_eq!(checks.as_array().unwrap().len() + 2, out.lines().count());
}

#[test]
fn the_readmes_study_checks_and_its_findings_are_as_printed() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```nickel\n").unwrap();
    let (study, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once("```text\n").unwrap();
    let (findings, _) = rest.split_once("```").unwrap();
    assert_eq!(study.lines().count(), 5);

    let folder = tempfile::tempdir().unwrap();
    let check = |study: &str| {
        std::fs::write(folder.path().join("hello.ncl"), study).unwrap();
        said(
            command(&["check", "hello.ncl"])
                .current_dir(folder.path())
                .env("COLUMNS", "100"),
        )
    };
    let good = check(study);
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    let bad = check(&study.replace("\"xen\"", "\"xne\"").replace("\"3s\"", "3"));
    assert_eq!((bad.code, bad.err.as_str()), (2, findings));
}

#[test]
fn the_page_of_commands_names_every_verb_and_no_other() {
    let page = std::fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let table: BTreeSet<&str> = (page.lines())
        .filter_map(|line| line.strip_prefix("| `vexp ")?.split([' ', '`']).next())
        .collect();
    let help = vexp(&["-h"]).out;
    let (_, verbs) = help.split_once("Commands:\n").unwrap();
    let verbs: BTreeSet<&str> = (verbs.lines())
        .map_while(|line| line.strip_prefix("  ")?.split(' ').next())
        // A description that is longer than a line goes on below, without a verb.
        .filter(|verb| !["help", ""].contains(verb))
        .collect();
    assert_eq!(table, verbs);
}

/// All that is written for people who use vexp or look into it.
fn documents() -> Vec<String> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let all = docs.chain(["README.md", "ARCHITECTURE.md"].map(|name| root().join(name)));
    all.map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

/// The pages that say where things are.
fn maps() -> Vec<PathBuf> {
    let decisions = std::fs::read_dir(root().join("docs/decisions")).unwrap();
    let decisions = decisions.map(|entry| entry.unwrap().path());
    let pages = ["ARCHITECTURE.md", "docs/map.md"].map(|name| root().join(name));
    decisions.chain(pages).collect()
}

/// A path without its folder is beside the one before it on the line.
#[test]
fn files_that_the_architecture_names_are_in_the_tree() {
    let mut seen = 0;
    let mut missing = Vec::new();
    for page in maps() {
        for line in std::fs::read_to_string(&page).unwrap().lines() {
            let mut folder = root();
            for word in line.split('`').skip(1).step_by(2) {
                let path = root().join(word);
                let whole = word.contains('/') && path.exists();
                if whole {
                    let is_folder = word.ends_with('/');
                    folder = if is_folder {
                        path
                    } else {
                        path.parent().unwrap().to_owned()
                    };
                }
                let named = word.contains('/') || word.ends_with(".rs") || word.ends_with(".ncl");
                let free =
                    word.contains([' ', '=', '(', ':', '…']) || word.starts_with(['/', '~', '-']);
                // Of a run, of the store, or any image's.
                let other = ["RUN/", "trials/", "blocks/", "failed/", "images/NAME/"];
                if !named || free || other.iter().any(|start| word.starts_with(start)) {
                    continue;
                }
                seen += 1;
                if !whole && !folder.join(word).exists() {
                    missing.push(format!("{}: {word}", page.display()));
                }
            }
        }
    }
    assert!(seen > 100, "{seen}");
    assert_eq!(missing, [""; 0]);
}

/// Paths in a run's folder, as a report writes them.
#[test]
fn files_of_a_run_that_the_documents_name_are_there() {
    let out = tempfile::tempdir().unwrap();
    let run = root().join("engine/cli/tests/data/recorded-run");
    let args = [
        "report",
        run.to_str().unwrap(),
        "--out",
        out.path().to_str().unwrap(),
    ];
    let told = vexp(&args);
    assert!(
        out.path().join("report").exists(),
        "{}{}",
        told.out,
        told.err
    );
    let mut named = BTreeSet::new();
    for text in documents() {
        let words = text.split('`').skip(1).step_by(2);
        let paths = words.map(|word| word.strip_prefix("RUN/").unwrap_or(word).to_owned());
        named.extend(paths.filter(|path| {
            let in_run = ["report/", "frames/"]
                .iter()
                .any(|folder| path.starts_with(folder));
            // The recorded run's study has no figures.
            in_run && !path.contains([' ', '*', '\n']) && path != "report/figures/"
        }));
    }
    assert!(
        named.contains("report/report.html") && named.len() > 3,
        "{named:?}"
    );
    let missing: Vec<_> = named
        .iter()
        .filter(|path| !out.path().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn files_that_the_documents_name_are_there() {
    let folders = [
        "docs/",
        "engine/",
        "experiments/",
        "images/",
        "plugins/",
        "reports/",
        "scripts/",
    ];
    let mut named = BTreeSet::new();
    for text in documents() {
        named.extend(
            text.split(['`', '(', ')'])
                .map(|word| word.split('#').next().unwrap_or(word))
                .filter(|word| folders.iter().any(|folder| word.starts_with(folder)))
                .filter(|word| !word.contains([' ', '*', '\n']) && !word.contains("NAME"))
                .map(str::to_owned),
        );
    }
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<_> = (named.iter())
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Names of all functions below a folder of sources.
fn functions(folder: &std::path::Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text
                .split("fn ")
                .skip(1)
                .filter_map(|rest| rest.split('(').next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_fault_has_tests_that_are_there() {
    let text = std::fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let mut known = BTreeSet::new();
    for folder in ["engine", "plugins"] {
        functions(&root().join(folder), &mut known);
    }
    let rows: Vec<&str> = (text.lines())
        .filter(|line| line.starts_with("| ") && !line.ends_with("| test |"))
        .collect();
    assert!(rows.len() > 50, "{}", rows.len());
    for row in rows {
        let tests = row
            .trim_end_matches([' ', '|'])
            .rsplit(" | ")
            .next()
            .unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            assert!(known.contains(name), "there is no test {name}: {row}");
        }
    }
}

/// What comes from PyPI is what was looked at: a version can be published again, a file's digest can't.
#[test]
fn what_is_installed_from_pypi_is_pinned_by_digest() {
    for name in ["check-crate", "load-tools"] {
        let read = |path: String| std::fs::read_to_string(root().join(path)).unwrap();
        assert!(
            read(format!("scripts/{name}")).contains("--require-hashes"),
            "{name}"
        );
        let pins = read(format!("scripts/{name}.d/requirements.txt"));
        let mut of = Vec::new();
        for line in pins.lines().filter(|line| !line.starts_with('#')) {
            match line.trim().strip_prefix("--hash=sha256:") {
                None => of.push((line, 0)),
                Some(digest) => {
                    let digest = digest.trim_end_matches(" \\");
                    assert!(digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()));
                    of.last_mut().unwrap().1 += 1;
                }
            }
        }
        assert!(of.len() > 5, "{name}");
        for (line, digests) in of {
            assert!(line.contains("==") && digests > 0, "{name}: {line}");
        }
    }
}
