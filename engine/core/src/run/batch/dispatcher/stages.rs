//! Which blocks are left, and the stage that they are measured in.

use std::collections::BTreeMap;
use std::path::Path;

use vexp_api::batch::Needs;
use vexp_api::ids::Name;
use vexp_api::plan::Block;
use vexp_api::spec::Study;

use super::super::super::attempts;
use super::super::super::dispatch::{RunRequest, missing};
use super::super::super::files;
use super::super::books::{self, Blocks, Wanted};
use super::super::claims::{Claims, End};
use super::super::pick::{Ends, MOST_LOST};
use super::super::{BatchError, alike, needs};

/// Blocks with trials that have no record, or that may be tried again.
pub(super) fn left(request: &RunRequest<'_>, blocks: &[Block]) -> Result<Vec<Block>, BatchError> {
    let mut left = Vec::new();
    for block in blocks.iter().filter(|block| !block.trials.is_empty()) {
        let whole = request.testbed.virtual_time();
        let missing = missing(request.run, block, whole);
        if !missing.trials.is_empty() || attempts::are_left(request.run, block)? {
            left.push(block.clone());
        }
    }
    Ok(left)
}

/// The stage that these blocks are measured in: the last one, if it has them all and tasks of it may be out, else a new
/// one.
pub(super) fn stage(
    request: &RunRequest<'_>,
    left: Vec<Block>,
    needs: &[Needs],
) -> Result<(u32, Vec<(Wanted, Block)>), BatchError> {
    let run = request.run;
    let last = books::last_stage(run);
    let groups = groups(request)?;
    let wanted: Vec<Wanted> = (left.iter().zip(needs))
        .map(|(block, needs)| Wanted {
            block: block.id.clone(),
            trials: block.trials.iter().map(|trial| trial.id.clone()).collect(),
            group: groups.get(&block.id).copied(),
            seconds: needs::work(needs).as_secs(),
        })
        .collect();
    if last > 0 && is_same(run, last, &wanted, &left)? {
        return Ok((last, wanted.into_iter().zip(left).collect()));
    }
    let folder = books::stage(run, last + 1);
    files::create_dir(&folder)?;
    Claims::open(&folder)?;
    Blocks::new(wanted.clone()).write(&folder)?;
    Ok((last + 1, wanted.into_iter().zip(left).collect()))
}

/// Which blocks are compared, where it matters what measures them.
fn groups(request: &RunRequest<'_>) -> Result<BTreeMap<Name, usize>, BatchError> {
    if request.testbed.virtual_time() {
        return Ok(BTreeMap::new());
    }
    let study: Study = files::read_json(&request.run.join("study.json"))?;
    let groups = alike::groups(request.plan, &study.claims)
        .into_iter()
        .enumerate();
    let of = groups.flat_map(|(at, blocks)| blocks.into_iter().map(move |block| (block, at)));
    Ok(of.collect())
}

/// Whether a stage that was begun before has all that is wanted, and can go on.
fn is_same(run: &Path, stage: u32, wanted: &[Wanted], left: &[Block]) -> Result<bool, BatchError> {
    let folder = books::stage(run, stage);
    let before = Blocks::read(&folder)?.blocks;
    let before: BTreeMap<&Name, &Wanted> = before.iter().map(|one| (&one.block, one)).collect();
    let has = |one: &Wanted| {
        let known = before.get(&one.block);
        known.is_some_and(|known| known.trials.is_superset(&one.trials))
    };
    if !wanted.iter().all(has) {
        return Ok(false);
    }
    if !books::out(run)?.is_empty() {
        // Its tasks may be measuring any of it.
        return Ok(true);
    }
    let claims = Claims::open(&folder)?;
    let (look, mut ends) = (claims.look()?, Ends::default());
    for block in left {
        // What is over there, and is to be measured again, can't be claimed there once more.
        if let Some(attempt) = look.over(&block.id)
            && (ends.of(&claims, &block.id, attempt)? == End::Measured
                || ends.lost(&claims, &look, &block.id)? >= MOST_LOST)
        {
            return Ok(false);
        }
    }
    Ok(true)
}
