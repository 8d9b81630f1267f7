//! A registry of plugins that can't run anything, a loader, and a rendering of findings.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vexp_api::diagnostic::{Diagnostic, Severity};
use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::*;
use vexp_api::registry::Registry;
use vexp_api::sample::{Sample, Unit};
use vexp_api::site::GuestSlot;
use vexp_api::spec::Options;
use vexp_api::units::{BitRate, ByteSize};
use vexp_engine::check::{CheckedStudy, check};
use vexp_engine::load::{LoadError, Loaded, Loader};

struct Fake {
    name: &'static str,
    contract: &'static str,
    kind: MeasureKind,
    traits: HypervisorTraits,
}

impl Plugin for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn contract(&self) -> &'static str {
        self.contract
    }
}

fn cannot(step: &str) -> PluginError {
    PluginError::new(step, "nowhere", "a fake can't")
}

#[async_trait::async_trait]
impl Testbed for Fake {
    fn virtual_time(&self) -> bool {
        self.name == "virtual"
    }

    fn emulates(&self) -> bool {
        true
    }

    fn limits(&self, machine: &Machine, needs: &MachineNeeds) -> Vec<String> {
        let many = needs.nested && machine.cpus > 4;
        let limit = format!("KVM on {} emulated processors hangs", machine.cpus);
        many.then_some(limit).into_iter().collect()
    }

    async fn acquire(
        &self,
        _: &MachineRequest,
        _: &Context,
    ) -> Result<Box<dyn Lease>, PluginError> {
        Err(cannot("acquire"))
    }
}

#[async_trait::async_trait]
impl Hypervisor for Fake {
    fn traits(&self) -> HypervisorTraits {
        self.traits
    }

    fn own_defaults(&self, version: &str) -> Vec<(&'static str, &'static str)> {
        match (self.name, version) {
            ("xen", "4.20") => vec![("scheduler", "credit2"), ("toolstack", "xl")],
            ("xen", _) => vec![("scheduler", "credit")],
            _ => Vec::new(),
        }
    }

    async fn look(&self, _: &Node, _: &Machine) -> Result<HostSeen, PluginError> {
        Err(cannot("look"))
    }

    async fn prepare(
        &self,
        _: &Node,
        _: &[vexp_api::ids::Interface],
        _: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        Err(cannot("prepare"))
    }

    async fn verify(
        &self,
        _: &Node,
        _: &[Name],
        _: &Machine,
        _: &Context,
    ) -> Result<BTreeMap<String, String>, PluginError> {
        Err(cannot("verify"))
    }

    fn adopt(&self, _: &Node, _: &GuestSlot, _: &Machine) -> Result<Box<dyn Guest>, PluginError> {
        Err(cannot("adopt"))
    }

    async fn boot(
        &self,
        _: &Node,
        _: &GuestSlot,
        _: &Machine,
        _: &Context,
    ) -> Result<Box<dyn Guest>, PluginError> {
        Err(cannot("boot"))
    }
}

#[async_trait::async_trait]
impl Measure for Fake {
    fn kind(&self) -> MeasureKind {
        self.kind
    }

    fn counting(&self) -> Counting {
        match self.name {
            "sar" | "pidstat" => Counting::RealTime,
            "uptime" => Counting::VirtualTime,
            _ => Counting::Everywhere,
        }
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        match self.kind {
            MeasureKind::Traffic => &[],
            MeasureKind::Monitor if self.name == "counters" => &[],
            MeasureKind::Monitor => &[CPU],
        }
    }

    /// As the real ones do: UDP needs a rate, and times are whole seconds.
    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        let option = |name: &str| intent.options.get(name).and_then(serde_json::Value::as_str);
        let mut refused = Vec::new();
        if self.name == "iperf3" && option("protocol") == Some("udp") && option("rate").is_none() {
            refused.push(Refusal::option("", "UDP needs a `rate`"));
        }
        if self.name == "iperf3" && intent.window.subsec_nanos() != 0 {
            refused.push(Refusal {
                of: Blame::Window,
                message: "it takes whole seconds".to_owned(),
            });
        }
        refused
    }

    fn gives(&self, options: &Options) -> Option<Vec<String>> {
        let given: &[&str] = match self.name {
            "ping" => &["rtt", "loss"],
            "iperf3" if options.get("protocol") == Some(&"udp".into()) => {
                &["throughput", "loss", "packets_per_second"]
            }
            "iperf3" => &["throughput", "retransmits", "rtt"],
            "xentop" | "sar" | "uptime" | "pidstat" => &["cpu"],
            _ => return None,
        };
        Some(given.iter().map(|name| (*name).to_owned()).collect())
    }

    fn offers(&self, options: &Options, link: BitRate) -> Option<Offer> {
        let rate = options.get("rate")?.as_str()?;
        let parsed: Result<BitRate, _> = rate.parse();
        let of_link = parsed.is_err();
        Some(Offer {
            bits_per_second: parsed.unwrap_or(link).bits_per_second(),
            of_link,
        })
    }

    async fn start(
        &self,
        _: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        Err(cannot("start"))
    }

    fn parse(&self, _: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        Ok(Vec::new())
    }
}

