//! What every [`Shell`] promises, held by a real server on loopback. A test that has this in it says with `connector`
//! what is tested, and with `sshd` against what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use vexp_api::ids::Name;
use vexp_api::shell::{Cmd, Connect as _, Output, Shell, ShellError};
use vexp_api::site::{KeyedTarget, SshTarget};

use super::sshd::Sshd;
use super::{CONNECTIONS, PROGRAMS, WAITS_FOR_CHILDREN, connector};

const SOON: Duration = Duration::from_secs(20);

/// A server and a shell on it, or `None` where there can be none.
async fn connected() -> Option<(Sshd, Arc<dyn Shell>)> {
    let sshd = Sshd::start()?;
    let (host, target) = (host(), sshd.target().into());
    let shell = connector()
        .connect(&host, &target, sshd.sockets(), SOON)
        .await
        .unwrap();
    Some((sshd, shell))
}

fn host() -> Name {
    Name::new("host").unwrap()
}

/// A command of shell text, which stands in these tests only.
fn sh(script: &str) -> Cmd {
    Cmd::new("sh").args(["-c", script])
}

/// Whether a process runs, on this very machine. A zombie has ended.
fn runs(pid: &str) -> bool {
    let pid: u32 = pid.parse().unwrap();
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The process whose number is the first line of the output.
fn pid(output: &Output) -> String {
    output.text().lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let arguments = [
        "$(id)",
        "`id`",
        "a\nb",
        "it's",
        "\"",
        "-n",
        "--",
        "two  spaces ",
        "",
        "*",
        "~",
        "$HOME",
        "a;id",
        "\\",
        "é",
        "\t",
        "!1",
        "&",
        "#x",
    ];
    let output = shell
        .check(Cmd::new("printf").arg("%s\\0").args(arguments))
        .await
        .unwrap();
    let text = output.text();
    let arrived: Vec<_> = text.strip_suffix('\0').unwrap().split('\0').collect();
    assert_eq!(arrived, arguments);
}

#[tokio::test]
async fn statuses_signals_and_missing_programs() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    // 124 and 137 are also what `timeout` ends with; 255 is also what ssh ends with.
    for status in [0, 1, 42, 124, 137, 143, 255] {
        let output = shell.run(sh(&format!("exit {status}"))).await.unwrap();
        assert_eq!((output.status, output.timed_out), (Some(status), false));
    }
    let output = shell.run(sh("echo before; kill -9 $$")).await.unwrap();
    assert_eq!((output.status, output.timed_out), (None, false));
    assert_eq!(output.text(), "before\n");

    let output = shell.run(Cmd::new("no-such-program")).await.unwrap();
    assert_eq!(output.status, Some(127));
    assert!(
        output.stderr_tail().contains("no-such-program"),
        "{output:?}"
    );
}

#[tokio::test]
async fn streams_are_apart_whole_and_bytes() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let output = shell
        .check(sh("printf '\\377\\000x'; echo no >&2"))
        .await
        .unwrap();
    assert_eq!(output.stdout, b"\xff\0x");
    assert_eq!(output.stderr, b"no\n");
    assert!(!output.truncated);

    let input: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let output = shell
        .check(Cmd::new("cat").stdin(input.clone()))
        .await
        .unwrap();
    assert!(output.stdout == input, "{} bytes", output.stdout.len());
    // A program that doesn't read its input isn't held up by it, and none means its end.
    let output = shell.check(Cmd::new("true").stdin(input)).await.unwrap();
    assert!(output.stdout.is_empty());
    assert!(
        shell
            .check(Cmd::new("cat"))
            .await
            .unwrap()
            .stdout
            .is_empty()
    );
}

#[tokio::test]
async fn what_is_past_the_cap_is_dropped_and_said() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let output = shell
        .check(sh("head -c 100000 /dev/zero >&2; echo end"))
        .await
        .unwrap();
    assert_eq!(output.stderr.len(), 64 << 10);
    assert!(output.truncated);
    assert_eq!(output.text(), "end\n");
}

