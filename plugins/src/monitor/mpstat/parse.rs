//! `mpstat -P ALL SECONDS N`. vexp asks for text: mpstat ends its JSON only at SIGINT, and a monitor is
//! ended by SIGTERM.

use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::Sample;

use super::{BUSY, GUEST, IRQ, SOFT, STEAL, SYSTEM, USER};
use crate::monitor::processors;
use crate::text::{Maker, Series};

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let maker = Maker::of(raw, raw.artefact.node.clone(), raw.artefact.role);
    let moments = processors::read(raw)?;
    let processors = moments.first().map(|moment| moment.shares.as_slice());
    let series = processors.unwrap_or_default().iter().map(|(number, _)| {
        let part = format!("cpu{number}");
        let metrics = [BUSY, USER, SYSTEM, IRQ, SOFT, STEAL, GUEST].into_iter();
        let series = metrics.map(|metric| maker.series_of_part(&part, metric));
        series.collect::<Result<Vec<_>, _>>()
    });
    let series: Vec<Vec<Series<'_, '_>>> = series.collect::<Result<_, _>>()?;
    let each = series.iter().map(Vec::len).sum::<usize>();
    let mut out = Vec::with_capacity(each * moments.len());
    for moment in &moments {
        for (series, (_, shares)) in series.iter().zip(&moment.shares) {
            let values = [
                Some(shares.busy),
                Some(shares.user),
                Some(shares.system),
                shares.irq,
                shares.soft,
                Some(shares.steal),
                shares.guest,
            ];
            for (series, value) in series.iter().zip(values) {
                let Some(value) = value else { continue };
                out.push(series.sample(moment.line, moment.time, value)?);
            }
        }
    }
    Ok(out)
}
