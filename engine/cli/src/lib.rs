//! The command line of vexp: arguments, rendering, progress, and the registry of plugins.
//!
//! A binary with plugins of its own calls [`run`] with a larger registry:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     vexp::run(vexp::registry() /* .measure(MyTool) */)
//! }
//! ```

mod args;
mod commands;
mod error;
mod limited;
mod render;

use std::process::ExitCode;
use std::sync::Arc;

use clap::FromArgMatches as _;
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_api::shell::Connect;
use vexp_engine::run::ssh::Ssh;
use vexp_plugins::testbed::emulated::Emulated;
use vexp_plugins::testbed::virtual_time::Virtual;

/// The version, and the commit where it is known: `0.1.0+g0123456789ab`.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("VEXP_COMMIT_SUFFIX"));

/// The plugins of this binary.
pub fn registry() -> Registry {
    // Without a store nothing is built either, and the error then names what is missing.
    let store = vexp_engine::store::Store::default_root().ok();
    let snapshots = store.as_ref().map(|root| root.join("snapshots-v1"));
    let from = vexp_engine::store::Store::default_from();
    let emulated = Emulated::new(executable(), snapshots);
    let in_virtual_time = Virtual::new(store).filled_from(from);
    let registry = vexp_plugins::registry();
    let hypervisors = registry.hypervisors().clone();
    let hosts = vexp_plugins::testbed::hosts::Hosts::new(Arc::new(Ssh), hypervisors);
    registry
        .testbed(emulated)
        .testbed(in_virtual_time)
        .testbed(hosts)
}

/// This binary's own path, for the processes that it starts.
pub(crate) fn executable() -> std::path::PathBuf {
    // Where /proc is missing nothing here works anyway, and the error names this path.
    std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into())
}

/// Runs with the built-in plugins.
pub fn main() -> ExitCode {
    run(registry())
}

/// Runs with these plugins: parses the command line, carries the verb out, prints what it has to
/// say.
pub fn run(registry: Registry) -> ExitCode {
    run_by_way_of(registry, Arc::new(Ssh))
}

/// The same, with another way to the nodes than the system's ssh.
pub fn run_by_way_of(registry: Registry, connect: Arc<dyn Connect>) -> ExitCode {
    let parsed = args::command(&registry)
        .try_get_matches()
        .and_then(|matches| args::Args::from_arg_matches(&matches));
    let args = match parsed {
        Ok(args) => args,
        Err(error) => {
            // `--help` and `--version` are errors to clap.
            if error.use_stderr() {
                let _ = error.print();
                return Exit::Usage.into();
            }
            render::printed(error.print());
            return ended(Exit::Fine);
        }
    };
    let json = args.verb.prints_json();
    let carried_out = match limited::in_a_child(&args.verb) {
        Ok(Some(code)) => return code,
        Ok(None) => commands::run(args, &registry, connect),
        Err(failure) => Err(failure),
    };
    match carried_out {
        Ok(exit) => ended(exit),
        Err(error) => {
            if json {
                render::failure_as_json(&error);
            }
            render::failure(&error);
            error.exit.into()
        }
    }
}

/// The exit code, which is none of success where not all was printed.
fn ended(exit: Exit) -> ExitCode {
    let Some(failure) = render::lost() else {
        return exit.into();
    };
    render::failure(&failure);
    let fine = exit == Exit::Fine;
    if fine { failure.exit } else { exit }.into()
}
