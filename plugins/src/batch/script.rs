//! The script that an engine runs for each task.

/// A word as sh(1) reads it back: in single quotes, and each single quote of its own as `'\''`.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last line of a script: its process becomes the program, so that signals for the one reach the other.
///
/// # Errors
/// A word that no script can hold.
pub(super) fn exec(argv: &[String]) -> Result<String, String> {
    if argv.is_empty() || argv[0].is_empty() {
        return Err("no program is given".to_owned());
    }
    if let Some(word) = argv.iter().find(|word| word.contains(['\0', '\r'])) {
        let word = word.escape_debug();
        return Err(format!("`{word}` has a character that no script can hold"));
    }
    let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
    Ok(format!("exec {}\n", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_arrive_as_they_are() {
        let words = [
            "a b", "", "$(id)", "it's", "`id`", "a\nb", "\\", "\"", "-n", "é*?[x]",
        ];
        let argv: Vec<String> = ["printf", "%s\\0"]
            .iter()
            .chain(&words)
            .map(|w| (*w).to_owned())
            .collect();
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(exec(&argv).unwrap())
            .output();
        let output = output.unwrap();
        let seen: Vec<&str> = std::str::from_utf8(&output.stdout)
            .unwrap()
            .split_terminator('\0')
            .collect();
        assert_eq!(seen, words);
        for bad in [&[][..], &[""], &["a", "b\0"], &["a", "b\r\n"]] {
            let argv: Vec<String> = bad.iter().map(|word| (*word).to_owned()).collect();
            assert!(exec(&argv).is_err(), "{bad:?}");
        }
    }
}
