//! Two real emulators and vexp's side in one lockstep.
//!
//! Ignored by default, since it takes minutes. It needs, in the environment, the folders of two built images:
//! `VEXP_TEST_EMULATOR` and `VEXP_TEST_KVM` (those in vexp's store that have `emulator` and `kvm` in their manifest). It compiles a
//! static program, with `cc`, and unpacks by `unsquashfs` and `zstd`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod images;
mod machines;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use machines::{Machines, PAIR, Setup, advance};
use vexp_lockstep::counters::Counters;
use vexp_lockstep::generator::{HEADERS, Phase};
use vexp_lockstep::side::{LinkError, Side};

/// When the machines are saved: they are in the middle of pings and TCP then.
const SAVED: u64 = 9_000_000_000;
/// Virtual time that a restored run takes.
const RUN: u64 = 300_000_000;
const GRID: u64 = 5_000_000;

/// What a run shows of itself.
#[derive(Debug, PartialEq)]
struct Outcome {
    links: Vec<vexp_lockstep::counters::LinkCounters>,
    idle: Vec<u64>,
    consoles: [String; 2],
}

/// Stops at the run's end, so that all counters are those of one time.
fn finish(machines: &Machines, side: &mut Side) -> (Outcome, Counters) {
    while side.now() < SAVED + RUN - 20_000_000 {
        let next = side.now() + GRID;
        advance(side, next)
            .unwrap_or_else(|error| panic!("{error}: {}{}", machines.log(1), machines.log(2)));
    }
    machines::stop_at(side, SAVED + RUN).unwrap();
    let counters = side.counters();
    let idle = counters
        .machines
        .iter()
        .map(|machine| machine.idle_ns)
        .collect();
    let consoles = [machines.said(1), machines.said(2)];
    (
        Outcome {
            links: counters.links.clone(),
            idle,
            consoles,
        },
        counters,
    )
}

/// Runs `during` while all processors of this computer are busy with something else.
fn under_load<T>(during: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = during();
        over.store(true, Ordering::Relaxed);
        result
    })
}

/// One boot serves all: the machines are saved once, and each part starts from what was saved.
#[test]
#[ignore = "boots machines"]
fn a_lockstep_of_emulators() {
    let saved = save();
    let first = the_same_twice(&saved);
    pings_take_what_the_link_says(&first);
    a_late_border_is_counted(&saved);
    a_generator_is_exact(&saved);
    a_killed_emulator_ends_the_others(&saved);
}

fn save() -> Machines {
    let (mut machines, mut side) = Machines::boot(PAIR);
    while side.now() < SAVED - 20_000_000 {
        let next = side.now() + GRID;
        advance(&mut side, next)
            .unwrap_or_else(|error| panic!("{error}: {}{}", machines.log(1), machines.log(2)));
    }
    machines::stop_at(&mut side, SAVED).unwrap();
    let counters = side.counters();
    assert_eq!(counters.late(), 0, "{counters:#?}");
    assert!(machines.said(1).contains("round 2"), "{}", machines.said(1));
    machines.migrate();
    machines
}

fn the_same_twice(saved: &Machines) -> Outcome {
    let (machines, mut side) = saved.restore(|_| {});
    let (first, counters) = finish(&machines, &mut side);
    assert_eq!(counters.late(), 0, "{counters:#?}");
    println!("{counters:#?}");
    for number in [1, 2] {
        println!(
            "m{number}: {} s of processor",
            machines.processor_time(number)
        );
    }
    let data = counters
        .links
        .iter()
        .find(|link| link.name == "data")
        .unwrap();
    let [there, back] = &data.directions;
    assert!(there.sent > 4000 && back.sent > 500, "{data:#?}");
    assert!(
        there.pauses > 10 && there.queue_drops == 0 && back.queue_drops == 0,
        "{data:#?}"
    );
    drop((machines, side));
    let (machines, mut side) = saved.restore(|_| {});
    let (second, _) = under_load(|| finish(&machines, &mut side));
    assert_eq!(first, second);
    first
}

fn pings_take_what_the_link_says(outcome: &Outcome) {
    let times = outcome.consoles[0].lines().filter_map(|line| {
        let time = line.split_once("time=")?.1;
        time.split_once(' ')?.0.parse::<f64>().ok()
    });
    let times: Vec<f64> = times.collect();
    println!("pings, in ms: {times:?}");
    // Two delays of 20 µs, and what NICs and kernels take.
    assert!(
        times.len() > 5 && times.iter().all(|time| (0.04..1.0).contains(time)),
        "{times:?}"
    );
}

fn a_late_border_is_counted(saved: &Machines) {
    let (machines, mut side) =
        saved.restore(|side| side.force_late("m1", SAVED + 10_000_000).unwrap());
    while side.now() < SAVED + 20_000_000 {
        let next = side.now() + GRID;
        advance(&mut side, next).unwrap();
    }
    let counters = side.counters();
    assert_eq!(counters.machines[0].late_borders, 1, "{counters:#?}");
    assert_eq!(counters.machines[1].late_borders, 0, "{counters:#?}");
    drop(machines);
}

