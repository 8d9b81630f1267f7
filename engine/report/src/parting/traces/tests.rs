//! Made-up traces that differ in one thing.

use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::trace::{Carried, Channel, Command, FORMAT, Head, Step, Trace};

use super::{commands, links};

const MS: u64 = 1_000_000;

fn channel(link: &str, from: &str, to: &str, frames: u64) -> Channel {
    Channel {
        link: link.into(),
        from: from.into(),
        to: to.into(),
        frames,
        hash: "00000000".into(),
        whole: true,
    }
}

/// 20 frames a step on data0 from frame 100 on, and one frame each second step on the control link.
fn trace() -> Trace {
    let data = |step: u64| {
        let marks = (100 + 20 * step..=119 + 20 * step)
            .filter(|frame| (frame + 1) % 8 == 0)
            .map(|frame| format!("{:02x}", (frame * 7) & 0xff));
        let hash = format!("{:08x}", step + 1);
        Carried(1, 120 + 20 * step, hash, marks.collect())
    };
    let steps = (0..10).map(|step| {
        let mut carried = vec![data(step)];
        if step % 2 == 0 {
            carried.insert(
                0,
                Carried(0, 11 + step / 2, format!("{step:08x}"), String::new()),
            );
        }
        Step(30_000 * MS + 5 * MS * step, carried)
    });
    Trace {
        head: Head {
            format: FORMAT,
            step_ns: 5 * MS,
            began_ns: 30_000 * MS,
            epoch_ns: 30_010 * MS,
            ended_ns: 30_060 * MS,
            late: 0,
            channels: vec![
                channel("control-machine", "machine", "vexp", 10),
                channel("data0", "machine", "peers0", 100),
            ],
            whole: true,
        },
        traffic: steps.collect(),
        commands: vec![
            command(30_000, 30_020, "uptime", "1"),
            command(30_010, 30_055, "iperf3 -c", "2"),
        ],
    }
}

fn command(sent: u64, ended: u64, text: &str, output: &str) -> Command {
    Command {
        sent_ns: sent * MS,
        ended_ns: Some(ended * MS),
        node: Name::new("host").unwrap(),
        command: text.into(),
        input: Digest::of(text.as_bytes()),
        status: Some(0),
        output: Some((output.len() as u64, Digest::of(output.as_bytes()))),
        errors: Some((0, Digest::of(b""))),
    }
}

#[test]
fn equal_traces_do_not_part() {
    assert_eq!(links(&trace(), &trace()), None);
    assert_eq!(commands(&trace().commands, &trace().commands), None);
}

#[test]
fn the_first_frame_that_differs_is_told_within_eight() {
    let mut other = trace();
    // From frame 168 on, in the fourth step, all is another.
    for step in &mut other.traffic[3..] {
        for carried in step.1.iter_mut().filter(|carried| carried.0 == 1) {
            carried.2 = format!("f{}", &carried.2[1..]);
        }
    }
    let step = other.traffic[3].1.last_mut().unwrap();
    // Its marks are of frames 168 and 176.
    assert_eq!(step.3.len(), 4);
    step.3.replace_range(2..4, "ff");
    let apart = links(&trace(), &other).unwrap();
    assert_eq!(apart.at_ns, 30_015 * MS);
    assert_eq!(
        apart.what,
        "link data0, machine to peers0: among frames 169 to 176"
    );
    assert_eq!(
        apart.sentence,
        "on link data0: machine sent something else among frames 169 to 176"
    );
    // If the marks are the same, it is one of those after the last.
    let step = other.traffic[3].1.last_mut().unwrap();
    step.3 = trace().traffic[3].1.last().unwrap().3.clone();
    let apart = links(&trace(), &other).unwrap();
    assert!(
        apart.what.ends_with("among frames 177 to 180"),
        "{}",
        apart.what
    );
}

#[test]
fn a_frame_more_or_less_is_told_with_both_numbers() {
    let mut other = trace();
    other.traffic[4].1.remove(0);
    let apart = links(&trace(), &other).unwrap();
    assert_eq!(apart.at_ns, 30_020 * MS);
    assert_eq!(
        apart.what,
        "link control-machine, machine to vexp: frame 13; 13 by then, and 12 in the other run"
    );
    assert_eq!(
        apart.sentence,
        "on link control-machine: machine sent another frame 13, or none"
    );
    // A step that only one of them has.
    let mut short = trace();
    short.traffic.pop();
    let apart = links(&trace(), &short).unwrap();
    assert_eq!(apart.at_ns, 30_045 * MS);
    assert!(
        apart.what.contains("300 by then, and 280"),
        "{}",
        apart.what
    );
    assert_eq!(links(&short, &trace()).unwrap().at_ns, apart.at_ns);
}

#[test]
fn several_links_of_a_step_are_all_named() {
    let mut other = trace();
    other.traffic[2].1[0].2 = "ffffffff".into();
    other.traffic[2].1[1].2 = "ffffffff".into();
    let apart = links(&trace(), &other).unwrap();
    assert!(
        apart
            .what
            .ends_with("(in the same step: link data0, machine to peers0)"),
        "{}",
        apart.what
    );
}

#[test]
fn what_was_another_before_the_trial_is_told_first() {
    let before = |change: &dyn Fn(&mut Head)| {
        let mut other = trace();
        other.traffic.clear();
        change(&mut other.head);
        links(&trace(), &other).unwrap()
    };
    let apart = before(&|head| head.channels[1].frames = 99);
    assert!(
        apart
            .what
            .contains("100 frames before the trial began, and 99")
    );
    assert!(apart.before && apart.sentence.contains("as link data0 shows"));
    let apart = before(&|head| head.channels[1].hash = "1".into());
    assert!(apart.what.ends_with("and 100 others"), "{}", apart.what);
    let apart = before(&|head| head.began_ns += 5 * MS);
    assert!(
        apart
            .what
            .contains("began 30.000 s after power-on, and 30.005 s")
    );
    let apart = before(&|head| drop(head.channels.pop()));
    assert!(apart.what.starts_with("links are"), "{}", apart.what);
}

#[test]
fn commands_part_where_one_is_another_or_leaves_something_else() {
    let all = trace().commands;
    let mut more = all.clone();
    more.push(command(30_040, 30_041, "ss -s", ""));
    let apart = commands(&all, &more).unwrap();
    assert_eq!(apart.at_ns, 30_040 * MS);
    assert_eq!(
        apart.what,
        "vexp ran no more, and `ss -s` on host at 30.040 s in the other run"
    );
    let mut later = all.clone();
    later[1].sent_ns += 5 * MS;
    let apart = commands(&all, &later).unwrap();
    assert_eq!(apart.at_ns, 30_010 * MS);
    assert_eq!(
        apart.what,
        "`iperf3 -c` on host: sent at 30.010 s, and at 30.015 s in the other run"
    );
    // What the second one left came before the first one's end.
    let mut left = all.clone();
    left[0] = command(30_000, 30_030, "uptime", "22");
    left[1] = command(30_010, 30_025, "iperf3 -c", "3");
    let apart = commands(&all, &left).unwrap();
    assert_eq!(apart.at_ns, 30_020 * MS);
    assert_eq!(
        apart.what,
        "`uptime` on host: 1 bytes of output, and 2; its end at 30.020 s, and 30.030 s"
    );
}
