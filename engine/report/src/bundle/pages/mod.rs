//! The appendix of two pages, in the order of sysartifacts' template: abstract, access, dependencies, set-up, basic
//! test, major claims, how to read the result, unusual output. One list of blocks is written as Markdown and as PDF.
//!
//! It always fits: [`LEVELS`] says what is shortened, from the least to the most, and the first level that fits is
//! taken. What is left out stands in the long appendix, which the last line names.

mod claims;
mod font;
mod layout;
mod pdf;
mod unusual;

use std::fmt::Write as _;

use super::About;
use super::appendix::{counts, hypervisors, megabytes, minutes, took, tools};
use crate::report::markdown;

/// Pages that a committee reads.
const MOST_PAGES: usize = 2;
/// The long appendix.
const LONG: &str = "artifact-appendix.md";

/// A piece of the appendix.
#[derive(Clone, Debug)]
enum Block {
    Title(String),
    Heading(&'static str),
    Text(String),
    /// A command.
    Code(String),
    Bullets(Vec<String>),
    Table {
        /// Heads, and shares of the width.
        columns: Vec<(&'static str, f32)>,
        rows: Vec<Vec<Cell>>,
    },
}

#[derive(Clone, Debug)]
struct Cell {
    text: String,
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Code,
}

/// How much is said.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Letters of a claim's statement; of any other text that the study's author wrote.
    statement: usize,
    text: usize,
    /// Letters of what was measured for a claim; 0 leaves it out.
    reason: usize,
    /// Unusual things that are named; the others are counted.
    unusual: usize,
    /// Claims that are named; the others are counted.
    claims: usize,
    /// Size of the letters in points.
    size: f32,
}

const fn level(statement: usize, reason: usize, unusual: usize, claims: usize, size: f32) -> Level {
    let text = if statement > 120 { 300 } else { 120 };
    Level {
        statement,
        text,
        reason,
        unusual,
        claims,
        size,
    }
}

/// From the most to the least. The last fits whatever the study says: every text in it has a bound.
const LEVELS: [Level; 7] = [
    level(300, 240, 12, 24, 9.0),
    level(240, 120, 10, 24, 9.0),
    level(200, 0, 10, 40, 9.0),
    level(160, 0, 8, 40, 8.5),
    level(110, 0, 6, 40, 8.0),
    level(70, 0, 5, 40, 7.5),
    level(40, 0, 4, 24, 7.5),
];

/// `appendix.md` and `appendix.pdf`.
pub(super) fn files(about: &About<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut fitting = None;
    for level in LEVELS {
        let blocks = blocks(about, level);
        let pages = layout::pages(&blocks, level.size);
        let fits = pages.len() <= MOST_PAGES;
        fitting = Some((blocks, pages));
        if fits {
            break;
        }
    }
    let (blocks, pages) = fitting.unwrap_or_default();
    (
        as_markdown(&blocks).into_bytes(),
        layout::file(&title(about), &pages),
    )
}

/// A text's beginning.
fn cut(text: &str, most: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => {
            let short: String = text.chars().take(most.saturating_sub(1)).collect();
            format!("{}…", short.trim_end())
        }
    }
}

fn listed<I: IntoIterator<Item = String>>(names: I) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn title(about: &About<'_>) -> String {
    let study = &about.derived.frames.run.study;
    format!("Artifact appendix: {}", cut(&study.title, 100))
}

fn blocks(about: &About<'_>, level: Level) -> Vec<Block> {
    let rows = claims::rows(about);
    let mut blocks = vec![
        Block::Title(title(about)),
        Block::Heading("Abstract"),
        Block::Text(abstracts(about, level)),
        Block::Heading("Access"),
        Block::Bullets(access(about, level)),
        Block::Heading("Dependencies"),
        Block::Bullets(dependencies(about, level)),
        Block::Heading("Set-up"),
        Block::Text(
            "None to check the data. To measure again: `vexp doctor` names what the machine lacks and the package that has \
             it; the images are built on the first run. Dockerfile and profile.py (CloudLab) in the bundle install \
             the same and end at the basic test."
                .to_owned(),
        ),
        Block::Heading("Basic test"),
        Block::Code(format!("vexp verify {}", about.bundle())),
        Block::Text(
            "Reads every digest and computes samples, metrics, verdicts and report again from the raw data. Seconds to minutes, \
             no root, no network. It ends with \"identical: everything in the bundle follows from its raw data\" and \
             exit code 0."
                .to_owned(),
        ),
        Block::Heading("Major claims and experiments"),
    ];
    blocks.extend(claims::blocks(about, &rows, level));
    blocks.push(Block::Heading("Reading the result"));
    blocks.push(Block::Text(
        "`reproduce` and `verify --rerun` end in a table of the claims with their verdicts: set it beside the verdicts \
         above. The report's page (run/report/report.html) has each measured value with its interval beside the \
         published one. Exit code 1 says that a claim was not reproduced, 5 that one is open: neither is a crash."
            .to_owned(),
    ));
    blocks.push(Block::Heading("Unusual output to expect"));
    blocks.push(Block::Bullets(unusual::items(about, &rows, level)));
    blocks.push(Block::Text(format!(
        "Shortened to two pages. In full, by the claims' names: {LONG}; the evidence: run/report/report.html."
    )));
    blocks
}