/// Most memory that this process has had, bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn output_without_end_takes_bounded_memory() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    // More than is kept, in bytes without a line, and in lines without a byte.
    for (script, bytes, lines) in [
        ("head -c 400M /dev/zero", 64 << 20, 0),
        ("yes '' | head -c 40M", 1 << 20, 1 << 20),
    ] {
        let before = most_memory();
        let endless = sh(script).deadline(SOON * 9);
        let output = shell.run(endless).await.unwrap();
        assert!(output.ok() && output.truncated, "{script}");
        assert_eq!(output.stdout.len(), bytes, "{script}");
        assert_eq!(output.line_times.len(), lines, "{script}");
        // What is kept, and as much again where a buffer grows.
        let more = most_memory() - before;
        assert!(more < 256 << 20, "{script}: {more} bytes");
    }
}

#[tokio::test]
async fn output_that_a_child_holds_open_is_given_up_and_that_is_said() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let leaves = sh("echo out; sleep 15 &").deadline(Duration::from_secs(1));
    let output = shell.run(leaves).await.unwrap();
    assert_eq!((output.status, output.timed_out), (Some(0), false));
    assert_eq!(output.text(), "out\n");
    assert_eq!(output.truncated, WAITS_FOR_CHILDREN);
    if !WAITS_FOR_CHILDREN {
        return;
    }
    // Output that comes after the status, and then ends, is whole.
    let late = shell.run(sh("(sleep 1; echo late) &")).await.unwrap();
    assert_eq!((late.text().as_str(), late.truncated), ("late\n", false));
}

#[tokio::test]
async fn every_line_has_the_time_of_its_end() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let script = "for i in 1 2 3; do echo $i; sleep 0.3; done; printf rest";
    let output = shell.check(sh(script)).await.unwrap();
    assert_eq!(output.text(), "1\n2\n3\nrest");
    let times = &output.line_times;
    assert_eq!(times.len(), 3);
    assert!(times.is_sorted());
    assert!(output.started <= times[0] && times[2] <= output.ended);
    assert!(
        times[2] - times[0] >= Duration::from_millis(400),
        "{times:?}"
    );
}

#[tokio::test]
async fn a_deadline_ends_the_far_program_and_keeps_its_output() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    // The second has to be killed, and the third is ended together with what watches over it.
    let plain = sh("echo $$; exec sleep 60");
    let stubborn = sh("trap '' TERM; echo $$; while :; do sleep 1; done");
    for cmd in [plain.clone(), stubborn, plain.stoppable()] {
        let output = shell
            .run(cmd.deadline(Duration::from_secs(1)))
            .await
            .unwrap();
        assert!(output.timed_out && output.status.is_none(), "{output:?}");
        assert!(output.ended - output.started < Duration::from_secs(8));
        // `timeout` may be gone a moment before what it has killed.
        until("it has ended", || !runs(&pid(&output))).await;
    }
}

#[tokio::test]
async fn check_tells_what_went_wrong() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let late = sh("sleep 60").deadline(Duration::from_millis(500));
    match shell.check(late).await.unwrap_err() {
        ShellError::Deadline { node, deadline, .. } => {
            assert_eq!((node, deadline), (host(), Duration::from_millis(500)));
        }
        other => unreachable!("{other:?}"),
    }
    let failing = sh("seq 1 3000 >&2; echo the end >&2; exit 7");
    match shell.check(failing).await.unwrap_err() {
        ShellError::Failed { status, stderr, .. } => {
            assert_eq!(status, "7");
            assert!(stderr.ends_with("3000\nthe end"), "{stderr}");
            assert_eq!(stderr.chars().count(), 2000);
        }
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test]
async fn put_writes_a_private_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some((sshd, shell)) = connected().await else {
        return;
    };
    let path = sshd.sockets().join("- a file");
    shell
        .put(path.to_str().unwrap(), b"\0text".to_vec())
        .await
        .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"\0text");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn stop_ends_a_stoppable_program_with_status_0() {
    let Some((sshd, shell)) = connected().await else {
        return;
    };
    let plain = "exec sleep 60";
    let polite = "while :; do sleep 0.1; done";
    for (i, (script, last)) in [(plain, None), (polite, Some("bye"))]
        .into_iter()
        .enumerate()
    {
        let ready = sshd.sockets().join(format!("ready{i}"));
        let begin = "[ -z \"$1\" ] || trap 'echo bye; exit 3' TERM; echo $$; : > \"$0\"";
        let cmd = sh(&format!("{begin}; {script}"))
            .arg(ready.to_str().unwrap())
            .arg(last.unwrap_or_default());
        let process = shell.start(cmd.stoppable()).await.unwrap();
        until("ready", || ready.exists()).await;
        let output = process.stop().await.unwrap();
        assert_eq!(
            (output.status, output.timed_out),
            (Some(0), false),
            "{output:?}"
        );
        assert_eq!(output.text().lines().nth(1), last);
        assert!(output.stderr.is_empty(), "{output:?}");
        assert!(!runs(&pid(&output)));
    }
}

