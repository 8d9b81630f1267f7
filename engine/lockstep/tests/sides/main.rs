//! The library's promises and waits, without QEMU: machines made of `machine.c`, in a chain with several links.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use vexp_lockstep::counters::Counters;
use vexp_lockstep::generator::{HEADERS, Phase};
use vexp_lockstep::side::{LinkError, Side};
use vexp_lockstep::topology::{End, Link, LinkSpec, Nic, Topology, plugin_argument};

const PATIENCE: Duration = Duration::from_secs(60);
const START: u64 = 10_000_000;
const GRID: u64 = 5_000_000;

/// The machine's program.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let out =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-{}", std::process::id()));
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args([
            "-std=gnu11",
            "-O1",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-parameter",
            "-o",
        ])
        .arg(&out);
        cc.arg("tests/sides/machine.c");
        cc.args(["lockstep.c", "port.c", "wait.c"].map(|source| format!("emulator/{source}")));
        assert!(
            cc.current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .unwrap()
                .success()
        );
        out
    })
}

fn nic(machine: &str, hub: u32) -> End {
    End::Nic(Nic {
        machine: machine.into(),
        hub,
        paused: None,
        switched: None,
    })
}

/// A chain of machines, each with a control link.
fn chain(machines: usize, quantum_ns: u64) -> Topology {
    let name = |number: usize| format!("m{number}");
    let mut links = Vec::new();
    for number in 0..machines {
        let ends = [End::Vexp, nic(&name(number), 0)];
        links.push(Link {
            name: format!("control{number}"),
            spec: LinkSpec::control(),
            ends,
        });
    }
    for number in 1..machines {
        let spec = LinkSpec {
            delay_ns: 20_000 + 7_000 * number as u64,
            ..LinkSpec::data(1_000_000_000 / number as u64)
        };
        let ends = [nic(&name(number - 1), 1), nic(&name(number), 2)];
        links.push(Link {
            name: format!("data{number}"),
            spec,
            ends,
        });
    }
    Topology {
        start_ns: START,
        quantum_ns,
        patience: PATIENCE,
        links,
    }
}

