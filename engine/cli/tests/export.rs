//! What `vexp export` makes for committees, archives and reviews: two pages, findings, a bundle that names nobody, files
//! about citing. The run is the recorded one of `bundle.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod json_schema;
mod support;
mod unpacked;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};
use support::{Said, command, said, vexp};
use unpacked::unpacked;
use vexp_api::digest::{Digest, canonical_json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The recorded run in a folder.
fn run_in(folder: &Path) -> PathBuf {
    unpacked(&folder.join("recorded")).join("run")
}

fn exported(run: &Path, bundle: &Path, args: &[&str]) -> Said {
    let said = vexp(&[&["export", text(run), "--output", text(bundle)], args].concat());
    assert_eq!(said.code, 0, "{}", said.err);
    said
}

/// Verifies a bundle, which must be identical, and gives its files.
fn verified(bundle: &Path, into: &Path) -> PathBuf {
    let said = vexp(&["verify", text(bundle), "--into", text(into)]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    assert!(said.out.contains("identical: everything"), "{}", said.out);
    let mut entries = std::fs::read_dir(into).unwrap();
    entries.next().unwrap().unwrap().path()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = read(path);
    change(&mut value);
    std::fs::write(path, canonical_json(&value).unwrap()).unwrap();
}

/// Whether a program is on this computer: what needs it says so where it is not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: there is no {program}");
    }
    found
}

/// Pages of a PDF of vexp's: its own objects, and `pdfinfo` where there is one.
fn pages(pdf: &Path) -> usize {
    let bytes = std::fs::read(pdf).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let own = text.matches("/Type /Page ").count();
    if has("pdfinfo") {
        let output = Command::new("pdfinfo").arg(pdf).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let line = said.lines().find_map(|line| line.strip_prefix("Pages:"));
        assert_eq!(line.unwrap().trim(), own.to_string(), "{said}");
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    own
}

#[test]
fn the_appendix_is_two_pages_at_most_whatever_the_study_claims() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    let bundle = folder.path().join("b");
    exported(
        &run,
        &bundle,
        &["--license", "CC-BY-4.0", "--contact", "a@example.org"],
    );
    let there = verified(&bundle, &folder.path().join("into"));
    assert!((1..=2).contains(&pages(&there.join("appendix.pdf"))));
    let short = std::fs::read_to_string(there.join("appendix.md")).unwrap();
    let mut from = 0;
    // In the order of sysartifacts' template.
    for heading in [
        "## Abstract",
        "## Access",
        "## Dependencies",
        "## Set-up",
        "## Basic test",
        "## Major claims and experiments",
        "## Reading the result",
        "## Unusual output to expect",
    ] {
        let at = short[from..].find(heading);
        from += at.unwrap_or_else(|| panic!("{heading} is not in its place:\n{short}"));
    }
    for words in [
        "    vexp verify e2e-20261130-155801-2659.vexp.tar.zst\n",
        "**C1**",
        "**C2**",
        "`send.*`",
        "not tested",
        "a@example.org",
        "artifact-appendix.md",
    ] {
        assert!(short.contains(words), "{words}:\n{short}");
    }
    if has("pdftotext") {
        let output = Command::new("pdftotext")
            .arg("-layout")
            .arg(there.join("appendix.pdf"))
            .arg("-")
            .output();
        let shown = String::from_utf8(output.unwrap().stdout).unwrap();
        for words in ["Abstract", "C2", "send.*", "Unusual output", "vexp verify"] {
            assert!(shown.contains(words), "{words}:\n{shown}");
        }
    }

    // A study of many claims, with much to say: what is shortened is counted, and the long appendix has it.
    let long =
        "A claim that says at length, with ≥ 3 words → and a name in 中, what was seen of it. "
            .repeat(9);
    for count in [31, 200] {
        edit(&run.join("study.json"), |study| {
            let claims = study["claims"].as_object().unwrap().clone();
            let one = claims.values().next().unwrap();
            let many = (0..count).map(|i| {
                let mut claim = one.clone();
                claim["statement"] = json!(format!("{i}: {long}"));
                claim["place"] = json!(format!("Section {i}, {long}"));
                (
                    format!("a-claim-with-a-name-that-is-rather-long-{i:03}"),
                    claim,
                )
            });
            study["claims"] = many.collect::<serde_json::Map<_, _>>().into();
            study["title"] = json!(long);
        });
        let bundle = folder.path().join(format!("b{count}"));
        exported(&run, &bundle, &[]);
        let into = folder.path().join(format!("into{count}"));
        // The study's files say otherwise, which `verify` names; the words about it are its own.
        let said = vexp(&["verify", text(&bundle), "--into", text(&into)]);
        let about = said
            .out
            .lines()
            .find(|line| line.starts_with(" about the bundle"))
            .unwrap();
        assert!(about.ends_with("identical"), "{}", said.out);
        let there = std::fs::read_dir(into)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        assert!((1..=2).contains(&pages(&there.join("appendix.pdf"))));
        let short = std::fs::read_to_string(there.join("appendix.md")).unwrap();
        let named = short.matches("| **C").count();
        assert!(
            named == 31 || count > 31 && named >= 24,
            "{named} of {count}:\n{short}"
        );
        if named < count {
            assert!(
                short.contains(&format!("{} more, up to C{count}", count - named)),
                "{short}"
            );
        }
        let whole = std::fs::read_to_string(there.join("artifact-appendix.md")).unwrap();
        assert_eq!(whole.matches("\n### ").count(), count);
    }
}

