//! What vexp makes of itself: completion scripts and manual pages from the parser of the command
//! line, and the library that is compiled in.

use std::path::Path;

use clap_complete::Shell;
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_engine::run::files;

use crate::error::{Failure, OrExit as _};
use crate::render;

/// The parser without the verbs that vexp calls itself by.
fn shown(registry: &Registry) -> clap::Command {
    let all = crate::args::command(registry);
    let verbs: Vec<_> = all
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .cloned()
        .collect();
    let none = clap::Command::new("vexp").version(crate::VERSION);
    let about = all.get_about().cloned().unwrap_or_default();
    let long = all.get_long_about().cloned().unwrap_or_default();
    let after = all.get_after_help().cloned().unwrap_or_default();
    none.about(about)
        .long_about(long)
        .after_help(after)
        .subcommand_required(true)
        // vexp has a verb of this name.
        .disable_help_subcommand(true)
        .subcommands(verbs)
}

pub(super) fn completions(shell: Shell, registry: &Registry) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(registry), "vexp", &mut script);
    render::out(&String::from_utf8_lossy(&script));
    Ok(Exit::Fine)
}

pub(super) fn man(folder: &Path, registry: &Registry) -> Result<Exit, Failure> {
    files::create_dir(folder).or_exit(Exit::Usage)?;
    clap_mangen::generate_to(shown(registry), folder).or_exit(Exit::Usage)?;
    Ok(Exit::Fine)
}

pub(super) fn library(folder: &Path, registry: &Registry) -> Result<Exit, Failure> {
    files::create_dir(folder).or_exit(Exit::Usage)?;
    for (name, text) in vexp_engine::load::docs::library(registry) {
        files::write_atomic(&folder.join(name), text.as_bytes()).or_exit(Exit::Usage)?;
    }
    Ok(Exit::Fine)
}
