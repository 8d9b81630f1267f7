//! What strangers' data and studies may take of the computer's memory.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use support::{command, root, said};

#[test]
fn what_takes_too_much_memory_ends_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let bundle = root().join("engine/cli/tests/data/run.vexp.tar.zst");
    let unpacked = ["verify", bundle.to_str().unwrap(), "--into", "unpacked"];
    said(command(&unpacked).current_dir(at));
    let run = std::fs::read_dir(at.join("unpacked")).unwrap().next();
    let run = run.unwrap().unwrap().path().join("run");
    // Half a gigabyte once it is read.
    let bomb = format!("[{}0]", "0,".repeat(16 << 20));
    std::fs::write(run.join("plan.json"), bomb).unwrap();
    let run = run.to_str().unwrap();
    for args in [&["report", run][..], &["export", run, "--output", "b"]] {
        let mut limited = command(args);
        limited.current_dir(at).env("VEXP_MEMORY_MIB", "256");
        let said = said(&mut limited);
        assert_eq!(said.code, 6, "{args:?}: {}", said.err);
        let words = said.err.replace('\n', " ");
        assert!(words.contains("more than 256 MiB of memory"), "{words}");
        assert!(words.contains("VEXP_MEMORY_MIB"), "{words}");
    }
}

/// What a caller sees is what the child has done: its exit code, its standard input and output, and its end.
#[test]
fn a_verb_in_a_child_is_as_one_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let nothing = said(command(&["report", "nowhere"]).current_dir(at));
    assert_eq!(
        (nothing.code, nothing.out.as_str()),
        (2, ""),
        "{}",
        nothing.err
    );
    assert_eq!(nothing.err.matches("nowhere").count(), 1, "{}", nothing.err);
    let wrong = said(
        command(&["runs"])
            .current_dir(at)
            .env("VEXP_MEMORY_MIB", "much"),
    );
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(wrong.err.contains("no number of MiB"), "{}", wrong.err);
    // Who reads less than all of it ends it, and nobody panics.
    let long = root().join("plugins/testdata/command-procps-4.0.4/vmstat.txt");
    let piped = format!(
        "{} parse --tool ping {} 2>err | head -c 1; cat err",
        env!("CARGO_BIN_EXE_vexp"),
        long.display()
    );
    let piped = std::process::Command::new("sh")
        .args(["-c", &piped])
        .current_dir(at)
        .output();
    let words = String::from_utf8(piped.unwrap().stdout).unwrap();
    assert!(!words.contains("panicked"), "{words}");
}
