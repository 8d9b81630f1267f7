//! A plan: the trials of a run in order, with everything that was substituted.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, write_canonical_json};
use crate::ids::Name;
use crate::looks::Look;
use crate::spec::{GuestShape, MeasureUse, Options, Role};
use crate::units::{BitRate, ByteSize, TimeSpan};

/// The version of the plan's format.
pub const FORMAT: u32 = 1;

/// What will be run. The same study, testbed and effort give the same bytes on every machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The study's name.
    pub study: Name,
    /// Digest of the study's canonical JSON.
    pub study_digest: Digest,
    /// Testbed plugin.
    pub testbed: Name,
    /// The testbed plugin's options.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub testbed_options: Options,
    /// Effort.
    pub effort: Name,
    /// Seed of the order.
    pub seed: u64,
    /// When the claims are looked at, if trials are run only until they are decided; then the
    /// repetitions are those of the last look, and what no open claim needs is not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<Look>,
    /// How the link rate was found, if the study asks to find it.
    pub calibration: Option<Calibration>,
    /// Names of the images that are needed, sorted, each once.
    pub images: Vec<Name>,
    /// Blocks in the order in which they are run.
    pub blocks: Vec<Block>,
    /// What the testbed substitutes, each once, in a fixed order.
    pub deviations: Vec<Deviation>,
    /// Points of the matrix that are not run, and why.
    pub excluded: Vec<Excluded>,
    /// What it costs.
    pub estimate: Estimate,
}

impl Plan {
    /// All trials in order.
    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.blocks.iter().flat_map(|block| &block.trials)
    }

    /// Writes the canonical JSON, one block at a time: a plan of very many trials is never in memory as text.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn write_json(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let rest = serde_json::to_value(self.without_blocks())?;
        let fields = rest.as_object().into_iter().flatten();
        for (i, (name, value)) in fields.enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            write!(out, "{before}\"{name}\":")?;
            if name == "blocks" {
                self.write_blocks(out)?;
            } else {
                serde_json::to_writer(&mut *out, value)?;
            }
        }
        out.write_all(b"}")
    }

    fn write_blocks(&self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(b"[")?;
        for (i, block) in self.blocks.iter().enumerate() {
            if i > 0 {
                out.write_all(b",")?;
            }
            write_canonical_json(&mut *out, block)?;
        }
        out.write_all(b"]")
    }

    fn without_blocks(&self) -> Self {
        Self {
            format: self.format,
            study: self.study.clone(),
            study_digest: self.study_digest.clone(),
            testbed: self.testbed.clone(),
            testbed_options: self.testbed_options.clone(),
            effort: self.effort.clone(),
            seed: self.seed,
            looks: self.looks.clone(),
            calibration: self.calibration.clone(),
            images: self.images.clone(),
            blocks: Vec::new(),
            deviations: self.deviations.clone(),
            excluded: self.excluded.clone(),
            estimate: self.estimate,
        }
    }
}

/// The link rate that was found for the machine at hand.
///
/// The reference point's processor time was measured at some link rates; a line through the points
/// gives the rate at which it has the cost that the study asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Factor on link rates that is used.
    pub factor: f64,
    /// 95 % interval of the factor as computed, before it is rounded and bounded.
    pub interval: (f64, f64),
    /// What the reference point costs, in percent of a processor per Mb/s.
    pub cpu_per_mbps: f64,
    /// Share of all processors that was asked for.
    pub cpu: f64,
    /// What was measured: rate in Mb/s and processor time in percent of one processor.
    pub points: Vec<(f64, f64)>,
    /// Whether the factor was cut at a bound, and other words for people.
    pub note: Option<String>,
}

/// Trials that share one machine and its guests, as they came up or were restored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Unique in the plan, a folder name: `xen-3.1.eserver-325.v8.r1`.
    pub id: Name,
    /// Repetition, from 1.
    pub repetition: u32,
    /// Guests that run throughout.
    pub vms: u32,
    /// Which of the machine's boots it starts from, from 1; `None` if it is booted anew.
    pub boot: Option<u32>,
    /// The machine.
    pub machine: Machine,
    /// Trials in the order in which they are run.
    pub trials: Vec<Trial>,
}

/// A machine under test after substitution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Platform.
    pub platform: Name,
    /// Hardware profile.
    pub hardware: Name,
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory: ByteSize,
    /// Data NICs.
    pub nics: Vec<Link>,
    /// Host image; `None` where the machine runs what is installed on it.
    pub image: Option<Name>,
    /// Guest image; also the peers' root where the testbed makes them. `None` where neither is
    /// needed.
    pub guest_image: Option<Name>,
    /// Hypervisor plugin.
    pub hypervisor: Name,
    /// Version that must be seen when the machine is up (a prefix of what is reported).
    pub version: String,
    /// Toolstack.
    pub toolstack: Option<Name>,
    /// Scheduler that must be seen.
    pub scheduler: Option<Name>,
    /// dom0's weight that must be read back.
    pub dom0_weight: Option<u16>,
    /// Guest NIC model.
    pub nic: Option<Name>,
    /// Each guest.
    pub guest: Option<GuestShape>,
    /// Most guests that run at once in any block of this platform and hardware profile: the memory
    /// of dom0 depends on it, and one machine can be grown from few guests to many.
    pub max_vms: u32,
    /// Traffic peers that are needed on each data network. With two networks those of the first
    /// send and those of the second receive, and no peer is on both.
    pub peers: u32,
    /// The hypervisor plugin's options.
    pub options: Options,
}

