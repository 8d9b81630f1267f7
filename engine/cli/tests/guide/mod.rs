//! The guide is true: its files check, its commands print what it says, its Rust is compiled.
//!
//! ```` ```LANGUAGE file=NAME ```` is a file of the reader's folder; where NAME is a path of this
//! repository, it is an excerpt of that file. ```` ```console ```` are commands, run in the reader's
//! folder, each followed by what it prints; a line of `…` stands for any number of lines.

use std::path::Path;

use super::support::{command, root, said};

/// A fenced block: the words after the fence, and its lines.
struct Block<'a> {
    words: &'a str,
    text: String,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(words), false) => {
                blocks.push(Block {
                    words,
                    text: String::new(),
                });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!inside, "a block has no end");
    blocks
}

/// Whether `printed` is as `told`, where `…` alone on a line is any number of lines.
fn matches(told: &[&str], printed: &[&str]) -> bool {
    match told.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => (0..=printed.len()).any(|skip| matches(rest, &printed[skip..])),
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| first.trim_end() == *line && matches(rest, others)),
    }
}

/// Runs the commands of a block; how many there were.
fn run(text: &str, folder: &Path) -> usize {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ vexp ") {
            Some(words) => commands.push((words, Vec::new())),
            None => commands.last_mut().unwrap().1.push(line),
        }
    }
    for (words, told) in &commands {
        let args: Vec<&str> = words.split_whitespace().collect();
        let mut command = command(&args);
        command.current_dir(folder).env("COLUMNS", "100");
        let seen = said(&mut command);
        assert_eq!(seen.code, 0, "vexp {words}: {}", seen.err);
        let printed: Vec<&str> = seen.out.lines().collect();
        let shown = told.join("\n");
        assert!(
            matches(told, &printed),
            "vexp {words} printed\n{}\nnot\n{shown}",
            seen.out
        );
    }
    commands.len()
}

/// Does what a document shows in a folder; how many files, commands and excerpts there were.
fn shown(document: &str, folder: &Path) -> (usize, usize, usize) {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let (mut files, mut commands, mut excerpts) = (0, 0, 0);
    for block in blocks(&text) {
        match block.words.split_once(" file=") {
            Some((_, path)) if root().join(path).exists() => {
                let whole = std::fs::read_to_string(root().join(path)).unwrap();
                assert!(
                    whole.contains(&block.text),
                    "not in {path}:\n{}",
                    block.text
                );
                excerpts += 1;
            }
            Some((_, name)) => {
                std::fs::write(folder.join(name), &block.text).unwrap();
                files += 1;
            }
            None if block.words == "console" => commands += run(&block.text, folder),
            // What boots machines is run where that is tested: see e2e.rs.
            None => assert_eq!(block.words, "sh", "an untested block:\n{}", block.text),
        }
    }
    (files, commands, excerpts)
}

#[test]
fn what_the_guide_shows_is_so() {
    let folder = tempfile::tempdir().unwrap();
    let (files, commands, excerpts) = shown("docs/guide.md", folder.path());
    assert!(
        files >= 4 && commands >= 5 && excerpts >= 1,
        "{files} {commands} {excerpts}"
    );
}

#[test]
fn what_the_page_on_bundles_shows_is_so() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = root().join("engine/cli/tests/data/run.vexp.tar.zst");
    let unpacked = folder.path().join("unpacked");
    let [bundle, into] = [&bundle, &unpacked].map(|path| path.to_str().unwrap());
    // The reader's runs: the one in the bundle.
    super::support::vexp(&["verify", bundle, "--into", into]);
    let run = std::fs::read_dir(&unpacked)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let runs = folder.path().join("runs");
    std::fs::create_dir(&runs).unwrap();
    std::fs::rename(run.path().join("run"), runs.join(run.file_name())).unwrap();
    let (_, commands, _) = shown("docs/bundles.md", folder.path());
    assert_eq!(commands, 2);
}

#[test]
fn any_number_of_lines_is_matched() {
    assert!(matches(&["a", "…"], &["a", "b", "c"]));
    assert!(matches(&["…", "c"], &["a", "b", "c"]));
    assert!(matches(&["a", "…"], &["a"]));
    assert!(!matches(&["a"], &["a", "b"]));
    assert!(!matches(&["…", "d"], &["a"]));
}
