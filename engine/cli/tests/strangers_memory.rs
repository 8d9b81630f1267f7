//! What strangers' data and studies may take of the computer's memory.

#![expect(clippy::unwrap_used, reason = "tests")]

mod packing;
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
    let unpacked = run.unwrap().unwrap().path();
    let run = unpacked.join("run");
    // Half a gigabyte once it is read.
    let bomb = format!("[{}0]", "0,".repeat(16 << 20));
    std::fs::write(run.join("plan.json"), bomb).unwrap();
    packing::packed_again(&unpacked, &at.join("bomb"));
    let run = run.to_str().unwrap();
    let all: [&[&str]; 4] = [
        &["report", run],
        &["export", run, "--output", "b"],
        &["verify", "bomb"],
        // It measures, too: what it reads is read by a child all the same.
        &["verify", "bomb", "--rerun"],
    ];
    for args in all {
        let mut limited = command(args);
        limited.current_dir(at).env("VEXP_MEMORY_MIB", "256");
        let said = said(&mut limited);
        assert_eq!(said.code, 6, "{args:?}: {}", said.err);
        let words = said.err.replace('\n', " ");
        assert!(words.contains("more than 256 MiB of memory"), "{words}");
        assert!(words.contains("VEXP_MEMORY_MIB"), "{words}");
    }
    assert!(!at.join("runs").exists());
}

/// What a child says why it does not read a bundle is what its caller says.
#[test]
fn a_bundle_that_is_not_read_is_not_measured_again_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("bundle"), "no bundle").unwrap();
    let rerun = ["verify", "bundle", "--rerun", "--format", "json"];
    let said = |args| said(command(args).current_dir(at));
    let (alone, again) = (
        said(&["verify", "bundle", "--format", "json"]),
        said(&rerun),
    );
    assert_eq!(again.code, 2, "{}", again.err);
    assert_eq!((&again.out, &again.err), (&alone.out, &alone.err));
    assert!(again.err.contains("get it again"), "{}", again.err);
    let none = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let other = said(&[&rerun[..], &["--digest", none]].concat());
    assert_eq!(other.code, 2, "{}", other.err);
    assert!(
        other.err.contains("the bundle's digest is"),
        "{}",
        other.err
    );
    assert!(!at.join("runs").exists());
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