#[tokio::test]
async fn lines_can_be_waited_for() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let cmd = sh("echo one; exec sleep 60").stoppable();
    let mut process = shell.start(cmd).await.unwrap();
    assert!(process.printed(1, Duration::from_secs(20)).await);
    assert!(!process.printed(2, Duration::from_millis(100)).await);
    assert_eq!(process.stop().await.unwrap().text(), "one\n");
    // One that ends without them is not waited for any longer.
    let mut process = shell.start(sh("echo one")).await.unwrap();
    assert!(!process.printed(2, Duration::from_secs(20)).await);
    assert!(process.wait().await.unwrap().ok());
}

#[tokio::test]
async fn stop_leaves_what_has_ended_its_own_status() {
    let Some((sshd, shell)) = connected().await else {
        return;
    };
    for status in [0, 3, 143] {
        let pid = sshd.sockets().join(format!("pid{status}"));
        let script = format!("echo done; echo $$ > \"$0\"; exit {status}");
        let cmd = sh(&script).arg(pid.to_str().unwrap()).stoppable();
        let process = shell.start(cmd.clone()).await.unwrap();
        until("ended", || {
            let text = std::fs::read_to_string(&pid).unwrap_or_default();
            text.ends_with('\n') && !runs(text.trim())
        })
        .await;
        let output = process.stop().await.unwrap();
        assert_eq!(output.status, Some(status));
        assert_eq!(output.text(), "done\n");
        let waited = shell.run(cmd).await.unwrap();
        assert_eq!(waited.status, Some(status));
    }
    // What can't be stopped is waited for.
    let process = shell.start(sh("sleep 0.5; echo whole")).await.unwrap();
    assert_eq!(process.stop().await.unwrap().text(), "whole\n");
}

#[tokio::test]
async fn held_programs_run_once_released_and_with_empty_input() {
    let Some((sshd, shell)) = connected().await else {
        return;
    };
    assert_eq!(shell.control(), Some(sshd.target().address));
    let ran = sshd.sockets().join("ran");
    let cmd = sh(": > \"$0\"; cat; echo out; echo err >&2; exit 3").arg(ran.to_str().unwrap());
    let mut process = shell.start(cmd.held()).await.unwrap();
    assert!(process.ready(SOON).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!ran.exists());
    let before = Instant::now();
    process.release().await.unwrap();
    let output = process.wait().await.unwrap();
    assert!(before <= output.started && output.started <= output.line_times[0]);
    assert_eq!((output.status, output.timed_out), (Some(3), false));
    assert_eq!(output.text(), "out\n");
    // What it says when it is ready is not the program's.
    assert_eq!(output.stderr, b"err\n");
}

#[tokio::test]
async fn held_programs_start_together() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(shell.start(sh("date +%s%N").held()).await.unwrap());
    }
    for process in &mut held {
        assert!(process.ready(SOON).await);
    }
    for process in &mut held {
        process.release().await.unwrap();
    }
    let mut times: Vec<u64> = Vec::new();
    for process in held {
        let text = process.wait().await.unwrap().text();
        times.push(text.trim().parse().unwrap());
    }
    let apart = times.iter().max().unwrap() - times.iter().min().unwrap();
    // Opening eight channels one after another takes longer than this on any machine under load.
    assert!(apart < 2_000_000_000, "{apart} ns");
}

