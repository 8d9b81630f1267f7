//! What a plugin is: testbeds, hypervisors, and measures (traffic generators and monitors).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::digest::Digest;
use crate::event::EventSink;
use crate::ids::{Interface, Name};
use crate::plan::Machine;
use crate::record::{Artefact, Part};
use crate::registry::Registry;
use crate::sample::{NodeRole, Sample, Unit};
use crate::shell::{Shell, ShellError};
use crate::site::{DataAddress, GuestSlot, Site, SshTarget};
use crate::spec::{Options, Role};
use crate::units::{BitRate, ByteSize};

/// What a person needs to act on a failure.
#[derive(Debug, thiserror::Error)]
#[error("{step} on {node}: {message}{}", log_hint(.log))]
pub struct PluginError {
    /// What was being done, e.g. `boot guest vm1`.
    pub step: String,
    /// Where.
    pub node: String,
    /// What went wrong, with the command and the tail of its standard error.
    pub message: String,
    /// A log to look at.
    pub log: Option<PathBuf>,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

fn log_hint(log: &Option<PathBuf>) -> String {
    log.as_ref()
        .map(|path| format!(" (log: {})", path.display()))
        .unwrap_or_default()
}

impl PluginError {
    /// An error without a cause or a log.
    pub fn new(
        step: impl Into<String>,
        node: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            step: step.into(),
            node: node.into(),
            message: message.into(),
            log: None,
            source: None,
        }
    }

    /// Names a log to look at.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// A failed command during `step`.
    pub fn shell(step: impl Into<String>, node: &Name, error: ShellError) -> Self {
        Self {
            source: Some(Box::new(error)),
            ..Self::new(step, node.as_str(), "a command failed")
        }
    }
}

/// Raw output that a parser refuses, and the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", .file, line_hint(.line))]
pub struct ParseError {
    /// File.
    pub file: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub message: String,
}

fn line_hint(line: &Option<usize>) -> String {
    line.map(|n| format!(":{n}")).unwrap_or_default()
}

/// What every plugin has.
pub trait Plugin: Send + Sync {
    /// The name that specs use.
    fn name(&self) -> &'static str;

    /// Nickel source of a record contract for the plugin's options, `{}` where there are none.
    /// It is applied to the user's own value, so that a wrong option is blamed there.
    fn contract(&self) -> &'static str;
}

/// What plugins get from the engine.
#[derive(Clone)]
pub struct Context {
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// A folder for logs; errors name files in it.
    pub logs: PathBuf,
}

