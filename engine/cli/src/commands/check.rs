//! `vexp check`: every finding, or a line that says that all is well.

use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_engine::check::check;
use vexp_engine::load::LoadError;

use super::study;
use crate::args::Format;
use crate::error::{Failure, OrExit as _};
use crate::render;

pub(super) fn run(file: &Path, format: Format, registry: &Registry) -> Result<Exit, Failure> {
    match format {
        Format::Text => text(file, registry),
        Format::Json => json(file, registry),
    }
}

fn text(file: &Path, registry: &Registry) -> Result<Exit, Failure> {
    let (checked, loaded) = study::checked(file, registry)?;
    let study = checked.study();
    let imports = loaded.sources.keys().filter(|name| **name != loaded.main);
    let imports: Vec<&str> = imports.map(String::as_str).collect();
    if !imports.is_empty() {
        // They go into runs and bundles: nobody should be surprised by one.
        render::say(&format!("imported: {}", imports.join(", ")));
    }
    render::out(&format!(
        "{}: {} platforms, {} experiments, {} published values, {} claims: no errors\n",
        file.display(),
        study.platforms.len(),
        study.experiments.len(),
        study.published.len(),
        study.claims.len()
    ));
    Ok(Exit::Fine)
}

fn json(file: &Path, registry: &Registry) -> Result<Exit, Failure> {
    let (findings, exit) = match study::loader().study(file, registry) {
        Ok(loaded) => match check(&loaded, registry) {
            Ok(study) => (study.warnings().to_vec(), Exit::Fine),
            Err(findings) => (findings, Exit::Usage),
        },
        Err(LoadError::Findings(_, found)) => (found.findings, Exit::Usage),
        Err(error) => return Err(Failure::of(Exit::Usage, &error)),
    };
    let text = serde_json::to_string_pretty(&findings).or_exit(Exit::Usage)?;
    render::out(&format!("{text}\n"));
    Ok(exit)
}
