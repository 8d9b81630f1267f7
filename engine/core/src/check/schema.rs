//! The shape of a study as data: what `contracts/contracts.ncl` says, for finding every mistake
//! and not only the first. A test holds the two against each other.

use serde_json::{Value, json};
use vexp_api::spec::Condition;

/// What a value must be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Text with at least one character.
    Text,
    /// A [`vexp_api::ids::Name`].
    Name,
    /// A [`vexp_api::ids::Doi`].
    Doi,
    /// A whole number in a range.
    Whole(u64, u64),
    /// Any finite number.
    Number,
    /// A finite number, at least 0.
    Positive0,
    /// A number greater than 0, at most 1.
    Fraction,
    /// A [`vexp_api::units::BitRate`], not 0.
    Rate,
    /// A [`vexp_api::units::ByteSize`], not 0.
    Size,
    /// A [`vexp_api::units::TimeSpan`], not 0.
    Time,
    /// A [`vexp_api::units::TimeSpan`].
    Time0,
    /// A [`vexp_api::units::Frequency`], not 0.
    Frequency,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list.
    List(&'static Kind),
    /// A list with at least one element.
    Some(&'static Kind),
    /// A record whose fields are named by the study.
    Map(&'static Kind),
    /// A record with a field for each of some roles.
    ByRole(&'static Kind),
    /// A record with these fields, and what the contracts call it.
    Record(&'static str, &'static [Field]),
    /// A record that a plugin's contract checks.
    Options,
    /// A number or a metric times a factor.
    Operand,
}

/// A field of a record.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
}

/// Whether a field must be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Yes.
    Required,
    /// No; also `null`.
    Optional,
    /// No: it is an empty list or record, or this number.
    Empty,
    /// No: the number.
    Number(u64),
}

const fn must(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        need: Need::Required,
    }
}

const fn may(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        need: Need::Optional,
    }
}

const fn empty(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        need: Need::Empty,
    }
}

impl Field {
    /// The value of a field that is not written; `None` if it must be.
    pub(super) fn default(&self) -> Option<Value> {
        match (self.need, self.kind) {
            (Need::Required, _) => None,
            (Need::Optional, _) => Some(Value::Null),
            (Need::Number(number), _) => Some(json!(number)),
            (Need::Empty, Kind::List(_) | Kind::Some(_)) => Some(json!([])),
            (Need::Empty, _) => Some(json!({})),
        }
    }
}

/// Largest whole number that a specification may use: exact in every JSON reader.
const MAX: u64 = 1 << 53;
const COUNT: u64 = u32::MAX as u64;

pub(super) const ROLES: &[&str] = &["sender", "receiver", "router"];
const RELATIONS: &[&str] = &["about", "at_least", "at_most", "greater_than", "less_than"];
const TIMES_OF: &[&str] = &["real", "virtual"];
const UNITS: &[&str] = &[
    "Mb/s",
    "ms",
    "% of a CPU",
    "%",
    "packets/s",
    "B",
    "count",
    "1",
    "% of a CPU per Mb/s",
];

/// The whole.
pub(super) const STUDY: Kind = Kind::Record(
    "Study",
    &[
        Field {
            name: "format",
            kind: Kind::Whole(1, 1),
            need: Need::Number(1),
        },
        must("name", Kind::Name),
        must("title", Kind::Text),
        may("paper", PAPER),
        Field {
            name: "seed",
            kind: Kind::Whole(0, MAX),
            need: Need::Number(1),
        },
        must("hardware", Kind::Map(&HARDWARE)),
        must("platforms", Kind::Map(&PLATFORM)),
        must("experiments", Kind::Map(&EXPERIMENT)),
        must("efforts", Kind::Map(&EFFORT)),
        empty("testbeds", Kind::Map(&OVERLAY)),
        empty("batch", Kind::Map(&Kind::Options)),
        empty("published", Kind::List(&PUBLISHED)),
        empty("claims", Kind::Map(&CLAIM)),
        empty("figures", Kind::List(&FIGURE)),
        empty("tables", Kind::List(&TABLE)),
        empty("looks", Kind::List(&LOOK)),
    ],
);

