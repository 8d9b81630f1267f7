//! Sides against each other, of which vexp's sees all that passes.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::side::Side;
use crate::topology::{End, Link, LinkSpec, Nic, Topology};

const START: u64 = 1_000_000;
const STEP: u64 = 5_000_000;
const LONG: Duration = Duration::from_secs(20);

fn end(machine: &str, hub: u32) -> End {
    End::Nic(Nic {
        machine: machine.into(),
        hub,
        paused: None,
        switched: None,
    })
}

/// vexp, a machine and its peers: a control link to each, and a data link between them.
fn topology() -> Topology {
    let link = |name: &str, spec, ends| Link {
        name: name.into(),
        spec,
        ends,
    };
    Topology {
        start_ns: START,
        quantum_ns: 20_000,
        patience: LONG,
        links: vec![
            link("control-m", LinkSpec::control(), [End::Vexp, end("m", 0)]),
            link("control-p", LinkSpec::control(), [End::Vexp, end("p", 0)]),
            link(
                "data0",
                LinkSpec::data(1_000_000_000),
                [end("m", 1), end("p", 1)],
            ),
        ],
    }
}

/// Lets machines go as far as they may by themselves, `ahead` of vexp's next step; then what vexp has seen after each
/// step: frames from the machine on the data link, their hash, and marks.
fn seen(ahead: bool, change: Option<u64>) -> Vec<(u64, u64, String)> {
    let folder = tempfile::tempdir().unwrap();
    let mut vexp = Side::create(folder.path(), &topology()).unwrap();
    let mut machine = Side::attach(folder.path(), "m", START).unwrap();
    let mut peers = Side::attach(folder.path(), "p", START).unwrap();
    let mut sent = 0;
    let mut steps = Vec::new();
    for step in 1..=6 {
        let until = START + step * STEP;
        // Machines may be ahead of vexp by their control links' delay: here vexp is a step behind.
        let goal = match ahead {
            true => until - 10_000,
            false => until - STEP + 100_000,
        };
        while machine.now() < goal {
            let next = (machine.now() + 10_000).min(goal);
            if machine.now() % 200_000 < 10_000 {
                sent += 1;
                let byte = if change == Some(sent) { 0xff } else { 1 };
                let data = machine.links().iter().position(|link| link == "data0");
                machine.send(data.unwrap(), &[byte; 1000]);
            }
            machine.advance(next, LONG, &|| None).unwrap();
            peers.advance(next, LONG, &|| None).unwrap();
        }
        vexp.advance(until, LONG, &|| None).unwrap();
        let traffic = vexp.traffic();
        let data = traffic.iter().find(|t| t.link == "data0" && t.from == "m");
        let data = data.unwrap();
        assert!(data.whole && data.to == "p");
        steps.push((data.frames, data.hash, data.marks.clone()));
    }
    steps
}

#[test]
fn what_is_settled_does_not_depend_on_how_far_machines_are_ahead() {
    let steps = seen(false, None);
    assert_eq!(steps, seen(true, None));
    // Nothing is settled at the first step; 25 frames pass in each of the others.
    let frames: Vec<u64> = steps.iter().map(|step| step.0).collect();
    assert_eq!(frames[0], 0);
    assert!(
        frames.windows(2).skip(1).all(|two| two[1] - two[0] == 25),
        "{frames:?}"
    );
    let marks: usize = steps.iter().map(|step| step.2.len()).sum();
    assert_eq!(marks as u64, frames[5] / vexp_api::trace::STRIDE * 2);
}

#[test]
fn a_frame_that_differs_shows_from_its_step_and_mark_on() {
    let (one, other) = (seen(false, None), seen(true, Some(60)));
    let first = one.iter().zip(&other).position(|(one, other)| one != other);
    let first = first.unwrap();
    assert!(one[first - 1].0 < 60 && one[first].0 >= 60, "{first}");
    assert_eq!(one[first].0, other[first].0);
    // Marks are those of frames 56, 64 and so on.
    let before = one[first - 1].0 / vexp_api::trace::STRIDE;
    let same = (7 - before as usize) * 2;
    assert_eq!(one[first].2[..same], other[first].2[..same]);
    assert_ne!(one[first].2[same..same + 2], other[first].2[same..same + 2]);
    assert!(
        one[first..]
            .iter()
            .zip(&other[first..])
            .all(|(one, other)| one.1 != other.1)
    );
}

#[test]
fn it_is_what_readers_have_taken_and_goes_on_from_there_after_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    let mut vexp = Side::create(folder.path(), &topology()).unwrap();
    let mut machine = Side::attach(folder.path(), "m", START).unwrap();
    let mut peers = Side::attach(folder.path(), "p", START).unwrap();
    for step in 1..=4 {
        let until = START + step * STEP;
        machine.send(0, &[step as u8; 100]);
        vexp.send(1, &[step as u8; 200]);
        while machine.now() < until {
            let next = machine.now() + 10_000;
            machine.advance(next, LONG, &|| None).unwrap();
            peers.advance(next, LONG, &|| None).unwrap();
        }
        vexp.advance(until, LONG, &|| None).unwrap();
    }
    let counters = vexp.counters();
    for traffic in vexp.traffic() {
        let link = counters.links.iter().find(|link| link.name == traffic.link);
        let taken = (link.unwrap().directions.iter()).find(|one| one.from == traffic.from);
        let taken = taken.unwrap();
        // This side is a step behind what was delivered.
        assert!(traffic.frames <= taken.delivered);
        if traffic.frames == taken.delivered {
            assert_eq!(traffic.hash, taken.delivered_hash);
        }
    }
    drop((vexp, machine, peers));
    let again = Side::open(folder.path(), LONG).unwrap();
    for traffic in again.traffic() {
        let link = counters.links.iter().find(|link| link.name == traffic.link);
        let taken = (link.unwrap().directions.iter()).find(|one| one.from == traffic.from);
        let taken = taken.unwrap();
        assert_eq!(
            (traffic.frames, traffic.hash),
            (taken.delivered, taken.delivered_hash)
        );
    }
}

#[test]
fn a_ring_that_was_overwritten_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut vexp = Side::create(folder.path(), &topology()).unwrap();
    let data = |vexp: &Side| {
        let traffic = vexp.traffic();
        let data = traffic.iter().find(|t| t.link == "data0" && t.from == "m");
        data.map(|data| (data.frames, data.whole)).unwrap()
    };
    assert_eq!(data(&vexp), (0, true));
    // As if the machine had filled the ring twice over since.
    let (_, file) = vexp.links.iter().find(|(name, _)| name == "data0").unwrap();
    file.channel(0).head.store(2 * file.ring(), Relaxed);
    let links = std::mem::take(&mut vexp.links);
    vexp.observer.observe(&links, START + STEP);
    vexp.links = links;
    assert_eq!(data(&vexp), (0, false));
}
