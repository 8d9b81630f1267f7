use thiserror::Error;

/// Why a search cannot begin or continue.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SearchError {
    /// The loads' range is empty, or not positive and finite.
    #[error("cannot search from {from} to {to}: a range needs 0 < from < to, both finite")]
    Range {
        /// Least load.
        from: f64,
        /// Greatest load.
        to: f64,
    },
    /// No goal at all.
    #[error("a search needs a goal")]
    NoGoal,
    /// Two goals are equal.
    #[error("goals {first} and {second} of the search are the same: remove one of them")]
    SameGoal {
        /// Place of the first, from 1.
        first: usize,
        /// Place of the second, from 1.
        second: usize,
    },
    /// A goal's number is outside its range.
    #[error("goal {goal} of the search: {field} is {value}; {expected}")]
    Goal {
        /// Place of the goal, from 1.
        goal: usize,
        /// The study's word for it.
        field: &'static str,
        /// As declared.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// The warm-up's length is no positive number.
    #[error("a warm-up of {seconds} s is no length of time")]
    Warmup {
        /// As declared.
        seconds: f64,
    },
    /// The resolution of a binary search.
    #[error("a binary search needs a relative width between 0 and 1, not {width}")]
    Width {
        /// As declared.
        width: f64,
    },
    /// A result came that nothing had asked for.
    #[error("a result was recorded, but no trial was asked for: ask for the next trial first")]
    NothingAsked,
    /// A duration in an observation is no positive number.
    #[error("the trial is said to have taken {seconds} s, which is no length of time")]
    Duration {
        /// As recorded.
        seconds: f64,
    },
}