fn abstracts(about: &About<'_>, level: Level) -> String {
    let frames = &about.derived.frames;
    let run = &frames.run;
    let mut text = String::new();
    if let Some(paper) = &run.study.paper {
        let authors = cut(&paper.authors.join(", "), 120);
        let title = cut(&paper.title, level.text);
        let _ = write!(
            text,
            "This artifact reruns {authors}, \"{title}\" ({}). ",
            paper.year
        );
    }
    let claims = &about.derived.verdicts.claims;
    let verdicts = counts(claims).into_iter().filter(|(count, _)| *count > 0);
    let verdicts = listed(verdicts.map(|(count, verdict)| format!("{count} {verdict}")));
    let (measured, planned) = (frames.trials.len(), run.plan.trials().count());
    let _ = write!(
        text,
        "It holds run {} of study {}: the study as a file that is checked and executed, the raw output of every tool, \
         and a verdict on each of {} claims ({}). {measured} of {planned} planned trials were measured.",
        run.record.id,
        run.study.name,
        claims.len(),
        if verdicts.is_empty() {
            "none".to_owned()
        } else {
            verdicts
        },
    );
    if about.emulated() {
        text.push_str(
            " The machines were emulated: compare ratios and orders with the paper, not absolute rates and times.",
        );
    }
    text
}

fn access(about: &About<'_>, level: Level) -> Vec<String> {
    let withheld = |what: Option<String>, none: &str| match (about.anonymous, what) {
        (true, _) => "withheld for review".to_owned(),
        (false, Some(what)) => cut(&what, 120),
        (false, None) => none.to_owned(),
    };
    let size = megabytes(about.files.values().sum());
    let archive = about.archive.map(|doi| format!("https://doi.org/{doi}"));
    vec![
        format!(
            "Bundle: {}, {size} in {} files when unpacked. Archive: {}.",
            about.bundle(),
            about.files.len(),
            withheld(archive, "none stated")
        ),
        format!(
            "Data licence: {}. Contact: {}. Code: {}.",
            cut(about.license.unwrap_or("none stated"), level.text),
            withheld(about.contact.map(str::to_owned), "none stated"),
            withheld(about.code.map(str::to_owned), "the study is in run/source"),
        ),
        format!(
            "Program: vexp {} (Apache-2.0 OR MIT), with which the bundle was made; the run: vexp {}.",
            about.vexp, about.derived.frames.run.record.vexp
        ),
    ]
}

fn dependencies(about: &About<'_>, level: Level) -> Vec<String> {
    let run = &about.derived.frames.run;
    let plan = &run.plan;
    let machines = plan.blocks.iter().map(|block| &block.machine);
    let memory = machines
        .map(|machine| machine.memory)
        .max_by_key(|size| size.bytes());
    let fact = |name: &str| run.record.controller.get(name).map_or("?", String::as_str);
    let mut hardware = String::from("Hardware: ");
    if about.emulated() {
        hardware.push_str(
            "any x86-64 computer with Linux; no virtualization hardware, no special NIC. ",
        );
    } else {
        let asked = run.study.hardware.iter();
        let asked =
            asked.map(|(name, hardware)| format!("{name} ({})", cut(&hardware.description, 60)));
        let _ = write!(hardware, "{}. ", cut(&listed(asked), level.text));
    }
    if let Some(memory) = memory {
        let _ = write!(hardware, "The largest machine under test has {memory}. ");
    }
    let _ = write!(
        hardware,
        "This run: {} processors ({}), {} of memory.",
        fact("processors"),
        cut(fact("processor"), 60),
        kilobytes(fact("memory"))
    );
    let root = match about.sudo() {
        "" => "",
        _ => "; root to measure",
    };
    vec![
        hardware,
        format!(
            "Software: Linux and vexp{root}. In the images, from locked packages: {}; {}.",
            cut(&listed(hypervisors(plan)), level.text),
            cut(&listed(tools(plan)), level.text)
        ),
        format!(
            "Disk and network: {} for images, packages and data; a Debian mirror to build the images ({}), none to run.",
            megabytes(plan.estimate.disk.bytes()),
            minutes(plan.estimate.build.secs_f64())
        ),
    ]
}

