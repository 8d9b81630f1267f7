//! Traffic that flows at the rate that it is asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use vexp_api::digest::Digest;
use vexp_api::ids::{BadName, Name};
use vexp_api::plugin::{
    Captured, Context, Finished, Intent, Measure, MeasureKind, MeasureRequest, MetricInfo,
    ParseError, Plugin, PluginError, Raw, Refusal, Running,
};
use vexp_api::record::Artefact;
use vexp_api::sample::{NodeRole, Sample, Unit};

use super::Pretend;

const THROUGHPUT: MetricInfo = MetricInfo {
    name: "throughput",
    unit: Unit::MbPerS,
    about: "what flows",
};

/// The plugin. Option `rate`: Mb/s of each flow.
pub(super) struct Steady(pub(super) Pretend);

impl Plugin for Steady {
    fn name(&self) -> &'static str {
        "steady"
    }

    fn contract(&self) -> &'static str {
        "{ rate | Number }"
    }
}

#[async_trait]
impl Measure for Steady {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Traffic
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        const { &[THROUGHPUT] }
    }

    fn refuses(&self, _: &Intent<'_>) -> Vec<Refusal> {
        let refused = self.0.fault("refuses").into_iter();
        refused
            .map(|option| Refusal::option(option.clone(), format!("{option} can't be")))
            .collect()
    }

    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        self.0.did("measuring");
        Ok(Box::new(Flowing(request.clone(), self.0.clone())))
    }

    /// Lines of a time, a length and a value.
    fn parse(&self, raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        let wrong = |line: usize, message: &str| ParseError {
            file: raw.artefact.path.clone(),
            line: Some(line + 1),
            message: message.to_owned(),
        };
        let text = std::str::from_utf8(raw.bytes).map_err(|_| wrong(0, "not UTF-8"))?;
        let sample = |(i, line): (usize, &str)| {
            let numbers: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
            match numbers.as_deref() {
                Ok([t, dt, value]) => Ok(Sample {
                    node: raw
                        .artefact
                        .flow
                        .clone()
                        .unwrap_or(raw.artefact.node.clone()),
                    role: raw
                        .artefact
                        .about
                        .values()
                        .next()
                        .copied()
                        .unwrap_or(NodeRole::Host),
                    metric: Name::new(THROUGHPUT.name).map_err(|_| wrong(i, "no name"))?,
                    unit: THROUGHPUT.unit,
                    t: *t,
                    dt: *dt,
                    value: *value,
                }),
                _ => Err(wrong(i, &format!("not three numbers: {line}"))),
            }
        };
        text.lines().enumerate().map(sample).collect()
    }
}

struct Flowing(MeasureRequest, Pretend);

#[async_trait]
impl Running for Flowing {
    async fn finish(self: Box<Self>) -> Result<Finished, PluginError> {
        let slow = self.1.fault("slow");
        let pause = slow.and_then(|ms| ms.parse().ok()).unwrap_or(2);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if let Some(node) = self.1.fault("lost") {
            let message = "connection lost during `steady --client`: client_loop: send disconnect";
            return Err(PluginError::new("run steady", node, message));
        }
        let uneven = self.1.fault("uneven").is_some();
        let captured = capture(&self.0, self.1.fault("say"), uneven);
        let artefacts = captured
            .map_err(|error| PluginError::new("run steady", "worker", error.to_string()))?;
        Ok(Finished { artefacts })
    }
}

fn capture(
    request: &MeasureRequest,
    said: Option<String>,
    uneven: bool,
) -> Result<Vec<Captured>, BadName> {
    let rate = request
        .options
        .get("rate")
        .and_then(serde_json::Value::as_f64);
    // Up to a hundredth more or less, as the clock has it: no two trials are the same.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let chance = f64::from(now.unwrap_or_default().subsec_nanos()) * 1e-9;
    let times = if uneven { 0.99 + 0.02 * chance } else { 1.0 };
    let rate = rate.unwrap_or_default() * times;
    let of_flow = |flow: &vexp_api::plugin::Flow| {
        // Not quite steady, but the same each time.
        let lines: String = (0..4)
            .map(|second| format!("{second} 1 {}\n", rate + f64::from(second) / 8.0))
            .collect();
        Ok(Captured {
            artefact: Artefact {
                path: format!("raw/{}.steady.client.txt", flow.subject),
                digest: Digest::of(b""),
                part: request.part,
                tool: Name::new("steady")?,
                stream: Name::new("client")?,
                node: flow.source.name.clone(),
                role: flow.source.role,
                flow: Some(flow.subject.clone()),
                command: "steady --client".to_owned(),
                status: Some(0),
                stderr: String::new(),
                truncated: false,
                started_s: 0.0,
                ended_s: 4.0,
                warm_up_s: 0.0,
                options: request.options.clone(),
                about: [(
                    flow.subject.clone(),
                    if flow.subject == request.host.name {
                        NodeRole::Host
                    } else {
                        NodeRole::Guest
                    },
                )]
                .into(),
            },
            line_times: (1..5).map(f64::from).collect(),
            bytes: said.clone().unwrap_or(lines).into_bytes(),
        })
    };
    request.flows.iter().map(of_flow).collect()
}
