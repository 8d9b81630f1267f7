//! Processor time of the traffic peers' programs, on testbed `virtual`: there they share the machine's
//! processor, and a result should say how much of it they took.
//!
//! The lab puts the peers into a control group of their own, whose `usage_usec` is the scheduler's count
//! of what its threads ran (Linux, Documentation/admin-guide/cgroup-v2.rst, `cpu.stat`), and no count of
//! ticks. Interrupts that come while they run are counted with them, whomever they are for: it is a bound
//! from above of what the programs themselves take. Not on Xen: whether dom0 counts on while another domain
//! has the processor was not found out.

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Counting, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError, Plugin,
    PluginError, Raw, Running,
};
use vexp_api::sample::{Sample, Unit};

use super::uptime::readings;
use crate::testbed::emulated::virtual_time::inside::PEERS_CPU;
use crate::text::{Maker, at};

/// Prints as often as its second argument says, and as many seconds apart as the first one says, how
/// long the machine is up, and the first number of the file that its third argument names.
const SCRIPT: &str = r#"n=$2
while [ "$n" -gt 0 ]; do
    read -r up _ < /proc/uptime && read -r _ used < "$3" || exit
    echo "$up $used"
    sleep "$1"
    n=$((n - 1))
done"#;

/// What it measures.
const CPU_PEERS: MetricInfo = MetricInfo {
    name: "cpu_peers",
    unit: Unit::CpuPercent,
    about: "processor time of the traffic peers' programs, with the interrupts that came while they ran, where they share the machine's processor",
};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Peers;

impl Plugin for Peers {
    fn name(&self) -> &'static str {
        "peers"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

#[async_trait]
impl Measure for Peers {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    fn counting(&self) -> Counting {
        Counting::VirtualTime
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[CPU_PEERS] }
    }

    fn programs(&self) -> &'static [&'static str] {
        &["chrt"]
    }

    /// Starts it on `request.host`, whose kernel is that of the peers.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        super::start("peers", request, |seconds, samples| {
            let numbers = [seconds, samples].map(|number| number.to_string());
            super::first("sh")
                .args(["-c", SCRIPT, "peers"])
                .args(numbers)
                .args([PEERS_CPU])
        })
        .await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        let maker = Maker::of(raw, raw.artefact.node.clone(), raw.artefact.role);
        let mut samples = Vec::new();
        for pair in readings(raw, &crate::text::lines(raw)?)?.windows(2) {
            let [before, after] = pair else { continue };
            let (took, used) = (after.up - before.up, after.other - before.other);
            if took <= 0.0 || used < 0.0 {
                let message = "time or used time did not grow: was the machine restarted?";
                return Err(at(raw, after.line, message));
            }
            let busy = 100.0 * used / 1e6 / took;
            samples.push(maker.sample(after.line, CPU_PEERS, (after.end - took, took), busy)?);
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use vexp_api::sample::NodeRole;

    use super::*;
    use crate::testing::{artefact, check_damage, of, parse};

    fn host() -> vexp_api::record::Artefact {
        artefact("peers", "stdout", ("host", NodeRole::Host))
    }

    const RECORDED: &str = include_str!("../../testdata/linux-6.12/peers.txt");
    const TIMES: &str = include_str!("../../testdata/linux-6.12/peers.txt.times");

    #[test]
    fn used_time_is_a_share_of_the_time_that_has_passed() {
        let text = "100.00 5000000\n101.00 5060000\n103.00 5060000\n";
        let samples = parse(&Peers, &host(), text.as_bytes(), "0.5\n1.5\n3.5\n").unwrap();
        let cpu = of(&samples, "cpu_peers");
        assert_eq!(cpu.len(), 2);
        assert!((cpu[0].2 - 6.0).abs() < 1e-9 && cpu[1].2 == 0.0);
        assert!((cpu[0].0 - 0.5).abs() < 1e-9 && (cpu[1].1 - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_recording_of_a_machine_that_sends() {
        let samples = parse(&Peers, &host(), RECORDED.as_bytes(), TIMES).unwrap();
        let cpu = of(&samples, "cpu_peers");
        assert_eq!(cpu.len(), RECORDED.lines().count() - 1);
        assert!(
            cpu.iter()
                .all(|(_, dt, used)| *dt > 0.9 && (0.0..=100.0).contains(used))
        );
        assert!(cpu.iter().any(|(_, _, used)| *used > 15.0));
    }

    #[test]
    fn doubtful_output_is_refused() {
        for bad in [
            "",
            "100.00 5000000\n",
            "100.00 5000000\n101.00 4000000\n",
            "101.00 5000000\n100.00 5000000\n",
            "100.00 5000000\n101.00\n",
            "100.00 x\n101.00 5000000\n",
        ] {
            let parsed = parse(&Peers, &host(), bad.as_bytes(), "");
            assert!(parsed.is_err(), "{bad:?}");
        }
        check_damage(&Peers, &host(), RECORDED.as_bytes(), TIMES);
    }
}