const CPU: MetricInfo = MetricInfo {
    name: "cpu",
    unit: Unit::CpuPercent,
    about: "processor time",
};

const NONE: HypervisorTraits = HypervisorTraits {
    guests: false,
    nics: &[],
    toolstacks: &[],
    schedulers: &[],
    weighted: &[],
    monitors: &["uptime"],
    host_memory: ByteSize::new(256 << 20),
    guests_are_processes: false,
    nested: false,
};

const XEN: HypervisorTraits = HypervisorTraits {
    guests: true,
    nics: &["netfront"],
    toolstacks: &["xl", "xm"],
    schedulers: &["credit", "credit2"],
    weighted: &["credit"],
    monitors: &["xentop"],
    host_memory: ByteSize::new(1536 << 20),
    guests_are_processes: false,
    nested: false,
};

const KVM: HypervisorTraits = HypervisorTraits {
    guests: true,
    monitors: &["pidstat"],
    nics: &["virtio", "e1000"],
    host_memory: ByteSize::new(512 << 20),
    guests_are_processes: true,
    nested: true,
    ..NONE
};

const IPERF3: &str = "{ protocol | std.enum.TagOrString | [| 'tcp, 'udp |] | optional,
  rate | String | optional, length | Number | optional }";
const PING: &str = "{ interval | String | optional }";

/// The names and offers of the real plugins.
pub(crate) fn registry() -> Registry {
    let fake = |name, contract| Fake {
        name,
        contract,
        kind: MeasureKind::Traffic,
        traits: NONE,
    };
    let monitor = |name| Fake {
        kind: MeasureKind::Monitor,
        ..fake(name, PING)
    };
    let host = |name, traits| Fake {
        traits,
        ..fake(name, "{}")
    };
    Registry::new()
        .testbed(fake("emulated", "{}"))
        .testbed(fake(
            "virtual",
            "{ instruction_ns | Number | optional, receive_offload | Bool | optional }",
        ))
        .hypervisor(host("linux", NONE))
        .hypervisor(host("xen", XEN))
        .hypervisor(host("kvm", KVM))
        .measure(fake("iperf3", IPERF3))
        .measure(fake("netperf", IPERF3))
        .measure(fake("ping", PING))
        .measure(monitor("xentop"))
        .measure(monitor("sar"))
        .measure(monitor("uptime"))
        .measure(monitor("pidstat"))
        .measure(monitor("counters"))
}

pub(crate) fn loader() -> Loader {
    Loader::new(env!("CARGO_BIN_EXE_vexp-eval-spec"))
}

/// A folder of this crate.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Loads and checks; findings come with the sources that they refer to.
pub(crate) fn try_check(
    path: &Path,
) -> Result<CheckedStudy, (Vec<Diagnostic>, BTreeMap<String, String>)> {
    let loaded = match loader().study(path, &registry()) {
        Ok(loaded) => loaded,
        Err(LoadError::Findings(_, findings)) => return Err((findings.findings, findings.sources)),
        Err(error) => panic!("{}: {error:?}", path.display()),
    };
    let Loaded { sources, .. } = loaded.clone();
    check(&loaded, &registry()).map_err(|findings| (findings, sources))
}

/// A study that must keep all rules.
pub(crate) fn checked(path: &Path) -> CheckedStudy {
    try_check(path).unwrap_or_else(|(findings, sources)| {
        panic!("{}", render(&findings, &sources));
    })
}

/// Compact text: code, field, place, the underlined text, message, help.
pub(crate) fn render(findings: &[Diagnostic], sources: &BTreeMap<String, String>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(text, "{severity}[{}] {}", finding.code, finding.field).unwrap();
        writeln!(text, "  {}", finding.message).unwrap();
        for label in &finding.labels {
            let place = &label.place;
            let source = &sources[&place.file];
            let marked = &source[place.offset..place.offset + place.len];
            let first = marked.lines().next().unwrap_or_default();
            let more = if marked.lines().count() > 1 {
                " …"
            } else {
                ""
            };
            let at = format!("{}:{}:{}", place.file, place.line, place.column);
            writeln!(text, "  at {at} `{first}{more}` ({})", label.text).unwrap();
        }
        if let Some(help) = &finding.help {
            writeln!(text, "  help: {help}").unwrap();
        }
    }
    text
}