const LOOK: Kind = Kind::Record(
    "Look",
    &[
        must("units", Kind::Whole(3, 10_000)),
        must("share", Kind::Fraction),
    ],
);

const PAPER: Kind = Kind::Record(
    "Paper",
    &[
        must("title", Kind::Text),
        must("authors", Kind::Some(&Kind::Text)),
        must("year", Kind::Whole(1900, 2200)),
        may("doi", Kind::Doi),
        may("contact", Kind::Text),
        may("archive", Kind::Doi),
        may("code", Kind::Text),
        empty("metrics", Kind::Map(&Kind::Text)),
    ],
);

const HARDWARE: Kind = Kind::Record(
    "Hardware",
    &[
        must("description", Kind::Text),
        must("cpus", Kind::Whole(1, 1024)),
        must("cpu", Kind::Text),
        must("clock", Kind::Frequency),
        must("memory", Kind::Size),
        must("nics", Kind::Some(&NIC)),
    ],
);

const NIC: Kind = Kind::Record(
    "Nic",
    &[must("model", Kind::Name), must("rate", Kind::Rate)],
);

const PLATFORM: Kind = Kind::Record(
    "Platform",
    &[
        must("title", Kind::Text),
        must("hypervisor", Kind::Name),
        must("version", Kind::Text),
        may("kernel", Kind::Text),
        may("toolstack", Kind::Name),
        may("scheduler", Kind::Name),
        may("dom0_weight", Kind::Whole(1, 65535)),
        may("nic", Kind::Name),
        may("guest", GUEST),
        must("hardware", Kind::ByRole(&Kind::Name)),
        empty("options", Kind::Options),
    ],
);

const GUEST: Kind = Kind::Record(
    "Guest",
    &[
        must("vcpus", Kind::Whole(1, 1024)),
        must("memory", Kind::Size),
    ],
);

const MEASURE: Kind = Kind::Record(
    "Measure",
    &[must("tool", Kind::Name), empty("options", Kind::Options)],
);

const VMS: Kind = Kind::Some(&Kind::Whole(1, 1024));

const EXPERIMENT: Kind = Kind::Record(
    "Experiment",
    &[
        must("title", Kind::Text),
        must("role", Kind::OneOf(ROLES)),
        must("traffic", MEASURE),
        may("load", MEASURE),
        may("flows", Kind::Whole(1, 1024)),
        empty("monitors", Kind::List(&MEASURE)),
        must("platforms", Kind::Some(&Kind::Name)),
        must("vms", VMS),
        empty("figures", Kind::List(&Kind::Text)),
    ],
);

const EFFORT: Kind = Kind::Record(
    "Effort",
    &[
        may("platforms", Kind::Some(&Kind::Name)),
        may("experiments", Kind::Some(&Kind::Name)),
        may("vms", VMS),
        must("repetitions", Kind::Whole(1, 10_000)),
        may("boots", Kind::Whole(1, 10_000)),
        must("warm_up", Kind::Time0),
        must("window", Kind::Time),
    ],
);

const OVERLAY: Kind = Kind::Record(
    "Overlay",
    &[
        may(
            "link",
            Kind::Record(
                "LinkScale",
                &[
                    must("factor", Kind::Fraction),
                    must("reason", Kind::Text),
                    may("calibrate", CALIBRATE),
                ],
            ),
        ),
        empty("software", Kind::List(&SOFTWARE)),
        empty("hardware", Kind::Map(&HARDWARE_RULE)),
        may(
            "guest",
            Kind::Record(
                "GuestRule",
                &[
                    may("memory", Kind::Size),
                    may("vcpus", Kind::Whole(1, 1024)),
                    must("reason", Kind::Text),
                ],
            ),
        ),
        empty("options", Kind::Options),
    ],
);

const CALIBRATE: Kind = Kind::Record(
    "Calibrate",
    &[
        must("experiment", Kind::Name),
        must("platform", Kind::Name),
        must("cpu", Kind::Fraction),
        must("least", Kind::Fraction),
        must("most", Kind::Fraction),
    ],
);

