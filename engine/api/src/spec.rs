//! A study: what a spec says after type-checking, before any testbed is chosen.
//!
//! Field names here are the field names of the Nickel library. Every struct refuses unknown
//! fields, so that a misspelt one is a finding and never a silently kept default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{Doi, Name};
use crate::looks::Look;
use crate::sample::Unit;
use crate::units::{BitRate, ByteSize, Frequency, TimeSpan};

/// The version of the spec's format.
pub const FORMAT: u32 = 1;

/// Options that a plugin defines, checked by the plugin's own contract.
pub type Options = Map<String, Value>;

/// The whole of a spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// [`FORMAT`].
    pub format: u32,
    /// Short name; part of every run's id.
    pub name: Name,
    /// One line.
    pub title: String,
    /// The publication that is rerun, if any.
    pub paper: Option<Paper>,
    /// Seed of every random choice: block order, order in a block, bootstrap.
    pub seed: u64,
    /// Hardware profiles by name.
    pub hardware: BTreeMap<Name, Hardware>,
    /// Platforms by name: hypervisor, version and set-up.
    pub platforms: BTreeMap<Name, Platform>,
    /// Experiments by name.
    pub experiments: BTreeMap<Name, Experiment>,
    /// How much of the study to run, by name: `quick`, `standard`, `full`.
    pub efforts: BTreeMap<Name, Effort>,
    /// What each testbed substitutes, by the testbed's name.
    pub testbeds: BTreeMap<Name, Overlay>,
    /// What batch engines are told, by the engine's name, where its user says nothing else. No result depends on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub batch: BTreeMap<Name, Options>,
    /// Values that the publication prints.
    pub published: Vec<Published>,
    /// Claims by name.
    pub claims: BTreeMap<Name, Claim>,
    /// Figures of the publication, in the order in which a report shows them.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// Tables of the publication, in the order in which a report shows them.
    #[serde(default)]
    pub tables: Vec<Table>,
    /// When a run until all is decided looks at the claims; empty: after 6, 12 and 20 units, with 0.3,
    /// 0.3 and 0.4 of the level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<Look>,
}

/// A publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    /// Title as printed.
    pub title: String,
    /// Authors as printed, in order.
    pub authors: Vec<String>,
    /// Year.
    pub year: u32,
    /// Its DOI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doi: Option<Doi>,
    /// Who answers about the study: an e-mail address or a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// DOI under which an archive keeps the study's bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Doi>,
    /// Address of the repository in which the study is developed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Where it defines metrics, such as `Table I` or `equation 2`, by the metric's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<Name, String>,
}

/// A machine as the study describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// What one would order, e.g. `IBM eServer 325`.
    pub description: String,
    /// Processors (cores) that the operating system sees.
    pub cpus: u32,
    /// Processor, e.g. `AMD Opteron 246`.
    pub cpu: String,
    /// Its clock.
    pub clock: Frequency,
    /// Memory.
    pub memory: ByteSize,
    /// Network interfaces for data traffic; the control path is the testbed's affair.
    pub nics: Vec<Nic>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Model; `any` where the study does not name one.
    pub model: Name,
    /// Link rate, each direction.
    pub rate: BitRate,
}

/// What a machine under test does.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Guests send to the peers.
    Sender,
    /// The peers send to guests.
    Receiver,
    /// Guests forward between two data networks.
    Router,
}

impl Role {
    /// As written in specs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
            Self::Router => "router",
        }
    }
}

/// Hypervisor, version and set-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// As in tables, e.g. `Xen 3.1a`.
    pub title: String,
    /// Hypervisor plugin: `linux`, `xen`, `kvm`.
    pub hypervisor: Name,
    /// Version that the study asks for, e.g. `3.1.0`.
    pub version: String,
    /// Kernel that the study names, for the record.
    pub kernel: Option<String>,
    /// `xl` or `xm`, on hypervisors that have toolstacks; the hypervisor's default otherwise.
    pub toolstack: Option<Name>,
    /// Processor scheduler, on hypervisors that offer a choice.
    pub scheduler: Option<Name>,
    /// Weight of dom0 under the credit scheduler, 1 to 65535 (Xen's default is 256).
    pub dom0_weight: Option<u16>,
    /// Guest's network interface as the hypervisor offers it: `netfront`, `virtio`, `e1000`.
    /// `None` where there are no guests.
    pub nic: Option<Name>,
    /// Each guest; `None` where there are none.
    pub guest: Option<GuestShape>,
    /// Hardware profile by role.
    pub hardware: BTreeMap<Role, Name>,
    /// The hypervisor plugin's own options.
    #[serde(default)]
    pub options: Options,
}

/// A guest's virtual hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestShape {
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory.
    pub memory: ByteSize,
}

/// A traffic generator or monitor with its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasureUse {
    /// Plugin name: `iperf3`, `ping`, `xentop`, `sar`.
    pub tool: Name,
    /// The plugin's own options.
    #[serde(default)]
    pub options: Options,
}

