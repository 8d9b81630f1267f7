//! What a program on a traffic peer can reach of the computer that runs vexp: nothing. No machine is
//! booted.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::path::Path;
use std::process::Command;

use vexp_plugins::testbed::emulated::enclose::{Enclosed, PeerRequest};

/// Programs of this computer that the attack uses.
const PROGRAMS: &[&str] = &[
    "sh", "cat", "id", "grep", "ls", "mknod", "mount", "unshare", "chroot", "tr", "ip", "hostname",
    "touch", "readlink",
];

/// What a stranger would try. It says what succeeded.
const ATTACK: &str = r#"
exec > /tmp/said 2>&1
id -u
grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status
hostname
for p in /proc/[0-9]*; do echo "process ${p#/proc/}"; tr '\0' '\n' < $p/environ; done
cat /proc/1/root/@SECRET@ && echo PWNED secret
echo x > /proc/1/root/@CANARY@ && echo PWNED canary
chroot /proc/1/root ls -d @FOLDER@ && echo PWNED chroot
mknod /tmp/node b 254 0 && echo PWNED mknod
mount -t tmpfs none /tmp && echo PWNED mount
unshare --user true && echo PWNED user namespace
unshare --mount true && echo PWNED mount namespace
for f in core_pattern modprobe hostname; do (echo x > /proc/sys/kernel/$f) && echo "PWNED $f"; done
(echo b > /proc/sysrq-trigger) && echo PWNED sysrq
touch /usr/x /etc-x && echo PWNED root
ls /sys/kernel /dev/kvm /dev/mem && echo PWNED devices
ip link set lo up && echo network
echo end
exec sleep 600
"#;

/// A root with some programs of this computer and their libraries.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let copy = |from: &Path| {
        let to = root.path().join(from.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    for program in PROGRAMS.iter().chain(&["sleep", "true"]) {
        let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        let path = folders.map(|folder| Path::new(folder).join(program));
        let path = path.iter().find(|path| path.exists()).unwrap();
        let path = path.canonicalize().unwrap();
        let to = root.path().join("bin").join(program);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&path, to).unwrap();
        let libraries = Command::new("ldd").arg(&path).output().unwrap().stdout;
        let libraries = String::from_utf8(libraries).unwrap();
        let words = libraries.split_whitespace();
        words
            .filter(|word| word.starts_with('/'))
            .for_each(|file| copy(Path::new(file)));
    }
    for folder in ["dev", "run", "tmp", "proc", "root", "usr"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    let open: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path(), open).unwrap();
    root
}

#[test]
#[ignore = "makes namespaces: needs root"]
fn a_program_on_a_peer_reaches_nothing_of_this_computer() {
    let (root, outside) = (root(), tempfile::tempdir().unwrap());
    let (secret, canary) = (outside.path().join("secret"), outside.path().join("canary"));
    std::fs::write(&secret, "SECRET").unwrap();
    let text = |path: &Path| path.strip_prefix("/").unwrap().display().to_string();
    let attack = ATTACK
        .replace("@SECRET@", &text(&secret))
        .replace("@CANARY@", &text(&canary))
        .replace("@FOLDER@", &outside.path().display().to_string());
    let log = outside.path().join("log");
    let executable = Path::new(env!("CARGO_BIN_EXE_vexp"));
    let enclosed = Enclosed::new(executable, 0, File::create(&log).unwrap()).unwrap();
    let request = PeerRequest {
        root: root.path().to_owned(),
        hostname: "peer1".to_owned(),
        files: vec![("authorized_keys".to_owned(), "KEY".to_owned())],
        argv: ["/bin/sh", "-c", &attack].map(str::to_owned).into(),
    };
    let mut peer = enclosed.start(&request).unwrap();
    let said = what_it_said(peer.id());
    let _ = peer.kill();
    peer.wait().unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    let said = said.unwrap_or_else(|| panic!("it said nothing; {log}"));

    assert!(
        !said.contains("PWNED") && !said.contains("SECRET"),
        "{said}"
    );
    assert!(!canary.exists() && !outside.path().join("x").exists());
    let lines: Vec<&str> = said.lines().collect();
    // Root of its own, which has its network and nothing else.
    assert_eq!(lines[0], "0", "{said}");
    assert!(
        lines.contains(&"peer1") && lines.contains(&"network"),
        "{said}"
    );
    assert!(lines.contains(&"NoNewPrivs:\t1"), "{said}");
    assert!(lines.contains(&"Seccomp:\t2"), "{said}");
    // CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, NET_BIND_SERVICE, NET_ADMIN, NET_RAW.
    for set in ["CapEff", "CapBnd"] {
        let line = format!("{set}:\t00000000000034eb");
        assert!(lines.contains(&line.as_str()), "{said}");
    }
    // It sees its own processes, and no environment but its own.
    assert!(lines.contains(&"process 1"), "{said}");
    let seen = lines.iter().filter(|line| line.contains('=')).count();
    let own = ["PATH=", "PWD=", "OLDPWD=", "SHLVL=", "_="];
    let known = lines
        .iter()
        .filter(|line| own.iter().any(|name| line.starts_with(name)));
    assert_eq!(seen, known.count(), "{said}");
}

/// What the attack has written, once it has ended. Nobody outside of the peer has it as a file: it is read
/// by way of the peer's first process.
fn what_it_said(peer: u32) -> Option<String> {
    for _ in 0..600 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let children = format!("/proc/{peer}/task/{peer}/children");
        let Some(first) = (std::fs::read_to_string(children).ok())
            .and_then(|text| text.split_whitespace().next().map(str::to_owned))
        else {
            continue;
        };
        let said = std::fs::read_to_string(format!("/proc/{first}/root/tmp/said"));
        if let Some(said) = said.ok().filter(|said| said.ends_with("end\n")) {
            return Some(said);
        }
    }
    None
}