struct Machines {
    _folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Machines {
    fn start(
        topology: &Topology,
        count: usize,
        seed: u64,
        jitter: u32,
        grain: u32,
    ) -> (Self, Side) {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let side = Side::create(folder.path(), topology).unwrap();
        let children = (0..count).map(|number| {
            let argument =
                plugin_argument(Path::new(""), folder.path(), &format!("m{number}")).unwrap();
            let mut command = Command::new(program());
            command.arg(argument.strip_prefix("file=,").unwrap());
            command
                .arg((seed * 1000 + number as u64 + 1).to_string())
                .arg(jitter.to_string())
                .arg(grain.to_string());
            command
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .spawn()
                .unwrap()
        });
        let children = children.collect();
        (
            Self {
                _folder: folder,
                children,
            },
            side,
        )
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn run(machines: usize, seed: u64, quantum: u64, jitter: u32, grain: u32) -> Counters {
    let (running, mut side) =
        Machines::start(&chain(machines, quantum), machines, seed, jitter, grain);
    let template = [2; HEADERS];
    let phase = Phase {
        start_ns: START + 3 * GRID,
        count: 1000,
        interval_ps: 7_333_333,
        length: 60,
        templates: vec![template],
    };
    side.generate("data1", "m0", &[phase]).unwrap();
    let end = START + 20 * GRID;
    let mut seen = 0;
    while side.now() < end - 2 * GRID {
        let until = side.now() + GRID;
        for frame in side.advance(until, PATIENCE, &|| None).unwrap() {
            seen += 1;
            side.send(frame.link, &frame.bytes);
        }
    }
    assert!(seen > 20, "{seen} frames");
    let end = side.earliest().max(end);
    side.stop_at(end, PATIENCE, &|| None).unwrap();
    assert_eq!(side.generated("data1", "m0").unwrap(), [1000]);
    let counters = side.counters();
    assert!(
        counters
            .machines
            .iter()
            .all(|machine| machine.now_ns == end),
        "{counters:#?}"
    );
    assert_eq!(counters.late(), 0, "{counters:#?}");
    drop(running);
    counters
}

#[test]
fn a_chain_of_machines_is_the_same_whatever_real_time_does() {
    let first = run(3, 1, 20_000, 0, 1);
    for link in &first.links {
        for direction in &link.directions {
            assert!(direction.sent > 10 && direction.delivered > 10, "{link:#?}");
        }
    }
    for (quantum, jitter) in [(20_000, 20), (5_000, 50), (20_000, 3)] {
        let again = run(3, 1, quantum, jitter, 1);
        assert_eq!(
            again.links, first.links,
            "quantum {quantum}, jitter {jitter}"
        );
    }
    assert_ne!(run(3, 2, 20_000, 0, 1).links, first.links);
}

#[test]
fn instructions_of_several_nanoseconds_make_nothing_late() {
    let first = run(3, 4, 20_000, 0, 2);
    assert_eq!(run(3, 4, 20_000, 20, 2).links, first.links);
}

#[test]
fn a_long_chain_does_not_stall() {
    run(6, 7, 20_000, 0, 1);
}

#[test]
fn the_library_compiles_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator");
    let sources = ["lockstep.c", "pin.c", "idle.c", "port.c", "wait.c"];
    for source in sources {
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror"]);
        cc.args(["-Wno-unused-parameter", "-c", "-o", "/dev/null", source]);
        assert!(
            cc.current_dir(&folder).status().unwrap().success(),
            "{source}"
        );
    }
}

#[test]
fn machines_wait_for_vexp_for_as_long_as_it_does_something_else() {
    let mut topology = chain(3, 20_000);
    topology.patience = Duration::from_millis(500);
    let (_machines, mut side) = Machines::start(&topology, 3, 5, 0, 1);
    for step in 2..5 {
        side.advance(START + step * GRID, PATIENCE, &|| None)
            .unwrap();
        std::thread::sleep(Duration::from_millis(1500));
    }
}

#[test]
fn a_machine_that_stands_still_ends_the_others_after_their_patience() {
    let mut topology = chain(2, 20_000);
    topology.patience = Duration::from_secs(1);
    let (mut machines, mut side) = Machines::start(&topology, 2, 5, 0, 1);
    let process = machines.children[1].id().to_string();
    assert!(
        Command::new("kill")
            .args(["-STOP", &process])
            .status()
            .unwrap()
            .success()
    );
    let error = (0..100).find_map(|_| {
        let until = side.now() + GRID;
        side.advance(until, Duration::from_secs(15), &|| None).err()
    });
    let error = error.unwrap();
    match &error {
        LinkError::Failed { side, .. } if side == "m0" => {
            assert_eq!(machines.children[0].wait().unwrap().code(), Some(83));
        }
        // It was stopped where the other machine idles, and only vexp waits for it.
        LinkError::Silent { side, .. } => assert_eq!(side, "m1"),
        _ => panic!("{error}"),
    }
}

#[test]
fn a_machine_that_dies_ends_the_others() {
    let (mut machines, mut side) = Machines::start(&chain(3, 20_000), 3, 5, 0, 1);
    side.advance(START + GRID, PATIENCE, &|| None).unwrap();
    side.advance(START + 2 * GRID, PATIENCE, &|| None).unwrap();
    machines.children[2].kill().unwrap();
    machines.children[2].wait().unwrap();
    let error = (0..100).find_map(|_| {
        let until = side.now() + GRID;
        side.advance(until, PATIENCE, &|| None).err()
    });
    let error = error.unwrap();
    assert!(
        matches!(error, LinkError::Died { .. } | LinkError::Failed { .. }),
        "{error}"
    );
    // m1 waits for it, and m0 for m1.
    for number in [1, 0] {
        assert_eq!(
            machines.children[number].wait().unwrap().code(),
            Some(83),
            "m{number}"
        );
    }
}