fn a_generator_is_exact(saved: &Machines) {
    let (machines, mut side) = saved.restore(|_| {});
    let before = side.counters();
    let mut template = [0; HEADERS];
    template[..6].copy_from_slice(&[0x52, 0x54, 0, 0, 1, 2]);
    template[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    template[12..14].copy_from_slice(&[0x88, 0xb5]);
    let start_ns = side.earliest();
    // 60-byte frames every 2,800 ns, for 14 ms.
    let phase = Phase {
        start_ns,
        count: 5000,
        interval_ps: 2_800_000,
        length: 60,
        templates: vec![template],
    };
    side.generate("data", "m1", &[phase]).unwrap();
    while side.now() < start_ns + 20_000_000 {
        let next = side.now() + GRID;
        advance(&mut side, next).unwrap();
    }
    let counters = side.counters();
    assert_eq!(counters.late(), 0);
    let sent = |counters: &Counters| {
        let data = counters
            .links
            .iter()
            .find(|link| link.name == "data")
            .unwrap();
        data.directions[0].sent + data.directions[0].queue_drops
    };
    assert!(sent(&counters) - sent(&before) >= 5000, "{counters:#?}");
    assert_eq!(side.generated("data", "m1").unwrap(), [5000]);
    drop(machines);
}

fn a_killed_emulator_ends_the_others(saved: &Machines) {
    let (mut machines, mut side) = saved.restore(|_| {});
    advance(&mut side, SAVED + GRID).unwrap();
    machines.kill(2);
    let killed = Instant::now();
    let error = loop {
        let next = side.now() + GRID;
        match advance(&mut side, next) {
            Ok(_) => assert!(killed.elapsed() < Duration::from_secs(20)),
            Err(error) => break error,
        }
    };
    println!("{error}, after {:?}", killed.elapsed());
    let named = matches!(&error, LinkError::Died { side, .. } if side == "m2");
    assert!(
        named || matches!(&error, LinkError::Failed { side, .. } if side == "m1"),
        "{error}"
    );
    assert!(killed.elapsed() < Duration::from_secs(20));
    assert_eq!(machines.wait(1), Some(83));
    assert!(
        machines.log(1).contains("lockstep: m2 died"),
        "{}",
        machines.log(1)
    );
}

#[test]
#[ignore = "needs an image"]
fn another_emulator_is_refused() {
    let id = [0xe5, 0x58, 0x8a, 0x4a, 0xe9, 0xdc, 0x72, 0x4c];
    let (code, log) =
        machines::start_changed(&id, &[0xe5, 0x58, 0x8a, 0x4a, 0xe9, 0xdc, 0x72, 0x4d]);
    assert_eq!(code, Some(81), "{log}");
    assert!(
        log.contains("lockstep: this emulator's build id is e5588a4ae9dc724d"),
        "{log}"
    );
    // test %al,%al; je +0x20; call qemu_notify_event: with another distance.
    let call = [0x84, 0xc0, 0x74, 0x20, 0xe8, 0x78, 0x23, 0x34, 0x00];
    let (code, log) = machines::start_changed(
        &call,
        &[0x84, 0xc0, 0x74, 0x20, 0xe8, 0x70, 0x23, 0x34, 0x00],
    );
    assert_eq!(code, Some(81), "{log}");
    assert!(
        log.contains("not the code that belongs to it: the vCPU's loop wakes the main loop"),
        "{log}"
    );
}

/// A processor delivers each tick once. QEMU delivers some twice, which the guest sees when it has interrupts off.
#[test]
#[ignore = "boots a machine"]
fn a_guest_of_a_machine_gets_each_interrupt_once() {
    let setup = Setup {
        machines: 1,
        processor: "Opteron_G3,+svm,+npt",
        role: "host",
    };
    let (machines, mut side) = Machines::boot(setup);
    let mut inside = 0;
    while !machines.said(1).contains("guest: over") {
        assert!(side.now() < 20_000_000_000, "{}", machines.said(1));
        let next = side.now() + GRID;
        advance(&mut side, next).unwrap_or_else(|error| panic!("{error}: {}", machines.log(1)));
        if inside < 3 && machines.said(1).contains("guest: loops") {
            inside += 1;
            // It can't be saved while it is inside the guest, and goes on.
            let at = side.earliest();
            match machines::stop_at(&mut side, at) {
                Ok(_) | Err(LinkError::InsideGuest { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            machines.go_on(&side.resume());
        }
    }
    let said = machines.said(1);
    println!("{said}");
    let last = said.lines().rfind(|line| line.contains("ticks")).unwrap();
    let number = |name: &str| {
        let mut words = last.split_whitespace();
        words.find(|word| *word == name);
        words.next().unwrap().parse::<u32>().unwrap()
    };
    // A second at 1 kHz.
    assert!((900..=1010).contains(&number("ticks")), "{last}");
    assert_eq!(number("bogus"), 0, "{last}");
    let counters = side.counters();
    assert!(counters.machines[0].vmruns > 900, "{counters:#?}");
    assert_eq!(counters.late(), 0, "{counters:#?}");
}