/// Provides machines.
#[async_trait]
pub trait Testbed: Plugin {
    /// Images that it needs itself, beside those of the machines.
    fn images(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether its machines' time is that of their instructions, so that what is measured is the same
    /// everywhere: then every number is labelled so, and monitors that count what such a machine counts
    /// wrongly are left out ([`Measure::counting`]).
    fn virtual_time(&self) -> bool {
        false
    }

    /// How many machines like this one it can run at the same time on this computer, and none of them changes what
    /// is measured on another. 1 wherever they would share what they are measured by.
    fn side_by_side(&self, _machine: &Machine) -> usize {
        1
    }

    /// Processors and memory of this computer that a machine like this one takes with its peers: what a batch engine is
    /// asked for. One processor and 1 GiB beside the machine's own, unless it says otherwise.
    fn takes(&self, machine: &Machine) -> (u32, ByteSize) {
        let memory = machine.memory.bytes().saturating_add(1 << 30);
        (machine.cpus.saturating_add(1), ByteSize::new(memory))
    }

    /// Whether it makes its machines in an emulator, whose processors are as fast as the computer that
    /// runs it: what a study says of processors is then a deviation, unless a rule says so already.
    fn emulates(&self) -> bool {
        false
    }

    /// Why it can't provide a machine that a study asks for; said before anything is started.
    fn refuses(&self, _machine: &Machine) -> Option<String> {
        None
    }

    /// What is known to go wrong on such a machine, though it can be had: findings of `check`.
    fn limits(&self, _machine: &Machine) -> Vec<String> {
        Vec::new()
    }

    /// How many guests run in the snapshot that [`Testbed::acquire`] would start from, as far as can
    /// be said before anything is started: to tell how long a run will take. `None`: it would boot.
    fn kept(&self, _request: &MachineRequest) -> Option<u32> {
        None
    }

    /// Removes the snapshots that [`Testbed::acquire`] could start from: what was started from one, or
    /// kept as one, has failed, and might always. What another process is using stays.
    fn forget(&self, _request: &MachineRequest) {}

    /// Whether its machines are booted from host images. Where they are not, they run what is
    /// installed on them, and a study needs no rule that names an image.
    fn boots_images(&self) -> bool {
        true
    }

    /// Whether it needs root where vexp runs.
    fn needs_root(&self) -> bool {
        true
    }

    /// Whether what a study runs reaches computers that are somebody's own, so that a study is code that
    /// its user must trust.
    fn trusts_studies(&self) -> bool {
        false
    }

    /// Takes the file in which the user describes their own machines: the command line names it, never a
    /// study.
    fn machines_file(&self, _path: &std::path::Path) {}

    /// Looks at the machines that a run is going to use before it takes them, and changes nothing.
    /// The registry has the plan's measures, which know what programs they run.
    /// Machines that can't be looked at are findings, not errors. Empty where all is made anew.
    ///
    /// # Errors
    /// The options can't be read.
    async fn preflight(
        &self,
        _plan: &crate::plan::Plan,
        _measures: &Registry,
        _cx: &Context,
    ) -> Result<Vec<Preflight>, PluginError> {
        Ok(Vec::new())
    }

    /// Puts right what runs that died have left on machines, and says so in notes. Nothing where
    /// machines end with their runs.
    ///
    /// # Errors
    /// A machine can't be had: it can't be reached, or a run has it.
    async fn collect(&self, _options: &Options, _cx: &Context) -> Result<(), PluginError> {
        Ok(())
    }

    /// What processes that died have left on this computer, and nothing that somebody may still use;
    /// with `remove` it goes.
    ///
    /// # Errors
    /// Something can't be removed.
    fn left_here(&self, _remove: bool) -> Result<Vec<PathBuf>, PluginError> {
        Ok(Vec::new())
    }

    /// Boots a machine and its peers from built images, or restores the nearest snapshot: see
    /// [`MachineRequest::boot`].
    async fn acquire(
        &self,
        request: &MachineRequest,
        cx: &Context,
    ) -> Result<Box<dyn Lease>, PluginError>;
}

/// Something that a preflight looked at.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Preflight {
    /// Machine, by its name in the inventory.
    pub node: String,
    /// What was looked at: `clock`, `NIC speed` …
    pub what: String,
    /// What is asked for; empty where nothing in particular is.
    pub asked: String,
    /// What was seen.
    pub seen: String,
    /// How they compare.
    pub state: PreflightState,
}

/// How what was seen compares with what is asked for.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PreflightState {
    /// As asked.
    Fine,
    /// Not as asked, but the study lets it, for this reason: a deviation.
    Allowed(String),
    /// Not as asked: no run. What to do about it.
    Wrong(String),
}

impl Preflight {
    /// The deviation that it is, if it is one.
    pub fn deviation(&self) -> Option<crate::plan::Deviation> {
        match &self.state {
            PreflightState::Allowed(reason) => Some(crate::plan::Deviation {
                subject: format!("machine {}", self.node),
                property: self.what.clone(),
                asked: self.asked.clone(),
                used: self.seen.clone(),
                reason: reason.clone(),
            }),
            PreflightState::Fine | PreflightState::Wrong(_) => None,
        }
    }
}

/// What a testbed is asked for.
#[derive(Clone, Debug)]
pub struct MachineRequest {
    /// The testbed's options.
    pub options: Options,
    /// The run, as its folder is called: for the record of what is taken.
    pub run: Name,
    /// The machine.
    pub machine: Machine,
    /// Files of the host image, if it has one.
    pub image: Option<ImageFiles>,
    /// Files of the guest image, which is also the root of peers that are made.
    pub guest_image: Option<ImageFiles>,
    /// Files of the testbed's own images ([`Testbed::images`]), by name.
    pub tools: BTreeMap<Name, ImageFiles>,
    /// Guests that are to run.
    pub vms: u32,
    /// Which kept boot the machine is to be, from 1. The testbed may then restore a snapshot of it
    /// with at most `vms` guests instead of booting. `None`: booted anew.
    pub boot: Option<u32>,
}

