//! Which trials of a plan tell most within a time.
//!
//! First every claim gets the trials of one repetition of its points, the claim first that needs the least more
//! time, so that most claims are reached per minute. Then the claims that were reached get further repetitions,
//! one each a round, in the same order: a single one decides little. What does not fit is left out, and what
//! comes after it is still tried. Blocks share a boot, so a claim costs the boots and trials that no claim before
//! it needed. In virtual time a block's trials depend on what ran before them on its machine, so that blocks are
//! chosen as a whole: then each trial can be compared to the last bit.
//!
//! The choice follows from plan and time alone, so the same command chooses the same trials each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vexp_api::ids::Name;
use vexp_api::plan::{Block, Plan, Trial};

use super::estimate;

/// Experiment, platform, VM count.
pub type Point = (Name, Name, u32);

/// A claim that can be told here, and the points that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The claim.
    pub claim: Name,
    /// Its points.
    pub points: BTreeSet<Point>,
}

/// How much time there is, and how it is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Time for trials and boots.
    pub time: Duration,
    /// How many blocks run at the same time.
    pub jobs: usize,
    /// Whether time is virtual.
    pub virtual_time: bool,
}

/// What was chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Trials.
    pub trials: BTreeSet<Name>,
    /// Claims in the order in which they were chosen, and how many repetitions of each.
    pub claims: Vec<(Name, u32)>,
    /// Claims that did not fit, and the seconds that they need beside all that was chosen when they were tried.
    pub left_out: Vec<(Name, f64)>,
    /// Seconds that the trials are expected to take.
    pub seconds: f64,
}

struct Choosing<'a> {
    plan: &'a Plan,
    budget: Budget,
    /// Seconds of each block's start, and of each trial.
    starts: Vec<f64>,
    trials: BTreeMap<&'a Name, f64>,
    chosen: BTreeSet<Name>,
    seconds: f64,
}

/// Chooses trials of a plan for claims. Those whose points are not planned are for the caller to leave out.
pub fn choose(plan: &Plan, wanted: &[Wanted], budget: Budget) -> Choice {
    let costs = estimate::blocks(plan, budget.virtual_time, |_| None);
    let each = plan.trials().map(|trial| &trial.id);
    let seconds = costs.iter().flat_map(|cost| &cost.trials);
    let mut choosing = Choosing {
        plan,
        budget,
        starts: costs.iter().map(|cost| cost.start_s).collect(),
        trials: each.zip(seconds.map(|(_, seconds)| *seconds)).collect(),
        chosen: BTreeSet::new(),
        seconds: 0.0,
    };
    let repetitions: BTreeSet<u32> = plan.trials().map(|trial| trial.repetition).collect();
    let mut repetitions = repetitions.into_iter();
    let mut choice = Choice::default();
    let Some(first) = repetitions.next() else {
        return choice;
    };
    let mut left: Vec<&Wanted> = wanted.iter().collect();
    let mut reached: Vec<&Wanted> = Vec::new();
    while let Some((at, trials)) = choosing.cheapest(&left, first) {
        let claim = left.remove(at);
        match choosing.add(&trials) {
            Ok(()) => {
                reached.push(claim);
                choice.claims.push((claim.claim.clone(), 1));
            }
            Err(more) => choice.left_out.push((claim.claim.clone(), more)),
        }
    }
    let mut open: Vec<usize> = (0..reached.len()).collect();
    for repetition in repetitions {
        // A claim whose next repetition does not fit gets none that comes later.
        open.retain(|i| {
            let (Some(claim), Some(count)) = (reached.get(*i), choice.claims.get_mut(*i)) else {
                return false;
            };
            let trials = choosing.of(claim, repetition);
            let fits = choosing.add(&trials).is_ok();
            count.1 += u32::from(fits && !trials.is_empty());
            fits
        });
    }
    choice.trials = choosing.chosen;
    choice.seconds = choosing.seconds;
    choice
}

