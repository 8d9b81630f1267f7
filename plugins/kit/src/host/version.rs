//! Versions as plans ask for them.

/// Whether `seen` is the version `asked`, or a more precise one: `4.17` asks for `4.17.5`, and
/// not for `4.170`.
pub fn is(asked: &str, seen: &str) -> bool {
    !asked.is_empty()
        && seen.strip_prefix(asked).is_some_and(|rest| {
            !(ends_in_digit(asked) && rest.starts_with(|c: char| c.is_ascii_digit()))
        })
}

/// The first two numbers of a version.
pub fn numbers(version: &str) -> Option<[u32; 2]> {
    let mut numbers = version.split('.').map(|part| {
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part[..end].parse::<u32>().ok()
    });
    let first = numbers.next()??;
    Some([first, numbers.next().flatten().unwrap_or(0)])
}

fn ends_in_digit(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{is, numbers};

    #[test]
    fn versions_are_compared_by_numbers() {
        assert_eq!(numbers("4.20"), Some([4, 20]));
        assert_eq!(numbers("3.2.1-rc1"), Some([3, 2]));
        assert_eq!(numbers("84"), Some([84, 0]));
        assert_eq!(numbers("x"), None);
        assert!(numbers("4.9") < numbers("4.12"));
    }

    #[test]
    fn a_prefix_of_whole_components() {
        assert!(is("4.17", "4.17.5"));
        assert!(is("6.12", "6.12.88+deb13-amd64"));
        assert!(is("4.20.0", "4.20.0"));
        for (asked, seen) in [
            ("4.1", "4.17.5"),
            ("4.17", "4.2"),
            ("", "4.17"),
            ("4.17.5", "4.17"),
        ] {
            assert!(!is(asked, seen), "{asked} {seen}");
        }
    }
}
