//! `vexp` in a world that pretends. All but its machines is the real thing: dispatcher, worker process,
//! run folder, and where tests ask for it a batch engine.
//!
//! `FAKE_FAULTS` and `FAKE_JOURNAL` are the fields of [`Pretend`].

mod local;

use std::process::ExitCode;

use vexp_testkit::Pretend;

fn main() -> ExitCode {
    let world = Pretend {
        faults: std::env::var("FAKE_FAULTS").unwrap_or_default(),
        journal: std::env::var_os("FAKE_JOURNAL").map(Into::into),
    };
    let registry = world.registry().batch_engine(local::Local);
    vexp::run_by_way_of(registry, world.connect())
}
