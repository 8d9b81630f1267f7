//! What this computer is: proc(5) and sysfs(5), read without starting a program.

use std::collections::BTreeMap;

use vexp_api::environment::{self, Facts};
use vexp_api::record::Computer;

/// Its name in `environment.json`, beside the nodes of the testbed.
pub(super) const NAME: &str = "computer";

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// This computer as a node of a batch engine, which calls it `node`. In virtual time nothing depends on what it is, and
/// so only the name is recorded.
pub fn here(node: &str, virtual_time: bool) -> Computer {
    Computer {
        node: node.to_owned(),
        facts: match virtual_time {
            true => BTreeMap::new(),
            false => facts(),
        },
    }
}

/// What this computer is, in a few words each: `kernel`, `processor`, `processors`, `memory`.
pub fn facts() -> BTreeMap<String, String> {
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let release = read("/proc/sys/kernel/osrelease");
    let release = Some(release.trim().to_owned()).filter(|text| !text.is_empty());
    let processors = std::thread::available_parallelism().ok();
    [
        ("kernel", release),
        ("processor", field(&read("/proc/cpuinfo"), "model name")),
        ("processors", processors.map(|count| count.to_string())),
        ("memory", field(&read("/proc/meminfo"), "MemTotal")),
    ]
    .map(|(name, value)| {
        let value = value.unwrap_or_else(|| "unknown".to_owned());
        (name.to_owned(), value)
    })
    .into()
}

/// The same as [`environment::facts`] has them of any node: with its frequency governor, clock source and the like.
pub(super) fn environment() -> Facts {
    let system = rustix::system::uname();
    let words = [
        system.sysname(),
        system.release(),
        system.version(),
        system.machine(),
    ];
    let kernel: Vec<_> = words.map(|word| word.to_string_lossy()).into();
    let files = [
        ("cmdline", "/proc/cmdline"),
        ("cpuinfo", "/proc/cpuinfo"),
        ("meminfo", "/proc/meminfo"),
        ("os-release", "/etc/os-release"),
        (
            "clocksource",
            "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        ),
        ("thp", "/sys/kernel/mm/transparent_hugepage/enabled"),
    ];
    let mut sections: BTreeMap<String, String> = files
        .map(|(name, path)| (name.to_owned(), read(path)))
        .into();
    sections.insert("kernel".to_owned(), kernel.join(" "));
    sections.insert("governor".to_owned(), governors());
    sections.insert("vulnerabilities".to_owned(), vulnerabilities());
    environment::facts(&sections)
}

/// The frequency governor of each processor, a line each.
fn governors() -> String {
    let all = std::fs::read_dir("/sys/devices/system/cpu").into_iter();
    let all = all.flatten().flatten().filter_map(|entry| {
        std::fs::read_to_string(entry.path().join("cpufreq/scaling_governor")).ok()
    });
    all.collect()
}

/// `NAME: STATE` of what the kernel knows of its processors.
fn vulnerabilities() -> String {
    let all = std::fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter();
    let all = all.flatten().flatten().filter_map(|entry| {
        let state = std::fs::read_to_string(entry.path()).ok()?;
        Some(format!("{}: {state}", entry.file_name().to_string_lossy()))
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_time_is_real_a_node_says_what_it_is_and_in_virtual_time_its_name_only() {
        let real = here("n1", false);
        assert_eq!(real.node, "n1");
        let names: Vec<_> = real.facts.keys().map(String::as_str).collect();
        assert_eq!(names, ["kernel", "memory", "processor", "processors"]);
        assert!(real.facts["kernel"].starts_with(|c: char| c.is_ascii_digit()));
        assert!(here("n1", true).facts.is_empty());
        let more = environment();
        assert!(more["kernel"].contains(&real.facts["kernel"]), "{more:?}");
        assert!(more.contains_key("memory"), "{more:?}");
    }
}