/// Where the parts of a built image lie.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageFiles {
    /// Read-only root, squashfs.
    pub root: PathBuf,
    /// Digest of the image: of the names and digests of its files.
    pub digest: Digest,
    /// What it boots from; `None` on images that are only mounted.
    pub boot: Option<BootFiles>,
}

/// What a machine boots from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BootFiles {
    /// Kernel.
    pub kernel: PathBuf,
    /// Initramfs, to which a seed is appended.
    pub initramfs: PathBuf,
    /// Xen, on Xen host images.
    pub hypervisor: Option<PathBuf>,
}

/// A machine that was acquired.
#[async_trait]
pub trait Lease: Send {
    /// What a worker needs to know.
    fn site(&self) -> &Site;

    /// A program started where a worker must stand: `argv` with its network, and with files at
    /// the same paths as here. Standard output is piped. It dies with the lease.
    fn enter(&self, argv: &[String]) -> std::process::Command;

    /// Where a worker stands if the machines' time is virtual: in this process, instead of in one that
    /// [`Lease::enter`] starts. `None` on testbeds in real time.
    ///
    /// # Errors
    /// The machines are gone.
    fn workplace(&mut self) -> Result<Option<Workplace>, PluginError> {
        Ok(None)
    }

    /// Keeps the machine as it is, with `site().running` replaced by `running`, as the snapshot of
    /// its boot with so many guests. Nobody may be connected to it. It then goes on. `false` if this
    /// testbed or accelerator can't. Without `keep` the machine goes through the same, and the snapshot
    /// is removed: a machine is then the same, however many of its snapshots are needed.
    async fn save(&mut self, _running: u32, _keep: bool) -> Result<bool, PluginError> {
        Ok(false)
    }

    /// Gives everything back. Also called after failures; dropping a lease must do the same.
    async fn release(self: Box<Self>) -> Result<(), PluginError>;
}

/// A worker's place among machines whose time is virtual. The worker runs in this process, on one thread
/// whose tokio clock is paused: that clock is the machines', and what the worker itself does takes none of it.
pub struct Workplace {
    /// Reaches the machines.
    pub connect: std::sync::Arc<dyn crate::shell::Connect>,
    /// Moves the machines' time.
    pub driver: Box<dyn Driver>,
    /// Knows whether the machines kept to the rules.
    pub witness: Arc<dyn Witness>,
}

/// Moves virtual time: lets the machines run to each moment that tokio's paused clock reaches.
#[async_trait(?Send)]
pub trait Driver: Send {
    /// Runs as long as it is polled, and gives the reason why time can't go on.
    async fn drive(self: Box<Self>) -> PluginError;
}

/// Sees whether machines in virtual time did only what depends on themselves.
pub trait Witness: Send + Sync {
    /// Why what was measured since the last call may not be the same elsewhere; `None` if it is.
    fn doubt(&self) -> Option<String>;

    /// The machines' time in ns since their power-on.
    fn now_ns(&self) -> u64;

    /// Begins to note what links carry. It only looks: the machines see nothing of it.
    fn begin_trace(&self) {}

    /// What links carried since [`Witness::begin_trace`]; `None` where that is not noted.
    fn end_trace(&self) -> Option<crate::trace::Traffic> {
        None
    }
}

/// A node with a connection.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name.
    pub name: Name,
    /// Where it stands.
    pub role: NodeRole,
    /// Its shell.
    pub shell: Arc<dyn Shell>,
    /// Addresses on the data networks.
    pub data: Vec<DataAddress>,
}

/// What a hypervisor plugin offers; used to check specs before a machine is touched.
#[derive(Clone, Copy, Debug)]
pub struct HypervisorTraits {
    /// Whether it has guests.
    pub guests: bool,
    /// Guest NIC models; the first is the default.
    pub nics: &'static [&'static str],
    /// Toolstacks; the first is the default.
    pub toolstacks: &'static [&'static str],
    /// Schedulers that can be asked for; the first is the default.
    pub schedulers: &'static [&'static str],
    /// Schedulers under which dom0 can be given a weight.
    pub weighted: &'static [&'static str],
    /// Monitors that only make sense on some hypervisors and do here (`xentop` on Xen).
    pub monitors: &'static [&'static str],
    /// Memory that the host itself needs beside its guests'.
    pub host_memory: crate::units::ByteSize,
}

