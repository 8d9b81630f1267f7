//! What a study or a user says of Slurm, and the command that follows from it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use vexp_api::batch::Array;
use vexp_api::spec::Options;
use vexp_api::units::{ByteSize, TimeSpan};

use super::super::script;
use super::extra;

/// The options; see `contract.ncl`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SlurmOptions {
    partition: Option<Words>,
    account: Option<Word>,
    qos: Option<Word>,
    time: Option<TimeSpan>,
    memory: Option<ByteSize>,
    constraint: Option<Constraint>,
    exclusive: bool,
    exclude: Vec<Word>,
    modules: Vec<Module>,
    extra: Vec<Extra>,
}

/// What is wrong with a text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadText(String);

macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        struct $name(String);

        impl TryFrom<String> for $name {
            type Error = BadText;

            fn try_from(text: String) -> Result<Self, BadText> {
                let check: fn(&str) -> Option<String> = $check;
                match check(&text) {
                    None => Ok(Self(text)),
                    Some(why) => Err(BadText(why)),
                }
            }
        }
    };
}

/// Whether it is a name of Slurm: no option, no list, no pattern.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._@+-".contains(c))
}

fn unless(good: bool, text: &str, what: &str) -> Option<String> {
    (!good).then(|| format!("`{}` is not {what}", text.escape_debug()))
}

const WORD: &str =
    "a name: letters, digits, `.`, `_`, `@`, `+`, `-`, beginning with a letter or digit";
checked!(
    /// A name of an account, a QOS, a node.
    Word, |text| unless(is_word(text), text, WORD)
);
checked!(
    /// Names with commas between them.
    Words, |text| unless(text.split(',').all(is_word), text, "names with commas between them")
);
checked!(
    /// Features of nodes, joined by sbatch's operators.
    Constraint, |text| {
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "([".contains(c));
        let all = (text.chars()).all(|c| c.is_ascii_alphanumeric() || "._@+:&|*,()[]-".contains(c));
        unless(first && all, text, "features of nodes as `sbatch --constraint` takes them")
    }
);
checked!(
    /// A module of the cluster's own: no path, which could be a file of anybody's.
    Module, |text| {
        let part = |part: &str| is_word(part) && !part.contains('@');
        unless(text.split('/').all(part), text, "a module's name, such as `gcc/12.2`")
    }
);
checked!(
    /// A further option of sbatch.
    Extra, extra::refused
);

impl SlurmOptions {
    /// Reads options.
    ///
    /// # Errors
    /// One that is refused, with its name.
    pub(super) fn read(options: &Options) -> Result<Self, String> {
        let value = serde_json::Value::Object(options.clone());
        let read: Self = serde_path_to_error::deserialize(value)
            .map_err(|error| format!("option `{}`: {}", error.path(), error.inner()))?;
        if read.time.is_some_and(|time| time.duration().is_zero()) {
            return Err("option `time`: a task needs some".to_owned());
        }
        if read.memory.is_some_and(|memory| memory.bytes() == 0) {
            return Err("option `memory`: a task needs some".to_owned());
        }
        Ok(read)
    }

    /// The time limit of each task, if it is the user's.
    pub(super) fn time(&self) -> Option<Duration> {
        self.time.map(TimeSpan::duration)
    }