#[test]
fn the_linter_says_what_a_committee_would_miss_and_how_to_cure_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    let check = |args: &[&str]| {
        let all = [&["export", text(&run), "--check", "--format", "json"], args].concat();
        // The names of the computer on which the tests run are no part of the recorded run.
        let said = said(
            command(&all)
                .env("USER", "erikamuster")
                .current_dir(folder.path()),
        );
        let findings: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(
            said.code,
            if findings.as_array().unwrap().is_empty() {
                0
            } else {
                5
            },
            "{}",
            said.err
        );
        findings.as_array().unwrap().clone()
    };
    let kinds = |findings: &[Value]| {
        let kinds = findings
            .iter()
            .map(|finding| finding["kind"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>()
    };
    let found = check(&[]);
    let all = kinds(&found);
    for kind in [
        "no-license",
        "no-paper",
        "no-author",
        "no-contact",
        "no-archive",
        "no-place",
        "own-folder",
    ] {
        assert!(all.iter().any(|found| found == kind), "{kind}: {all:?}");
    }
    assert!(!all.contains(&"incomplete".to_owned()));
    let schema: Value = serde_json::from_str(&vexp(&["schema", "export-check"]).out).unwrap();
    assert_eq!(json_schema::errors(&schema, &json!(found)), [""; 0]);
    // Nothing was written.
    assert!(
        !folder
            .path()
            .join("e2e-20261130-155801-2659.vexp.tar.zst")
            .exists()
    );

    // Each is cured as it says.
    let cures = [
        "--license",
        "CC-BY-4.0",
        "--author",
        "Muster, Erika",
        "--contact",
        "e@example.org",
        "--archive",
        "10.5281/zenodo.1234567",
    ];
    let repository = check(&["--code", "https://git.example.org/e"]);
    assert!(kinds(&repository).contains(&"repository-only".to_owned()));
    let rest = kinds(&check(&cures));
    assert!(
        rest.iter()
            .all(|kind| ["no-paper", "no-place", "own-folder"].contains(&kind.as_str())),
        "{rest:?}"
    );
    edit(&run.join("study.json"), |study| {
        study["paper"] = json!({"title": "T", "authors": ["E. Muster"], "year": 2020});
        for (_, claim) in study["claims"].as_object_mut().unwrap() {
            claim["place"] = json!("Section 5, Figure 3");
        }
    });
    let folder_of = |finding: &Value| finding["places"][0]["file"].as_str().unwrap().to_owned();
    let left = check(&cures);
    assert_eq!(kinds(&left), ["own-folder"]);
    assert_eq!(
        folder_of(&left[0]),
        "run/blocks/linux.machine.v0.r1/manifest.json"
    );
    edit(
        &run.join("blocks/linux.machine.v0.r1/manifest.json"),
        |manifest| manifest["run"] = json!("r"),
    );
    assert_eq!(check(&cures), [json!(null); 0]);

    // A name, in a file and line; and a run that has not ended.
    let console = run.join("blocks/linux.machine.v0.r1/console.log");
    let mut said = std::fs::read_to_string(&console).unwrap();
    said.push_str("mounted for ErikaMuster\n");
    let line = said.lines().count();
    std::fs::write(&console, said).unwrap();
    edit(&run.join("run.json"), |record| {
        record["ended"] = Value::Null
    });
    let found = check(&cures);
    assert_eq!(kinds(&found), ["incomplete", "user-name"]);
    let place = json!({"file": "run/blocks/linux.machine.v0.r1/console.log", "line": line});
    assert_eq!(found[1]["places"], json!([place]));
    assert_eq!(
        kinds(&check(&[&cures[..], &["--show", "erikamuster"]].concat())),
        ["incomplete"]
    );
}

/// What must not be seen: user, host, home, mail, key comment, time zone, remote, addresses of machines, authors.
const PLANTED: &[&str] = &[
    "erikamuster",
    "zuse-turm",
    "/home/erikamuster",
    "erika.muster@cs.example.edu",
    "em@laptop",
    "Europe/Lisbon",
    "NZDT",
    "git@git.example.edu:lab/net.git",
    "131.246.9.1",
    "10.77.3.9",
    "Erika Muster",
    "10.5281/zenodo.1234567",
    "Institute of Towers",
    "/srv/tower/vexp",
    "tower9",
];

/// Puts them wherever they could be in a run, and whatever has digests of it follows.
fn plant(run: &Path) {
    let append = |file: &str, more: &str| {
        let path = run.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(more.as_bytes());
        std::fs::write(&path, bytes).unwrap();
    };
    let block = "blocks/linux.machine.v0.r1";
    append(
        &format!("{block}/env/host.txt"),
        "== extra\nEurope/Lisbon\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKf em@laptop\n/home/erikamuster/.ssh/id\n\
         git@git.example.edu:lab/net.git\nMon Nov 30 15:58:01 NZDT 2026\ninet 131.246.9.1/24\nInstitute of Towers\n",
    );
    append(
        &format!("{block}/console.log"),
        "zuse-turm login: ErikaMuster\n",
    );
    append(
        &format!("{block}/peer1.ssh.log"),
        "em@laptop: key of ERIKA.MUSTER@cs.example.edu\n",
    );
    edit(&run.join(format!("{block}/block.json")), |record| {
        record["site"]["operator"] = json!("Erika Muster of the INSTITUTE OF TOWERS");
    });
    edit(&run.join(format!("{block}/environment.json")), |facts| {
        for when in ["before", "after"] {
            facts[when]["host"]["zone"] = json!("Europe/Lisbon");
        }
    });
    edit(&run.join(format!("{block}/manifest.json")), |manifest| {
        manifest["site"]["host"]["ssh"] = json!({"keyed": {
            "address": "10.77.3.9", "user": "erikamuster", "identity": "/home/erikamuster/.ssh/id",
        }});
        manifest["run"] = json!("/srv/tower/vexp/runs/e2e-20261130-155801-2659");
    });
    // The study says who wrote it: its file, its value, and the plan, which has the value's digest.
    let source = run.join("source/e2e.ncl");
    let study = std::fs::read_to_string(&source).unwrap();
    let paper = "  paper = { title = \"On Towers\", authors = [\"Erika Muster\"], year = 2020, contact = \
                 \"erika.muster@cs.example.edu\", archive = \"10.5281/zenodo.1234567\", code = \
                 \"git@git.example.edu:lab/net.git\" },\n";
    let study = study.replace(
        "  title = \"Every layer once\",\n",
        &format!("  title = \"Every layer once\",\n{paper}"),
    );
    std::fs::write(
        &source,
        format!("# By erikamuster, in /srv/tower/vexp.\n{study}"),
    )
    .unwrap();
    edit(&run.join("study.json"), |study| {
        study["paper"] = json!({
            "title": "On Towers", "authors": ["Erika Muster"], "year": 2020,
            "contact": "erika.muster@cs.example.edu", "archive": "10.5281/zenodo.1234567",
            "code": "git@git.example.edu:lab/net.git",
        });
    });
    let study = read(&run.join("study.json"));
    let digest = Digest::of_value(&study).unwrap();
    edit(&run.join("plan.json"), |plan| {
        plan["study_digest"] = json!(digest)
    });
    // Raw output, whose digest stands in the trial's record.
    let trial = run.join("trials/send.linux.v0.r1");
    let mut digests = BTreeMap::new();
    for (file, from, to) in [
        ("raw/host.sar.stdout.txt", "(", "(zuse-turm) ("),
        (
            "raw/host.iperf3.client.json",
            "\"system_info\":\"Linux ",
            "\"system_info\":\"Linux tower9 ",
        ),
    ] {
        let path = trial.join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        let squeezed = before.replace("\"system_info\":\t\"", "\"system_info\":\"");
        let after = squeezed.replacen(from, to, 1);
        assert_ne!(before, after, "{file}");
        std::fs::write(&path, &after).unwrap();
        digests.insert(
            Digest::of(before.as_bytes()).to_string(),
            Digest::of(after.as_bytes()).to_string(),
        );
    }
    edit(&trial.join("trial.json"), |record| {
        for artefact in record["artefacts"].as_array_mut().unwrap() {
            artefact["stderr"] =
                json!("warning: cannot read /home/erikamuster/.config from 131.246.9.1");
            if let Some(digest) = digests.get(artefact["digest"].as_str().unwrap()) {
                artefact["digest"] = json!(digest);
            }
        }
    });
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn an_anonymous_bundle_names_nobody_verifies_and_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    plant(&run);
    // Who exports, and where they push to.
    std::fs::create_dir(folder.path().join(".git")).unwrap();
    std::fs::write(
        folder.path().join(".git/config"),
        "[user]\n\tname = Erika Muster\n\temail = erika.muster@cs.example.edu\n[remote \"origin\"]\n\turl = \
         git@git.example.edu:lab/net.git\n",
    )
    .unwrap();
    let export = |name: &str, args: &[&str]| {
        let bundle = folder.path().join(name);
        let options = [
            "export",
            text(&run),
            "--output",
            text(&bundle),
            "--license",
            "CC-BY-4.0",
        ];
        let said = said(command(&[&options, args].concat()).env("USER", "erikamuster"));
        assert_eq!(said.code, 0, "{}", said.err);
        (bundle, said)
    };
    let author = ["--author", "Muster, Erika"];
    let (before, _) = export("before", &author);
    let named = verified(&before, &folder.path().join("named"));
    let hidden = [
        "--anonymous",
        "--hide",
        "Institute of Towers",
        "--hide",
        "muster",
    ];
    let (bundle, said) = export("anonymous", &[&author[..], &hidden].concat());
    for what in [
        "user name",
        "host name",
        "folder",
        "e-mail address",
        "time zone",
        "repository",
        "network address",
    ] {
        assert!(
            said.err.contains(&format!("replaced: {what}, ")),
            "{what}: {}",
            said.err
        );
    }
    let there = verified(&bundle, &folder.path().join("nobody"));
    for path in files(&there) {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(text(path.strip_prefix(&there).unwrap()).bytes());
        let all = String::from_utf8_lossy(&bytes).to_lowercase();
        for planted in PLANTED {
            let planted = planted.to_lowercase();
            assert!(
                !all.contains(&planted),
                "{planted} is in {}",
                path.display()
            );
        }
    }
    // They were there: else this test would say nothing.
    let whole: String = files(&named)
        .iter()
        .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).to_lowercase())
        .collect();
    for planted in PLANTED {
        assert!(
            whole.contains(&planted.to_lowercase()),
            "{planted} was not planted"
        );
    }
    // The same results to the last bit, with their claims.
    let samples = "run/frames/samples.parquet";
    assert_eq!(
        std::fs::read(there.join(samples)).unwrap(),
        std::fs::read(named.join(samples)).unwrap()
    );
    let claims = "run/frames/claims.json";
    assert_eq!(
        std::fs::read(there.join(claims)).unwrap(),
        std::fs::read(named.join(claims)).unwrap()
    );
    assert_eq!(read(&there.join("export.json"))["anonymous"], true);
    let cff = std::fs::read_to_string(there.join("CITATION.cff")).unwrap();
    assert!(cff.contains("  - name: \"Anonymous\"\n"), "{cff}");
    let readme = std::fs::read_to_string(there.join("README.md")).unwrap();
    assert!(readme.contains("authors are not known"), "{readme}");
    // It is the same again, and the run was not touched: the camera-ready version is what it was.
    let (again, _) = export("again", &[&author[..], &hidden].concat());
    assert_eq!(
        std::fs::read(&bundle).unwrap(),
        std::fs::read(again).unwrap()
    );
    let (after, _) = export("after", &author);
    assert_eq!(
        std::fs::read(before).unwrap(),
        std::fs::read(after).unwrap()
    );
}

