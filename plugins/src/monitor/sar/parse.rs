//! `sar -u ALL -P ALL SECONDS N`: processors are added up; the line `all` is their mean and isn't
//! used.

use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::Sample;

use super::{CPU, GUEST};
use crate::monitor::processors;
use crate::text::Maker;

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let maker = Maker::of(raw, raw.artefact.node.clone(), raw.artefact.role);
    let (cpu, guests) = (maker.series(CPU)?, maker.series(GUEST)?);
    let mut out = Vec::new();
    for moment in processors::read(raw)? {
        let shares = || moment.shares.iter().map(|(_, shares)| shares);
        let busy: f64 = shares().map(|shares| shares.busy).sum();
        let guest: Option<f64> = shares().map(|shares| shares.guest).sum();
        out.push(cpu.sample(moment.line, moment.time, busy)?);
        // Without `-u ALL` it is in the programs' time.
        if let Some(guest) = guest {
            out.push(guests.sample(moment.line, moment.time, guest)?);
        }
    }
    Ok(out)
}
