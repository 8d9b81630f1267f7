//! Arguments with placeholders: `{name}`; a brace of its own is doubled.

use serde::Deserialize;

use super::options::Values;

/// What `submit` may say of an array.
pub(super) const ARRAY: &[&str] = &[
    "script",
    DESCRIPTION,
    "name",
    "tasks",
    "first",
    "last",
    "folder",
    "logs",
    "cpus",
    "memory_mib",
    "seconds",
    "minutes",
    "grace",
    "exclude",
    EXCLUSIVE,
];
/// The file that is made of option `description`.
pub(super) const DESCRIPTION: &str = "description";
/// Arguments for a node that a task has alone.
pub(super) const EXCLUSIVE: &str = "exclusive";
/// Stand for any number of arguments, and therefore alone in theirs.
const MANY: &[&str] = &["jobs", "ended", EXCLUSIVE];

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Placeholder(String),
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Text(Vec<Piece>);

impl TryFrom<String> for Text {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains(['\0', '\n', '\r']) {
            return Err(format!("`{}` is more than one line", text.escape_debug()));
        }
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut rest = text.as_str();
        while let Some(place) = rest.find(['{', '}']) {
            plain.push_str(&rest[..place]);
            let brace = &rest[place..=place];
            rest = &rest[place + 1..];
            if let Some(doubled) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = doubled;
                continue;
            }
            let name = rest.split_once('}').filter(|_| brace == "{");
            let is_name = |name: &str| {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            let Some((name, after)) = name.filter(|(name, _)| is_name(name)) else {
                return Err(format!(
                    "`{text}` has a single `{brace}`: double it if it stands for itself"
                ));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Plain(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Placeholder(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        Ok(Self(pieces))
    }
}

impl Text {
    /// `{job}_{index}` and the like, which is known to be right.
    pub(super) fn plain(text: &str) -> Self {
        Self::try_from(text.to_owned()).unwrap_or_else(|_| Self(Vec::new()))
    }

    /// Names of its placeholders.
    pub(super) fn placeholders(&self) -> Vec<String> {
        let names = self.0.iter().filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(name.clone()),
            Piece::Plain(_) => None,
        });
        names.collect()
    }

    /// Filled in; `None` where a value is missing or empty: an argument without its value is left out.
    pub(super) fn fill(&self, values: &Values) -> Option<String> {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Plain(text) => Some(text.as_str()),
            Piece::Placeholder(name) => {
                let value = values.get(name.as_str()).map(String::as_str);
                value.filter(|value| !value.is_empty())
            }
        });
        pieces
            .collect::<Option<Vec<_>>>()
            .map(|pieces| pieces.concat())
    }
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Text>")]
pub(super) struct Argv(Vec<Text>);

impl TryFrom<Vec<Text>> for Argv {
    type Error = String;

    fn try_from(all: Vec<Text>) -> Result<Self, String> {
        match all.first() {
            Some(program) if !program.0.is_empty() && program.placeholders().is_empty() => {}
            _ => return Err("a program is due, and then its arguments".to_owned()),
        }
        for text in &all {
            let names = text.placeholders();
            let many = names.iter().find(|name| MANY.contains(&name.as_str()));
            if let Some(many) = many.filter(|_| text.0.len() > 1) {
                return Err(format!("`{{{many}}}` is an argument of its own"));
            }
        }
        Ok(Self(all))
    }
}

impl Argv {
    /// Names of the placeholders of all arguments.
    pub(super) fn placeholders(&self) -> Vec<String> {
        self.0.iter().flat_map(Text::placeholders).collect()
    }

    /// The program.
    pub(super) fn program(&self) -> String {
        self.0
            .first()
            .and_then(|text| text.fill(&Values::new()))
            .unwrap_or_default()
    }

    /// Filled in: arguments that stand for a list become its members, and one whose value is empty is left out.
    pub(super) fn fill(&self, values: &Values, lists: &[(&str, &[String])]) -> Vec<String> {
        let arguments = self.0.iter().flat_map(|text| {
            if let [Piece::Placeholder(name)] = &text.0[..]
                && let Some((_, list)) = lists.iter().find(|(known, _)| known == name)
            {
                return list.to_vec();
            }
            if text.0.is_empty() {
                return vec![String::new()];
            }
            text.fill(values).into_iter().collect()
        });
        arguments.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Result<Argv, String> {
        let words = words.iter().map(|word| Text::try_from((*word).to_owned()));
        Argv::try_from(words.collect::<Result<Vec<_>, _>>()?)
    }

    #[test]
    fn arguments_are_filled_one_by_one_and_lists_grow() {
        let submit = argv(&[
            "qsub",
            "-J",
            "1-{tasks}",
            "--not={exclude}",
            "{{a}}",
            "",
            "{exclusive}",
            "{script}",
        ]);
        let submit = submit.unwrap();
        let mut values = Values::from([
            ("tasks", "5".to_owned()),
            ("script", "/a b/$(id)".to_owned()),
        ]);
        values.insert("exclude", String::new());
        let alone = ["-l".to_owned(), "place=excl".to_owned()];
        let filled = submit.fill(&values, &[("exclusive", &alone)]);
        assert_eq!(
            filled,
            [
                "qsub",
                "-J",
                "1-5",
                "{a}",
                "",
                "-l",
                "place=excl",
                "/a b/$(id)"
            ]
        );
        values.insert("exclude", "n1,n2".to_owned());
        let filled = submit.fill(&values, &[("exclusive", &[])]);
        assert_eq!(
            filled,
            ["qsub", "-J", "1-5", "--not=n1,n2", "{a}", "", "/a b/$(id)"]
        );
        assert_eq!(submit.program(), "qsub");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for bad in [
            &[][..],
            &[""],
            &["{script}"],
            &["a", "{"],
            &["a", "}x"],
            &["a", "{A}"],
            &["a", "x{jobs}"],
            &["a", "b\n"],
        ] {
            assert!(argv(bad).is_err(), "{bad:?}");
        }
    }
}
