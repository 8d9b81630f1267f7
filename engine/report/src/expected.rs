//! What a run in virtual time must give on every computer: a digest a trial, kept beside the study.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;
use vexp_api::ids::Name;

use crate::frame::Frames;
use crate::identity;

/// Version of the file.
const FORMAT: u32 = 1;

/// Digests of a run's trials, with what they depend on beside the study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    format: u32,
    /// Images by name.
    images: BTreeMap<Name, Digest>,
    /// Results by trial.
    trials: BTreeMap<Name, Digest>,
    /// The run that they are of. Older files don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Name>,
    /// Its computer: see [`vexp_api::record::RunRecord::computer`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    computer: Option<Digest>,
}

/// How a run's results compare with what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Trials that are the same to the last bit.
    pub same: usize,
    /// Trials that are not, in the order of their names.
    pub differ: Vec<Name>,
    /// Trials of which nothing is expected.
    pub unknown: usize,
    /// Images that are others than those with which the expectation was measured.
    pub images: Vec<Name>,
}

impl Expected {
    /// What a run with these images gave.
    ///
    /// # Errors
    /// A sample that JSON can't hold; parsers give none.
    pub fn of(images: BTreeMap<Name, Digest>, frames: &Frames) -> Result<Self, serde_json::Error> {
        Ok(Self {
            format: FORMAT,
            images,
            trials: identity::each(frames)?,
            run: Some(frames.run.record.id.clone()),
            computer: frames.run.record.computer.clone(),
        })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is no such file, or one of another version.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match read.format {
            FORMAT => Ok(read),
            other => Err(format!("its format is {other}; this vexp reads {FORMAT}")),
        }
    }

    /// The run that it was written of, and that one's computer, if it says so.
    pub fn origin(&self) -> (Option<&Name>, Option<&Digest>) {
        (self.run.as_ref(), self.computer.as_ref())
    }

    /// Compares what was found with this. Trials that were not run are not asked for.
    pub fn compare(&self, found: &Self) -> Comparison {
        let mut comparison = Comparison {
            same: 0,
            differ: Vec::new(),
            unknown: 0,
            images: Vec::new(),
        };
        for (trial, digest) in &found.trials {
            match self.trials.get(trial) {
                None => comparison.unknown += 1,
                Some(expected) if expected == digest => comparison.same += 1,
                Some(_) => comparison.differ.push(trial.clone()),
            }
        }
        let other = |(name, digest): &(&Name, &Digest)| self.images.get(*name) != Some(*digest);
        let images = found.images.iter().filter(other);
        comparison.images = images.map(|(name, _)| name.clone()).collect();
        comparison
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(images: &[(&str, &str)], trials: &[(&str, &str)]) -> Expected {
        let all = |pairs: &[(&str, &str)]| {
            let pair = |(name, text): &(&str, &str)| {
                (Name::new(*name).unwrap(), Digest::of(text.as_bytes()))
            };
            pairs.iter().map(pair).collect()
        };
        Expected {
            format: FORMAT,
            images: all(images),
            trials: all(trials),
            run: None,
            computer: None,
        }
    }

    #[test]
    fn trials_and_images_that_differ_are_named() {
        let expected = with(
            &[("guest", "1"), ("kvm", "1")],
            &[("a", "1"), ("b", "1"), ("not-run", "1")],
        );
        let found = with(&[("guest", "2")], &[("a", "1"), ("b", "2"), ("new", "1")]);
        let comparison = expected.compare(&found);
        assert_eq!((comparison.same, comparison.unknown), (1, 1));
        assert_eq!(comparison.differ, [Name::new("b").unwrap()]);
        assert_eq!(comparison.images, [Name::new("guest").unwrap()]);
        let text = serde_json::to_string(&expected).unwrap();
        assert_eq!(Expected::parse(&text).unwrap(), expected);
        assert!(Expected::parse(&text.replace("\"format\":1", "\"format\":2")).is_err());
    }

    #[test]
    fn changed_expectations_are_read_or_refused() {
        let whole = serde_json::to_string(&with(&[("guest", "g")], &[("a", "1"), ("b", "2")]));
        vexp_testkit::hostile::on_changed_text(200, &whole.unwrap(), |text| {
            drop(Expected::parse(text))
        });
    }
}
