//! The very way that a run's commands go, tried with a few words: ssh, the user's start-up files and
//! login shell, sudo, the program. What stands in the way is told apart by what comes back.

use vexp_api::shell::{Cmd, Output, ShellError};

use super::far::Rack;

/// A word that means nothing to any shell.
const PLAIN: &str = "vexp";
/// Words that shells change where they are not quoted as POSIX says.
const DIFFICULT: [&str; 13] = [
    "a  b",
    "$HOME $(id) `id`",
    "it's",
    "\"",
    "back\\slash \\n",
    // All that fish changes between single quotes.
    "two\\\\backslashes\\\\",
    "!x !!",
    "* ?",
    "~",
    "{a,b}",
    "# ; & |",
    "two\nlines",
    "ü",
];

/// Why commands don't arrive.
#[derive(Debug, PartialEq)]
pub(super) struct Obstacle {
    /// As a preflight names it.
    pub(super) what: &'static str,
    /// What should be.
    pub(super) asked: &'static str,
    pub(super) seen: String,
    /// The way out.
    pub(super) help: String,
}

/// Tries the way to a machine that is connected.
pub(super) async fn tried(rack: &Rack) -> Result<(), Obstacle> {
    let plain = rack.shell.run(Cmd::new("echo").arg(PLAIN)).await;
    let plain = plain.map_err(|error| lost(&error))?;
    if !plain.ok() {
        return Err(refused(rack.entry.own.sudo, &plain));
    }
    let said = plain.text();
    if said != format!("{PLAIN}\n") {
        return Err(printed(&said));
    }
    let words = Cmd::new("printf").arg("%s\\n").args(DIFFICULT);
    let difficult = rack.shell.run(words).await.map_err(|error| lost(&error))?;
    match difficult.ok() && difficult.text() == expected() {
        true => Ok(()),
        false => Err(changed(&difficult)),
    }
}

fn expected() -> String {
    DIFFICULT.map(|word| format!("{word}\n")).concat()
}

fn lost(error: &ShellError) -> Obstacle {
    Obstacle {
        what: "reachability",
        asked: "an answer over SSH",
        seen: error.to_string(),
        help: "see what the machine's sshd says to this connection".to_owned(),
    }
}

/// The program did not run, or not to its end.
fn refused(sudo: bool, output: &Output) -> Obstacle {
    let said = output.stderr_tail();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let help = if !sudo {
        "see what `ssh MACHINE timeout 9 echo vexp` says: a forced command, a login shell such as \
         nologin, or no timeout(1)"
    } else if says(&["must have a tty", "no tty present"]) {
        "sudo asks for a terminal: `Defaults:USER !requiretty` in the machine's sudoers"
    } else if says(&["syntax error"]) {
        "the machine's sudoers has a mistake: `visudo -c` shows it"
    } else if says(&["password is required", "authentication is required"]) {
        // It says so without any rule, too.
        "sudo asks for a password, or has no rule for this user: `USER ALL=(root) NOPASSWD: ALL` in the \
         machine's sudoers"
    } else if says(&[
        "not in the sudoers",
        "not allowed",
        "may not run",
        "I'm sorry",
    ]) {
        "sudo does not let this user: a rule `USER ALL=(root) NOPASSWD: ALL` in the machine's sudoers"
    } else if output.status == Some(127) || says(&["command not found"]) {
        "install sudo and coreutils there (or mend sudoers' `secure_path`), or log in as root without `\"sudo\": true` in your machines file"
    } else {
        "see what `ssh MACHINE sudo -n timeout 9 echo vexp` says"
    };
    let status = output
        .status
        .map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"));
    Obstacle {
        what: "privileges",
        asked: "root",
        seen: match said.is_empty() {
            true => format!("`echo` ended with {status}, and nothing was said"),
            false => said,
        },
        help: help.to_owned(),
    }
}

/// Something else was printed, too.
fn printed(said: &str) -> Obstacle {
    let more = said.replacen(&format!("{PLAIN}\n"), "", 1);
    let shown: String = more.trim().chars().take(200).collect();
    Obstacle {
        what: "start-up files",
        asked: "print nothing where nobody types",
        seen: format!("they print `{}`", shown.escape_debug()),
        help: "in the user's ~/.bashrc, ~/.cshrc or the like, print only in a shell that is \
               interactive: `case $- in *i*) … ;; esac`; the same for ForceCommand in sshd_config"
            .to_owned(),
    }
}

