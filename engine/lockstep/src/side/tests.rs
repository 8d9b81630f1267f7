//! Sides against each other.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::generator::{HEADERS, Phase};
use crate::topology::{End, Link, LinkSpec, Nic, plugin_argument};

const START: u64 = 1_000_000;
const DELAY: u64 = 5_000_000;
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// Links between vexp and a machine `m`.
fn topology(links: usize) -> Topology {
    let link = |number: usize| Link {
        name: format!("link{number}"),
        spec: LinkSpec::control(),
        ends: [
            End::Vexp,
            End::Nic(Nic {
                machine: "m".into(),
                hub: 0,
                paused: None,
                switched: None,
            }),
        ],
    };
    Topology {
        start_ns: START,
        quantum_ns: 20_000,
        patience: LONG,
        links: (0..links).map(link).collect(),
    }
}

fn pair(links: usize) -> (TempDir, Side, Side) {
    let folder = tempfile::tempdir().unwrap();
    let vexp = Side::create(folder.path(), &topology(links)).unwrap();
    let machine = Side::attach(folder.path(), "m", START).unwrap();
    (folder, vexp, machine)
}

fn go(side: &mut Side, until: u64) -> Vec<Frame> {
    side.advance(until, LONG, &|| None).unwrap()
}

fn frame(byte: u8, length: usize) -> Vec<u8> {
    vec![byte; length]
}

#[test]
fn a_frame_arrives_after_serialisation_and_delay() {
    let (_folder, mut vexp, mut machine) = pair(1);
    vexp.send(0, &frame(1, 60));
    vexp.send(0, &frame(2, 1000));
    vexp.send(0, &frame(3, 1));
    go(&mut vexp, START + DELAY);
    let frames = go(&mut machine, START + 2 * DELAY);
    let times: Vec<u64> = frames
        .iter()
        .map(|frame| frame.at - START - DELAY)
        .collect();
    // 84 bytes, then 1,024, then 84, at 8 ns a byte.
    assert_eq!(times, [672, 672 + 8192, 672 + 8192 + 672]);
    assert_eq!(frames[1].bytes, frame(2, 1000));
    assert_eq!(frames[2].bytes, [3]);
}

#[test]
fn frames_of_all_links_come_in_order_of_time_then_link() {
    let (_folder, mut vexp, mut machine) = pair(3);
    vexp.send(2, &frame(1, 60));
    vexp.send(0, &frame(2, 60));
    vexp.send(1, &frame(3, 100));
    vexp.send(1, &frame(4, 100));
    go(&mut vexp, START + DELAY);
    let frames = go(&mut machine, START + 2 * DELAY);
    let order: Vec<(usize, u8)> = frames
        .iter()
        .map(|frame| (frame.link, frame.bytes[0]))
        .collect();
    assert_eq!(order, [(0, 2), (2, 1), (1, 3), (1, 4)]);
}

#[test]
fn a_frame_is_given_when_its_time_has_passed_and_not_before() {
    let (_folder, mut vexp, mut machine) = pair(1);
    vexp.send(0, &frame(1, 60));
    go(&mut vexp, START + DELAY);
    let at = START + DELAY + 672;
    assert_eq!(go(&mut machine, at), []);
    assert_eq!(go(&mut machine, at + 1).len(), 1);
    assert_eq!(machine.now(), at + 1);
}

#[test]
fn a_side_waits_for_what_its_neighbour_has_not_promised() {
    let (_folder, mut vexp, mut machine) = pair(1);
    // The neighbour stands at the start: what it may send arrives a delay later.
    let known = START + DELAY + 672;
    assert_eq!(go(&mut vexp, known), []);
    let waiting = thread::spawn(move || {
        let frames = go(&mut vexp, known + 1);
        (Instant::now(), frames)
    });
    thread::sleep(Duration::from_millis(50));
    let before = Instant::now();
    machine.send(0, &frame(7, 60));
    go(&mut machine, START + 1);
    let (after, frames) = waiting.join().unwrap();
    assert!(after > before);
    assert_eq!(
        frames,
        [Frame {
            at: known,
            link: 0,
            bytes: frame(7, 60)
        }]
    );
}

