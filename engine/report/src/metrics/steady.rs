//! Whether trials reached a steady state. It is a result like any other: nothing is left out.

use vexp_api::ids::Name;
use vexp_api::plan::Trial;

use super::observed::Observed;
use crate::stats::steady::{ALPHA, LEAST, State, p_value, shift, statistic};

/// What the series of a trial say.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct TrialSteady {
    /// Trial.
    pub trial: Name,
    /// Experiment.
    pub experiment: Name,
    /// Platform.
    pub platform: Name,
    /// VM count.
    pub vms: u32,
    /// No steady state if any flow has none, steady if all are, unknown otherwise.
    pub state: State,
    /// Its flows.
    pub flows: Vec<FlowSteady>,
}

/// What the series of a flow says.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct FlowSteady {
    /// The machine that it is accounted to.
    pub node: Name,
    /// What the series is of: `throughput` or `rtt`.
    pub metric: &'static str,
    /// Its length.
    pub samples: usize,
    /// What it is like. A trial's flows share the level of the test between them (Bonferroni).
    pub state: State,
    /// How probable it is for a level series, at most 0.5; none where it is too short.
    pub p: Option<f64>,
    /// The mean of its second half by that of its first, less 1.
    pub shift: Option<f64>,
}

impl TrialSteady {
    pub(super) fn new(trial: &Trial, observed: &Observed) -> Self {
        let (metric, nodes) = observed.steady_series();
        let alpha = ALPHA / nodes.len().max(1) as f64;
        let flows: Vec<FlowSteady> = nodes
            .iter()
            .map(|(node, series)| {
                let values: Vec<f64> = series.iter().map(|(value, _)| *value).collect();
                let p = (values.len() >= LEAST).then(|| p_value(statistic(&values)));
                FlowSteady {
                    node: node.clone(),
                    metric,
                    samples: values.len(),
                    state: match p {
                        None => State::Unknown,
                        Some(p) if p <= alpha => State::NoSteadyState,
                        Some(_) => State::Steady,
                    },
                    p,
                    shift: shift(&values),
                }
            })
            .collect();
        let any = |state| flows.iter().any(|flow| flow.state == state);
        let state = if any(State::NoSteadyState) {
            State::NoSteadyState
        } else if any(State::Unknown) || flows.is_empty() {
            State::Unknown
        } else {
            State::Steady
        };
        Self {
            trial: trial.id.clone(),
            experiment: trial.experiment.clone(),
            platform: trial.platform.clone(),
            vms: trial.vms,
            state,
            flows,
        }
    }
}