/// Boots guests on a host over SSH.
#[async_trait]
pub trait Hypervisor: Plugin {
    /// What it offers.
    fn traits(&self) -> HypervisorTraits;

    /// What that version itself takes for fields of a platform (`scheduler`, `toolstack`, `nic`) that a
    /// study leaves out. Where vexp takes something else, that is a deviation.
    fn own_defaults(&self, _version: &str) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Makes a booted host ready: bridges, scheduler, weights. Reads everything back and fails if
    /// version, scheduler or weight differ from what the plan says. Returns what it saw.
    async fn prepare(
        &self,
        host: &Node,
        host_nics: &[Interface],
        machine: &Machine,
        cx: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError>;

    /// Reads back what the plan says of a machine that is ready: version, scheduler, weights, and
    /// that exactly `guests` run. Called before each trial; what it returns is kept with the trial.
    ///
    /// # Errors
    /// Where something is not as planned: a trial there would be invalid.
    async fn verify(
        &self,
        host: &Node,
        guests: &[Name],
        machine: &Machine,
        cx: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError>;

    /// Takes over a guest that runs already, because the machine was restored with it.
    fn adopt(
        &self,
        host: &Node,
        guest: &GuestSlot,
        machine: &Machine,
    ) -> Result<Box<dyn Guest>, PluginError>;

    /// Starts a guest. Does not wait until it answers.
    async fn boot(
        &self,
        host: &Node,
        guest: &GuestSlot,
        machine: &Machine,
        cx: &Context,
    ) -> Result<Box<dyn Guest>, PluginError>;
}

/// A guest that was started.
#[async_trait]
pub trait Guest: Send + Sync {
    /// How to reach it once it is up.
    fn ssh(&self) -> &SshTarget;

    /// The last lines of its console, for error messages.
    async fn console(&self) -> String;

    /// Ends it.
    async fn stop(self: Box<Self>) -> Result<(), PluginError>;
}

/// A metric that a measure's samples have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricInfo {
    /// Name.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// One line.
    pub about: &'static str,
}

/// What a measure is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasureKind {
    /// Makes traffic and measures it.
    Traffic,
    /// Watches.
    Monitor,
}

/// Where what a measure reads counts right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// Everywhere.
    #[default]
    Everywhere,
    /// Where time goes on between events: Linux counts busy time in ticks, which coincide with the work
    /// in virtual time.
    RealTime,
    /// Only where it stands for one that counts in real time.
    VirtualTime,
}

/// One flow: from `source` to `sink`, accounted to the node under test.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The node that sends.
    pub source: Node,
    /// The node that receives.
    pub sink: Node,
    /// Address of the sink that the source sends to.
    pub to: std::net::IpAddr,
    /// Node under test: a guest, or the host where there are none.
    pub subject: Name,
}

/// What a measure is started on.
#[derive(Clone, Debug)]
pub struct MeasureRequest {
    /// What it is part of.
    pub part: Part,
    /// Options.
    pub options: Options,
    /// What the machine does.
    pub role: Role,
    /// Flows, in the guests' order.
    pub flows: Vec<Flow>,
    /// The machine under test.
    pub host: Node,
    /// Guests that run.
    pub guests: Vec<Node>,
    /// Peers at the ends of any flow, measured or load.
    pub peers: Vec<Node>,
    /// What is between the machine and its peers, where the worker stands and the testbed lets it
    /// look: links with their queues.
    pub switch: Option<Node>,
    /// Rate of the slowest link on the flows' way.
    pub link_rate: BitRate,
    /// Time before measuring that traffic is to run.
    pub warm_up: Duration,
    /// Time that is measured.
    pub window: Duration,
    /// The trial's epoch: artefacts' times count from here.
    pub epoch: Instant,
}

