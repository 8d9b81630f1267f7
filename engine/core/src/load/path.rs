//! Paths of fields and where their values stand in the source.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use vexp_api::diagnostic::Place;

/// One step down into a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// An array's element, from 0.
    Index(usize),
    /// A record's field.
    Key(String),
}

/// The path of a field from the top, e.g. `platforms.xen-3.1.dom0_weight` or `published[3].value`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// The top.
    pub fn top() -> Self {
        Self::default()
    }

    /// From field names alone.
    pub fn of(keys: &[&str]) -> Self {
        Self(
            keys.iter()
                .map(|key| Step::Key((*key).to_owned()))
                .collect(),
        )
    }

    /// A field of this record.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Step::Key(key.into()))
    }

    /// An element of this array.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Whether this is `other` or lies below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if i == 0 => write!(f, "{}", key.escape_debug())?,
                Step::Key(key) => write!(f, ".{}", key.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// Where a field stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// Its name, if it is a record's field that the study's files write down.
    pub key: Option<Place>,
    /// Its value.
    pub value: Option<Place>,
}

/// Where every field of a value stands in the study's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanIndex(BTreeMap<FieldPath, Spot>);

impl SpanIndex {
    /// The spot of exactly that field.
    pub fn get(&self, path: &FieldPath) -> Option<&Spot> {
        self.0.get(path)
    }

    /// Where the value of a field stands, or of the nearest field above it that the study's files
    /// write down.
    pub fn value(&self, path: &FieldPath) -> Option<&Place> {
        self.nearest(path, |spot| spot.value.as_ref().or(spot.key.as_ref()))
    }

    /// Where the name of a field stands; of the nearest field above it where it has none.
    pub fn key(&self, path: &FieldPath) -> Option<&Place> {
        self.nearest(path, |spot| spot.key.as_ref())
            .or_else(|| self.value(path))
    }

    fn nearest<'a>(
        &'a self,
        path: &FieldPath,
        pick: impl Fn(&'a Spot) -> Option<&'a Place>,
    ) -> Option<&'a Place> {
        (0..=path.0.len()).rev().find_map(|len| {
            self.0
                .get(&FieldPath(path.0[..len].to_vec()))
                .and_then(&pick)
        })
    }
}

impl FromIterator<(FieldPath, Spot)> for SpanIndex {
    fn from_iter<T: IntoIterator<Item = (FieldPath, Spot)>>(items: T) -> Self {
        Self(items.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize) -> Place {
        Place {
            file: "a.ncl".to_owned(),
            offset: 0,
            len: 1,
            line,
            column: 1,
        }
    }

    #[test]
    fn shows_fields_as_specs_write_them() {
        let path = FieldPath::of(&["published"]).index(3).key("value");
        assert_eq!(path.to_string(), "published[3].value");
        assert!(path.starts_with(&FieldPath::of(&["published"])));
        assert!(!path.starts_with(&FieldPath::of(&["claims"])));
    }

    #[test]
    fn falls_back_to_the_nearest_field_above() {
        let spans: SpanIndex = [(
            FieldPath::of(&["a"]),
            Spot {
                key: Some(place(1)),
                value: Some(place(2)),
            },
        )]
        .into_iter()
        .collect();
        let below = FieldPath::of(&["a", "b", "c"]);
        assert_eq!(spans.value(&below), Some(&place(2)));
        assert_eq!(spans.key(&below), Some(&place(1)));
        assert_eq!(spans.value(&FieldPath::of(&["z"])), None);
    }
}
