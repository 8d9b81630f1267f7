//! `vexp trend`.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_report::report::Templates;
use vexp_report::stats::changes::{Method, Settings};
use vexp_report::trend::{Trend, site, trend};

use super::history::{self, Picked};
use crate::args::{Compat, Format, TrendArgs};
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(args: &TrendArgs, registry: &Registry) -> Result<Exit, Failure> {
    let picked = Picked::new(&args.pick)?;
    let templates = Templates::load(args.templates.as_deref()).or_exit(Exit::Usage)?;
    let paths: Vec<_> = args.runs.iter().collect();
    let runs = history::runs(&paths, false, registry)?;
    let settings = Settings {
        method: match args.compat {
            Some(Compat::Otava) => Method::Otava,
            None => Method::Corrected,
        },
        window: usize::from(args.window),
        alpha: args.alpha.0,
        magnitude: args.magnitude.0,
        persistence: usize::from(args.persistence),
    };
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

/// Whether nothing is there, or a site that was made before.
fn may_be_replaced(out: &Path) -> bool {
    let index = std::fs::read_to_string(out.join("index.html"));
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
