//! What a block needs of the node that it runs on, from the estimate and the testbed.

use std::time::Duration;

use vexp_api::batch::Needs;
use vexp_api::plan::Block;
use vexp_api::plugin::Testbed;

use crate::plan::estimate::{self, BlockCost};

/// How often as long as estimated a block may take: in virtual time it was seen to take up to 2.5 times as long, and a
/// node of a cluster may be slower than the computer on which the estimate's constants were measured.
const PATIENCE: f64 = 3.0;
/// For the store on the node, which may have to be filled first.
const FIRST: Duration = Duration::from_secs(600);
/// How long before its time is over a task is told to stop. What it has measured is written by then, trial by trial; it
/// only has machines to give back.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// What a block needs. A node whose time is measured is taken alone; where time is virtual, tasks share one by
/// processors and memory.
pub fn needs(testbed: &dyn Testbed, block: &Block) -> Needs {
    let virtual_time = testbed.virtual_time();
    let cost = estimate::costs(std::slice::from_ref(block), virtual_time, |_| None);
    let seconds: f64 = cost.iter().map(BlockCost::seconds).sum();
    let (cpus, memory) = testbed.takes(&block.machine);
    Needs {
        cpus,
        memory: memory.bytes(),
        time: minutes(FIRST.as_secs_f64() + PATIENCE * seconds + GRACE.as_secs_f64()),
        grace: GRACE,
        exclusive: !virtual_time,
    }
}

/// Needs of a task that runs several blocks one after the other.
pub fn in_turn(all: impl IntoIterator<Item = Needs>) -> Option<Needs> {
    all.into_iter().reduce(|one, other| Needs {
        cpus: one.cpus.max(other.cpus),
        memory: one.memory.max(other.memory),
        // Its store is filled once.
        time: one.time + other.time.saturating_sub(FIRST + GRACE),
        grace: one.grace.max(other.grace),
        exclusive: one.exclusive || other.exclusive,
    })
}

/// What one of so many tasks needs that take all of these blocks between them, as each is free for the next.
pub(super) fn of_a_task(all: &[Needs], tasks: usize) -> Option<Needs> {
    let sum: Duration = all.iter().map(work).sum();
    let longest = all.iter().map(work).max()?;
    let share = sum.as_secs_f64() / tasks.max(1) as f64;
    let time = FIRST.as_secs_f64() + share + longest.as_secs_f64() + GRACE.as_secs_f64();
    let needs = in_turn(all.iter().cloned())?;
    Some(Needs {
        time: minutes(time),
        ..needs
    })
}

/// What a block takes of a task that runs already.
pub(super) fn work(needs: &Needs) -> Duration {
    needs.time.saturating_sub(FIRST + GRACE)
}

/// Whole minutes, as batch engines count.
fn minutes(seconds: f64) -> Duration {
    // Conversions of large numbers saturate.
    Duration::from_secs(((seconds / 60.0).ceil() as u64).saturating_mul(60))
}

#[cfg(test)]
mod tests {
    use super::super::super::dispatch::tests::{Empty, block};
    use super::*;
    use vexp_api::ids::Name;

    #[test]
    fn a_block_s_time_follows_from_its_estimate_and_real_time_takes_a_node_alone() {
        let names = ["a", "b"].map(|id| Name::new(id).unwrap());
        let block = self::block(&[&names[0], &names[1]]);
        let needs = super::needs(&Empty::default(), &block);
        // 17 s until the machine is up and two trials of 2 + 1 + 3 s, thrice; ten minutes, and one.
        assert_eq!(needs.time, Duration::from_secs(13 * 60));
        assert_eq!((needs.cpus, needs.grace), (2, GRACE));
        assert_eq!(needs.memory, (2 << 30) + (1 << 30));
        assert!(needs.exclusive, "its time is real");
        let mut larger = needs.clone();
        larger.cpus = 5;
        let both = in_turn([needs, larger]).unwrap();
        assert_eq!(both.cpus, 5);
        assert_eq!(both.time, Duration::from_secs((13 + 2) * 60));
        assert_eq!(in_turn([]), None);
        // Ten blocks of two minutes between two tasks: five each, and one that may come last.
        let ten = vec![super::needs(&Empty::default(), &self::block(&[&names[0], &names[1]])); 10];
        let one = of_a_task(&ten, 2).unwrap();
        assert_eq!(one.time, Duration::from_secs((11 + 10 + 2) * 60));
        assert_eq!(of_a_task(&[], 2), None);
    }
}