#[test]
fn a_name_that_is_a_word_of_the_study_is_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    let bundle = folder.path().join("b");
    let export = |more: &[&str]| {
        let all = [
            &[
                "export",
                text(&run),
                "--output",
                text(&bundle),
                "--anonymous",
            ],
            more,
        ]
        .concat();
        said(&mut command(&all))
    };
    // Without it, the study's file is no study any more.
    let said = export(&["--hide", "platforms"]);
    assert!([2, 5].contains(&said.code), "{}", said.err);
    assert!(said.err.contains("--show NAME"), "{}", said.err);
    assert!(!bundle.exists());
    let said = export(&["--hide", "platforms", "--show", "platforms"]);
    assert_eq!(said.code, 0, "{}", said.err);
}

/// `.zenodo.json`: metadata of Zenodo's deposits, as far as vexp writes them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Zenodo {
    title: String,
    upload_type: String,
    description: String,
    creators: Vec<Creator>,
    access_right: String,
    license: String,
    version: String,
    keywords: Vec<String>,
    #[serde(default)]
    related_identifiers: Vec<Related>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Creator {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Related {
    identifier: String,
    relation: String,
    scheme: String,
}

/// Terms of CodeMeta 3.0 that vexp writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there is what is tested")]
struct CodeMeta {
    #[serde(rename = "@context")]
    context: String,
    #[serde(rename = "@type")]
    kind: String,
    name: String,
    description: String,
    identifier: String,
    version: String,
    programming_language: String,
    runtime_platform: String,
    operating_system: String,
    software_requirements: Vec<String>,
    date_created: String,
    author: Vec<Value>,
    license: String,
    code_repository: String,
    same_as: String,
    maintainer: Value,
    reference_publication: Value,
}

/// Fields of a CITATION.cff: indent and name, with the value as it stands.
fn fields(cff: &str) -> Vec<(usize, &str, &str)> {
    cff.lines()
        .map(|line| {
            let bare = line.trim_start_matches([' ', '-']);
            let (name, value) = bare.split_once(':').unwrap();
            (line.len() - bare.len(), name, value.trim())
        })
        .collect()
}

#[test]
fn archives_and_indexes_read_what_the_bundle_says_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    edit(&run.join("study.json"), |study| {
        study["paper"] = json!({
            "title": "On \"Towers\": <a>", "authors": ["E. Muster"], "year": 2020, "doi": "10.1145/1.2",
            "archive": "10.5281/zenodo.1", "code": "https://git.example.org/e",
        });
    });
    let bundle = folder.path().join("b");
    let args = [
        "--license",
        "CC-BY-4.0",
        "--author",
        "Muster, Erika",
        "--author",
        "The Tower Group",
        "--contact",
        "e@example.org",
        "--archive",
        "10.5281/zenodo.1234567",
    ];
    exported(&run, &bundle, &args);
    let into = folder.path().join("into");
    // The study's file does not name the paper, which `verify` says; here its words are looked at.
    let _ = vexp(&["verify", text(&bundle), "--into", text(&into)]);
    let there = std::fs::read_dir(into)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let read_text = |name: &str| std::fs::read_to_string(there.join(name)).unwrap();

    let cff = read_text("CITATION.cff");
    let all = fields(&cff);
    // What the schema asks for, and nothing that it does not know.
    for required in ["cff-version", "message", "title", "authors"] {
        assert!(
            all.iter()
                .any(|(indent, name, _)| *indent == 0 && *name == required),
            "{required}: {cff}"
        );
    }
    let known = [
        "cff-version",
        "message",
        "type",
        "title",
        "abstract",
        "version",
        "license",
        "doi",
        "repository-code",
        "authors",
        "contact",
        "references",
    ];
    for (indent, name, value) in &all {
        assert!(*indent > 0 || known.contains(name), "{name}: {cff}");
        // A value is one scalar: a number, a bare word, or a string of JSON, which YAML reads as well.
        let string = value.starts_with('"') && serde_json::from_str::<String>(value).is_ok();
        let bare = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        assert!(string || bare, "{name}: {value}");
    }
    let has = |name: &str, value: &str| all.iter().any(|(_, n, v)| *n == name && *v == value);
    assert!(
        has("doi", "\"10.5281/zenodo.1234567\"") && has("doi", "\"10.1145/1.2\""),
        "{cff}"
    );
    assert!(
        has("family-names", "\"Muster\"") && has("given-names", "\"Erika\""),
        "{cff}"
    );
    assert!(
        has("name", "\"The Tower Group\"") && has("email", "\"e@example.org\""),
        "{cff}"
    );
    assert!(
        has("title", "\"On \\\"Towers\\\": <a>\"") && has("license", "\"CC-BY-4.0\""),
        "{cff}"
    );

    let zenodo: Zenodo = serde_json::from_str(&read_text(".zenodo.json")).unwrap();
    assert_eq!(
        (zenodo.upload_type.as_str(), zenodo.access_right.as_str()),
        ("dataset", "open")
    );
    assert_eq!(zenodo.license, "cc-by-4.0");
    let names: Vec<&str> = zenodo
        .creators
        .iter()
        .map(|creator| creator.name.as_str())
        .collect();
    assert_eq!(names, ["Muster, Erika", "The Tower Group"]);
    assert!(zenodo.description.starts_with("<p>") && zenodo.description.contains("&lt;a&gt;"));
    let related: Vec<_> = zenodo.related_identifiers.iter().collect();
    assert_eq!(
        (related[0].relation.as_str(), related[0].identifier.as_str()),
        ("isSupplementTo", "10.1145/1.2")
    );
    assert_eq!(
        (related[1].relation.as_str(), related[1].scheme.as_str()),
        ("isDerivedFrom", "url")
    );
    assert_eq!(
        (zenodo.title.as_str(), zenodo.version.as_str()),
        ("Every layer once", "e2e-20261130-155801-2659")
    );
    assert!(zenodo.keywords.contains(&"vexp".to_owned()));

    let meta: CodeMeta = serde_json::from_str(&read_text("codemeta.json")).unwrap();
    assert_eq!(meta.context, "https://w3id.org/codemeta/3.0");
    assert_eq!(meta.author[0]["familyName"], "Muster");
    assert_eq!(meta.license, "https://spdx.org/licenses/CC-BY-4.0");
    assert_eq!(
        meta.reference_publication["@id"],
        "https://doi.org/10.1145/1.2"
    );

    // Without authors nobody is made up.
    let bare = folder.path().join("bare");
    exported(&run, &bare, &[]);
    let into = folder.path().join("into-bare");
    let _ = vexp(&["verify", text(&bare), "--into", text(&into)]);
    let there = std::fs::read_dir(into)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(!there.join("CITATION.cff").exists() && !there.join(".zenodo.json").exists());
    assert!(there.join("codemeta.json").exists());
}

