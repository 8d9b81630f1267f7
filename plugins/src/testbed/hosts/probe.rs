//! One look at a machine: a constant script, and what it prints.

use std::collections::{BTreeMap, BTreeSet};

use vexp_api::shell::Cmd;

use super::inventory::Entry;

/// Prints a line for each thing: a word that says what, and values. Arguments are interfaces, `--`,
/// and `NAME=PATH` for each program. Programs are looked for where a run's commands look for them.
const SCRIPT: &str = r#"echo "uid $(id -u)"
echo "kernel $(uname -r)"
echo "cpus $(getconf _NPROCESSORS_ONLN)"
while read -r key value _; do
    case $key in MemTotal: | MemAvailable:) echo "$key $value" ;; esac
done < /proc/meminfo
read -r load _ < /proc/loadavg
echo "load $load"
for file in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do
    [ -r "$file" ] && read -r value < "$file" && echo "governor $value"
done
folder=/var/lib/vexp
[ -d $folder ] || folder=/
set_disk() { echo "disk $4"; }
set_disk $(df -Pk $folder | tail -n 1)
while [ "$1" != -- ]; do
    speed=
    [ -r "/sys/class/net/$1/speed" ] && read -r speed 2> /dev/null < "/sys/class/net/$1/speed"
    echo "nic $1 ${speed:--}"
    shift
done
shift
echo "path $PATH"
for tool; do
    name=${tool%%=*} path=${tool#*=}
    if ! command -v "$path" > /dev/null; then
        echo "tool $name"
        continue
    fi
    case $name in
        iperf | iperf3) flag=-v ;;
        ping | netperf | sar | mpstat | pidstat | ip) flag=-V ;;
        *) flag= ;;
    esac
    version=there
    [ -z "$flag" ] || version=$("$path" $flag 2>&1 < /dev/null | head -n 1)
    echo "tool $name $version"
done"#;

/// The version of a program that is there and is not asked for one.
pub(super) const THERE: &str = "there";

/// The look at a machine with these programs.
pub(super) fn command(entry: &Entry, programs: &BTreeSet<String>) -> Cmd {
    let nics = entry.data.iter().map(|data| data.nic.to_string());
    let place = |name: &String| {
        let elsewhere = entry
            .own
            .tools
            .iter()
            .find(|(tool, _)| **tool == *name.as_str());
        let path = elsewhere.map_or(name.as_str(), |(_, path)| path.as_str());
        format!("{name}={path}")
    };
    Cmd::new("sh")
        .args(["-c", SCRIPT, "probe"])
        .args(nics)
        .arg("--")
        .args(programs.iter().map(place))
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) uid: u32,
    pub(super) kernel: String,
    /// Processors that the operating system sees.
    pub(super) cpus: u32,
    /// Bytes that the operating system has.
    pub(super) memory: u64,
    /// Bytes that programs can take.
    pub(super) memory_available: u64,
    /// Mean number of processes that run or wait, over a minute.
    pub(super) load: f64,
    /// Processors' governors, each once.
    pub(super) governors: BTreeSet<String>,
    /// Free bytes where images go.
    pub(super) disk: u64,
    /// Where programs are looked for, the very one that a run has; empty if it does not say.
    pub(super) path: String,
    /// Speed of each interface in Mb/s, where it says one.
    pub(super) nics: BTreeMap<String, Option<u64>>,
    /// Version of each program, the first line that it prints; `None` if it is not there.
    pub(super) tools: BTreeMap<String, Option<String>>,
}