/// What is run on which platforms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// One line.
    pub title: String,
    /// What the machine under test does.
    pub role: Role,
    /// Traffic that is measured.
    pub traffic: MeasureUse,
    /// Traffic that loads the *other* guests meanwhile, if any (stressed latency).
    pub load: Option<MeasureUse>,
    /// How many guests have a measured flow, from the first on, while the others are idle; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u32>,
    /// Monitors; those that a platform's hypervisor does not offer are left out there.
    pub monitors: Vec<MeasureUse>,
    /// Platforms by name.
    pub platforms: Vec<Name>,
    /// VM counts. A platform without guests has one point whatever stands here, with 0 VMs.
    pub vms: Vec<u32>,
    /// Figures and tables of the publication that this belongs to.
    pub figures: Vec<String>,
}

/// How much of a study to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Effort {
    /// Only these platforms.
    pub platforms: Option<Vec<Name>>,
    /// Only these experiments.
    pub experiments: Option<Vec<Name>>,
    /// Only these VM counts.
    pub vms: Option<Vec<u32>>,
    /// Repetitions of every point.
    pub repetitions: u32,
    /// How many times each machine is booted with its guests. A boot is kept as a snapshot, and
    /// repetition `r` starts from boot `(r - 1) % boots + 1`. `None`: every repetition has a machine
    /// that is booted anew and thrown away.
    pub boots: Option<u32>,
    /// Time that traffic runs before measuring.
    pub warm_up: TimeSpan,
    /// Time that is measured.
    pub window: TimeSpan,
}

/// What a testbed substitutes for what it can't provide. Every rule that applies to a trial is a
/// [`crate::plan::Deviation`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Factor on every link rate, greater than 0 and at most 1, and why.
    pub link: Option<LinkScale>,
    /// Replacements for hypervisor versions.
    #[serde(default)]
    pub software: Vec<SoftwareRule>,
    /// Replacements for hardware, by profile.
    #[serde(default)]
    pub hardware: BTreeMap<Name, HardwareRule>,
    /// Replacement for every guest's shape.
    pub guest: Option<GuestRule>,
    /// The testbed plugin's own options.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
}

/// Factor on link rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkScale {
    /// Greater than 0, at most 1; the product with each rate must be whole bits per second.
    pub factor: f64,
    /// Why.
    pub reason: String,
    /// How the factor is found on the machine at hand; `factor` then is where the search begins.
    pub calibrate: Option<Calibrate>,
}

/// The link rate at which a reference point costs what the publication says: then a link is as
/// scarce, compared with processor time, as it was there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calibrate {
    /// Experiment of the reference point.
    pub experiment: Name,
    /// Its platform, one without guests.
    pub platform: Name,
    /// Processor time that it is to cost, as a share of all of the machine's processors: 0.32 for
    /// 64 % of 200 %.
    pub cpu: f64,
    /// Smallest factor that may come of it.
    pub least: f64,
    /// Largest factor that may come of it.
    pub most: f64,
}

/// Another version, and the image that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SoftwareRule {
    /// Hypervisor plugin.
    pub hypervisor: Name,
    /// Version that the study asks for.
    pub version: String,
    /// Version that is used; must be seen when the machine is up.
    pub used: String,
    /// Host image; none on testbeds whose machines run what is installed on them.
    pub image: Option<Name>,
    /// Guest image, on hypervisors with guests.
    pub guest_image: Option<Name>,
    /// Toolstack that is used instead, if the asked one can't drive that version.
    pub toolstack: Option<Name>,
    /// Why.
    pub reason: String,
}

/// Other hardware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardwareRule {
    /// Number of processors that is used.
    pub cpus: Option<u32>,
    /// Processor that is used.
    pub cpu: Option<String>,
    /// Memory that is used.
    pub memory: Option<ByteSize>,
    /// NIC model that is used, for all of the profile's NICs.
    pub nic: Option<Name>,
    /// Why.
    pub reason: String,
}

/// Other guests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestRule {
    /// Memory that is used.
    pub memory: Option<ByteSize>,
    /// Number of virtual processors that is used.
    pub vcpus: Option<u32>,
    /// Why.
    pub reason: String,
}

/// A metric at a point of the matrix.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct MetricRef {
    /// Metric name, e.g. `throughput_aggregate`, `efficiency`, `jain_throughput`, `cpu_total`.
    pub metric: Name,
    /// Experiment.
    pub experiment: Name,
    /// Platform.
    pub platform: Name,
    /// VM count; 0 on platforms without guests.
    pub vms: u32,
    /// One virtual machine, `vm1` …; `None` for all of them: the metric of the whole point, or the
    /// mean over its virtual machines.
    #[serde(default)]
    pub node: Option<Name>,
}