#[test]
fn ways_to_run_elsewhere_end_at_verify() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    let bundle = folder.path().join("b");
    exported(&run, &bundle, &[]);
    let there = verified(&bundle, &folder.path().join("into"));
    let name = "e2e-20261130-155801-2659.vexp.tar.zst";
    let docker = std::fs::read_to_string(there.join("Dockerfile")).unwrap();
    let last = docker.lines().last().unwrap();
    assert_eq!(last, format!("CMD [\"vexp\", \"verify\", \"{name}\"]"));
    // Every line is an instruction, a comment, or goes on from the one before.
    let mut goes_on = false;
    for line in docker.lines() {
        let word = line.split(' ').next().unwrap();
        assert!(
            goes_on || ["#", "FROM", "RUN", "COPY", "WORKDIR", "CMD"].contains(&word),
            "{line}"
        );
        goes_on = line.ends_with('\\');
    }
    let profile = there.join("profile.py");
    let text = std::fs::read_to_string(&profile).unwrap();
    assert!(text.contains(&format!("./vexp verify {name}")), "{text}");
    if has("python3") {
        let said = Command::new("python3")
            .args(["-m", "py_compile"])
            .arg(&profile)
            .env("PYTHONPYCACHEPREFIX", folder.path().join("cache"))
            .output()
            .unwrap();
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}
