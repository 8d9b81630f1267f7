//! Further options of sbatch that a user gives. getopt_long(3) takes any beginning of an option's name that no other
//! option has, so that a name is refused if it begins one that is vexp's.

/// Options of sbatch 22.05 that a user may not give, and why.
const RESERVED: &[(&str, &str)] = &[
    ("array", OURS),
    ("chdir", OURS),
    ("cpus-per-task", NEEDS),
    ("error", OURS),
    ("export", OURS),
    ("input", OURS),
    ("job-name", OURS),
    ("nodefile", OURS),
    ("nodes", NEEDS),
    ("no-requeue", OURS),
    ("ntasks", NEEDS),
    ("ntasks-per-core", NEEDS),
    ("ntasks-per-gpu", NEEDS),
    ("ntasks-per-node", NEEDS),
    ("ntasks-per-socket", NEEDS),
    ("open-mode", OURS),
    ("output", OURS),
    ("parsable", OURS),
    ("requeue", OURS),
    ("signal", OURS),
    ("tasks-per-node", NEEDS),
    (
        "wait",
        "vexp waits itself, and gets along with the end of its own process",
    ),
    ("wait-all-nodes", NEEDS),
    ("wrap", "vexp writes the script"),
    (
        "hold",
        "a task that is held never starts, and vexp would wait for it",
    ),
    ("test-only", "nothing would be submitted"),
    (
        "clusters",
        "vexp asks one cluster for its tasks; set SLURM_CONF for another",
    ),
    ("quiet", "vexp reads what sbatch says"),
    ("help", NOTHING),
    ("usage", NOTHING),
    ("version", NOTHING),
    ("account", "option `account` says it"),
    ("constraint", "option `constraint` says it"),
    ("exclude", "option `exclude` says it"),
    ("exclusive", "option `exclusive` says it"),
    ("mem", MEMORY),
    ("mem-per-cpu", MEMORY),
    ("mem-per-gpu", MEMORY),
    ("partition", "option `partition` says it"),
    ("qos", "option `qos` says it"),
    ("time", TIME),
    ("time-min", TIME),
    ("bb", FILES),
    ("bbf", FILES),
    ("bcast", FILES),
    ("container", FILES),
    ("export-file", FILES),
    ("get-user-env", FILES),
    ("uid", "tasks are yours"),
    ("gid", "tasks are yours"),
];
const OURS: &str = "vexp sets it";
const NEEDS: &str = "vexp sets it: a task is one process on one node";
const NOTHING: &str = "nothing would be submitted";
const MEMORY: &str = "option `memory` says it";
const TIME: &str = "option `time` says it";
const FILES: &str = "it names files or settings that would change what a task is";

/// Why an argument is refused, if it is.
pub(super) fn refused(argument: &str) -> Option<String> {
    let form = "give each as one argument with its long name and its value, such as `--gres=gpu:1`";
    let Some(body) = argument.strip_prefix("--") else {
        return Some(format!("`{}`: {form}", argument.escape_debug()));
    };
    let name = body.split_once('=').map_or(body, |(name, _)| name);
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.starts_with('-') || !name.chars().all(is_name) {
        return Some(format!("`{}`: {form}", argument.escape_debug()));
    }
    if body.contains(|c: char| c.is_control()) {
        return Some(format!(
            "`{}` has a control character",
            argument.escape_debug()
        ));
    }
    let (option, why) = RESERVED
        .iter()
        .find(|(option, _)| option.starts_with(name))?;
    Some(match *option == name {
        true => format!("`--{name}`: {why}"),
        false => format!("`--{name}`, which sbatch may take for `--{option}`: {why}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_submission_is_refused_with_the_reason() {
        for good in [
            "--gres=gpu:1",
            "--nodelist=n1",
            "--licenses=matlab:2",
            "--reservation=spring",
            "--mail-type=END",
            "--comment=a b",
            "--contiguous",
            "--nice=100",
            "--tmp=10G",
            "--begin=now+1hour",
        ] {
            assert_eq!(refused(good), None, "{good}");
        }
        for (bad, says) in [
            ("--array=0-5", "vexp sets it"),
            ("--arr=0-5", "may take for `--array`"),
            ("--a=0-5", "may take for `--array`"),
            ("--job-name=x", "vexp sets it"),
            ("--output=/dev/null", "vexp sets it"),
            ("--wait", "vexp waits itself"),
            ("--parsable", "vexp sets it"),
            ("--par=x", "may take for `--parsable`"),
            ("--partition=x", "option `partition`"),
            ("--mem=1G", "option `memory`"),
            ("--export-file=/etc/passwd", "files"),
            ("--hold", "held"),
            ("--test-only", "nothing would be submitted"),
            ("-J", "one argument"),
            ("-o/dev/null", "one argument"),
            ("gpu:1", "one argument"),
            ("--", "one argument"),
            ("---x", "one argument"),
            ("", "one argument"),
            ("--comment=a\nb", "control character"),
            ("--Array=1", "one argument"),
        ] {
            let why = refused(bad).unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(why.contains(says), "{bad}: {why}");
        }
    }
}
