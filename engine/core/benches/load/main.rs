//! `make bench`, the second table: many machines at once, for vexp, parallel-ssh and Ansible.
//!
//! A hundred real sshds on loopback, in namespaces that end with this program. Each contender
//! connects to all of them, pushes a file to each, runs commands on each, one after another on a
//! host and all hosts at the same time, and holds every output against what it must be. Contenders
//! take turns, so that a ratio is one of neighbours in time. What they do stands in [`fleet`] and
//! `contenders/`; vexp is its own [`Ssh`](vexp_engine::run::ssh::Ssh), as a run has it, with
//! deadlines that hold on the far side and all caps.
//!
//! `VEXP_BENCH_COMMANDS` is how many commands a host gets in the longer of the two sizes.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints what it measures"
)]

mod contender;
mod fleet;
mod memory;
mod rounds;
mod table;
mod vexp;

use std::path::Path;
use std::process::{Command, ExitCode};

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match part() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// This program is the bench, its part inside of the namespaces, and a contender.
fn part() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["inside"] => rounds::all(),
        ["vexp", folder, hosts, commands] => {
            vexp::run(Path::new(folder), hosts.parse()?, commands.parse()?)
        }
        // cargo's own arguments, such as `--bench`.
        _ => outside(),
    }
}

/// Starts the part that is inside, or says why it can't be.
fn outside() -> Result<(), Failed> {
    let why = if !rustix::process::geteuid().is_root() {
        "sshds want root"
    } else if !Path::new(fleet::SSHD).exists() {
        "sshd is missing: apt-get install openssh-server"
    } else {
        let status = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--mount-proc"])
            .args(["--kill-child", "--"])
            .arg(std::env::current_exe()?)
            .arg("inside")
            .status()?;
        return match status.success() {
            true => Ok(()),
            false => Err(status.to_string().into()),
        };
    };
    println!("| many machines | not measured: {why} | |");
    Ok(())
}
