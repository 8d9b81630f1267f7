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
use super::holm::holm;

/// A look: after how many units, and which share of α it spends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Units of each claim that is still measured.
    pub units: u32,
    /// Share of α; those of all looks sum up to 1.
    pub share: f64,
}

/// The looks of a run, declared before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Look>", into = "Vec<Look>")]
pub struct Design(Vec<Look>);

/// Looks that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDesign {
    /// There are none.
    #[error("there is no look")]
    Empty,
    /// A look has no more units than the one before it, or fewer than three.
    #[error("a look needs three units, and more than the look before it")]
    Units,
    /// Shares are not positive, or don't sum up to 1.
    #[error("the shares of the looks must be positive and sum up to 1")]
    Shares,
}

impl TryFrom<Vec<Look>> for Design {
    type Error = BadDesign;

    fn try_from(looks: Vec<Look>) -> Result<Self, BadDesign> {
        if looks.is_empty() {
            return Err(BadDesign::Empty);
        }
        let grows = looks.windows(2).all(|pair| pair[0].units < pair[1].units);
        if !grows || looks.iter().any(|look| look.units < 3) {
            return Err(BadDesign::Units);
        }
        let sum: f64 = looks.iter().map(|look| look.share).sum();
        if looks
            .iter()
            .any(|look| look.share.is_nan() || look.share <= 0.0)
            || (sum - 1.0).abs() > 1e-9
        {
            return Err(BadDesign::Shares);
        }
        Ok(Self(looks))
    }
}

impl From<Design> for Vec<Look> {
    fn from(design: Design) -> Self {
        design.0
    }
}

impl Default for Design {
    /// 6, 12 and 20 units, with 0.3, 0.3 and 0.4 of α.
    fn default() -> Self {
        Self(
            [(6, 0.3), (12, 0.3), (20, 0.4)]
                .map(|(units, share)| Look { units, share })
                .to_vec(),
        )
    }
}

impl Design {
    /// The looks in order.
    pub fn looks(&self) -> &[Look] {
        &self.0
    }
}

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
        let look = self.design.0.get(self.taken)?;
        open.then_some(look.units)
    }

    /// Takes the next look. Claims keep their places; what those that aren't open have is not looked at.
    /// Units beyond those of the look are not looked at either.
    ///
    /// # Errors
    /// [`LookError`], and then no look was taken.
    pub fn look(&mut self, claims: &[Vec<Assertion>]) -> Result<(), LookError> {
        let looks = self.design.0.len();
        let look = *(self.design.0.get(self.taken)).ok_or(LookError::Over(looks))?;
        if claims.len() != self.standings.len() {
            return Err(LookError::Claims {
                expected: self.standings.len(),
                found: claims.len(),
            });
        }
        let mut seen = Vec::new();
        for (i, claim) in claims.iter().enumerate() {
            if self.standings.get(i) == Some(&Standing::Open) {
                seen.push((i, cut(i, claim, look.units)?));
            }
        }
        self.taken += 1;
        let given_up = |standing: &&Standing| matches!(standing, Standing::GivenUp { .. });
        let given_up = self.standings.iter().filter(given_up).count();
        // What was given up keeps its share, as if its p were 1.
        let judged: Vec<Judged> = seen.iter().map(|(_, claim)| Judged::new(claim)).collect();
        let p = judged.iter().map(|judged| judged.p);
        let p: Vec<f64> = p.chain(std::iter::repeat_n(1.0, given_up)).collect();
        let corrected = holm(&p, look.share * self.alpha);
        for (((i, claim), judged), corrected) in seen.iter().zip(&judged).zip(corrected) {
            let standing = if corrected.decided {
                Standing::Decided {
                    look: self.taken,
                    reproduced: judged.reproduced,
                }
            } else if self.is_futile(claim) {
                Standing::GivenUp { look: self.taken }
            } else {
                Standing::Open
            };
            if let Some(place) = self.standings.get_mut(*i) {
                *place = standing;
            }
        }
        Ok(())
    }

    /// Whether a claim would not be decided by the last look, at the level that the least of its shares
    /// leaves, though its estimates lay a standard error further from their borders than they do.
    fn is_futile(&self, claim: &[Assertion]) -> bool {
        let Some(last) = self.design.0.last() else {
            return true;
        };
        let level = last.share * self.alpha / self.standings.len().max(1) as f64;
        let hopeless = |assertion: &Assertion| {
            let reach = assertion.units.reach(assertion.region, last.units, level);
            (assertion.units.decide(assertion.region).inside, !reach)
        };
        let outside = |(inside, hopeless): &(bool, bool)| !inside && !hopeless;
        let found: Vec<(bool, bool)> = claim.iter().map(hopeless).collect();
        // One that may yet fail is enough to go on; to hold, all must.
        let may_fail = found.iter().any(outside);
        let may_hold = found.iter().all(|(inside, hopeless)| *inside && !hopeless);
        !may_fail && !may_hold
    }

    /// `look 2 of 3: 19 decided, 4 open, 2 given up`.
    pub fn words(&self) -> String {
        let count = |wanted: fn(&Standing) -> bool| {
            let standings = self.standings.iter();
            standings.filter(|standing| wanted(standing)).count()
        };
        format!(
            "look {} of {}: {} decided, {} open, {} given up",
            self.taken,
            self.design.0.len(),
            count(|standing| matches!(standing, Standing::Decided { .. })),
            count(|standing| *standing == Standing::Open),
            count(|standing| matches!(standing, Standing::GivenUp { .. })),
        )
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