/// Words came back as others, or the shell did not take them.
fn changed(output: &Output) -> Obstacle {
    let text = output.text();
    let seen = if output.ok() {
        let same = |word: &&&str| !text.contains(&format!("{word}\n"));
        let first = DIFFICULT.iter().find(same);
        match first {
            Some(word) => format!("it changes the word `{}`", word.escape_debug()),
            None => format!(
                "it makes of {} words: `{}`",
                DIFFICULT.len(),
                text.escape_debug()
            ),
        }
    } else {
        format!("it does not take quoted words: {}", output.stderr_tail())
    };
    Obstacle {
        what: "login shell",
        asked: "passes words as POSIX's sh does",
        seen,
        help:
            "csh, tcsh and fish quote in other ways: give the user on that machine a login shell \
               such as /bin/sh (`chsh -s /bin/sh USER`), or name another user"
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vexp_testkit::FakeShell;

    use super::*;
    use crate::testing::name;

    async fn tried_with(sudo: bool, transcript: &str) -> Result<(), Obstacle> {
        let entry = serde_json::json!({
            "role": "host", "data": [{"nic": "eth1", "address": "198.18.0.1/24"}],
        });
        let mut entry: super::super::inventory::Entry = serde_json::from_value(entry).unwrap();
        entry.own.sudo = sudo;
        let rack = Rack {
            name: name("rack1"),
            entry,
            shell: Arc::new(FakeShell::replay(name("rack1"), transcript)),
        };
        tried(&rack).await
    }

    fn difficult() -> String {
        format!("$ {}", Cmd::new("printf").arg("%s\\n").args(DIFFICULT))
    }

    #[tokio::test]
    async fn a_shell_that_passes_words_is_no_obstacle() {
        let transcript = format!("$ echo vexp\nvexp\n{}\n{}", difficult(), expected());
        assert_eq!(tried_with(false, &transcript).await, Ok(()));
    }

    macro_rules! recorded {
        ($file:literal) => {
            include_str!(concat!("../../../testdata/way-debian12/", $file))
        };
    }

    /// A command that failed, and the last of what it said.
    fn failed(said: &str) -> String {
        format!("! 1 {}\n", said.lines().next_back().unwrap_or_default())
    }

    #[test]
    fn what_sudo_says_is_told_apart() {
        for (sudo, status, said, help) in [
            (true, 1, recorded!("sudo-requiretty.txt"), "!requiretty"),
            (true, 1, recorded!("sudo-password.txt"), "or has no rule"),
            (true, 1, recorded!("sudo-syntax.txt"), "visudo -c"),
            (true, 1, recorded!("sudo-no-program.txt"), "secure_path"),
            (true, 1, recorded!("sudo-no-rule.txt"), "does not let"),
            (true, 1, recorded!("sudo-not-allowed.txt"), "does not let"),
            (true, 1, recorded!("sudo-not-here.txt"), "does not let"),
            // Not recorded: sudo-rs' words.
            (
                true,
                1,
                "sudo: interactive authentication is required",
                "NOPASSWD: ALL",
            ),
            (true, 127, "sh: 1: sudo: not found", "install sudo"),
            (
                false,
                1,
                "This account is currently not available.",
                "nologin",
            ),
        ] {
            let found = refused(sudo, &vexp_testkit::status(status, "", said));
            assert!(found.help.contains(help), "{said}: {}", found.help);
        }
    }

    #[tokio::test]
    async fn causes_are_told_apart() {
        let transcript = format!("$ echo vexp\n{}", failed(recorded!("sudo-password.txt")));
        let found = tried_with(true, &transcript).await.unwrap_err();
        assert_eq!(found.what, "privileges");
        for printed in ["Welcome to rack1!\nvexp", "vexp\nlogged"] {
            let transcript = format!("$ echo vexp\n{printed}\n");
            let found = tried_with(false, &transcript).await.unwrap_err();
            assert_eq!(found.what, "start-up files", "{printed}");
            assert!(found.help.contains("interactive"), "{}", found.help);
        }
    }

    #[tokio::test]
    async fn shells_that_change_words_are_seen_by_what_comes_back() {
        for (said, seen) in [
            (failed(recorded!("tcsh.txt")), "Unmatched '''."),
            (failed(recorded!("tcsh-german.txt")), "berfl"),
            (
                recorded!("fish.txt").to_owned(),
                "`two\\\\\\\\backslashes\\\\\\\\`",
            ),
        ] {
            let transcript = format!("$ echo vexp\nvexp\n{}\n{said}", difficult());
            let found = tried_with(false, &transcript).await.unwrap_err();
            assert_eq!(found.what, "login shell");
            assert!(
                found.seen.contains(seen) && found.help.contains("chsh"),
                "{}",
                found.seen
            );
        }
    }
}
