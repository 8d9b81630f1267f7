//! The nearest of some names to a misspelt one.

/// The most alike of `known`, if it is alike enough to be meant.
pub(super) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let far = 1 + wrong.chars().count() / 4;
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, name)| name)
}

/// A help text: the nearest, and what there is.
pub(super) fn help(wrong: &str, known: &[&str], what: &str) -> String {
    const MOST: usize = 24;
    let mut text = nearest(wrong, known.iter().copied())
        .map(|name| format!("did you mean `{name}`? "))
        .unwrap_or_default();
    if known.is_empty() {
        text.push_str(&format!("there are no {what}"));
    } else if known.len() <= MOST {
        text.push_str(&format!("{what}: {}", known.join(", ")));
    } else {
        let some = known[..MOST].join(", ");
        text.push_str(&format!("{what}: {some}, … ({} in all)", known.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typing_mistakes_only() {
        let known = ["xen-3.1", "xen-3.2", "kvm-84-pv", "linux"];
        assert_eq!(nearest("lunix", known), Some("linux"));
        assert_eq!(nearest("xen-3.l", known), Some("xen-3.1"));
        assert_eq!(nearest("vmware", known), None);
    }
}
