//! When a run looks at its claims: declared in the study, recorded in the plan before the run begins.

use serde::{Deserialize, Serialize};

/// A look: after how many units, and which share of α it spends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Units of each claim that is still measured: boots of the machine, or seeds in virtual time.
    pub units: u32,
    /// Share of α; those of all looks sum up to 1.
    pub share: f64,
}

/// The looks of a run, in order.
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
    /// The looks of a study: those that it declares, else [`Design::default`].
    ///
    /// # Errors
    /// [`BadDesign`]
    pub fn of(declared: &[Look]) -> Result<Self, BadDesign> {
        match declared {
            [] => Ok(Self::default()),
            looks => looks.to_vec().try_into(),
        }
    }

    /// The looks in order.
    pub fn looks(&self) -> &[Look] {
        &self.0
    }

    /// The units of the last look: how many repetitions a run has at most.
    pub fn most_units(&self) -> u32 {
        self.0.last().map_or(0, |look| look.units)
    }
}