#[test]
fn two_sides_that_answer_each_other_see_the_same_whatever_the_threads_do() {
    let run = |pause: u64| {
        let (_folder, mut vexp, mut machine) = pair(1);
        let there = thread::spawn(move || {
            for step in 1..200 {
                for frame in go(&mut machine, START + step * DELAY / 2) {
                    machine.send(0, &frame.bytes[1..]);
                }
                if step % 50 == 0 {
                    thread::sleep(Duration::from_millis(pause));
                }
            }
            machine.counters()
        });
        vexp.send(0, &frame(9, 300));
        let mut seen = Vec::new();
        for step in 1..200 {
            for frame in go(&mut vexp, START + step * DELAY / 2) {
                seen.push((frame.at, frame.bytes.len()));
                vexp.send(0, &frame.bytes[1..]);
            }
        }
        (seen, there.join().unwrap().links[0].directions[1].sent_hash)
    };
    let (seen, hash) = run(0);
    assert!(seen.len() > 20, "{seen:?}");
    assert_eq!((seen, hash), run(20));
}

#[test]
fn a_conditional_promise_holds_until_something_is_sent() {
    let (_folder, mut vexp, machine) = pair(1);
    let known = START + DELAY + 672;
    let channel = machine.ports[0].out();
    channel.promise_seen.store(0, SeqCst);
    channel.promise.store(known + 1_000_000, SeqCst);
    assert_eq!(vexp.ports[0].known(), known + 1_000_000);
    assert_eq!(go(&mut vexp, known + 1_000_000), []);
    vexp.send(0, &frame(1, 60));
    assert_eq!(vexp.ports[0].known(), known);
    let head = vexp.ports[0].out().head.load(Relaxed);
    channel.promise_seen.store(head, SeqCst);
    assert_eq!(vexp.ports[0].known(), known + 1_000_000);
}

#[test]
fn a_ring_wraps() {
    let folder = tempfile::tempdir().unwrap();
    let mut slow = topology(1);
    slow.links[0].spec.rate_bps = 100_000_000;
    let mut vexp = Side::create(folder.path(), &slow).unwrap();
    let mut machine = Side::attach(folder.path(), "m", START).unwrap();
    let ring = vexp.ports[0].file.ring();
    let mut sent = Vec::new();
    let mut taken = Vec::new();
    let mut total = 0;
    for step in 1u64.. {
        for number in 0..40usize {
            let bytes: Vec<u8> = (0..60 + (number * 577) % 1450)
                .map(|at| (at + number) as u8)
                .collect();
            total += bytes.len() as u64;
            vexp.send(0, &bytes);
            sent.push(bytes);
        }
        go(&mut vexp, START + step * DELAY);
        taken.extend(
            go(&mut machine, START + step * DELAY)
                .into_iter()
                .map(|frame| frame.bytes),
        );
        if total > 3 * ring {
            break;
        }
    }
    let end = vexp.now();
    go(&mut vexp, end + DELAY / 2);
    taken.extend(
        go(&mut machine, end + DELAY)
            .into_iter()
            .map(|frame| frame.bytes),
    );
    assert_eq!(sent, taken);
    let there = &vexp.counters().links[0].directions[0];
    assert_eq!(
        (there.sent, there.sent_hash),
        (there.delivered, there.delivered_hash)
    );
    assert_eq!(there.queue_drops, 0);
}

#[test]
fn what_the_queue_has_no_room_for_is_dropped_and_counted() {
    let (_folder, mut vexp, _machine) = pair(1);
    // 12 ms at 1 Gb/s are 1.5 MB.
    for _ in 0..1100 {
        vexp.send(0, &frame(1, 1490));
    }
    let there = vexp.counters().links[0].directions[0].clone();
    assert_eq!(there.sent + there.queue_drops, 1100);
    assert_eq!(there.sent, 12_000_000 / (1514 * 8) + 1);
}

#[test]
fn a_silent_side_ends_the_wait_after_the_patience() {
    let (_folder, mut vexp, _machine) = pair(1);
    let began = Instant::now();
    let error = vexp
        .advance(START + 3 * DELAY, SHORT, &|| None)
        .unwrap_err();
    assert!(
        matches!(&error, LinkError::Silent { side, .. } if side == "m"),
        "{error}"
    );
    assert!(began.elapsed() >= SHORT && began.elapsed() < LONG / 2);
}

#[test]
fn progress_of_a_side_prolongs_the_patience() {
    let (_folder, mut vexp, mut machine) = pair(1);
    let other = thread::spawn(move || {
        for step in 1..=10 {
            thread::sleep(SHORT / 4);
            machine
                .advance(START + step * DELAY / 10, LONG, &|| None)
                .unwrap();
        }
        machine
    });
    vexp.advance(START + 2 * DELAY, SHORT, &|| None).unwrap();
    drop(other.join().unwrap());
}

