//! Who is measured when.

use crate::contender::{Took, Tool};
use crate::fleet::Fleet;
use crate::{Failed, table};

const HOSTS: u8 = 100;
/// Commands that a host gets from vexp and parallel-ssh, and in `VEXP_BENCH_COMMANDS` others.
const COMMANDS: u32 = 100;
/// The same from Ansible, which takes as long for these.
const FEW: u32 = 2;
/// How often each is measured, and in `VEXP_BENCH_ROUNDS` others.
const ROUNDS: u32 = 3;

/// All rounds of one contender with as many commands; or why there are none.
pub(crate) struct Entry {
    pub(crate) tool: Tool,
    pub(crate) commands: u32,
    pub(crate) rounds: Result<Vec<Took>, String>,
}

/// Measures all and prints the tables.
pub(crate) fn all() -> Result<(), Failed> {
    let (commands, rounds) = (
        asked("VEXP_BENCH_COMMANDS", COMMANDS)?,
        asked("VEXP_BENCH_ROUNDS", ROUNDS)?,
    );
    eprintln!("{HOSTS} sshds, {rounds} rounds: this takes minutes");
    let fleet = Fleet::up(HOSTS)?;
    let mut entries = [
        (Tool::Vexp, commands),
        (Tool::ParallelSsh, commands),
        (Tool::Ansible, FEW),
    ]
    .map(Entry::new);
    for _ in 0..rounds {
        for entry in &mut entries {
            entry.once(&fleet);
        }
        // Who comes after whom changes.
        entries.rotate_left(1);
    }
    entries.sort_by_key(|entry| entry.tool);
    // What memory depends on.
    let mut less = [Tool::Vexp, Tool::ParallelSsh].map(|tool| Entry::new((tool, commands / 10)));
    for entry in &mut less {
        entry.once(&fleet);
    }
    table::print(&fleet, &entries, &less);
    Ok(())
}

impl Entry {
    fn new((tool, commands): (Tool, u32)) -> Self {
        Self {
            tool,
            commands: commands.max(1),
            rounds: Ok(Vec::new()),
        }
    }

    /// Measures it once more, unless it has failed.
    fn once(&mut self, fleet: &Fleet) {
        let Ok(rounds) = &mut self.rounds else { return };
        match self.tool.run(fleet, self.commands) {
            Ok(took) => rounds.push(took),
            Err(error) => self.rounds = Err(error.to_string()),
        }
    }
}

fn asked(variable: &str, default: u32) -> Result<u32, Failed> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .map_err(|error| format!("{variable}={text}: {error}").into()),
        Err(_) => Ok(default),
    }
}
