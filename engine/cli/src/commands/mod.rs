//! One module a verb.

mod batch;
mod batch_config;
mod build;
pub(crate) mod bundle;
mod calibrate;
mod check;
mod compare;
mod dead;
mod doctor;
mod folder;
mod gc;
mod generate;
mod help;
mod history;
mod identity;
mod images;
mod init;
mod looks;
mod nightly;
mod parse;
mod pick;
mod plan;
mod preflight;
mod report;
mod run;
mod runs;
mod schema;
mod show;
mod since;
mod study;
mod trend;
mod trust;
mod worker;

use std::sync::Arc;

use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_api::shell::Connect;

use crate::args::{Args, Chosen, Verb};
use crate::error::{Failure, OrExit as _};

/// Carries a verb out.
pub(crate) fn run(
    args: Args,
    registry: &Registry,
    connect: Arc<dyn Connect>,
) -> Result<Exit, Failure> {
    match args.verb {
        Verb::Check { file, format } => check::run(&file, format, registry),
        Verb::Plan {
            study,
            since,
            store,
            format,
        } => plan::run(&study, since.as_deref(), store.as_deref(), format, registry),
        Verb::Build {
            study,
            images,
            verify,
            relock,
        } => build::run(&study, &images, verify, relock, registry),
        Verb::Run {
            study,
            images,
            runs,
        } => run::run(&study, &images, &runs, registry, run::Then::Stop),
        Verb::Reproduce {
            study,
            images,
            runs,
            expect,
        } => run::run(&study, &images, &runs, registry, run::Then::Report(expect)),
        Verb::Attach {
            run,
            cancel,
            images,
            machines,
            trust,
        } => match cancel {
            true => batch::cancel(&run, registry),
            false => batch::attach(&run, &images, (machines, trust), registry),
        },
        Verb::Parse(args) => parse::run(&args, registry),
        Verb::Report(args) => report::run(&args, registry),
        Verb::Export(args) => bundle::export::run(&args, registry),
        Verb::Verify(args) => bundle::verify::run(&args, registry),
        Verb::Compare(args) => compare::run(&args, registry),
        Verb::Trend(args) => trend::run(&args, registry),
        Verb::Nightly(args) => nightly::run(&args, registry),
        Verb::Gc(args) => gc::run(&args, registry),
        Verb::Init { folder } => init::run(&folder),
        Verb::Help { name } => help::run(name.as_deref(), registry),
        Verb::Completions { shell } => generate::completions(shell, registry),
        Verb::Library { folder } => generate::library(&folder, registry),
        Verb::Schema { name } => schema::run(name.as_deref(), registry),
        Verb::Man { folder } => generate::man(&folder, registry),
        Verb::Runs {
            folder,
            runs,
            format,
        } => runs::run(&folder.unwrap_or(runs), format),
        Verb::Show { run, trial } => show::run(&run, trial.as_ref(), registry),
        Verb::Doctor {
            file: None, format, ..
        } => doctor::run(format),
        Verb::Doctor {
            file: Some(file),
            effort,
            testbed,
            format,
            machines,
        } => {
            machines.tell(registry);
            let study = Chosen {
                file,
                effort,
                testbed: Some(testbed),
                only: None,
                until: None,
            };
            preflight::run(&study, format, registry)
        }
        Verb::Release {
            file,
            machines,
            testbed,
        } => {
            machines.tell(registry);
            preflight::collect(&file, &testbed, registry)
        }
        Verb::EvalSpec => {
            vexp_engine::load::child_main(&mut std::io::stdin(), &mut std::io::stdout())
                .or_exit(Exit::Usage)?;
            Ok(Exit::Fine)
        }
        Verb::Read => crate::limited::answer(|request| bundle::read::read(request, registry)),
        Verb::Lab => {
            vexp_plugins::testbed::emulated::lab::main().or_exit(Exit::Infrastructure)?;
            Ok(Exit::Fine)
        }
        Verb::Enclose { part, root, argv } => {
            use vexp_plugins::testbed::emulated::enclose;
            let ended = match part {
                crate::args::Enclose::Peer => enclose::peer(),
                crate::args::Enclose::PeerRoot => enclose::peer_root(),
                crate::args::Enclose::Emulator => {
                    enclose::emulator(&root.unwrap_or_default(), &argv)
                }
            };
            ended.or_exit(Exit::Infrastructure)?;
            Ok(Exit::Fine)
        }
        Verb::Worker => worker::run(registry, connect),
        Verb::Task {
            run,
            array,
            stage,
            limit,
        } => batch::task::run(&run, (array, stage, limit), registry),
    }
}
