//! A finding about a spec: what is wrong, where, and the way out.

/// How bad a finding is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is run.
    Error,
    /// The study can run, but probably not as meant.
    Warning,
}

/// A stretch of source text.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub struct Place {
    /// The file as the user named it, or relative to the study's folder.
    pub file: String,
    /// Byte offset of the first character.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One finding.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Diagnostic {
    /// A stable code such as `unit`, `unknown-name`, `guest-memory`.
    pub code: String,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence: what is wrong.
    pub message: String,
    /// The field, e.g. `platforms.xen-3.1.dom0_weight`; empty for syntax errors.
    pub field: String,
    /// Where; the first is underlined as the cause, others give context.
    pub labels: Vec<Label>,
    /// What is allowed, and the nearest name if one was misspelt.
    pub help: Option<String>,
}

/// A place and what is said there.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// What is said under it.
    pub text: String,
}
