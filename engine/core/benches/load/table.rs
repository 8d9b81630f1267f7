//! What was measured, as tables on standard output.

use crate::contender::{Took, Tool};
use crate::fleet::Fleet;
use crate::rounds::Entry;

/// Prints both: what each takes, and how vexp compares.
pub(crate) fn print(fleet: &Fleet, entries: &[Entry], less: &[Entry]) {
    let profile = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    println!(
        "\n{} sshds on loopback; vexp is a {profile} build; medians (least–most). Memory is the most \
         of all of a contender's processes together, ssh's among them.\n",
        fleet.hosts()
    );
    row(&[
        "contender",
        "commands a host",
        "connect, s",
        "push 256 KiB, s",
        "commands/s",
        "memory, MiB",
    ]);
    row(&["---", "---:", "---:", "---:", "---:", "---:"]);
    for entry in entries.iter().chain(less) {
        let (name, commands) = (entry.tool.name(), entry.commands.to_string());
        match &entry.rounds {
            Ok(rounds) => {
                let of = |value: fn(&Took) -> f64| spread(rounds.iter().map(value), 1);
                let connect = spread(rounds.iter().map(|took| took.connect), 2);
                let push = spread(rounds.iter().map(|took| took.push), 2);
                let memory = of(|took| took.memory as f64 / f64::from(1 << 20));
                let rate = of(|took| took.rate);
                row(&[&name, &commands, &connect, &push, &rate, &memory]);
                if let Some(name) = entry.tool.otherwise() {
                    row(&[&name, &commands, "", "", &of(|took| took.otherwise), ""]);
                }
            }
            Err(why) => row(&[&name, &commands, &format!("not measured: {why}")]),
        }
    }
    println!();
    row(&["vexp to another", "ratio", "aim"]);
    row(&["---", "---:", "---:"]);
    for (tool, aim) in [(Tool::ParallelSsh, "≥ 1"), (Tool::Ansible, "≥ 10")] {
        let what = format!("commands/s: {}", tool.name());
        row(&[&what, &ratio(entries, tool, |took| took.rate), aim]);
        if let Some(name) = tool.otherwise() {
            let what = format!("commands/s: {name}");
            row(&[&what, &ratio(entries, tool, |took| took.otherwise), ""]);
        }
    }
    let what = format!("memory: itself with {} commands", less[0].commands);
    row(&[&what, &growth(&entries[0], &less[0]), "1"]);
}

fn row(cells: &[&str]) {
    println!("| {} |", cells.join(" | "));
}

/// Median, least and most.
fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return "not measured".to_owned();
    };
    let median = f64::midpoint(values[(n - 1) / 2], values[n / 2]);
    match n {
        1 => format!("{median:.digits$}"),
        _ => format!("{median:.digits$} ({least:.digits$}–{most:.digits$})"),
    }
}

/// Commands/s of vexp to those of another, round by round.
fn ratio(entries: &[Entry], tool: Tool, rate: fn(&Took) -> f64) -> String {
    let rounds = |tool| {
        let mut all = entries.iter().filter(move |entry| entry.tool == tool);
        all.find_map(|entry| entry.rounds.as_ref().ok())
    };
    match (rounds(Tool::Vexp), rounds(tool)) {
        (Some(own), Some(others)) => {
            let pairs = own.iter().zip(others);
            spread(pairs.map(|(own, other)| own.rate / rate(other)), 2)
        }
        _ => "not measured".to_owned(),
    }
}

/// Memory with more commands to memory with fewer.
fn growth(more: &Entry, fewer: &Entry) -> String {
    match (&more.rounds, &fewer.rounds) {
        (Ok(more), Ok(fewer)) => {
            let of_fewer = fewer.iter().map(|took| took.memory).max().unwrap_or(1);
            let ratios = more.iter().map(|took| took.memory as f64 / of_fewer as f64);
            spread(ratios, 2)
        }
        _ => "not measured".to_owned(),
    }
}
