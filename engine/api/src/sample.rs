//! One measured value.

use crate::ids::Name;

/// The unit of a sample or a metric, as printed.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub enum Unit {
    /// Megabits per second (10^6 bits).
    #[serde(rename = "Mb/s")]
    MbPerS,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Ms,
    /// Percent of one processor; two busy processors are 200.
    #[serde(rename = "% of a CPU")]
    CpuPercent,
    /// A ratio in percent (loss).
    #[serde(rename = "%")]
    Percent,
    /// Packets per second.
    #[serde(rename = "packets/s")]
    PacketsPerS,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// A count.
    #[serde(rename = "count")]
    Count,
    /// A dimensionless ratio.
    #[serde(rename = "1")]
    One,
    /// Percent of one processor per megabit per second.
    #[serde(rename = "% of a CPU per Mb/s")]
    CpuPercentPerMbPerS,
}

impl Unit {
    /// As printed: `Mb/s`, `ms`, `%` …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MbPerS => "Mb/s",
            Self::Ms => "ms",
            Self::CpuPercent => "% of a CPU",
            Self::Percent => "%",
            Self::PacketsPerS => "packets/s",
            Self::Bytes => "B",
            Self::Count => "count",
            Self::One => "1",
            Self::CpuPercentPerMbPerS => "% of a CPU per Mb/s",
        }
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a node stands in a trial.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// The machine under test: dom0, the KVM host, or classical Linux itself.
    Host,
    /// A guest: a domU or a KVM guest.
    Guest,
    /// A traffic peer: one of the distinct machines at the other end.
    Peer,
    /// What is between the machine under test and its peers: the testbed's links.
    Switch,
}

impl NodeRole {
    /// As written in frames: `host`, `guest`, `peer`, `switch`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Guest => "guest",
            Self::Peer => "peer",
            Self::Switch => "switch",
        }
    }
}

/// One measured value, as a parser gives it. Run, trial and the matrix point are added by the
/// frame stage.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Sample {
    /// The node that the value is about, which need not be the one that measured it: `xentop` in
    /// dom0 measures every domain.
    pub node: Name,
    /// Where that node stands.
    pub role: NodeRole,
    /// What was measured, e.g. `throughput`, `cpu`, `rtt`: see the plugin's metric list.
    pub metric: Name,
    /// The value's unit.
    pub unit: Unit,
    /// Start of the interval that the value covers, seconds since the trial's epoch.
    pub t: f64,
    /// Length of that interval in seconds; 0 for a point.
    pub dt: f64,
    /// The value; always finite.
    pub value: f64,
}
