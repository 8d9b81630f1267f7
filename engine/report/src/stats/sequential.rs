//! Looks at claims while units are measured: each is measured until it is decided, and no longer.
//!
//! The looks stand before the run: after how many units, and which share of the level each may spend.
//! Whoever looked whenever it pleased, and stopped when it pleased, would decide almost anything (C.
//! Jennison and B. Turnbull, *Group Sequential Methods with Applications to Clinical Trials*, 2000, chapter
//! 2). At a look a claim's p is held against that look's share of α, by Holm's procedure among all claims
//! that are not decided: one that is decided hands its share on to the others, at this look and at those
//! to come (W. Maurer and F. Bretz, *Multiple Testing in Group Sequential Trials Using Graphical
//! Approaches*, Stat. Biopharm. Res. 5(4), 2013). So the probability of any wrong verdict, at any look, is at
//! most α. A claim that would hardly be decided by the last look is given up; since nothing is handed on for
//! that, the level is kept whether or not one follows.

use serde::{Deserialize, Serialize};

use super::contrast::{Decision, Region};
use super::directed::Units;
use super::holm::{Corrected, holm};

pub use vexp_api::looks::{BadDesign, Design, Look};

/// An assertion of a claim: units so far, and where they must lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// At least as many as the look asks for.
    pub units: Units,
    /// Region.
    pub region: Region,
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// It is measured on.
    Open,
    /// All of its assertions hold, or one fails.
    Decided {
        /// At which look, from 1.
        look: usize,
        /// Whether it is reproduced.
        reproduced: bool,
    },
    /// It would hardly be decided by the last look.
    GivenUp {
        /// At which look, from 1.
        look: usize,
    },
    /// The run can't show it, whichever way it is.
    OutOfRegime {
        /// At which look that was seen, from 1.
        look: usize,
    },
}

/// What a look sees of an open claim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// The run can't show it, whichever way it is. That is asked before its direction is looked at.
    OutOfRegime,
    /// Too few units have been measured, or too many were lost. It stays open, and takes nothing from
    /// the others at this look.
    Undecidable,
    /// Something could decide it.
    Decidable {
        /// The least α at which it is decided.
        p: f64,
        /// In which direction.
        reproduced: bool,
        /// Whether it would hardly be decided by the last look.
        futile: bool,
    },
}

/// A look could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// All were.
    #[error("all {0} looks were taken: another would be one more than was declared")]
    Over(usize),
    /// There are more or fewer claims than at the beginning.
    #[error("{found} claims are looked at, and the sequence has {expected}")]
    Claims {
        /// At the beginning.
        expected: usize,
        /// Now.
        found: usize,
    },
    /// An open claim has too few units.
    #[error("claim {claim} has {found} units, and this look is after {needed}")]
    Units {
        /// Which, from 0.
        claim: usize,
        /// How many it has.
        found: usize,
        /// How many it must have.
        needed: u32,
    },
}

/// The looks that were taken, and where each claim stands. It can be written down and gone on with: a run
/// that is resumed keeps its looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// The looks, as declared.
    pub design: Design,
    /// Accepted probability of any wrong verdict.
    pub alpha: f64,
    /// How many looks were taken.
    pub taken: usize,
    /// Of each claim.
    pub standings: Vec<Standing>,
}

impl Sequence {
    /// Before the first look.
    pub fn new(design: Design, alpha: f64, claims: usize) -> Self {
        Self {
            design,
            alpha,
            taken: 0,
            standings: vec![Standing::Open; claims],
        }
    }

    /// Units that open claims must have for the next look; `None` if there is none or nothing is open.
    pub fn next(&self) -> Option<u32> {
        let open = self.standings.contains(&Standing::Open);
        let look = self.design.looks().get(self.taken)?;
        open.then_some(look.units)
    }

    /// Takes the next look. Claims keep their places; what those that aren't open have is not looked at.
    /// Units beyond those of the look are not looked at either.
    ///
    /// # Errors
    /// [`LookError`], and then no look was taken.
    pub fn look(&mut self, claims: &[Vec<Assertion>]) -> Result<(), LookError> {
        let looks = self.design.looks().len();
        let look = *(self.design.looks().get(self.taken)).ok_or(LookError::Over(looks))?;
        if claims.len() != self.standings.len() {
            return Err(LookError::Claims {
                expected: self.standings.len(),
                found: claims.len(),
            });
        }
        let mut seen = vec![Seen::Undecidable; claims.len()];
        for (i, (claim, place)) in claims.iter().zip(&mut seen).enumerate() {
            if self.standings.get(i) == Some(&Standing::Open) {
                let claim = cut(i, claim, look.units)?;
                let judged = Judged::new(&claim);
                *place = Seen::Decidable {
                    p: judged.p,
                    reproduced: judged.reproduced,
                    futile: self.is_futile(&claim),
                };
            }
        }
        self.take(&seen).map(|_| ())
    }

