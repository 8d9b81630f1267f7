//! `vexp init`, and what is made from the parser: completion scripts and manual pages.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{command, said, vexp};

#[test]
fn a_new_study_passes_check_and_has_a_plan() {
    let parent = tempfile::tempdir().unwrap();
    let vexp = |args: &[&str]| said(command(args).current_dir(parent.path()));
    let made = vexp(&["init", "my first study"]);
    assert_eq!(
        (made.code, made.out.as_str()),
        (0, "my first study/study.ncl\n"),
        "{}",
        made.err
    );
    assert!(
        made.err
            .contains("next: vexp check my first study/study.ncl"),
        "{}",
        made.err
    );
    let file = made.out.trim_end();
    let checked = vexp(&["check", file]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    for testbed in ["emulated", "virtual"] {
        for (effort, trials) in [("quick", 2), ("standard", 10)] {
            let args = ["plan", file, "--testbed", testbed, "--effort", effort];
            let planned = vexp(&[&args[..], &["--format", "json"]].concat());
            assert_eq!(planned.code, 0, "{}", planned.err);
            let plan: serde_json::Value = serde_json::from_str(&planned.out).unwrap();
            assert_eq!(plan["study"], "my-first-study");
            let blocks = plan["blocks"].as_array().unwrap();
            let of = |block: &serde_json::Value| block["trials"].as_array().unwrap().len();
            assert_eq!(blocks.iter().map(of).sum::<usize>(), trials);
        }
    }
    // Nothing of the user's is written over.
    std::fs::write(parent.path().join(file), "mine").unwrap();
    let again = vexp(&["init", "my first study"]);
    assert_eq!(again.code, 2, "{}", again.err);
    assert!(
        again.err.contains("cannot make my first study/study.ncl"),
        "{}",
        again.err
    );
    assert_eq!(std::fs::read(parent.path().join(file)).unwrap(), b"mine");
}

#[test]
fn completion_scripts_have_the_verbs_and_their_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = vexp(&["completions", shell]);
        assert_eq!((script.code, script.err.as_str()), (0, ""), "{shell}");
        for word in ["reproduce", "keep-last", "max-size"] {
            assert!(script.out.contains(word), "{shell}: {word}");
        }
        // What vexp calls itself by is no user's affair.
        for hidden in ["eval-spec", "lab", "worker"] {
            assert!(!script.out.contains(hidden), "{shell}: {hidden}");
        }
    }
    let unknown = vexp(&["completions", "tcsh"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.err.contains("bash, elvish, fish"),
        "{}",
        unknown.err
    );
}

#[test]
fn there_is_a_manual_page_for_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let said = vexp(&["man", folder.path().to_str().unwrap()]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let mut pages: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let help = vexp(&["-h"]).out;
    let (_, verbs) = help.split_once("Commands:\n").unwrap();
    let mut wanted: Vec<String> = (verbs.lines())
        .map_while(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|verb| !verb.is_empty())
        .map(|verb| format!("vexp-{verb}.1"))
        .chain(["vexp.1".to_owned()])
        .collect();
    wanted.sort();
    assert_eq!(pages, wanted);
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("vexp.1").contains("Exit codes"), "{}", page("vexp.1"));
    assert!(
        page("vexp-gc.1").contains("\\-\\-keep\\-last"),
        "{}",
        page("vexp-gc.1")
    );
}
