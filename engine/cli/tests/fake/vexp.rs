//! `vexp` in a world that pretends. All but its machines is the real thing: dispatcher, worker process,
//! run folder, and where tests ask for it a batch engine.
//!
//! `FAKE_FAULTS` and `FAKE_JOURNAL` are the fields of [`Pretend`].

mod local;

use std::process::ExitCode;
use std::time::Duration;

use vexp_api::batch::Pace;
use vexp_plugins::batch::command::Command as Engine;
use vexp_plugins::batch::slurm::Slurm;
use vexp_testkit::Pretend;

/// For real engines on this computer.
const PACE: Pace = Pace {
    look: Duration::from_millis(100),
    beat: Duration::from_millis(300),
    ask: Duration::from_secs(1),
    ask_longer: Duration::from_millis(200),
    ask_most: Duration::from_secs(3),
    silence: Duration::from_secs(6),
    late: Duration::from_secs(2),
    first: Duration::from_secs(30),
    hung: Duration::from_secs(60),
};

fn main() -> ExitCode {
    let world = Pretend {
        faults: std::env::var("FAKE_FAULTS").unwrap_or_default(),
        journal: std::env::var_os("FAKE_JOURNAL").map(Into::into),
    };
    let registry = world.registry();
    let registry = registry
        .batch_engine(local::Local)
        .batch_engine(Slurm::default().paced(PACE))
        .batch_engine(Engine::paced(PACE));
    vexp::run_by_way_of(registry, world.connect())
}
