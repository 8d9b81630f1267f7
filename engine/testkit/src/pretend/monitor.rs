//! A monitor that watches nothing.

use async_trait::async_trait;
use vexp_api::digest::Digest;
use vexp_api::ids::{BadName, Name};
use vexp_api::plugin::{
    Captured, Context, Finished, Measure, MeasureKind, MeasureRequest, MetricInfo, ParseError,
    Plugin, PluginError, Raw, Running,
};
use vexp_api::record::Artefact;
use vexp_api::sample::Sample;

use super::Pretend;

/// The plugin.
pub(super) struct Glance(pub(super) Pretend);

impl Plugin for Glance {
    fn name(&self) -> &'static str {
        "glance"
    }

    fn contract(&self) -> &'static str {
        "{}"
    }
}

#[async_trait]
impl Measure for Glance {
    fn kind(&self) -> MeasureKind {
        MeasureKind::Monitor
    }

    fn metrics(&self) -> &'static [MetricInfo] {
        &[]
    }

    async fn start(
        &self,
        request: &MeasureRequest,
        _: &Context,
    ) -> Result<Box<dyn Running>, PluginError> {
        Ok(Box::new(Watching(request.clone(), self.0.fault("early"))))
    }

    fn parse(&self, _: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
        Ok(Vec::new())
    }
}

struct Watching(MeasureRequest, Option<String>);

#[async_trait]
impl Running for Watching {
    async fn finish(self: Box<Self>) -> Result<Finished, PluginError> {
        let status = self
            .1
            .as_deref()
            .map_or(Some(0), |status| status.parse().ok());
        let captured = capture(&self.0, status);
        let captured = captured
            .map_err(|error| PluginError::new("run glance", "worker", error.to_string()))?;
        Ok(Finished {
            artefacts: vec![captured],
        })
    }
}

fn capture(request: &MeasureRequest, status: Option<i32>) -> Result<Captured, BadName> {
    Ok(Captured {
        artefact: Artefact {
            path: "raw/host.glance.stdout.txt".to_owned(),
            digest: Digest::of(b""),
            part: request.part,
            tool: Name::new("glance")?,
            stream: Name::new("stdout")?,
            node: request.host.name.clone(),
            role: request.host.role,
            flow: None,
            command: "glance --all".to_owned(),
            status,
            stderr: "Killed".to_owned(),
            truncated: false,
            started_s: 0.0,
            ended_s: 1.0,
            warm_up_s: 0.0,
            options: request.options.clone(),
            about: [].into(),
        },
        line_times: Vec::new(),
        bytes: b"all is well\n".to_vec(),
    })
}