/// A figure: groups of bars by VM count, in each a bar for every series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Where it stands, e.g. `Figure 5`.
    pub place: String,
    /// Caption, as printed.
    pub title: String,
    /// Metric of the bars.
    pub metric: Name,
    /// Metric of the parts that a bar is stacked of, one for each virtual machine (and the host,
    /// for processor time); `None` for plain bars.
    pub parts: Option<Name>,
    /// What the vertical axis says.
    pub axis: String,
    /// Metric of the horizontal axis: then the figure is of lines over it, such as the load that was
    /// offered, and series of the same title are one line. `None` for bars by VM count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<Name>,
    /// A bar in each group.
    pub series: Vec<Series>,
    /// VM counts, in order.
    pub vms: Vec<u32>,
    /// A line across: classical Linux, say.
    pub reference: Option<Reference>,
}

/// A series of a figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// As in the legend.
    pub title: String,
    /// Experiment.
    pub experiment: Name,
    /// Platform.
    pub platform: Name,
}

/// A line across a figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// As in the legend.
    pub title: String,
    /// Its value.
    pub of: MetricRef,
}

/// A table of the publication, with what was measured beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Where it stands, e.g. `Table II`.
    pub place: String,
    /// Caption, as printed.
    pub title: String,
    /// Heads of the columns after the first.
    pub columns: Vec<String>,
    /// Rows.
    pub rows: Vec<TableRow>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableRow {
    /// Its head.
    pub title: String,
    /// As many cells as the table has columns.
    pub cells: Vec<Cell>,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What the publication prints there, as printed; `None` where it has nothing.
    pub printed: Option<String>,
    /// What is measured for it; `None` where nothing is.
    pub of: Option<MetricRef>,
}

/// A value that the publication prints. Values that can only be read off a figure do not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What it is a value of.
    pub of: MetricRef,
    /// The value as printed.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// Where it is printed, e.g. `Table II`.
    pub place: String,
    /// Remarks, e.g. a contradiction inside the text.
    pub note: Option<String>,
}

/// A claim of the publication as executable assertions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The claim in words.
    pub statement: String,
    /// Where it stands in the publication.
    pub place: String,
    /// Assertions that must all hold; empty with a reason where the claim can't be tested.
    pub tests: Vec<Assertion>,
    /// What a run must be for the claim to be seen in it.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub needs: Needs,
    /// Why `tests` is empty, or what to keep in mind.
    pub note: Option<String>,
}

/// What a run must be for a claim to be seen in it. Where it is not, the claim is out of the run's
/// regime, whatever was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Least number of processors of every machine that the tests are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<u32>,
    /// Whose time it must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeKind>,
    /// Versions that have what the claim is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionNeed>,
    /// Conditions on the machines and on what was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Condition>,
    /// Least offered load at the tests' points, as a share of the link's rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<f64>,
    /// Assertions that hold wherever the claim could be seen: positive controls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Assertion>,
}

impl Needs {
    /// Whether a run may be anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whose time a run's clocks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeKind {
    /// That of the computer's clock.
    Real,
    /// That of the emulated instructions.
    Virtual,
}

/// A platform that must not be of today for the claim to be about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionNeed {
    /// Platform.
    pub platform: Name,
    /// First version of its hypervisor that no longer has what the claim is about.
    pub below: String,
    /// What that version changed.
    pub reason: String,
}

/// What must hold for a claim to be seen.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// At no point of its tests all processors are busy: less than 97 % of their time is used.
    Unsaturated,
    /// Classical Linux fills the link: it reaches 90 % of its rate in each experiment of the tests.
    LinkFilled,
    /// Guests run on hardware virtualization that no emulator stands in for.
    HardwareVirtualization,
}

impl Condition {
    /// All of them, as written in specs.
    pub const NAMES: [&'static str; 3] = ["unsaturated", "link-filled", "hardware-virtualization"];

    /// As written in specs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsaturated => "unsaturated",
            Self::LinkFilled => "link-filled",
            Self::HardwareVirtualization => "hardware-virtualization",
        }
    }
}

/// `left relation right`, within a margin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Left side.
    pub left: MetricRef,
    /// How the sides are compared.
    pub relation: Relation,
    /// Right side.
    pub right: Operand,
    /// Relative margin, at least 0: 0.05 is five percent of the right side.
    pub margin: f64,
}

/// How the sides of an assertion are compared, with `m = margin * |right|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// `|left - right| <= m`
    About,
    /// `left >= right - m`
    AtLeast,
    /// `left <= right + m`
    AtMost,
    /// `left > right + m`
    GreaterThan,
    /// `left < right - m`
    LessThan,
}

/// Right side of an assertion: a number, or a metric times a factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Operand {
    /// A number in the left side's unit.
    Number(f64),
    /// `times` × the metric.
    Metric {
        /// The metric.
        of: MetricRef,
        /// The factor.
        times: f64,
    },
}
