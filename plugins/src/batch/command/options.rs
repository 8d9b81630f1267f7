//! The template of an engine: its commands, and how their answers are read.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use vexp_api::spec::Options;
use vexp_api::units::TimeSpan;

use super::template::{Argv, Text};

/// The options.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandOptions {
    /// Submits an array; placeholders of [`super::template::ARRAY`].
    pub(super) submit: Argv,
    /// Finds the job in what `submit` and `find` print: group `job`.
    pub(super) job: Pattern,
    /// Lists jobs by their name; `{name}`.
    pub(super) find: Argv,
    /// Lists tasks; `{jobs}` is an argument a job.
    pub(super) status: Argv,
    /// A line of that: groups `job`, `index`, `state`, and `node` where there is one.
    pub(super) task: Pattern,
    /// What its states mean.
    pub(super) states: States,
    /// Ends tasks; `{ended}` is an argument a task.
    pub(super) cancel: Argv,
    /// A task, as `cancel` takes it; `{job}`, `{index}`.
    #[serde(default = "usual_task")]
    pub(super) task_name: Text,
    /// How a task finds out which it is.
    pub(super) here: Variables,
    /// The first index of an array.
    #[serde(default)]
    pub(super) first: First,
    /// Lines of a file that `{description}` names, for engines that are told of a job by one.
    #[serde(default)]
    pub(super) description: Option<Vec<Text>>,
    /// Arguments in the place of `{exclusive}` where a task needs its node alone.
    #[serde(default)]
    pub(super) exclusive: Option<Vec<String>>,
    /// What `submit` says on standard error where it would accept the job later.
    #[serde(default)]
    pub(super) later: Vec<Matcher>,
    /// What `status`, `find` and `cancel` say on standard error of jobs that the engine has forgotten.
    #[serde(default)]
    pub(super) forgotten: Vec<Matcher>,
    /// Most tasks of an array.
    #[serde(default)]
    pub(super) array_limit: Option<std::num::NonZeroU32>,
    /// Most tasks of a user that wait or run.
    #[serde(default)]
    pub(super) queue_limit: Option<std::num::NonZeroU32>,
    /// Time limit of a task, instead of vexp's own estimate.
    #[serde(default)]
    pub(super) time: Option<TimeSpan>,
    /// When a command is killed.
    #[serde(default = "usual_deadline")]
    pub(super) deadline: TimeSpan,
}

/// 0 or 1.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct First(pub(super) u32);

impl TryFrom<u32> for First {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        match number {
            0 | 1 => Ok(Self(number)),
            _ => Err("arrays begin with 0 or 1".to_owned()),
        }
    }
}

/// Words of `status` by what they mean. All others wait: only a word that is known to be an end is one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct States {
    pub(super) running: Vec<String>,
    pub(super) over: Vec<String>,
}

/// Variables of a task's environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variables {
    /// Its index.
    pub(super) index: String,
    /// Its job.
    pub(super) job: String,
    /// Finds the job in that; all of it if not given.
    #[serde(default)]
    pub(super) job_pattern: Option<Pattern>,
    /// How often it has been started anew.
    #[serde(default)]
    pub(super) restart: Option<String>,
    /// The node; the computer's own name if not given.
    #[serde(default)]
    pub(super) node: Option<String>,
}

/// A regular expression with named groups.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(pub(super) Regex);

/// A regular expression.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Matcher(pub(super) Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let regex = Regex::new(&text).map_err(|error| error.to_string())?;
        match regex.capture_names().flatten().any(|name| name == "job") {
            true => Ok(Self(regex)),
            false => Err(format!("`{text}` has no group `(?<job>…)`")),
        }
    }
}

impl TryFrom<String> for Matcher {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Regex::new(&text)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

fn usual_task() -> Text {
    Text::plain("{job}_{index}")
}

fn usual_deadline() -> TimeSpan {
    TimeSpan::from_secs(60)
}

impl CommandOptions {
    /// Reads options.
    ///
    /// # Errors
    /// One that is refused, with its name.
    pub(super) fn read(options: &Options) -> Result<Self, String> {
        let value = serde_json::Value::Object(options.clone());
        let read: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let place = match error.path().to_string() {
                path if path == "." => "options".to_owned(),
                path => format!("option `{path}`"),
            };
            format!("{place}: {}", error.inner())
        })?;
        read.check().map(|()| read)
    }

    fn check(&self) -> Result<(), String> {
        use super::template::{ARRAY, DESCRIPTION, EXCLUSIVE};
        let commands: [(&str, &Argv, &[&str], Option<&str>); 4] = [
            ("submit", &self.submit, ARRAY, None),
            ("find", &self.find, &["name"], Some("name")),
            ("status", &self.status, &["jobs"], Some("jobs")),
            ("cancel", &self.cancel, &["ended"], Some("ended")),
        ];
        for (option, argv, known, needed) in commands {
            let used = argv.placeholders();
            if let Some(other) = used.iter().find(|name| !known.contains(&name.as_str())) {
                let known: Vec<String> = known.iter().map(|name| format!("`{{{name}}}`")).collect();
                let known = known.join(", ");
                return Err(format!(
                    "option `{option}`: no placeholder `{{{other}}}`: there are {known}"
                ));
            }
            if let Some(needed) = needed.filter(|needed| !used.iter().any(|name| name == needed)) {
                return Err(format!("option `{option}`: `{{{needed}}}` is not in it"));
            }
        }
        let uses = |wanted: &str| self.submit.placeholders().iter().any(|name| name == wanted);
        for line in self.description.iter().flatten() {
            let known = |name: &String| {
                ARRAY.contains(&name.as_str()) && name != DESCRIPTION && name != EXCLUSIVE
            };
            if let Some(other) = line.placeholders().iter().find(|name| !known(name)) {
                return Err(format!(
                    "option `description`: no placeholder `{{{other}}}`"
                ));
            }
        }
        if uses(DESCRIPTION) != self.description.is_some() {
            return Err(
                "option `description` and `{description}` in `submit` go together".to_owned(),
            );
        }
        if uses(EXCLUSIVE) != self.exclusive.is_some() {
            return Err("option `exclusive` and `{exclusive}` in `submit` go together".to_owned());
        }
        if !uses("script") && self.description.is_none() {
            return Err(
                "option `submit`: neither `{script}` nor `{description}` is in it".to_owned(),
            );
        }
        for group in ["index", "state"] {
            if !self
                .task
                .0
                .capture_names()
                .flatten()
                .any(|name| name == group)
            {
                return Err(format!("option `task`: it has no group `(?<{group}>…)`"));
            }
        }
        let task = self.task_name.placeholders();
        if !["job", "index"]
            .iter()
            .all(|name| task.iter().any(|used| used == name))
            || task.len() != 2
        {
            return Err("option `task_name`: it is made of `{job}` and `{index}`".to_owned());
        }
        if self.time.is_some_and(|time| time.duration().is_zero()) {
            return Err("option `time`: a task needs some".to_owned());
        }
        if self.deadline.duration().is_zero() {
            return Err("option `deadline`: a command needs some time".to_owned());
        }
        Ok(())
    }

    /// Whether a text is one of these.
    pub(super) fn any(matchers: &[Matcher], text: &str) -> bool {
        matchers.iter().any(|matcher| matcher.0.is_match(text))
    }
}

/// What placeholders stand for.
pub(super) type Values = BTreeMap<&'static str, String>;
