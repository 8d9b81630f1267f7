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