    /// Takes the next look at what was seen of each claim; of those that aren't open nothing is looked at.
    /// Gives what each open and decidable claim's p was held against.
    ///
    /// # Errors
    /// [`LookError::Over`] and [`LookError::Claims`], and then no look was taken.
    pub fn take(&mut self, seen: &[Seen]) -> Result<Vec<Option<Corrected>>, LookError> {
        let looks = self.design.looks().len();
        let look = *(self.design.looks().get(self.taken)).ok_or(LookError::Over(looks))?;
        if seen.len() != self.standings.len() {
            return Err(LookError::Claims {
                expected: self.standings.len(),
                found: seen.len(),
            });
        }
        self.taken += 1;
        let p_of = |(standing, seen): (&Standing, &Seen)| match (standing, seen) {
            (Standing::Open, Seen::Decidable { p, .. }) => Some(*p),
            _ => None,
        };
        let own: Vec<Option<f64>> = self.standings.iter().zip(seen).map(p_of).collect();
        let given_up = self.shares_kept(seen);
        let p = own.iter().copied().flatten();
        let p: Vec<f64> = p.chain(std::iter::repeat_n(1.0, given_up)).collect();
        let mut corrected = holm(&p, look.share * self.alpha).into_iter();
        let of_each = own.iter().map(|p| p.and_then(|_| corrected.next()));
        let of_each: Vec<Option<Corrected>> = of_each.collect();
        let number = self.taken;
        for ((standing, seen), corrected) in self.standings.iter_mut().zip(seen).zip(&of_each) {
            if *standing == Standing::Open {
                *standing = after(*seen, corrected.is_some_and(|c| c.decided), number);
            }
        }
        Ok(of_each)
    }

    /// How many claims that are not looked at keep their share, as if their p were 1: those that were given
    /// up, and those that turned out after the first look to be out of regime.
    fn shares_kept(&self, seen: &[Seen]) -> usize {
        let keeps = |(standing, seen): &(&Standing, &Seen)| match standing {
            Standing::GivenUp { .. } => true,
            Standing::OutOfRegime { look } => *look > 1,
            Standing::Open => **seen == Seen::OutOfRegime && self.taken > 1,
            Standing::Decided { .. } => false,
        };
        self.standings.iter().zip(seen).filter(keeps).count()
    }

    /// Whether a claim would not be decided by the last look, at the level that the least of its shares
    /// leaves, though its estimates lay a standard error further from their borders than they do.
    fn is_futile(&self, claim: &[Assertion]) -> bool {
        let (units, level) = self.last(self.standings.len());
        let hopeless = |assertion: &Assertion| {
            let reach = assertion.units.reach(assertion.region, units, level);
            (assertion.units.decide(assertion.region).inside, !reach)
        };
        let outside = |(inside, hopeless): &(bool, bool)| !inside && !hopeless;
        let found: Vec<(bool, bool)> = claim.iter().map(hopeless).collect();
        // One that may yet fail is enough to go on; to hold, all must.
        let may_fail = found.iter().any(outside);
        let may_hold = found.iter().all(|(inside, hopeless)| *inside && !hopeless);
        !may_fail && !may_hold
    }

    /// The units of the last look, and the least level that it leaves to one of so many claims: what a claim
    /// must be able to reach not to be given up.
    pub fn last(&self, claims: usize) -> (u32, f64) {
        let last = self.design.looks().last();
        let share = last.map_or(0.0, |last| last.share);
        let level = share * self.alpha / claims.max(1) as f64;
        (self.design.most_units(), level)
    }
}

/// Where an open claim stands after a look.
fn after(seen: Seen, decided: bool, look: usize) -> Standing {
    match seen {
        Seen::OutOfRegime => Standing::OutOfRegime { look },
        Seen::Decidable { reproduced, .. } if decided => Standing::Decided { look, reproduced },
        Seen::Decidable { futile: true, .. } => Standing::GivenUp { look },
        Seen::Decidable { .. } | Seen::Undecidable => Standing::Open,
    }
}

/// The assertions of a claim with the units of a look.
fn cut(at: usize, claim: &[Assertion], units: u32) -> Result<Vec<Assertion>, LookError> {
    let of_look = |assertion: &Assertion| {
        let found = assertion.units.len();
        let first = assertion.units.first(units as usize);
        let units = first.ok_or(LookError::Units {
            claim: at,
            found,
            needed: units,
        })?;
        Ok(Assertion {
            units,
            region: assertion.region,
        })
    };
    claim.iter().map(of_look).collect()
}

/// A claim at a look.
struct Judged {
    p: f64,
    reproduced: bool,
}

impl Judged {
    /// All assertions must hold, each at the claim's level (Berger 1982); any may fail, at its part of it
    /// (Bonferroni). A claim without assertions is never decided.
    fn new(claim: &[Assertion]) -> Self {
        let decisions: Vec<Decision> = claim
            .iter()
            .map(|assertion| assertion.units.decide(assertion.region))
            .collect();
        let of = |d: &Decision| if d.inside { d.p } else { 1.0 };
        let holds = match decisions.is_empty() {
            true => 1.0,
            false => decisions.iter().map(of).fold(0.0, f64::max),
        };
        let outside = decisions.iter().filter(|d| !d.inside);
        let parts = decisions.len() as f64;
        let fails = outside.map(|d| d.p * parts).fold(1.0, f64::min);
        Self {
            p: holds.min(fails),
            reproduced: holds <= fails,
        }
    }
}

#[cfg(test)]
#[path = "sequential_tests.rs"]
mod tests;