/// A NIC and its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// NIC model.
    pub model: Name,
    /// Rate of the link in each direction, scaled.
    pub rate: BitRate,
}

/// One point of the matrix, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Unique in the study whatever else is planned: `send-tcp.xen-3.1.v2.r1`.
    pub id: Name,
    /// Experiment.
    pub experiment: Name,
    /// Platform.
    pub platform: Name,
    /// What the machine does.
    pub role: Role,
    /// Guests that run; 0 where the machine itself is the end host.
    pub vms: u32,
    /// Repetition, from 1.
    pub repetition: u32,
    /// Which of the machine's boots it is made in, from 1: repetitions in the same boot share what
    /// that boot happened to be like. The repetition itself where machines are booted anew.
    pub boot: u32,
    /// Measured traffic.
    pub traffic: MeasureUse,
    /// Traffic on the other guests.
    pub load: Option<MeasureUse>,
    /// How many guests have a measured flow, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<u32>,
    /// Monitors that the platform offers.
    pub monitors: Vec<MeasureUse>,
    /// Time that traffic runs before measuring.
    pub warm_up: TimeSpan,
    /// Time that is measured.
    pub window: TimeSpan,
}

impl Trial {
    /// Measured flows: one for each guest, or one where there are none. Where the other guests are
    /// loaded, it is the first one's alone, and where others are idle, so many as are not.
    pub fn flows(&self) -> u32 {
        match self.load {
            Some(_) => 1,
            None => self.measured.unwrap_or(u32::MAX).min(self.vms.max(1)),
        }
    }
}

/// Where the testbed differs from what the study asks.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// What it concerns, e.g. `platform xen-3.1` or `hardware eserver-325`.
    pub subject: String,
    /// Which property, e.g. `version`, `memory`, `link rate`.
    pub property: String,
    /// What the study asks.
    pub asked: String,
    /// What is used.
    pub used: String,
    /// Why, as the overlay says.
    pub reason: String,
}

/// A point that is not run.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    /// Experiment.
    pub experiment: Name,
    /// Platform; `None` for all.
    pub platform: Option<Name>,
    /// Why.
    pub reason: String,
}

/// What a plan costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Wall time of the trials with booting, images being there.
    pub run: TimeSpan,
    /// Wall time of building all images from nothing.
    pub build: TimeSpan,
    /// Disk for images and raw data.
    pub disk: ByteSize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_written_piece_by_piece_as_it_would_be_whole() {
        let block = |id: &str| {
            serde_json::json!({
                "id": id, "repetition": 1, "vms": 1, "boot": null, "trials": [], "machine": {
                    "platform": "p", "hardware": "h", "cpus": 1, "memory": "1GiB", "nics": [],
                    "image": null, "guest_image": null, "hypervisor": "xen", "version": "4.20",
                    "toolstack": null, "scheduler": null, "dom0_weight": null, "nic": null,
                    "guest": null, "max_vms": 1, "peers": 1, "options": {"b": "é\n", "a": 1},
                },
            })
        };
        for blocks in [vec![], vec![block("a")], vec![block("a"), block("b")]] {
            let plan: Plan = serde_json::from_value(serde_json::json!({
                "format": 1, "study": "s", "study_digest": Digest::of(b""), "testbed": "t",
                "effort": "e", "seed": 1, "calibration": null, "images": ["i"], "blocks": blocks,
                "deviations": [], "excluded": [{"experiment": "x", "platform": null, "reason": "\"why\""}],
                "estimate": {"run": "1s", "build": "1s", "disk": "1MB"},
            }))
            .unwrap();
            let mut written = Vec::new();
            plan.write_json(&mut written).unwrap();
            let whole = crate::digest::canonical_json(&plan).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), whole);
        }
    }

    #[test]
    fn only_the_first_flow_is_measured_where_the_others_are_loaded() {
        let trial = |vms: u32, load: Option<&str>| -> Trial {
            serde_json::from_value(serde_json::json!({
                "id": "e.p.v1.r1", "experiment": "e", "platform": "p", "role": "router",
                "vms": vms, "repetition": 1, "boot": 1, "traffic": {"tool": "ping"},
                "load": load.map(|tool| serde_json::json!({"tool": tool})), "monitors": [],
                "warm_up": "1s", "window": "5s",
            }))
            .unwrap()
        };
        assert_eq!(trial(0, None).flows(), 1);
        assert_eq!(trial(8, None).flows(), 8);
        assert_eq!(trial(8, Some("iperf3")).flows(), 1);
        let idle = |vms| {
            let mut trial = trial(vms, None);
            trial.measured = Some(2);
            trial.flows()
        };
        assert_eq!([0, 1, 2, 8].map(idle), [1, 1, 2, 2]);
    }
}