    /// The command that submits an array whose script is on its standard input.
    ///
    /// # Errors
    /// sbatch has no way to say it.
    pub(super) fn sbatch(&self, array: &Array) -> Result<Vec<String>, String> {
        let needs = &array.needs;
        let last = array
            .tasks
            .checked_sub(1)
            .ok_or("an array has one task at least")?;
        let time = self.time().unwrap_or(needs.time);
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let memory = self.memory.map_or(needs.memory, ByteSize::bytes);
        let grace = needs.grace.as_secs().min(u64::from(u16::MAX));
        let mut argv = vec![
            "sbatch".to_owned(),
            "--parsable".to_owned(),
            format!("--array=0-{last}"),
            format!("--job-name={}", array.name),
            "--nodes=1".to_owned(),
            "--ntasks=1".to_owned(),
            format!("--cpus-per-task={}", needs.cpus),
            format!("--mem={}M", memory.div_ceil(1 << 20)),
            format!("--time={}:{:02}", seconds / 60, seconds % 60),
            "--requeue".to_owned(),
            "--open-mode=append".to_owned(),
            "--export=ALL".to_owned(),
            format!("--signal=B:TERM@{grace}"),
            format!("--chdir={}", text(&array.folder)?),
            format!("--output={}/%A_%a.out", pattern(&array.logs)?),
        ];
        let exclude: BTreeSet<&str> = (self.exclude.iter().map(|node| node.0.as_str()))
            .chain(array.exclude.iter().map(String::as_str))
            .collect();
        if let Some(bad) = exclude.iter().find(|node| !is_word(node)) {
            return Err(format!("`{}` is no node's name", bad.escape_debug()));
        }
        let exclude: Vec<&str> = exclude.into_iter().collect();
        let exclude = exclude.join(",");
        let said = [
            ("partition", self.partition.as_ref().map(|text| &text.0)),
            ("account", self.account.as_ref().map(|text| &text.0)),
            ("qos", self.qos.as_ref().map(|text| &text.0)),
            ("constraint", self.constraint.as_ref().map(|text| &text.0)),
            ("exclude", Some(&exclude).filter(|list| !list.is_empty())),
        ];
        let said = said
            .into_iter()
            .filter_map(|(option, value)| Some((option, value?)));
        argv.extend(said.map(|(option, value)| format!("--{option}={value}")));
        if self.exclusive || needs.exclusive {
            argv.push("--exclusive".to_owned());
        }
        argv.extend(self.extra.iter().map(|extra| extra.0.clone()));
        Ok(argv)
    }

    /// The script of each task. Modules need a login shell, whose profile defines `module`.
    ///
    /// # Errors
    /// An argument that no script can hold.
    pub(super) fn script(&self, argv: &[String]) -> Result<String, String> {
        let exec = script::exec(argv)?;
        if self.modules.is_empty() {
            return Ok(format!("#!/bin/sh\n{exec}"));
        }
        let load = self.modules.iter().map(|module| {
            let name = script::quoted(&module.0);
            let failed = script::quoted(&format!("vexp: cannot load module {}", module.0));
            format!("module load {name} || {{ echo {failed} >&2; exit 1; }}\n")
        });
        Ok(format!(
            "#!/bin/bash -l\n{}{exec}",
            load.collect::<String>()
        ))
    }
}

fn text(path: &Path) -> Result<&str, String> {
    let text = path.to_str().filter(|text| text.starts_with('/'));
    text.ok_or_else(|| format!("`{}` is no absolute path in UTF-8", path.display()))
}

