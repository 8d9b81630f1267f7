//! The order of Debian packages' versions, deb-version(7).

use std::cmp::Ordering;

use super::lockfile::Version;

/// Which of two versions is the newer one.
pub(super) fn compare(one: &Version, other: &Version) -> Ordering {
    let (one, other) = (parts(one.as_str()), parts(other.as_str()));
    digits(one.0, other.0)
        .then_with(|| part(one.1, other.1))
        .then_with(|| part(one.2, other.2))
}

/// Epoch, upstream version and revision. What is missing is 0.
fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Compares texts without digits and digits in turn.
fn part(mut one: &str, mut other: &str) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (mine, rest) = split(one, |c| !c.is_ascii_digit());
        let (theirs, other_rest) = split(other, |c| !c.is_ascii_digit());
        let (number, rest) = split(rest, |c| c.is_ascii_digit());
        let (other_number, other_rest) = split(other_rest, |c| c.is_ascii_digit());
        let order = text(mine, theirs).then_with(|| digits(number, other_number));
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

/// The beginning whose letters are such, and the rest.
fn split(text: &str, such: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !such(c)).unwrap_or(text.len()))
}

/// Numbers of any length.
fn digits(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// `~` comes before the end, that before letters, and those before all others.
fn text(one: &str, other: &str) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let (one, other) = (one.as_bytes(), other.as_bytes());
    (0..one.len().max(other.len()))
        .map(|at| weight(one.get(at)).cmp(&weight(other.get(at))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::try_from(text.to_owned()).unwrap()
    }

    /// From the oldest to the newest, as `dpkg --compare-versions` has them.
    const ORDER: [&str; 16] = [
        "0~",
        "0",
        "0a",
        "0+",
        "1.0~rc1-1",
        "1.0",
        "1.0-1~deb12u1",
        "1.0-1",
        "1.0-1+b1",
        "1.0-1.1",
        "1.0.1",
        "1.9",
        "1.10",
        "1.10+dfsg-1",
        "99999999999999999999999",
        "1:0.1",
    ];

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        for (i, one) in ORDER.iter().enumerate() {
            for (j, other) in ORDER.iter().enumerate() {
                let order = compare(&version(one), &version(other));
                assert_eq!(order, i.cmp(&j), "{one} {other}");
            }
        }
        for (one, other) in [("1.0", "1.0-0"), ("0:1", "1"), ("1.01", "1.1")] {
            assert!(
                compare(&version(one), &version(other)).is_eq(),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn dpkg_says_the_same_where_it_is() {
        for pair in ORDER.windows(2) {
            let asked = std::process::Command::new("dpkg")
                .args(["--compare-versions", pair[0], "lt", pair[1]])
                .status();
            let Ok(status) = asked else {
                eprintln!("SKIPPED: there is no dpkg");
                return;
            };
            assert!(status.success(), "{pair:?}");
        }
    }

    /// Versions of an archive are a stranger's: they have one order, whatever they are.
    #[test]
    fn changed_versions_are_in_one_order_or_refused() {
        for text in ORDER {
            vexp_testkit::hostile::on_changed_text(20, text, |changed| {
                let Ok(changed) = Version::try_from(changed.to_owned()) else {
                    return;
                };
                for other in ORDER {
                    let (one, other) = (
                        compare(&changed, &version(other)),
                        compare(&version(other), &changed),
                    );
                    assert_eq!(one, other.reverse(), "{changed:?}");
                }
            });
        }
    }
}