#[test]
fn a_side_that_ended_ends_the_wait_at_once() {
    let (_folder, mut vexp, machine) = pair(1);
    drop(machine);
    let error = vexp.advance(START + 3 * DELAY, LONG, &|| None).unwrap_err();
    assert!(
        matches!(&error, LinkError::Ended { side, .. } if side == "m"),
        "{error}"
    );
}

#[test]
fn a_side_whose_process_died_is_noticed_long_before_the_patience() {
    let (folder, mut vexp, machine) = pair(1);
    drop(machine);
    // It runs, says its file, but nobody holds the lock.
    let file = SideFile::open(&side_file(folder.path(), "m")).unwrap();
    file.fields().state.store(State::Running as u32, SeqCst);
    let began = Instant::now();
    let error = vexp.advance(START + 3 * DELAY, LONG, &|| None).unwrap_err();
    assert!(
        matches!(&error, LinkError::Died { side, .. } if side == "m"),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_side_that_failed_says_why() {
    let (folder, mut vexp, _machine) = pair(1);
    let file = SideFile::open(&side_file(folder.path(), "m")).unwrap();
    file.fields().cause.store(83, SeqCst);
    file.fields().state.store(State::Failed as u32, SeqCst);
    let error = vexp.advance(START + 3 * DELAY, LONG, &|| None).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("ended or made no progress"), "{message}");
}

#[test]
fn a_wait_can_be_abandoned() {
    let (_folder, mut vexp, _machine) = pair(1);
    let error = vexp
        .advance(START + 3 * DELAY, LONG, &|| Some("interrupted".into()))
        .unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
}

/// Another side that stops as an emulator does.
fn stops(mut side: Side) -> thread::JoinHandle<Side> {
    thread::spawn(move || {
        loop {
            // In this order: vexp tells when to stop before it promises anything beyond.
            let known = side.ports[0].known();
            let stop = side.me.fields().stop_at.load(SeqCst);
            let until = (side.now() + DELAY / 4).min(known).min(stop);
            go(&mut side, until);
            if until == stop {
                break;
            }
        }
        side.me.fields().state.store(State::Stopped as u32, SeqCst);
        side
    })
}

#[test]
fn all_stop_at_one_time_and_a_copy_holds_what_is_in_flight() {
    let (folder, mut vexp, machine) = pair(1);
    go(&mut vexp, START + DELAY / 2);
    let at = vexp.earliest();
    let other = stops(machine);
    vexp.send(0, &frame(1, 60));
    let error = vexp.stop_at(at - 1, LONG, &|| None).unwrap_err();
    assert!(matches!(error, LinkError::TooEarly { .. }), "{error}");
    vexp.stop_at(at, LONG, &|| None).unwrap();
    let mut machine = other.join().unwrap();
    assert_eq!((vexp.now(), machine.now()), (at, at));
    machine.send(0, &frame(2, 70));
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let finish = |mut vexp: Side, mut machine: Side| {
        vexp.send(0, &frame(3, 80));
        let other = thread::spawn(move || go(&mut machine, at + 2 * DELAY));
        let here = go(&mut vexp, at + 2 * DELAY);
        (here, other.join().unwrap(), vexp.counters().links)
    };
    let restored = Side::open(copy.path(), LONG).unwrap();
    assert_eq!(restored.now(), at);
    let restored = finish(restored, Side::attach(copy.path(), "m", at).unwrap());
    assert_eq!(
        restored.0,
        [Frame {
            at: at + DELAY + 94 * 8,
            link: 0,
            bytes: frame(2, 70)
        }]
    );
    assert_eq!(restored.1.len(), 2);
    assert_eq!(vexp.resume(), ["m"]);
    assert_eq!(finish(vexp, machine), restored);
}

#[test]
fn a_topology_that_cannot_be_is_refused() {
    let refused = |change: &dyn Fn(&mut Topology)| {
        let mut topology = topology(2);
        change(&mut topology);
        let folder = tempfile::tempdir().unwrap();
        let error = Side::create(folder.path(), &topology)
            .unwrap_err()
            .to_string();
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{error}"
        );
        error
    };
    let below = refused(&|topology| topology.links[1].spec.delay_ns = 19_999);
    assert!(
        below.contains("link link1: a delay of 19999 ns is below the quantum of 20000 ns"),
        "{below}"
    );
    let twice = refused(&|topology| topology.links[1].name = "link0".into());
    assert!(twice.contains("two links"), "{twice}");
    let named = refused(&|topology| topology.links[1].name = "a/b".into());
    assert!(named.contains("\"a/b\""), "{named}");
    let rate = refused(&|topology| topology.links[0].spec.rate_bps = 0);
    assert!(rate.contains("a rate of 0"), "{rate}");
    let loops = refused(&|topology| topology.links[0].ends[1] = End::Vexp);
    assert!(loops.contains("both its ends are at vexp"), "{loops}");
    let alone = refused(&|topology| {
        let nic = |machine: &str| {
            End::Nic(Nic {
                machine: machine.into(),
                hub: 0,
                paused: None,
                switched: None,
            })
        };
        topology.links[1].ends = [nic("m"), nic("n")];
    });
    assert!(
        alone.contains("machine n without a link with vexp"),
        "{alone}"
    );
}

