//! Which block a task takes next.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::ids::Name;
use vexp_api::plan::Block;

use super::super::files::FileError;
use super::claims::{Claim, Claims, End, Look};

/// How often a block may be lost with its task before it counts as failed.
pub(super) const MOST_LOST: usize = 3;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This block is claimed, at this attempt.
    Block(usize, u32),
    /// Another task boots the machine that it could start from.
    Wait,
    /// What is left takes longer than there is time.
    Short,
    /// All is measured, or others measure it.
    Nothing,
}

/// A block, and how many seconds it may take.
pub(super) struct Candidate {
    pub(super) block: Block,
    /// Blocks of one group are to be measured on one kind of node.
    pub(super) group: Option<usize>,
    pub(super) seconds: u64,
}

/// Picks blocks of a stage.
pub(super) struct Picker {
    claims: Claims,
    candidates: Vec<Candidate>,
    /// Where this task begins to look.
    start: usize,
    done: BTreeSet<usize>,
    ends: Ends,
    /// On which kind of node blocks were claimed, as far as it was read.
    claimed: BTreeMap<(Name, u32), Option<String>>,
    look: Look,
}

/// Kinds of nodes.
#[derive(Default)]
struct Kinds {
    /// Those that measured blocks of a group.
    of: BTreeMap<usize, BTreeSet<String>>,
    /// Those on which something is measured now.
    live: BTreeSet<String>,
}

impl Kinds {
    /// Whether a block of a group may be measured on such a node: nothing of it was measured on another one, or no task
    /// is on such another one that could take it. The report then holds back what can't be compared.
    fn suits(&self, group: usize, kind: &str) -> bool {
        self.of.get(&group).is_none_or(|kinds| {
            kinds.contains(kind) || !kinds.iter().any(|other| self.live.contains(other))
        })
    }
}

impl Picker {
    /// Tasks begin at places far from each other, so that they seldom want the same block.
    pub(super) fn new(
        claims: Claims,
        candidates: Vec<Candidate>,
        index: u32,
    ) -> Result<Self, FileError> {
        let golden = f64::from(index) * 0.618_033_988_749_895;
        let start = (golden.fract() * candidates.len() as f64) as usize;
        let look = claims.look()?;
        Ok(Self {
            ends: Ends::default(),
            claimed: BTreeMap::new(),
            done: BTreeSet::new(),
            claims,
            candidates,
            start,
            look,
        })
    }

    pub(super) fn block(&self, at: usize) -> &Block {
        &self.candidates[at].block
    }

    /// Ends what this task had claimed before the engine started it anew.
    pub(super) fn take_over(&mut self, now: &Claim) -> Result<usize, FileError> {
        let mut taken = 0;
        for candidate in &self.candidates {
            let block = &candidate.block.id;
            let Some(attempt) = self.look.live(block) else {
                continue;
            };
            let had = self.claims.claimed(block, attempt)?;
            let ours = (&had.array, had.index) == (&now.array, now.index);
            if ours && had.restart < now.restart {
                let why = format!("the task was started anew (restart {})", now.restart);
                let ended = self.claims.end(block, attempt, &End::GivenBack { why })?;
                taken += usize::from(ended);
            }
        }
        self.look = self.claims.look()?;
        Ok(taken)
    }

    /// Claims the next block. What was seen before serves as long as something is free in it.
    pub(super) fn next(
        &mut self,
        claim: impl Fn() -> Claim,
        kept: impl Fn(&Block) -> bool,
        fits: impl Fn(u64) -> bool,
    ) -> Result<Next, FileError> {
        match self.pass(&claim, &kept, &fits)? {
            Next::Nothing | Next::Wait | Next::Short => {
                self.look = self.claims.look()?;
                self.pass(&claim, &kept, &fits)
            }
            next => Ok(next),
        }
    }