/// A folder as `--output` takes it: `%` begins a placeholder, and a backslash anywhere switches placeholders off.
fn pattern(path: &Path) -> Result<String, String> {
    let text = text(path)?;
    if text.contains('\\') {
        return Err(format!(
            "sbatch can't write logs to {text}: the path has a backslash"
        ));
    }
    Ok(text.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vexp_api::batch::Needs;
    use vexp_api::ids::Name;

    use super::*;

    fn read(options: &Value) -> Result<SlurmOptions, String> {
        SlurmOptions::read(options.as_object().unwrap())
    }

    fn array() -> Array {
        Array {
            name: Name::new("vexp-1").unwrap(),
            tasks: 10,
            argv: ["/opt/vexp", "it's"].map(str::to_owned).to_vec(),
            folder: "/shared/run".into(),
            logs: "/shared/50%/logs".into(),
            needs: Needs {
                cpus: 2,
                memory: (1 << 30) + 1,
                time: Duration::from_millis(90_500),
                grace: Duration::from_secs(60),
                exclusive: false,
            },
            exclude: BTreeSet::new(),
        }
    }

    #[test]
    fn a_submission_says_all_that_a_task_relies_on() {
        let argv = read(&json!({})).unwrap().sbatch(&array()).unwrap();
        let wanted = "sbatch --parsable --array=0-9 --job-name=vexp-1 --nodes=1 --ntasks=1 --cpus-per-task=2 --mem=1025M \
                      --time=1:31 --requeue --open-mode=append --export=ALL --signal=B:TERM@60 --chdir=/shared/run \
                      --output=/shared/50%%/logs/%A_%a.out";
        assert_eq!(argv.join(" "), wanted);
        let options = json!({
            "partition": "main,short", "account": "physics", "qos": "low", "time": "2h", "memory": "2GiB",
            "constraint": "[rack1|rack2]&haswell", "exclusive": true, "exclude": ["n7"], "extra": ["--gres=gpu:1"],
        });
        let mut array = array();
        array.exclude = BTreeSet::from(["n12".to_owned()]);
        let argv = read(&options).unwrap().sbatch(&array).unwrap().join(" ");
        assert!(argv.contains(" --mem=2048M --time=120:00 "), "{argv}");
        let wanted = "--partition=main,short --account=physics --qos=low --constraint=[rack1|rack2]&haswell \
                      --exclude=n12,n7 --exclusive --gres=gpu:1";
        assert!(argv.ends_with(wanted), "{argv}");
    }

    #[test]
    fn what_sbatch_would_take_for_something_else_is_refused() {
        for bad in ["n1,n2", "-x", "n[1-3]", "a b", ""] {
            let mut array = array();
            array.exclude = BTreeSet::from([bad.to_owned()]);
            assert!(read(&json!({})).unwrap().sbatch(&array).is_err(), "{bad}");
        }
        for bad in ["relative", "/a\\b"] {
            let mut array = array();
            array.logs = bad.into();
            assert!(read(&json!({})).unwrap().sbatch(&array).is_err(), "{bad}");
        }
        let mut none = array();
        none.tasks = 0;
        assert!(read(&json!({})).unwrap().sbatch(&none).is_err());
    }

    #[test]
    fn wrong_options_are_refused_by_name() {
        for (bad, option) in [
            (json!({"partition": "--wrap=id"}), "partition"),
            (json!({"partition": "a,,b"}), "partition"),
            (json!({"partition": 5}), "partition"),
            (json!({"account": "a b"}), "account"),
            (json!({"qos": ""}), "qos"),
            (json!({"time": 30}), "time"),
            (json!({"time": "30"}), "time"),
            (json!({"time": "0s"}), "time"),
            (json!({"memory": "2G"}), "memory"),
            (json!({"memory": "0B"}), "memory"),
            (json!({"constraint": "a;b"}), "constraint"),
            (json!({"exclusive": "yes"}), "exclusive"),
            (json!({"exclude": ["n[1-3]"]}), "exclude[0]"),
            (json!({"modules": ["/tmp/mine"]}), "modules[0]"),
            (json!({"modules": ["gcc", "../x"]}), "modules[1]"),
            (json!({"extra": ["--gres=gpu:1", "--array=1"]}), "extra[1]"),
            (json!({"extra": "--gres=gpu:1"}), "extra"),
            (json!({"partitions": "main"}), "partitions"),
        ] {
            let error = read(&bad).map(drop).unwrap_err();
            assert!(
                error.starts_with(&format!("option `{option}`: ")),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn a_script_becomes_the_task() {
        let plain = read(&json!({})).unwrap().script(&array().argv).unwrap();
        assert_eq!(plain, "#!/bin/sh\nexec '/opt/vexp' 'it'\\''s'\n");
        let modules = read(&json!({"modules": ["gcc/12.2", "qemu"]})).unwrap();
        let script = modules.script(&array().argv).unwrap();
        assert!(
            script.starts_with("#!/bin/bash -l\nmodule load 'gcc/12.2' || {"),
            "{script}"
        );
        assert_eq!(script.lines().count(), 4);
    }
}