#[tokio::test]
async fn held_programs_that_nobody_releases_never_run() {
    let Some((mut sshd, shell)) = connected().await else {
        return;
    };
    let file = |name: &str| sshd.sockets().join(name);
    let (waited, dropped, late, lost) =
        (file("waited"), file("dropped"), file("late"), file("lost"));
    let held = |file: &std::path::Path| sh(": > \"$0\"").arg(file.to_str().unwrap()).held();
    let output = shell.run(held(&waited)).await.unwrap();
    assert_eq!(output.status, Some(125), "{output:?}");
    assert!(output.stderr_tail().contains("never released"));

    let mut process = shell.start(held(&dropped)).await.unwrap();
    assert!(process.ready(SOON).await);
    drop(process);

    // The deadline counts from the start, and ends one that waits.
    let cmd = held(&late).deadline(Duration::from_millis(500));
    let mut process = shell.start(cmd).await.unwrap();
    assert!(process.ready(SOON).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _ = process.release().await;
    let output = process.wait().await.unwrap();
    assert!(output.timed_out && output.status.is_none(), "{output:?}");

    let mut process = shell.start(held(&lost)).await.unwrap();
    assert!(process.ready(SOON).await);
    sshd.end();
    assert!(process.wait().await.is_err());
    for file in [waited, dropped, late, lost] {
        assert!(!file.exists(), "{}", file.display());
    }
}

#[tokio::test]
async fn held_and_stoppable_programs_are_both() {
    let Some((_sshd, shell)) = connected().await else {
        return;
    };
    let cmd = sh("echo $$; exec sleep 60").stoppable().held();
    let mut process = shell.start(cmd).await.unwrap();
    assert!(process.ready(SOON).await);
    assert!(!process.printed(1, Duration::from_millis(200)).await);
    process.release().await.unwrap();
    assert!(process.printed(1, SOON).await);
    let output = process.stop().await.unwrap();
    assert_eq!(output.status, Some(0));
    assert!(!runs(&pid(&output)));
}

#[tokio::test]
async fn many_commands_at_once_share_connections() {
    let Some((sshd, shell)) = connected().await else {
        return;
    };
    let mut all = JoinSet::new();
    for i in 0..PROGRAMS {
        let shell = Arc::clone(&shell);
        all.spawn(async move {
            let output = shell
                .check(Cmd::new("echo").arg(i.to_string()))
                .await
                .unwrap();
            assert_eq!(output.text(), format!("{i}\n"));
        });
    }
    assert_eq!(all.join_all().await.len(), PROGRAMS as usize);
    let connections = sshd.connections().len();
    assert!(connections <= CONNECTIONS, "{connections}");
}

#[tokio::test]
async fn a_wrong_or_missing_host_key_is_refused_at_once() {
    let Some(sshd) = Sshd::start() else {
        return;
    };
    sshd.wait_until_up();
    let other = sshd.known_hosts("other", Some(&sshd.client_key()));
    let none = sshd.known_hosts("none", None);
    for known_hosts in [other, none] {
        let target = KeyedTarget {
            known_hosts,
            ..sshd.target()
        };
        let target = target.into();
        let start = Instant::now();
        let error = connector()
            .connect(&host(), &target, sshd.sockets(), SOON * 6)
            .await
            .unwrap_err();
        assert!(matches!(error, ShellError::Connect { .. }), "{error}");
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn waits_for_a_server_that_starts_late_and_not_for_ever() {
    let Some(mut sshd) = Sshd::start() else {
        return;
    };
    sshd.wait_until_up();
    sshd.end();
    let (node, target) = (host(), SshTarget::from(sshd.target()));
    let error = connector()
        .connect(&node, &target, sshd.sockets(), Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(matches!(error, ShellError::Connect { .. }), "{error}");

    let sockets = sshd.sockets().to_owned();
    let waiting =
        tokio::spawn(async move { connector().connect(&host(), &target, &sockets, SOON).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    sshd.restart();
    let shell = waiting.await.unwrap().unwrap();
    shell.check(Cmd::new("true")).await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_is_no_status() {
    let Some((mut sshd, shell)) = connected().await else {
        return;
    };
    let process = shell.start(sh("echo before; sleep 5")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    sshd.end();
    let error = tokio::time::timeout(SOON, process.wait())
        .await
        .unwrap()
        .unwrap_err();
    match error {
        ShellError::Lost { node, command, .. } => {
            assert_eq!(node, host());
            assert!(command.contains("echo before"), "{command}");
        }
        other => unreachable!("{other:?}"),
    }
    let after = shell.run(Cmd::new("true")).await.unwrap_err();
    assert!(matches!(after, ShellError::Lost { .. }), "{after:?}");
}