#[test]
fn files_of_another_format_are_refused() {
    let (folder, vexp, machine) = pair(1);
    drop((vexp, machine));
    let path = folder.path().join("link0.link");
    let refused = |at: usize, bytes: &[u8]| {
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(&path, damaged).unwrap();
        let error = Side::open(folder.path(), LONG).unwrap_err().to_string();
        std::fs::write(&path, whole).unwrap();
        error
    };
    assert!(refused(8, &[9]).contains("its format is 9; this vexp knows 2"));
    assert!(refused(0, b"x").contains("it isn't a file of a lockstep"));
    assert!(refused(48, &[1]).contains("a ring of"));
    std::fs::write(&path, [0; 100]).unwrap();
    let short = Side::open(folder.path(), LONG).unwrap_err().to_string();
    assert!(short.contains("it has 100 bytes"), "{short}");
}

#[test]
fn a_broken_promise_and_a_late_frame_are_counted() {
    let (_folder, mut vexp, mut machine) = pair(1);
    let out = machine.ports[0].out();
    let horizon = out.horizon.load(SeqCst);
    out.horizon.store(horizon + DELAY, SeqCst);
    go(&mut vexp, horizon + DELAY);
    machine.send(0, &frame(1, 60));
    assert_eq!(vexp.counters().late(), 1);
    go(&mut machine, START + DELAY + 1);
    assert_eq!(go(&mut vexp, horizon + DELAY + 1).len(), 1);
    let back = vexp.counters().links[0].directions[1].clone();
    assert_eq!((back.broken, back.late), (1, 1));
}

#[test]
fn a_damaged_ring_is_an_error() {
    let (_folder, mut vexp, mut machine) = pair(1);
    vexp.send(0, &frame(1, 60));
    vexp.ports[0].file.put(0, 8, &u32::MAX.to_le_bytes());
    go(&mut vexp, START + DELAY);
    let error = machine
        .advance(START + 2 * DELAY, LONG, &|| None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("a frame of 4294967295 bytes"), "{error}");
}

#[test]
fn a_generator_is_told_its_phases_before_they_begin() {
    let (_folder, mut vexp, machine) = pair(1);
    let start_ns = vexp.earliest();
    let phase = Phase {
        start_ns,
        count: 10,
        interval_ps: 2_800_500,
        length: 60,
        templates: vec![[7; HEADERS]],
    };
    vexp.generate("link0", "m", std::slice::from_ref(&phase))
        .unwrap();
    let shared = machine.ports[0].file.phase(1, 0);
    assert_eq!(
        (shared.start.load(SeqCst), shared.count.load(SeqCst)),
        (start_ns, 10)
    );
    let template = &shared.template[0];
    assert_eq!(
        (template[41].load(SeqCst), template[42].load(SeqCst)),
        (7, 0)
    );
    assert_eq!(machine.me.fields().generators.load(SeqCst), 1);
    let early = Phase {
        start_ns: start_ns - 1,
        ..phase.clone()
    };
    let error = vexp.generate("link0", "m", &[early]).unwrap_err();
    assert!(matches!(error, LinkError::TooEarly { .. }), "{error}");
    for wrong in [
        Phase {
            length: 59,
            ..phase.clone()
        },
        Phase {
            interval_ps: 0,
            ..phase.clone()
        },
        Phase {
            templates: Vec::new(),
            ..phase.clone()
        },
    ] {
        vexp.generate("link0", "m", &[wrong]).unwrap_err();
    }
    vexp.generate("link0", "m", &vec![phase.clone(); 17])
        .unwrap_err();
    vexp.generate("link1", "m", std::slice::from_ref(&phase))
        .unwrap_err();
    vexp.generate("link0", "n", &[phase]).unwrap_err();
}

#[test]
fn commas_in_paths_do_not_end_the_option() {
    let argument = plugin_argument(Path::new("/a,b/lockstep.so"), Path::new("/c,d"), "m1").unwrap();
    assert_eq!(argument, "file=/a,,b/lockstep.so,side=/c,,d/m1.side");
}