/// Linux's memory (`24684084 kB`, of 1,024 bytes each) as other sizes are written.
fn kilobytes(text: &str) -> String {
    let number = text
        .strip_suffix(" kB")
        .and_then(|number| number.parse::<u64>().ok());
    number.map_or_else(
        || cut(text, 30),
        |number| megabytes(number.saturating_mul(1024)),
    )
}

/// What the whole run took, or is expected to take.
fn whole_time(about: &About<'_>) -> (f64, String) {
    let frames = &about.derived.frames;
    let run = &frames.run;
    let estimate = run.plan.estimate.run.secs_f64();
    let moment = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let ended = run.record.ended.as_deref().and_then(moment);
    // A run that was resumed also stood still.
    match (took(frames), moment(&run.record.started), ended) {
        (Some(took), Some(start), Some(end)) => (end.duration_since(start).as_secs_f64(), took),
        _ => (estimate, format!("{} (estimate)", minutes(estimate))),
    }
}

fn as_markdown(blocks: &[Block]) -> String {
    let mut text = String::new();
    for block in blocks {
        match block {
            Block::Title(title) => {
                let _ = writeln!(text, "# {}\n", spans(title));
            }
            Block::Heading(heading) => {
                let _ = writeln!(text, "## {heading}\n");
            }
            Block::Text(words) => {
                let _ = writeln!(text, "{}\n", spans(words));
            }
            Block::Code(command) => {
                let _ = writeln!(text, "    {command}\n");
            }
            Block::Bullets(items) => {
                for item in items {
                    let _ = writeln!(text, "- {}", spans(item));
                }
                text.push('\n');
            }
            Block::Table { columns, rows } => {
                let heads: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
                let _ = writeln!(text, "| {} |", heads.join(" | "));
                let _ = writeln!(text, "|{}", "---|".repeat(heads.len()));
                for row in rows {
                    let cells: Vec<String> = row.iter().map(cell).collect();
                    let _ = writeln!(text, "| {} |", cells.join(" | "));
                }
                text.push('\n');
            }
        }
    }
    format!("{}\n", text.trim_end())
}

fn cell(cell: &Cell) -> String {
    match cell.style {
        // Names and patterns have no backtick and no bar in them; others are shown as text.
        Style::Code if !cell.text.contains(['`', '|']) && !cell.text.is_empty() => {
            format!("`{}`", cell.text)
        }
        Style::Bold if !cell.text.is_empty() => format!("**{}**", markdown(&cell.text)),
        _ => markdown(&cell.text),
    }
}

/// Text with commands between backticks.
fn spans(text: &str) -> String {
    if text.matches('`').count() % 2 == 1 {
        return markdown(text);
    }
    let parts = text.split('`').enumerate();
    parts
        .map(|(i, part)| {
            if i % 2 == 1 {
                format!("`{part}`")
            } else {
                markdown(part)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_letters_and_says_so() {
        assert_eq!(cut("a  b\nc", 9), "a b c");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(spans("run `a_b` for a_b"), "run `a_b` for a\\_b");
        assert_eq!(spans("odd ` *"), "odd \\` \\*");
        assert_eq!(kilobytes("24684084 kB"), "25.3 GB");
        assert_eq!(kilobytes("unknown"), "unknown");
    }

    #[test]
    fn the_last_level_fits_whatever_a_study_says() {
        let long = "W".repeat(5000);
        let last = LEVELS[LEVELS.len() - 1];
        // Patterns are shown as commands are; the widest letter of the widest font stands for all else.
        let cell = |(name, _, most): (&str, f32, usize)| Cell {
            text: cut(&long, most),
            style: if name == "pattern" {
                Style::Code
            } else {
                Style::Bold
            },
        };
        let row = || claims::COLUMNS.map(cell).to_vec();
        let mut blocks = vec![Block::Title(cut(&long, 120))];
        for _ in 0..8 {
            blocks.push(Block::Heading("Heading"));
            // The longest of the fixed texts, and those of the study in it.
            blocks.push(Block::Text(cut(&"words and ".repeat(100), 600)));
        }
        blocks.push(Block::Table {
            columns: claims::COLUMNS
                .map(|(name, share, _)| (name, share))
                .to_vec(),
            rows: (0..last.claims).map(|_| row()).collect(),
        });
        blocks.push(Block::Bullets(vec![
            cut(&long, last.text);
            last.unusual + 1
        ]));
        assert!(layout::pages(&blocks, last.size).len() <= MOST_PAGES);
    }
}