impl<'a> Choosing<'a> {
    /// Blocks with the trials in them that a claim's points have in a repetition.
    fn of(&self, claim: &Wanted, repetition: u32) -> Vec<(usize, &'a Trial)> {
        let needs = |trial: &Trial| {
            let point = (trial.experiment.clone(), trial.platform.clone(), trial.vms);
            trial.repetition == repetition && claim.points.contains(&point)
        };
        let whole = self.budget.virtual_time;
        let mut found = Vec::new();
        for (i, block) in self.plan.blocks.iter().enumerate() {
            let needed = block.trials.iter().filter(|trial| needs(trial));
            match needed.clone().next() {
                None => {}
                Some(_) if whole => found.extend(block.trials.iter().map(|trial| (i, trial))),
                Some(_) => found.extend(needed.map(|trial| (i, trial))),
            }
        }
        found
    }

    /// The claim that needs the least more time, and its trials.
    fn cheapest(
        &self,
        claims: &[&Wanted],
        repetition: u32,
    ) -> Option<(usize, Vec<(usize, &'a Trial)>)> {
        let started: BTreeSet<usize> = (self.plan.blocks.iter().enumerate())
            .filter(|(_, block)| {
                block
                    .trials
                    .iter()
                    .any(|trial| self.chosen.contains(&trial.id))
            })
            .map(|(i, _)| i)
            .collect();
        let cost = |trials: &[(usize, &Trial)]| {
            let new: BTreeSet<usize> = trials
                .iter()
                .map(|(i, _)| *i)
                .filter(|i| !started.contains(i))
                .collect();
            let boots: f64 = new.iter().filter_map(|i| self.starts.get(*i)).sum();
            let more = trials
                .iter()
                .filter(|(_, trial)| !self.chosen.contains(&trial.id));
            boots
                + more
                    .filter_map(|(_, trial)| self.trials.get(&trial.id))
                    .sum::<f64>()
        };
        let all = claims
            .iter()
            .map(|claim| self.of(claim, repetition))
            .enumerate();
        all.min_by(|(_, a), (_, b)| cost(a).total_cmp(&cost(b)))
    }

    /// Adds trials if they fit; else the seconds that they need more than was chosen.
    fn add(&mut self, trials: &[(usize, &'a Trial)]) -> Result<(), f64> {
        let new = trials
            .iter()
            .filter(|(_, trial)| !self.chosen.contains(&trial.id));
        let new: Vec<Name> = new.map(|(_, trial)| trial.id.clone()).collect();
        if new.is_empty() {
            return Ok(());
        }
        let wanted = |trial: &Name| self.chosen.contains(trial) || new.contains(trial);
        let blocks: Vec<Block> = estimate::part(self.plan, &wanted);
        let costs = estimate::costs(&blocks, self.budget.virtual_time, |_| None);
        let seconds = estimate::all(&costs, self.budget.jobs);
        if seconds > self.budget.time.as_secs_f64() {
            return Err(seconds - self.seconds);
        }
        self.chosen.extend(new);
        self.seconds = seconds;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two platforms with two experiments each, `repetitions` times; a block a platform and repetition.
    fn plan(repetitions: u32) -> Plan {
        let trial = |experiment: &str, platform: &str, repetition: u32, window: &str| {
            serde_json::json!({
                "id": format!("{experiment}.{platform}.v0.r{repetition}"), "experiment": experiment,
                "platform": platform, "role": "sender", "vms": 0, "repetition": repetition, "boot": repetition,
                "traffic": {"tool": "t"}, "load": null, "monitors": [], "warm_up": "0s", "window": window,
            })
        };
        let blocks: Vec<_> = (1..=repetitions)
            .flat_map(|r| ["a", "b"].map(|platform| (r, platform)))
            .map(|(r, platform)| {
                serde_json::json!({
                    "id": format!("{platform}.h.v0.r{r}"), "repetition": r, "vms": 0, "boot": null,
                    "machine": {
                        "platform": platform, "hardware": "h", "cpus": 1, "memory": "1GiB", "nics": [],
                        "image": null, "guest_image": null, "hypervisor": "linux", "version": "1",
                        "toolstack": null, "scheduler": null, "dom0_weight": null, "nic": null, "guest": null,
                        "max_vms": 0, "peers": 1, "options": {},
                    },
                    "trials": [trial("short", platform, r, "10s"), trial("long", platform, r, "100s")],
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "format": 1, "study": "s", "study_digest": vexp_api::digest::Digest::of(b""), "testbed": "t",
            "effort": "e", "seed": 1, "calibration": null, "images": [], "blocks": blocks, "deviations": [],
            "excluded": [], "estimate": {"run": "1s", "build": "1s", "disk": "1MB"},
        }))
        .unwrap()
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn claim(of: &str, points: &[(&str, &str)]) -> Wanted {
        let point = |(experiment, platform): &(&str, &str)| (name(experiment), name(platform), 0);
        Wanted {
            claim: name(of),
            points: points.iter().map(point).collect(),
        }
    }

    fn claims() -> Vec<Wanted> {
        vec![
            claim("both", &[("long", "a"), ("long", "b")]),
            claim("cheap", &[("short", "a")]),
            claim("same-boot", &[("long", "a")]),
        ]
    }

    fn chosen(seconds: u64, plan: &Plan, virtual_time: bool) -> Choice {
        let budget = Budget {
            time: Duration::from_secs(seconds),
            jobs: 1,
            virtual_time,
        };
        choose(plan, &claims(), budget)
    }

    fn names(choice: &Choice) -> Vec<(&str, u32)> {
        choice
            .claims
            .iter()
            .map(|(claim, n)| (claim.as_str(), *n))
            .collect()
    }

    fn trials(choice: &Choice) -> Vec<&str> {
        choice.trials.iter().map(Name::as_str).collect()
    }

    // A boot is 17 s, a trial its window and 2 s.
    #[test]
    fn claims_that_need_the_least_more_time_come_first() {
        let plan = plan(1);
        assert_eq!(
            chosen(20, &plan, false),
            Choice {
                left_out: chosen(20, &plan, false).left_out,
                ..Choice::default()
            }
        );
        let cheap = chosen(29, &plan, false);
        assert_eq!((names(&cheap), cheap.seconds), (vec![("cheap", 1)], 29.0));
        assert_eq!(trials(&cheap), ["short.a.v0.r1"]);
        // It says what is left out, and what that would take beside what was chosen.
        assert_eq!(
            cheap.left_out,
            [(name("same-boot"), 102.0), (name("both"), 221.0)]
        );
        // A boot is paid once: 29 and 102 more on the same machine.
        let two = chosen(131, &plan, false);
        assert_eq!(
            (names(&two), two.seconds),
            (vec![("cheap", 1), ("same-boot", 1)], 131.0)
        );
        let all = chosen(250, &plan, false);
        assert_eq!(names(&all), [("cheap", 1), ("same-boot", 1), ("both", 1)]);
        assert!(all.left_out.is_empty() && all.seconds <= 250.0);
    }

    #[test]
    fn further_repetitions_go_round_and_never_beyond_the_time() {
        let plan = plan(3);
        // Of one repetition all takes 250 s; of the second, the cheap one fits.
        let more = chosen(280, &plan, false);
        assert_eq!(names(&more), [("cheap", 2), ("same-boot", 1), ("both", 1)]);
        assert!(more.trials.contains(&name("short.a.v0.r2")));
        let all = chosen(100_000, &plan, false);
        assert_eq!(names(&all), [("cheap", 3), ("same-boot", 3), ("both", 3)]);
        for seconds in (0..1000).step_by(37) {
            let some = chosen(seconds, &plan, false);
            assert!(some.seconds <= seconds as f64, "{seconds}: {some:?}");
            assert_eq!(some, chosen(seconds, &plan, false));
            // More time never tells less.
            let more = chosen(seconds + 37, &plan, false);
            assert!(more.claims.len() >= some.claims.len(), "{seconds}");
        }
    }

    #[test]
    fn in_virtual_time_blocks_are_chosen_whole() {
        let plan = plan(1);
        let one = chosen(1000, &plan, true);
        // 6 times (17 s, 12 s and 102 s) for one machine; a second one does not fit.
        assert_eq!(trials(&one), ["long.a.v0.r1", "short.a.v0.r1"]);
        assert_eq!(names(&one), [("cheap", 1), ("same-boot", 1)]);
        assert_eq!(one.left_out.len(), 1);
    }

    #[test]
    fn machines_that_run_side_by_side_take_the_time_of_one() {
        let plan = plan(1);
        let budget = Budget {
            time: Duration::from_secs(131),
            jobs: 2,
            virtual_time: false,
        };
        let both = choose(&plan, &claims(), budget);
        assert_eq!(both.claims.len(), 3, "{both:?}");
    }
}
