//! What a lab could leave on its host: processes in namespaces of their own, network namespaces,
//! taps, mounts, loop devices, files in the temporary folder.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// What was there before.
pub(crate) struct Traces(BTreeSet<String>);

impl Traces {
    pub(crate) fn before() -> Self {
        Self(present())
    }

    /// What is there now and was not before.
    fn new_ones(&self) -> Vec<String> {
        present().difference(&self.0).cloned().collect()
    }

    pub(crate) fn there_are_some(&self) -> bool {
        !self.new_ones().is_empty()
    }

    /// All is as it was, within some time: the kernel takes namespaces down in the background.
    pub(crate) fn none_left(&self, within: Duration) {
        let began = Instant::now();
        loop {
            let left = self.new_ones();
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < within, "left behind: {left:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn present() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in names("/proc") {
        let process = Path::new("/proc").join(&entry);
        if !entry.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        // Other namespaces than ours: a lab's first process, and everything in it.
        let namespace = |kind: &str| std::fs::read_link(process.join("ns").join(kind)).ok();
        let own = |kind: &str| std::fs::read_link(Path::new("/proc/self/ns").join(kind)).ok();
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let elsewhere = ["pid", "net"]
            .iter()
            .any(|kind| namespace(kind).is_some() && namespace(kind) != own(kind));
        // Emulators of testbed `virtual` are in no namespace.
        if elsewhere || command.contains("/vexp-lockstep-") {
            all.insert(format!("process {entry}: {command}"));
        }
    }
    for interface in names("/sys/class/net") {
        all.insert(format!("interface {interface}"));
    }
    for file in names("/run/netns").into_iter().chain(names("/run/vexp")) {
        all.insert(format!("below /run: {file}"));
    }
    for device in names("/sys/block") {
        let backing = format!("/sys/block/{device}/loop/backing_file");
        if let Ok(file) = std::fs::read_to_string(backing) {
            all.insert(format!("loop device of {}", file.trim()));
        }
    }
    for line in std::fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .lines()
    {
        all.insert(format!("mount {line}"));
    }
    for file in names("/tmp")
        .into_iter()
        .filter(|file| file.contains("vexp") || file.starts_with(".ssh"))
    {
        all.insert(format!("below /tmp: {file}"));
    }
    all
}

fn names(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}
