//! Processor time of the host from `/proc/uptime` (proc_uptime(5)), for machines in virtual time.
//!
//! What Linux calls busy is counted in ticks, at each of which it looks what the processor does; idle time
//! is measured. In virtual time nothing happens between two events, so that ticks and work coincide: sar
//! was seen to say 38 % of a processor that was busy for 16 %. So busy is here what was not idle.

use async_trait::async_trait;
use vexp_api::plugin::{
    Context, Counting, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError,
    Plugin, PluginError, Raw, Refusal, Running,
};
use vexp_api::sample::Sample;

use super::sar::CPU;
use crate::text::{Line, Maker, at, decimal, lines, whole};

/// Prints the number of processors, and then as often as its second argument says, and as many seconds
/// apart as the first one says, how long the machine is up, and how long its processors were idle.
const SCRIPT: &str = r#"nproc
n=$2
while [ "$n" -gt 0 ]; do
    cat /proc/uptime
    sleep "$1"
    n=$((n - 1))
done"#;

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Uptime;

impl Plugin for Uptime {
    fn name(&self) -> &'static str {
        "uptime"
    }

    fn contract(&self) -> &'static str {
        include_str!("contract.ncl")
    }
}

#[async_trait]
impl Measure for Uptime {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    fn counting(&self) -> Counting {
        Counting::VirtualTime
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[CPU] }
    }

    fn sees_guests(&self) -> bool {
        false
    }

    fn refuses(&self, intent: &Intent<'_>) -> Vec<Refusal> {
        super::refusals(intent)
    }

    fn programs(&self) -> &'static [&'static str] {
        &["chrt"]
    }

    /// Starts it on `request.host`.
    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        super::start(self, request, |seconds, samples| {
            let numbers = [seconds, samples].map(|number| number.to_string());
            super::first("sh")
                .args(["-c", SCRIPT, "uptime"])
                .args(numbers)
        })
        .await
    }

    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        let maker = Maker::of(raw, raw.artefact.node.clone(), raw.artefact.role);
        let all: Vec<Line<'_>> = lines(raw)?.collect();
        let count: u32 = match all.first() {
            None => return Err(nothing(raw)),
            Some(first) => (first.text.parse().ok().filter(|count| *count > 0))
                .ok_or_else(|| at(raw, first.number, "expected the number of processors"))?,
        };
        let mut samples = Vec::new();
        for pair in readings(raw, &all[1..])?.windows(2) {
            let [before, after] = pair else { continue };
            let (took, rested) = (after.up - before.up, after.other - before.other);
            if took <= 0.0 || rested < 0.0 {
                let message = "time or idle time did not grow: was the machine restarted?";
                return Err(at(raw, after.line, message));
            }
            // Both are printed in hundredths of a second, one after the other.
            let busy = 100.0 * (f64::from(count) - rested / took).max(0.0);
            samples.push(maker.sample(after.line, CPU, (after.end - took, took), busy)?);
        }
        Ok(samples)
    }
}

/// A line of two numbers.
pub(super) struct Reading {
    /// Its number.
    pub(super) line: usize,
    /// Seconds that the machine was up.
    pub(super) up: f64,
    /// The other number.
    pub(super) other: f64,
    /// When it was printed, in seconds since the trial's epoch.
    pub(super) end: f64,
}

/// Lines with the seconds that the machine is up, and another number: at least two.
pub(super) fn readings(raw: &Raw<'_>, lines: &[Line<'_>]) -> Result<Vec<Reading>, ParseError> {
    let mut all: Vec<Reading> = Vec::new();
    for line in lines {
        let mut words = line.text.split(' ');
        let (Some(up), Some(other), None) = (words.next(), words.next(), words.next()) else {
            return Err(at(raw, line.number, "expected two numbers"));
        };
        let number = |word| decimal(word).ok_or_else(|| at(raw, line.number, "expected a number"));
        let (up, other) = (number(up)?, number(other)?);
        let started = all.first().map_or(up, |first| first.up);
        let end = line.time.unwrap_or(raw.artefact.started_s + up - started);
        all.push(Reading {
            line: line.number,
            up,
            other,
            end,
        });
    }
    match all.len() {
        0 | 1 => Err(nothing(raw)),
        _ => Ok(all),
    }
}

fn nothing(raw: &Raw<'_>) -> ParseError {
    let said = raw.artefact.stderr.trim();
    let message = format!("no complete sample was printed; it said: {said:?}");
    whole(raw, message)
}

#[cfg(test)]
mod tests {
    use vexp_api::sample::NodeRole;

    use super::*;
    use crate::testing::{artefact, check_damage, of, parse};

    fn host() -> vexp_api::record::Artefact {
        artefact("uptime", "stdout", ("host", NodeRole::Host))
    }

    const RECORDED: &str = include_str!("../../testdata/linux-6.12/uptime.txt");
    const TIMES: &str = include_str!("../../testdata/linux-6.12/uptime.txt.times");

    #[test]
    fn busy_is_what_was_not_idle() {
        let text = "2\n100.00 150.00\n101.00 151.50\n102.00 152.00\n";
        let samples = parse(&Uptime, &host(), text.as_bytes(), "0.1\n0.5\n1.5\n2.5\n").unwrap();
        let cpu = of(&samples, "cpu");
        assert_eq!(cpu.len(), 2);
        assert!((cpu[0].2 - 50.0).abs() < 1e-9 && (cpu[1].2 - 150.0).abs() < 1e-9);
        assert!((cpu[0].0 - 0.5).abs() < 1e-9 && (cpu[0].1 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_recording_of_a_machine_in_virtual_time() {
        let samples = parse(&Uptime, &host(), RECORDED.as_bytes(), TIMES).unwrap();
        let cpu = of(&samples, "cpu");
        assert_eq!(cpu.len(), RECORDED.lines().count() - 2);
        assert!(
            cpu.iter()
                .all(|(_, dt, busy)| *dt > 0.9 && (0.0..=101.0).contains(busy))
        );
    }

    #[test]
    fn doubtful_output_is_refused() {
        for bad in [
            "",
            "1\n",
            "0\n1.00 1.00\n2.00 2.00\n",
            "1\n1.00 1.00\n",
            "1\n2.00 1.00\n1.00 1.00\n",
            "1\n1.00 2.00\n2.00 1.00\n",
            "1\n1.00\n2.00 1.00\n",
            "1\nNaN 1.00\n2.00 1.00\n",
        ] {
            assert!(
                parse(&Uptime, &host(), bad.as_bytes(), "").is_err(),
                "{bad:?}"
            );
        }
        check_damage(&Uptime, &host(), RECORDED.as_bytes(), TIMES);
    }
}