    fn pass(
        &mut self,
        claim: &impl Fn() -> Claim,
        kept: &impl Fn(&Block) -> bool,
        fits: &impl Fn(u64) -> bool,
    ) -> Result<Next, FileError> {
        let mut next = Next::Nothing;
        let kinds = match claim().kind {
            Some(_) => self.kinds()?,
            None => Kinds::default(),
        };
        let mut booting = self.booting();
        let mut is_new = false;
        let (start, all) = (self.start, self.candidates.len());
        for at in (0..all).map(|n| (start + n) % all) {
            if self.done.contains(&at) {
                continue;
            }
            let Candidate {
                block,
                seconds,
                group,
            } = &self.candidates[at];
            if let Some(attempt) = self.look.over(&block.id) {
                if self.ends.of(&self.claims, &block.id, attempt)? == End::Measured {
                    self.done.insert(at);
                    continue;
                }
                if self.ends.lost(&self.claims, &self.look, &block.id)? >= MOST_LOST {
                    continue;
                }
            }
            let Some(attempt) = self.look.next(&block.id) else {
                continue;
            };
            let must_boot = block.boot.is_some() && !kept(block);
            if must_boot && !is_new {
                // Who boots its machine must be known before it is claimed.
                self.look = self.claims.look()?;
                booting = self.booting();
                is_new = true;
            }
            if must_boot && booting.contains(&machine(block)) {
                next = Next::Wait;
                continue;
            }
            if !fits(*seconds) {
                next = if next == Next::Wait {
                    next
                } else {
                    Next::Short
                };
                continue;
            }
            if let (Some(group), Some(kind)) = (group, &claim().kind)
                && !kinds.suits(*group, kind)
            {
                continue;
            }
            let id = block.id.clone();
            let Some(attempt) = self.look.next(&id).filter(|next| *next == attempt) else {
                continue;
            };
            let won = self.claims.claim(&id, attempt, &claim())?;
            self.look.last.insert(id.to_string(), attempt);
            if !won {
                continue;
            }
            if !must_boot || self.is_first(at, attempt)? {
                return Ok(Next::Block(at, attempt));
            }
            booting = self.booting();
            next = Next::Wait;
        }
        Ok(next)
    }

    /// On which kinds of nodes blocks were measured, or are now.
    fn kinds(&mut self) -> Result<Kinds, FileError> {
        self.look = self.claims.look()?;
        let mut kinds = Kinds::default();
        for candidate in &self.candidates {
            let block = &candidate.block.id;
            let (Some(group), Some(attempt)) =
                (candidate.group, self.look.last.get(block.as_str()))
            else {
                continue;
            };
            let live = !self.look.has_ended(block, *attempt);
            if live || self.ends.of(&self.claims, block, *attempt)? == End::Measured {
                let key = (block.clone(), *attempt);
                let known = match self.claimed.get(&key) {
                    Some(kind) => kind.clone(),
                    None => self.claims.claimed(block, *attempt)?.kind,
                };
                self.claimed.insert(key, known.clone());
                if let Some(kind) = known {
                    kinds.of.entry(group).or_default().insert(kind.clone());
                    if live {
                        kinds.live.insert(kind);
                    }
                }
            }
        }
        Ok(kinds)
    }

    /// Machines on which a block is measured that may have to boot them.
    fn booting(&self) -> BTreeSet<(Name, Name)> {
        let live = self
            .candidates
            .iter()
            .filter(|one| one.block.boot.is_some() && self.look.live(&one.block.id).is_some());
        live.map(|one| machine(&one.block)).collect()
    }

    /// Two tasks may claim two blocks of one machine at the same moment. Both then see both: the first block stays, and
    /// the others are given back.
    fn is_first(&mut self, at: usize, attempt: u32) -> Result<bool, FileError> {
        self.look = self.claims.look()?;
        let ours = machine(&self.candidates[at].block);
        let before = self.candidates[..at].iter().any(|other| {
            other.block.boot.is_some()
                && machine(&other.block) == ours
                && self.look.live(&other.block.id).is_some()
        });
        if before {
            let why = "another task boots this machine".to_owned();
            let block = self.candidates[at].block.id.clone();
            self.claims.end(&block, attempt, &End::GivenBack { why })?;
            self.look = self.claims.look()?;
        }
        Ok(!before)
    }
}

