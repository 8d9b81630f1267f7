//! `vexp trend`.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_api::run_dir::{RECORD_BYTES, read_named};
use vexp_report::report::Templates;
use vexp_report::stats::changes::{Method, Settings};
use vexp_report::trend::table::{is_table, of_table};
use vexp_report::trend::{Trend, site, trend};

use super::history::{self, Picked};
use crate::args::{Compat, Format, TrendArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(args: &TrendArgs, registry: &Registry) -> Result<Exit, Failure> {
    if args.runs.iter().any(|path| is_table(path)) {
        return tables(args);
    }
    let picked = Picked::new(&args.pick)?;
    let templates = Templates::load(args.templates.as_deref()).or_exit(Exit::Usage)?;
    let paths: Vec<_> = args.runs.iter().collect();
    let runs = history::runs(&paths, false, registry)?;
    let settings = settings(args);
    let found = trend(&runs.usable, settings, &|point, metric| {
        picked.wants(point, metric)
    });
    let mut found = found.or_exit(Exit::Unreadable)?;
    found.left_out = runs.left_out;
    if found.series.is_empty() {
        let message = "there is no history: no point and metric of these runs match";
        return Err(Failure::new(Exit::Usage, message).hint("look at --only and --metric"));
    }
    print(&found, args.format)?;
    if let Some(out) = &args.out {
        // A folder is replaced as a whole: what is no site would be lost.
        if !may_be_replaced(out) {
            let message = format!("{} is there and is no site of vexp", out.display());
            return Err(Failure::new(Exit::Usage, message).hint("--out takes a folder of its own"));
        }
        let index = site(&found, out, &templates).or_exit(Exit::Infrastructure)?;
        render::say(&format!("site: {}", index.display()));
    }
    Ok(Exit::Fine)
}

fn settings(args: &TrendArgs) -> Settings {
    Settings {
        method: match args.compat {
            Some(Compat::Otava) => Method::Otava,
            None => Method::Corrected,
        },
        window: usize::from(args.window),
        alpha: args.alpha.0,
        magnitude: args.magnitude.0,
        persistence: usize::from(args.persistence),
    }
}

/// Carries out what ends panics itself: nobody is told of one.
fn quietly<T>(what: impl FnOnce() -> T) -> T {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = what();
    std::panic::set_hook(told);
    done
}

/// The changes of tables, each of its own.
fn tables(args: &TrendArgs) -> Result<Exit, Failure> {
    let refused = |message: String| Err(Failure::new(Exit::Usage, message));
    if let Some(run) = args.runs.iter().find(|path| !is_table(path)) {
        return refused(format!("{} is no table, and others are", run.display()));
    }
    if args.out.is_some() || args.pick.only.is_some() || !args.pick.metric.is_empty() {
        return refused("--out, --only and --metric are for runs, not for tables".to_owned());
    }
    let mut found = Vec::new();
    for path in &args.runs {
        let bytes = read_named(path, RECORD_BYTES).or_exit(Exit::Usage)?;
        let table = quietly(|| of_table(path, &bytes, settings(args)));
        found.push(table.or_exit(Exit::Usage)?);
    }
    let text = match args.format {
        Format::Text => found.iter().map(render::trend::table_text).collect(),
        Format::Json => {
            let text = serde_json::to_string_pretty(&found).or_exit(Exit::Incomplete)?;
            format!("{text}\n")
        }
    };
    render::out(&text);
    Ok(Exit::Fine)
}

/// Whether nothing is there, or a site that was made before.
fn may_be_replaced(out: &Path) -> bool {
    let index = read_named(&out.join("index.html"), RECORD_BYTES);
    let index = index.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let empty = || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    !out.exists() || index.is_ok_and(|text| text.contains("vexp trend")) || empty()
}

fn print(trend: &Trend, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Text => render::trend::text(trend),
        Format::Json => {
            let text = serde_json::to_string_pretty(trend).or_exit(Exit::Incomplete)?;
            format!("{text}\n")
        }
    };
    render::out(&text);
    Ok(())
}
