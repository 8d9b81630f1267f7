//! What a study declares of machines in virtual time: how fast their processors are, and what their NICs do for them.

use vexp_api::spec::Options;

/// The options' contract.
pub(super) const CONTRACT: &str = include_str!("contract.ncl");

/// The testbed's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Regime {
    /// What an instruction takes, in ns: 1, 2, 4 or 8.
    instruction_ns: u64,
    /// Whether Linux joins packets that were received (GRO), on the data NICs of the machine and its guests.
    receive_offload: bool,
}

impl Default for Regime {
    fn default() -> Self {
        Self {
            instruction_ns: 1,
            receive_offload: true,
        }
    }
}

/// Virtual time before which machines boot uncoupled, in instructions: the fastest are ready a little later. A machine
/// that is ready earlier idles, which costs nothing.
const START: u64 = 8_000_000_000;

impl Regime {
    /// Reads a request's options, which their contract has checked.
    ///
    /// # Errors
    /// An option that the contract does not know, or refuses.
    pub(super) fn of(options: &Options) -> Result<Self, String> {
        let value = serde_json::to_value(options).map_err(|error| error.to_string())?;
        let regime: Self = serde_json::from_value(value)
            .map_err(|error| format!("testbeds.virtual.options: {error}"))?;
        if !matches!(regime.instruction_ns, 1 | 2 | 4 | 8) {
            return Err(format!(
                "testbeds.virtual.options.instruction_ns is {}: it can be 1, 2, 4 or 8",
                regime.instruction_ns
            ));
        }
        Ok(regime)
    }

    /// An instruction takes 2 to the power of this in ns.
    pub(super) fn shift(self) -> u8 {
        // At most 3: see `of`.
        u8::try_from(self.instruction_ns.trailing_zeros()).unwrap_or(0)
    }

    /// Virtual time at which the machines are coupled, in ns.
    pub(super) fn start_ns(self) -> u64 {
        START * self.instruction_ns
    }

    /// For the record.
    pub(super) fn clock(self) -> String {
        format!(
            "virtual time in lockstep, instruction model: {} ns",
            self.instruction_ns
        )
    }

    /// Features of data NICs that are switched off as the machine and its guests come up, as ethtool(8) names them.
    pub(super) fn features_off(self) -> &'static [&'static str] {
        match self.receive_offload {
            true => &[],
            false => &["gro"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: serde_json::Value) -> Result<Regime, String> {
        Regime::of(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn options_are_what_their_contract_says() {
        let usual = of(serde_json::json!({})).unwrap();
        assert_eq!((usual.shift(), usual.features_off().len()), (0, 0));
        let slow = of(serde_json::json!({"instruction_ns": 2, "receive_offload": false})).unwrap();
        assert_eq!((slow.shift(), slow.start_ns()), (1, 2 * START));
        assert_eq!(slow.features_off(), ["gro"]);
        assert!(slow.clock().ends_with("2 ns"));
        for bad in [
            serde_json::json!({"instruction_ns": 3}),
            serde_json::json!({"instruction_ns": 0}),
            serde_json::json!({"gro": false}),
        ] {
            assert!(of(bad).is_err());
        }
    }
}