/// The machine of a block: while no snapshot of it is kept, one task boots it.
fn machine(block: &Block) -> (Name, Name) {
    let machine = &block.machine;
    (machine.platform.clone(), machine.hardware.clone())
}

/// Ends that were read: they never change.
#[derive(Default)]
pub(super) struct Ends(BTreeMap<(Name, u32), End>);

impl Ends {
    pub(super) fn of(
        &mut self,
        claims: &Claims,
        block: &Name,
        attempt: u32,
    ) -> Result<End, FileError> {
        let key = (block.clone(), attempt);
        if let Some(end) = self.0.get(&key) {
            return Ok(end.clone());
        }
        let end = claims.ended(block, attempt)?;
        self.0.insert(key, end.clone());
        Ok(end)
    }

    /// How often a block was lost.
    pub(super) fn lost(
        &mut self,
        claims: &Claims,
        look: &Look,
        block: &Name,
    ) -> Result<usize, FileError> {
        let mut lost = 0;
        for attempt in look.attempts(block) {
            if look.has_ended(block, attempt) {
                let end = self.of(claims, block, attempt)?;
                lost += usize::from(matches!(end, End::Lost { .. }));
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::dispatch::tests::block;
    use super::super::claims::tests::claim;
    use super::*;

    fn candidates(all: &[(&str, &str, Option<u32>)]) -> Vec<Candidate> {
        let one = |(id, platform, boot): &(&str, &str, Option<u32>)| {
            let mut block = block(&[]);
            block.id = Name::new(*id).unwrap();
            block.machine.platform = Name::new(*platform).unwrap();
            block.boot = *boot;
            Candidate {
                block,
                group: None,
                seconds: 60,
            }
        };
        all.iter().map(one).collect()
    }

    struct World(tempfile::TempDir);

    impl World {
        fn claims(&self) -> Claims {
            Claims::open(self.0.path()).unwrap()
        }

        fn picker(&self, index: u32, all: &[(&str, &str, Option<u32>)]) -> Picker {
            let mut picker = Picker::new(self.claims(), candidates(all), index).unwrap();
            picker.start = 0;
            picker
        }
    }

    fn next(picker: &mut Picker, index: u32, kept: bool) -> Next {
        picker.next(|| claim(index), |_| kept, |_| true).unwrap()
    }

    #[test]
    fn tasks_take_blocks_in_turn_until_nothing_is_left() {
        let world = World(tempfile::tempdir().unwrap());
        let all = [("a", "p", None), ("b", "p", None), ("c", "p", None)];
        let [mut one, mut two] = [0, 1].map(|index| world.picker(index, &all));
        assert_eq!(next(&mut one, 0, false), Next::Block(0, 1));
        assert_eq!(next(&mut two, 1, false), Next::Block(1, 1));
        let short = two.next(|| claim(1), |_| false, |_| false).unwrap();
        assert_eq!(short, Next::Short);
        let a = Name::new("a").unwrap();
        assert!(world.claims().end(&a, 1, &End::Measured).unwrap());
        assert_eq!(next(&mut one, 0, false), Next::Block(2, 1));
        assert_eq!(next(&mut one, 0, false), Next::Nothing);
        // What is given back is free again.
        let why = "SIGTERM".to_owned();
        let b = Name::new("b").unwrap();
        assert!(world.claims().end(&b, 1, &End::GivenBack { why }).unwrap());
        assert_eq!(next(&mut one, 0, false), Next::Block(1, 2));
    }

    #[test]
    fn a_machine_that_is_not_kept_is_booted_by_one_task() {
        let world = World(tempfile::tempdir().unwrap());
        let all = [
            ("a", "p", Some(1)),
            ("b", "p", Some(1)),
            ("c", "q", Some(1)),
        ];
        let [mut one, mut two, mut three] = [0, 1, 2].map(|index| world.picker(index, &all));
        assert_eq!(next(&mut one, 0, false), Next::Block(0, 1));
        assert_eq!(next(&mut two, 1, false), Next::Block(2, 1));
        assert_eq!(next(&mut three, 2, false), Next::Wait);
        assert_eq!(next(&mut three, 2, true), Next::Block(1, 1));
    }

    #[test]
    fn of_two_that_claim_one_machine_at_once_the_later_block_is_given_back() {
        let world = World(tempfile::tempdir().unwrap());
        let all = [("a", "p", Some(1)), ("b", "p", Some(1))];
        let [mut one, mut two] = [0, 1].map(|index| world.picker(index, &all));
        let [a, b] = ["a", "b"].map(|id| Name::new(id).unwrap());
        // Neither has seen the other's claim before its own.
        assert!(world.claims().claim(&a, 1, &claim(0)).unwrap());
        assert!(world.claims().claim(&b, 1, &claim(1)).unwrap());
        assert!(one.is_first(0, 1).unwrap());
        assert!(!two.is_first(1, 1).unwrap());
        let look = world.claims().look().unwrap();
        assert_eq!((look.live(&a), look.live(&b)), (Some(1), None));
        assert!(world.claims().end(&a, 1, &End::Measured).unwrap());
        assert_eq!(next(&mut two, 1, true), Next::Block(1, 2));
    }

    #[test]
    fn a_task_that_is_started_anew_takes_its_own_claims_over_and_nobody_else_s() {
        let world = World(tempfile::tempdir().unwrap());
        let all = [("a", "p", None), ("b", "p", None)];
        let mut before = world.picker(0, &all);
        let mut other = world.picker(1, &all);
        assert_eq!(next(&mut before, 0, false), Next::Block(0, 1));
        assert_eq!(next(&mut other, 1, false), Next::Block(1, 1));
        let anew = Claim {
            restart: 1,
            ..claim(0)
        };
        let mut picker = world.picker(0, &all);
        assert_eq!(picker.take_over(&anew).unwrap(), 1);
        assert_eq!(next(&mut picker, 0, false), Next::Block(0, 2));
        assert_eq!(picker.take_over(&claim(0)).unwrap(), 0);
    }

    #[test]
    fn blocks_that_are_compared_stay_on_one_kind_of_node_as_long_as_one_is_there() {
        let world = World(tempfile::tempdir().unwrap());
        let all = [("a", "p", None), ("b", "p", None), ("c", "q", None)];
        let picker = |index| {
            let mut picker = world.picker(index, &all);
            for (at, group) in [0, 0, 1].into_iter().enumerate() {
                picker.candidates[at].group = Some(group);
            }
            picker
        };
        let on = |picker: &mut Picker, index: u32, kind: &str| {
            let kind = Some(kind.to_owned());
            let claim = || Claim {
                kind: kind.clone(),
                ..claim(index)
            };
            picker.next(claim, |_| false, |_| true).unwrap()
        };
        let [mut old, mut new] = [0, 1].map(picker);
        assert_eq!(on(&mut old, 0, "Xeon"), Next::Block(0, 1));
        assert_eq!(on(&mut new, 1, "EPYC"), Next::Block(2, 1));
        let c = Name::new("c").unwrap();
        assert!(world.claims().end(&c, 1, &End::Measured).unwrap());
        assert_eq!(on(&mut new, 1, "EPYC"), Next::Nothing);
        // No node of the first kind is left.
        let a = Name::new("a").unwrap();
        assert!(world.claims().end(&a, 1, &End::Measured).unwrap());
        assert_eq!(on(&mut new, 1, "EPYC"), Next::Block(1, 1));
    }

    #[test]
    fn a_block_that_is_lost_too_often_is_left_to_the_dispatcher() {
        let world = World(tempfile::tempdir().unwrap());
        let all = [("a", "p", None)];
        let mut picker = world.picker(0, &all);
        let a = Name::new("a").unwrap();
        for attempt in 1..=MOST_LOST as u32 {
            assert_eq!(next(&mut picker, 0, false), Next::Block(0, attempt));
            let why = "NODE_FAIL".to_owned();
            assert!(world.claims().end(&a, attempt, &End::Lost { why }).unwrap());
        }
        assert_eq!(next(&mut picker, 0, false), Next::Nothing);
    }
}
