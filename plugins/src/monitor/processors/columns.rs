//! The columns of processors' time, found once a header: a file repeats it with every moment.

use vexp_api::plugin::{ParseError, Raw};

use crate::text::{Line, Words, at, comma};

/// What a column says. Versions of the tools, and the options of sar, have names of their own for some.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    User,
    Nice,
    System,
    Wait,
    Irq,
    Soft,
    Steal,
    Guest,
    GuestNice,
    Idle,
    /// None of these: a part of the sum all the same.
    Other,
}

/// All but [`Column::Other`].
const KNOWN: usize = Column::Other as usize;

impl Column {
    fn of(name: &str) -> Self {
        match name {
            "%usr" | "%user" => Self::User,
            "%nice" => Self::Nice,
            "%sys" | "%system" => Self::System,
            "%iowait" => Self::Wait,
            "%irq" => Self::Irq,
            "%soft" => Self::Soft,
            "%steal" => Self::Steal,
            "%guest" => Self::Guest,
            "%gnice" => Self::GuestNice,
            "%idle" => Self::Idle,
            _ => Self::Other,
        }
    }

    /// As mpstat prints it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::User => "%usr",
            Self::Nice => "%nice",
            Self::System => "%sys",
            Self::Wait => "%iowait",
            Self::Irq => "%irq",
            Self::Soft => "%soft",
            Self::Steal => "%steal",
            Self::Guest => "%guest",
            Self::GuestNice => "%gnice",
            Self::Idle => "%idle",
            Self::Other => "another",
        }
    }
}

/// What one line says, in percent of a processor.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: [Option<f64>; KNOWN],
    sum: f64,
}

impl Values {
    /// Adds the value of the column that is called so in text.
    pub(super) fn put_named(&mut self, name: &str, value: f64) {
        self.put(Column::of(name), value);
    }

    fn put(&mut self, column: Column, value: f64) {
        if let Some(place) = self.values.get_mut(column as usize) {
            *place = Some(value);
        }
        self.sum += value;
    }

    pub(super) fn get(&self, column: Column) -> Option<f64> {
        self.values.get(column as usize).copied().flatten()
    }

    /// Of all columns, also unknown ones.
    pub(super) const fn sum(&self) -> f64 {
        self.sum
    }
}

/// A line with the columns' names.
pub(super) struct Header<'a> {
    /// It, behind the time of day.
    pub(super) text: &'a str,
    /// The columns after the processor's number.
    columns: Vec<(&'a str, Column)>,
}

impl<'a> Header<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let names = Words::of(text).skip(1);
        Self {
            text,
            columns: names.map(|name| (name, Column::of(name))).collect(),
        }
    }

    /// The values of a line, of which the time of day and the processor are taken.
    pub(super) fn values(
        &self,
        raw: &Raw<'_>,
        line: &Line<'_>,
        mut words: Words<'_>,
    ) -> Result<Values, ParseError> {
        let mut values = Values::default();
        let all = words.clone();
        for (index, (_, column)) in self.columns.iter().enumerate() {
            match words.number().filter(|value| *value <= 100.0) {
                Some(value) => values.put(*column, value),
                None => return Err(self.damaged(raw, line, (all, index))),
            }
        }
        if words.rest().trim_ascii_start().is_empty() {
            return Ok(values);
        }
        Err(self.damaged(raw, line, (all, 0)))
    }

    /// Why a line can't be read, of which `words` are the values, and the one at `index` is none.
    fn damaged(
        &self,
        raw: &Raw<'_>,
        line: &Line<'_>,
        (mut words, index): (Words<'_>, usize),
    ) -> ParseError {
        let (found, expected) = (words.clone().count(), self.columns.len());
        let message = if found == expected {
            let name = self.columns.get(index).map_or("", |(name, _)| name);
            let word = words.nth(index).unwrap_or_default();
            format!(
                "{name} is `{}`, not 0 to 100{}",
                word.escape_debug(),
                comma(word)
            )
        } else {
            format!(
                "{} columns where the header has {}: the line is damaged",
                found + 1,
                expected + 1
            )
        };
        at(raw, line.number, message)
    }
}
