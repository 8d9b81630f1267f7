//! Attacks by studies of strangers on the computer that runs vexp; each leaves a canary if it succeeds.

#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::path::Path;

use support::{Said, command, said};

/// A study with one experiment, and what differs from it.
fn study(more: &str) -> String {
    format!(
        r#"let vexp = import "vexp.ncl" in
{{ name = "rack", title = "One sender", hardware.laptop = vexp.laptop,
  platforms = {{ linux = (vexp.platform "laptop").linux }},
  experiments.send = {{ title = "TCP out", role = "sender", traffic.tool = "iperf3", platforms = ["linux"], vms = [1] }},
  efforts.quick = {{ repetitions = 1, warm_up = "1s", window = "3s" }},
  {more} }} | vexp.Study"#
    )
}

/// The options of two machines of which nobody has heard.
fn inventory(machine: &str, options: &str) -> String {
    study(&format!(
        r#"testbeds.hosts.options = {{ {options}
    inventory = {{ a = {{ role = "host", ssh = "127.0.0.250", port = 1, {machine} data = [{{ nic = "eth1", address = "198.18.0.1/24" }}] }},
                  b = {{ role = "peer", ssh = "127.0.0.251", port = 1, data = [{{ nic = "eth1", address = "198.18.0.2/24" }}] }} }} }}"#
    ))
}

/// `vexp` in a folder, with a home and a store of its own.
fn vexp(folder: &Path, args: &[&str]) -> Said {
    let mut command = command(args);
    command.current_dir(folder).env("HOME", folder);
    command.env("VEXP_STORE", folder.join("store"));
    command
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_CONFIG_HOME");
    said(&mut command)
}

#[test]
fn a_study_names_no_file_or_program_of_the_controller() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let canary = at.join("canary");
    let config = format!(
        "Match exec \"sh -c 'id > {0}'\"\n    ForwardAgent yes\nHost *\n    ProxyCommand sh -c 'id > {0}; exit 1'\n",
        canary.display()
    );
    std::fs::write(at.join("ssh.conf"), config).unwrap();
    for (name, text) in [
        (
            "ssh_config",
            inventory("", r#"ssh_config = "/proc/self/cwd/ssh.conf","#),
        ),
        (
            "identity",
            inventory(r#"identity = "/proc/self/cwd/key","#, ""),
        ),
        (
            "known_hosts",
            inventory(r#"known_hosts = "/proc/self/cwd/known","#, ""),
        ),
        ("sudo", inventory("sudo = true,", "")),
        (
            "tools",
            inventory(r#"tools.iperf3 = "/proc/self/cwd/iperf3","#, ""),
        ),
    ] {
        std::fs::write(at.join("study.ncl"), text).unwrap();
        let verbs = [
            &["check", "study.ncl"][..],
            &["doctor", "study.ncl"],
            &["release", "study.ncl"],
            &["run", "study.ncl", "--testbed", "hosts", "--trust"],
        ];
        // All verbs read studies in one way: for the others, one is enough.
        let all = if name == "ssh_config" { 4 } else { 1 };
        for verb in &verbs[..all] {
            let said = vexp(at, verb);
            assert_eq!(said.code, 2, "{verb:?}: {}", said.err);
            let words = format!("a study can't say `{name}`");
            assert!(said.err.contains(&words), "{verb:?}: {}", said.err);
        }
        assert!(!canary.exists(), "{name}");
    }
}

#[test]
fn a_study_runs_on_somebodys_machines_only_if_it_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("study.ncl"), inventory("", "")).unwrap();
    let args = ["run", "study.ncl", "--testbed", "hosts"];
    let refused = vexp(at, &args);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("not trusted") && refused.err.contains("--trust"));
    // Trusted once, the same content is tried: its machines can't be reached.
    for more in [&["--trust"][..], &[]] {
        let tried = vexp(at, &[&args[..], more].concat());
        assert_eq!(tried.code, 4, "{}", tried.err);
    }
    let other = inventory("", "").replace("One sender", "Another");
    std::fs::write(at.join("study.ncl"), other).unwrap();
    assert_eq!(vexp(at, &args).code, 2);
}

#[test]
fn the_users_own_file_is_read_and_is_theirs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("study.ncl"), inventory("", "")).unwrap();
    std::fs::write(at.join("machines.json"), r#"{"machines": 1}"#).unwrap();
    let said = vexp(at, &["doctor", "study.ncl", "--machines", "machines.json"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("machines.json"), "{}", said.err);
}
