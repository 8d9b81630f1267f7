//! `mpstat -P ALL SECONDS N`. vexp asks for text: mpstat ends its JSON only at SIGINT, and a monitor is
//! ended by SIGTERM.

use vexp_api::plugin::{ParseError, Raw};
use vexp_api::sample::Sample;

use super::{BUSY, GUEST, IRQ, SOFT, STEAL, SYSTEM, USER};
use crate::monitor::processors;
use crate::text::{Maker, of_part};

pub(super) fn parse(raw: &Raw<'_>) -> Result<Vec<Sample>, ParseError> {
    let maker = Maker::of(raw, raw.artefact.node.clone(), raw.artefact.role);
    let mut out = Vec::new();
    for moment in processors::read(raw)? {
        for (number, shares) in &moment.shares {
            for (metric, value) in [
                (BUSY, Some(shares.busy)),
                (USER, Some(shares.user)),
                (SYSTEM, Some(shares.system)),
                (IRQ, shares.irq),
                (SOFT, shares.soft),
                (STEAL, Some(shares.steal)),
                (GUEST, shares.guest),
            ] {
                let Some(value) = value else { continue };
                let sample = maker.sample(moment.line, metric, moment.time, value)?;
                out.push(of_part(raw, &format!("cpu{number}"), sample)?);
            }
        }
    }
    Ok(out)
}