const SOFTWARE: Kind = Kind::Record(
    "SoftwareRule",
    &[
        must("hypervisor", Kind::Name),
        must("version", Kind::Text),
        must("used", Kind::Text),
        may("image", Kind::Name),
        may("guest_image", Kind::Name),
        may("toolstack", Kind::Name),
        must("reason", Kind::Text),
    ],
);

const HARDWARE_RULE: Kind = Kind::Record(
    "HardwareRule",
    &[
        may("cpus", Kind::Whole(1, 1024)),
        may("cpu", Kind::Text),
        may("memory", Kind::Size),
        may("nic", Kind::Name),
        must("reason", Kind::Text),
    ],
);

/// A metric at a point of the matrix.
pub(super) const METRIC_REF: Kind = Kind::Record(
    "MetricRef",
    &[
        must("metric", Kind::Name),
        must("experiment", Kind::Name),
        must("platform", Kind::Name),
        must("vms", Kind::Whole(0, COUNT)),
        may("node", Kind::Name),
    ],
);

/// The right side of an assertion that is not a number.
pub(super) const TIMES: Kind = Kind::Record(
    "Times",
    &[must("of", METRIC_REF), must("times", Kind::Number)],
);

const PUBLISHED: Kind = Kind::Record(
    "Published",
    &[
        must("of", METRIC_REF),
        must("value", Kind::Number),
        must("unit", Kind::OneOf(UNITS)),
        must("place", Kind::Text),
        may("note", Kind::Text),
    ],
);

const CLAIM: Kind = Kind::Record(
    "Claim",
    &[
        must("statement", Kind::Text),
        must("place", Kind::Text),
        empty("tests", Kind::List(&ASSERTION)),
        empty("needs", NEEDS),
        may("note", Kind::Text),
    ],
);

const NEEDS: Kind = Kind::Record(
    "Needs",
    &[
        may("processors", Kind::Whole(1, 1024)),
        may("time", Kind::OneOf(TIMES_OF)),
        empty("versions", Kind::List(&VERSION_NEED)),
        empty("holds", Kind::List(&Kind::OneOf(&Condition::NAMES))),
        may("offered", Kind::Fraction),
        empty("controls", Kind::List(&ASSERTION)),
    ],
);

const VERSION_NEED: Kind = Kind::Record(
    "VersionNeed",
    &[
        must("platform", Kind::Name),
        must("below", Kind::Text),
        must("reason", Kind::Text),
    ],
);

const FIGURE: Kind = Kind::Record(
    "Figure",
    &[
        must("place", Kind::Text),
        must("title", Kind::Text),
        must("metric", Kind::Name),
        may("parts", Kind::Name),
        must("axis", Kind::Text),
        may("x", Kind::Name),
        must("series", Kind::Some(&SERIES)),
        must("vms", Kind::Some(&Kind::Whole(0, 1024))),
        may(
            "reference",
            Kind::Record(
                "Reference",
                &[must("title", Kind::Text), must("of", METRIC_REF)],
            ),
        ),
    ],
);

const SERIES: Kind = Kind::Record(
    "Series",
    &[
        must("title", Kind::Text),
        must("experiment", Kind::Name),
        must("platform", Kind::Name),
    ],
);

const TABLE: Kind = Kind::Record(
    "Table",
    &[
        must("place", Kind::Text),
        must("title", Kind::Text),
        must("columns", Kind::Some(&Kind::Text)),
        must(
            "rows",
            Kind::Some(&Kind::Record(
                "TableRow",
                &[must("title", Kind::Text), must("cells", Kind::Some(&CELL))],
            )),
        ),
    ],
);

const CELL: Kind = Kind::Record("Cell", &[may("printed", Kind::Text), may("of", METRIC_REF)]);

const ASSERTION: Kind = Kind::Record(
    "Assertion",
    &[
        must("left", METRIC_REF),
        must("relation", Kind::OneOf(RELATIONS)),
        must("right", Kind::Operand),
        must("margin", Kind::Positive0),
    ],
);
