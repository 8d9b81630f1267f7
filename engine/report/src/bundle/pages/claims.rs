//! The major claims, a row each.

use std::collections::BTreeSet;

use vexp_api::ids::Name;
use vexp_api::plan::Trial;

use super::{About, Block, Cell, Level, Style, cut, megabytes, minutes, whole_time};
use crate::bundle::appendix::points;
use crate::judge::{ClaimVerdict, Verdict};

/// A claim, and what it takes to test it again.
pub(super) struct Row<'a> {
    /// `C1`, in the order of their names.
    pub(super) id: String,
    pub(super) judged: &'a ClaimVerdict,
    /// What selects its experiment, where one pattern can; else its experiments are several, or it has no trial.
    only: Option<String>,
    time: String,
    memory: String,
    data: String,
}

pub(super) fn rows<'a>(about: &About<'a>) -> Vec<Row<'a>> {
    let claims = about.derived.verdicts.claims.iter();
    claims
        .zip(1..)
        .map(|(judged, i)| row(about, judged, i))
        .collect()
}

fn row<'a>(about: &About<'a>, judged: &'a ClaimVerdict, number: usize) -> Row<'a> {
    let run = &about.derived.frames.run;
    let claim = run.study.claims.get(&judged.claim);
    let points = claim.map(points).unwrap_or_default();
    let experiments: BTreeSet<&Name> = points.iter().map(|of| &of.experiment).collect();
    // The whole experiment, which is what the command runs: relative metrics need classical Linux in it.
    let its = |trial: &&Trial| experiments.contains(&trial.experiment);
    let trials: Vec<&Trial> = run.plan.trials().filter(its).collect();
    let seconds = |trials: &mut dyn Iterator<Item = &Trial>| -> f64 {
        trials
            .filter_map(|trial| Some(run.trials.get(&trial.id)?.ended_s))
            .sum()
    };
    let (own, all) = (
        seconds(&mut trials.iter().copied()),
        seconds(&mut run.plan.trials()),
    );
    // Boots and building are shared: a claim's part of the run's time is its trials' part.
    let share = if all > 0.0 { own / all } else { 0.0 };
    let blocks = run.plan.blocks.iter();
    let blocks = blocks.filter(|block| block.trials.iter().any(|trial| its(&trial)));
    let memory = blocks
        .map(|block| block.machine.memory)
        .max_by_key(|size| size.bytes());
    let prefixes: BTreeSet<String> = trials
        .iter()
        .map(|trial| format!("run/trials/{}/", trial.id))
        .collect();
    let files = about.files.iter().filter(|(path, _)| {
        let below = path.rfind("/raw/").map(|end| &path[..=end]);
        below.is_some_and(|below| prefixes.contains(below))
    });
    let nothing = || "-".to_owned();
    let there = !trials.is_empty();
    Row {
        id: format!("C{number}"),
        judged,
        only: match experiments.first() {
            Some(one) if experiments.len() == 1 && there => Some(format!("{one}.*")),
            _ => None,
        },
        time: if share > 0.0 {
            minutes(share * whole_time(about).0)
        } else {
            nothing()
        },
        memory: memory.map_or_else(nothing, |size| size.to_string()),
        data: if there {
            size(files.map(|(_, size)| size).sum())
        } else {
            nothing()
        },
    }
}

/// Bytes; a trial of little is not nothing.
fn size(bytes: u64) -> String {
    match bytes {
        0..100_000 => format!("{} kB", bytes.div_ceil(1000)),
        bytes => megabytes(bytes),
    }
}

/// Columns: head, share of the width, most letters at the tightest level.
pub(super) const COLUMNS: [(&str, f32, usize); 7] = [
    ("", 4.0, 4),
    ("claim (name; place in the paper)", 44.0, 60),
    // A name with `.*`: a pattern that is cut is none.
    ("pattern", 17.0, 65),
    ("time", 7.0, 8),
    ("memory", 7.5, 8),
    ("data", 8.0, 8),
    ("verdict", 12.5, 14),
];

pub(super) fn blocks(about: &About<'_>, rows: &[Row<'_>], level: Level) -> Vec<Block> {
    let plan = &about.derived.frames.run.plan;
    if rows.is_empty() {
        return vec![Block::Text("The study makes no claim.".to_owned())];
    }
    let (_, time) = whole_time(about);
    let disk = megabytes(plan.estimate.disk.bytes());
    let sudo = about.sudo();
    let mut blocks = vec![
        Block::Text(format!(
            "All claims at once, {time} on a machine like the one above, {disk} of disk; with `--budget 2h` what tells most \
             within that time:"
        )),
        Block::Code(format!("{sudo}vexp verify {} --rerun", about.bundle())),
    ];
    if let Some(main) = about.main() {
        let main = main.strip_prefix("run/source/").unwrap_or(&main).to_owned();
        blocks.push(Block::Text(
            "One claim's experiment: with `vexp verify --into FOLDER` unpack the bundle, and in run/source run this with its \
             pattern. Where there is no pattern, its trials are of several experiments, or it was not tested: run all."
                .to_owned(),
        ));
        blocks.push(Block::Code(format!(
            "{sudo}vexp reproduce {main} --effort {} --testbed {} --only 'PATTERN'",
            plan.effort, plan.testbed
        )));
    }
    blocks.push(Block::Text(
        "Time is the experiment's share of this run's, boots included; memory its largest machine's; data what its trials keep."
            .to_owned(),
    ));
    let shown = rows
        .iter()
        .take(level.claims)
        .map(|row| cells(row, level))
        .collect();
    let columns = COLUMNS.map(|(name, share, _)| (name, share)).to_vec();
    blocks.push(Block::Table {
        columns,
        rows: shown,
    });
    if let Some(more) = rows
        .len()
        .checked_sub(level.claims)
        .filter(|more| *more > 0)
    {
        let last = &rows[rows.len() - 1].id;
        blocks.push(Block::Text(format!(
            "{more} more, up to {last}, in {} by their names.",
            super::LONG
        )));
    }
    blocks
}

fn cells(row: &Row<'_>, level: Level) -> Vec<Cell> {
    let judged = row.judged;
    let name = cut(judged.claim.as_str(), 30);
    let mut claim = format!(
        "{} ({name}; {})",
        cut(&judged.statement, level.statement),
        cut(&judged.place, level.statement.min(60))
    );
    if level.reason > 0 && judged.verdict != Verdict::Reproduced {
        claim = format!("{claim} Here: {}", cut(&judged.reason, level.reason));
    }
    if level.statement < 60 {
        claim = cut(&claim, 60);
    }
    let plain = |text: &str| Cell {
        text: text.to_owned(),
        style: Style::Plain,
    };
    let only = row.only.as_deref().unwrap_or("-");
    // A pattern that is cut is no pattern.
    let only = Cell {
        text: only.to_owned(),
        style: Style::Code,
    };
    vec![
        Cell {
            text: row.id.clone(),
            style: Style::Bold,
        },
        plain(&claim),
        only,
        plain(&row.time),
        plain(&row.memory),
        plain(&row.data),
        plain(judged.verdict.as_str()),
    ]
}