/// Reads what the script prints; all single values must be there.
pub(super) fn parse(text: &str) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut missing: BTreeSet<_> = [
        "uid",
        "kernel",
        "cpus",
        "MemTotal:",
        "MemAvailable:",
        "load",
        "disk",
    ]
    .into();
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let bad = || format!("it says `{}`", line.escape_debug());
        let kib = || -> Result<u64, String> {
            let kib: Option<u64> = value.parse().ok();
            kib.and_then(|kib| kib.checked_mul(1024)).ok_or_else(bad)
        };
        match key {
            "uid" => seen.uid = value.parse().map_err(|_| bad())?,
            "kernel" if !value.is_empty() => value.clone_into(&mut seen.kernel),
            "cpus" => seen.cpus = value.parse().map_err(|_| bad())?,
            "MemTotal:" => seen.memory = kib()?,
            "MemAvailable:" => seen.memory_available = kib()?,
            "load" => {
                let load: Option<f64> = value.parse().ok();
                seen.load = load.filter(|load| load.is_finite()).ok_or_else(bad)?;
            }
            "governor" => drop(seen.governors.insert(value.to_owned())),
            "disk" => seen.disk = kib()?,
            "path" => value.clone_into(&mut seen.path),
            "nic" => {
                let (nic, speed) = value.split_once(' ').ok_or_else(bad)?;
                // Links that are down say -1, and virtual ones nothing.
                seen.nics.insert(nic.to_owned(), speed.parse().ok());
            }
            "tool" => {
                let (tool, version) = value.split_once(' ').unwrap_or((value, ""));
                let version = Some(version.trim().to_owned()).filter(|text| !text.is_empty());
                seen.tools.insert(tool.to_owned(), version);
            }
            _ => return Err(bad()),
        }
        missing.remove(key);
    }
    match missing.first() {
        None => Ok(seen),
        Some(key) => Err(format!("it does not say `{}`", key.trim_end_matches(':'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = include_str!("../../../testdata/hosts-debian13/probe.txt");

    #[test]
    fn reads_what_a_machine_says() {
        let seen = parse(SAID).unwrap();
        assert_eq!((seen.uid, seen.cpus), (0, 2));
        assert_eq!(seen.memory, 24_684_092 << 10);
        assert_eq!(seen.disk, 12_342_040 << 10);
        assert!(seen.load > 10.0 && seen.governors.is_empty());
        // A link that is down has no speed.
        assert_eq!(seen.nics["eth1"], None);
        assert_eq!(
            seen.tools["iperf3"].as_deref(),
            Some("iperf 3.18 (cJSON 1.7.15)")
        );
        assert_eq!(seen.tools["no-such"], None);
        let up = SAID.replace("nic eth1 -", "nic eth1 10000\ngovernor powersave");
        let seen = parse(&up).unwrap();
        assert_eq!(seen.nics["eth1"], Some(10_000));
        assert!(seen.governors.contains("powersave"));
    }

    /// What a run can't find, a preflight doesn't find either.
    #[test]
    fn programs_are_looked_for_on_the_path_that_a_run_has() {
        let folder = tempfile::tempdir().unwrap();
        let entry = serde_json::json!({
            "role": "host", "data": [{"nic": "eth1", "address": "198.18.0.1/24"}],
        });
        let entry = serde_json::from_value(entry).unwrap();
        let programs = BTreeSet::from(["ip".to_owned(), "no-such".to_owned()]);
        let cmd = command(&entry, &programs);
        let look = |path: &str| {
            let mut sh = std::process::Command::new("/bin/sh");
            let said = sh.args(&cmd.args).env("PATH", path).output().unwrap();
            parse(&String::from_utf8(said.stdout).unwrap()).unwrap()
        };
        let without_ip = folder.path().join("bin");
        std::fs::create_dir(&without_ip).unwrap();
        for program in ["id", "uname", "getconf", "df", "tail", "head"] {
            let found = ["/usr/bin", "/bin"].map(|at| std::path::Path::new(at).join(program));
            let found = found.into_iter().find(|path| path.exists()).unwrap();
            std::os::unix::fs::symlink(found, without_ip.join(program)).unwrap();
        }
        let seen = look(without_ip.to_str().unwrap());
        assert_eq!((&seen.tools["ip"], &seen.tools["no-such"]), (&None, &None));
        assert_eq!(seen.path, without_ip.to_str().unwrap());
    }

    #[test]
    fn refuses_what_is_cut_or_something_else() {
        for lost in ["uid", "kernel", "cpus", "MemTotal:", "load", "disk"] {
            let cut: String = SAID
                .lines()
                .filter(|line| !line.starts_with(lost))
                .collect::<Vec<_>>()
                .join("\n");
            assert!(parse(&cut).unwrap_err().contains("does not say"), "{lost}");
        }
        for bad in [
            "",
            "Welcome to rack1!\n",
            "uid root\n",
            "load nan\n",
            "cpus -1\n",
            "disk 1e9\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn changed_answers_of_a_machine_are_read_or_refused() {
        vexp_testkit::hostile::on_changed_text(200, SAID, |text| {
            if let Ok(seen) = parse(text) {
                assert!(seen.load.is_finite());
            }
        });
    }
}