impl MeasureRequest {
    /// What is known of it before there are machines.
    pub fn intent(&self) -> Intent<'_> {
        Intent {
            part: self.part,
            options: &self.options,
            flows: u32::try_from(self.flows.len()).unwrap_or(u32::MAX),
            warm_up: self.warm_up,
            window: self.window,
        }
    }
}

/// What a measure is going to be started with, as far as a study says it.
#[derive(Clone, Copy, Debug)]
pub struct Intent<'a> {
    /// What it is part of.
    pub part: Part,
    /// Options.
    pub options: &'a Options,
    /// Flows that it has at once.
    pub flows: u32,
    /// Time before measuring that traffic is to run.
    pub warm_up: Duration,
    /// Time that is measured.
    pub window: Duration,
}

/// Why a measure can't be started as intended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is to be changed.
    pub of: Blame,
    /// What is wrong with it, and what would do.
    pub message: String,
}

impl Refusal {
    /// Of an option.
    pub fn option(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            of: Blame::Option(name.into()),
            message: message.into(),
        }
    }
}

/// The part of a study that a [`Refusal`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// An option; empty for all of them.
    Option(String),
    /// The effort's warm-up.
    WarmUp,
    /// The effort's window.
    Window,
}

/// What the source of a flow is told to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Bits of payload per second.
    pub bits_per_second: u64,
    /// Whether the options say it as a share of the link, so that it is scaled with it.
    pub of_link: bool,
}

/// A traffic generator or a monitor. Monitors start first and stop last.
#[async_trait]
pub trait Measure: Plugin {
    /// What it is for.
    fn kind(&self) -> MeasureKind;

    /// Where what it reads counts right; elsewhere a monitor is left out of the plan.
    fn counting(&self) -> Counting {
        Counting::Everywhere
    }

    /// Metrics of its samples.
    fn metrics(&self) -> &'static [MetricInfo];

    /// Why it can't be started so: all that [`Measure::start`] would refuse before it has looked at a
    /// machine. `check` asks for every experiment and effort, and a worker before each trial, which is
    /// then invalid and never retried.
    fn refuses(&self, _intent: &Intent<'_>) -> Vec<Refusal> {
        Vec::new()
    }

    /// Names of the samples that it gives with these options; `None` where that can't be said.
    fn gives(&self, _options: &Options) -> Option<Vec<String>> {
        let all = self.metrics().iter().map(|metric| metric.name.to_owned());
        Some(all.collect()).filter(|all: &Vec<String>| !all.is_empty())
    }

    /// Whether its samples tell the guests of a host apart.
    fn sees_guests(&self) -> bool {
        true
    }

    /// What each flow's source is told to send where the slowest link has this rate; `None` where it
    /// sends as fast as it can.
    fn offers(&self, _options: &Options, _link: BitRate) -> Option<Offer> {
        None
    }

    /// Programs that it runs: a monitor on the host, traffic at each end of its flows. Machines that
    /// nobody installs anew are looked at for them before a run.
    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Starts it: servers before clients, all clients together. Returns as soon as it runs.
    async fn start(
        &self,
        request: &MeasureRequest,
        cx: &Context,
    ) -> Result<Box<dyn Running>, PluginError>;

    /// Reads one raw file. Pure. Anything doubtful is an error, never a 0. An artefact of which
    /// nothing is to be read (the server's side, say) gives an empty list.
    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError>;
}

/// A measure that runs.
#[async_trait]
pub trait Running: Send {
    /// Waits for the end of the measure and gives what it left. A program that failed is not an
    /// error here: its artefact says so, and what it printed is kept.
    async fn finish(self: Box<Self>) -> Result<Finished, PluginError>;
}

/// What a measure left behind.
#[derive(Debug)]
pub struct Finished {
    /// Raw files, still in memory.
    pub artefacts: Vec<Captured>,
}

/// A raw artefact before it is written.
#[derive(Debug)]
pub struct Captured {
    /// Its description; `digest` is set when it is written.
    pub artefact: Artefact,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When each line had arrived, seconds since the trial's epoch. Kept beside the file.
    pub line_times: Vec<f64>,
}

/// A raw artefact as a parser sees it.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its description.
    pub artefact: &'a Artefact,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// When each line had arrived, seconds since the trial's epoch; may be empty.
    pub line_times: &'a [f64],
}
