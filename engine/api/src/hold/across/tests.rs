use std::sync::atomic::AtomicUsize;

use super::*;

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("vexp-across-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn host(name: &str) -> Owner {
    Owner {
        host: name.to_owned(),
        boot: "b".to_owned(),
        process: 1,
    }
}

fn on(name: &str, path: &Path, stale: Duration) -> Claiming {
    Claiming::of(path.to_owned(), host(name), stale)
}

fn ours(tried: Tried) -> Option<Claim> {
    match tried {
        Tried::Ours(claim) => Some(claim),
        Tried::Theirs { .. } => None,
    }
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn one_of_two_computers_has_a_claim_and_the_other_is_told_who() {
    let folder = folder("two");
    let path = folder.join("lock.across");
    let (mut a, mut b) = (on("a", &path, LONG), on("b", &path, LONG));
    let held = ours(a.attempt().unwrap()).unwrap();
    let Tried::Theirs { owner, lives } = b.attempt().unwrap() else {
        panic!("both have it");
    };
    assert_eq!(owner.unwrap().to_string(), " (process 1 on a)");
    assert!(!lives, "nothing was seen of it yet");
    write_beat(&path, &held.token, 1).unwrap();
    let Tried::Theirs { lives, .. } = b.attempt().unwrap() else {
        panic!("both have it");
    };
    assert!(lives);
    drop(held);
    let held = ours(b.attempt().unwrap()).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    drop(held);
    // Nothing is left, and no name of a trial.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_claim_that_does_not_change_is_taken_away_by_the_waiter_s_own_clock() {
    let folder = folder("stale");
    let path = folder.join("lock.across");
    // Its owner is gone, and its clock was hours ahead.
    let lost = ours(on("a", &path, LONG).attempt().unwrap()).unwrap();
    let file = open(&path, true).unwrap();
    file.set_modified(SystemTime::now() + LONG).unwrap();
    let mut b = on("b", &path, Duration::ZERO);
    assert!(ours(b.attempt().unwrap()).is_none(), "a first look");
    write_beat(&path, &lost.token, 7).unwrap();
    assert!(ours(b.attempt().unwrap()).is_none(), "it has changed");
    b.stale = LONG;
    assert!(ours(b.attempt().unwrap()).is_none(), "too soon");
    b.stale = Duration::ZERO;
    let held = ours(b.attempt().unwrap()).unwrap();
    // Who stood still for so long neither writes to the new claim nor takes it away.
    let before = std::fs::read(&path).unwrap();
    write_beat(&path, &lost.token, 8).unwrap();
    drop(lost);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    drop(held);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_dead_process_of_the_same_computer_is_not_waited_for() {
    let folder = folder("here");
    let path = folder.join("lock.across");
    std::mem::forget(on("a", &path, LONG).attempt().unwrap());
    assert!(ours(on("a", &path, LONG).attempt().unwrap()).is_some());
    // After a reboot it is another computer, whose dead claim goes stale.
    std::mem::forget(on("a", &path, LONG).attempt().unwrap());
    let mut rebooted = on("a", &path, Duration::ZERO);
    rebooted.me.boot = "c".to_owned();
    assert!(ours(rebooted.attempt().unwrap()).is_none());
    assert!(ours(rebooted.attempt().unwrap()).is_some());
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Computers without a common flock(2): only claims keep them apart.
#[test]
fn many_computers_take_turns() {
    let folder = folder("turns");
    let path = folder.join("lock.across");
    let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (path, inside, turns) = (&path, &inside, &turns);
            scope.spawn(move || {
                let mut claiming = on(&format!("n{n}"), path, LONG);
                for _ in 0..25 {
                    let held = loop {
                        match ours(claiming.attempt().unwrap()) {
                            Some(held) => break held,
                            None => std::thread::sleep(Duration::from_micros(200)),
                        }
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    turns.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                }
            });
        }
    });
    assert_eq!(turns.into_inner(), 100);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn looking_sees_other_computers_and_changes_nothing() {
    let folder = folder("look");
    let path = folder.join("lock.across");
    assert_eq!(look(&path).unwrap(), None);
    let held = ours(on("elsewhere", &path, LONG).attempt().unwrap()).unwrap();
    assert_eq!(look(&path).unwrap(), Some(host("elsewhere")));
    let file = open(&path, true).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(
        look(&path).unwrap(),
        None,
        "nobody has written to it for long"
    );
    drop(held);
    let own = ours(Claiming::new(path.clone()).attempt().unwrap()).unwrap();
    assert_eq!(look(&path).unwrap(), None, "flock says so");
    drop(own);
    // What is no claim is nobody's that could be named, and is not followed.
    std::fs::write(&path, "what\n").unwrap();
    let mut claiming = on("a", &path, LONG);
    let tried = claiming.attempt().unwrap();
    assert!(matches!(tried, Tried::Theirs { owner: None, .. }));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(on("a", &path, LONG).attempt().is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Adds one to a number in a file, as often as it is told, if it is told.
#[test]
fn counts_in_turn_where_it_is_started_for_it() {
    let Some(folder) = std::env::var_os("VEXP_TEST_COUNT_IN").map(PathBuf::from) else {
        return;
    };
    let mut claiming = Claiming::new(folder.join("lock.across"));
    claiming.flock = false;
    for _ in 0..20 {
        let held = loop {
            match ours(claiming.attempt().unwrap()) {
                Some(held) => break held,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let count: u32 = std::fs::read_to_string(folder.join("count"))
            .unwrap()
            .parse()
            .unwrap();
        std::thread::sleep(Duration::from_millis(1));
        std::fs::write(folder.join("count"), (count + 1).to_string()).unwrap();
        drop(held);
    }
}

/// Two processes, each on what calls itself another computer, and without flock(2).
#[test]
fn processes_of_two_computers_never_hold_at_once() {
    let folder = folder("hosts");
    std::fs::write(folder.join("count"), "0").unwrap();
    let begin = |host: &str| {
        let script = format!("hostname {host} && exec \"$@\"");
        std::process::Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--uts",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "hold::across::tests::counts_in_turn_where_it_is_started_for_it",
            ])
            .env("VEXP_TEST_COUNT_IN", &folder)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    for mut child in ["n1", "n2"].map(begin) {
        assert!(child.wait().unwrap().success());
    }
    let count = std::fs::read_to_string(folder.join("count")).unwrap();
    assert_eq!(count, "40");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn where_there_is_no_flock_a_live_process_of_this_computer_keeps_its_claim() {
    let folder = folder("noflock");
    let path = folder.join("lock.across");
    let mut first = Claiming::new(path.clone());
    first.flock = false;
    let held = ours(first.attempt().unwrap()).unwrap();
    let mut second = Claiming::new(path.clone());
    second.flock = false;
    assert!(ours(second.attempt().unwrap()).is_none(), "we live");
    drop(held);
    let mut dead = Claiming::new(path);
    // No process has this number.
    dead.me.process = u32::MAX;
    std::mem::forget(dead.attempt().unwrap());
    assert!(ours(second.attempt().unwrap()).is_some());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_is_held_here_and_among_all() {
    let folder = folder("both");
    let lock = folder.join("lock");
    let mut other = Holding::new(&lock);
    let Attempt::Ours(held) = Holding::new(&lock).attempt().unwrap() else {
        panic!("nobody has it");
    };
    assert!(matches!(other.attempt().unwrap(), Attempt::Here(_)));
    assert!(beside(&lock).exists());
    drop(held);
    assert!(!beside(&lock).exists());
    let elsewhere = ours(on("login1", &beside(&lock), LONG).attempt().unwrap()).unwrap();
    // Another test may just be starting a program, which has our files until it is one.
    let holder = loop {
        match other.attempt().unwrap() {
            Attempt::Here(_) => {}
            Attempt::Elsewhere { holder, .. } => break holder,
            Attempt::Ours(_) => panic!("both have it"),
        }
    };
    assert_eq!(holder, " (process 1 on login1)");
    drop(elsewhere);
    assert!(matches!(other.attempt().unwrap(), Attempt::Ours(_)));
    std::fs::remove_dir_all(&folder).unwrap();
}
