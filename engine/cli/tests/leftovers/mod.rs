//! What a lab could leave on its host: processes in namespaces of their own, network namespaces,
//! taps, mounts, loop devices, files in the temporary folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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
    let suspects: BTreeMap<u32, Suspect> = (names("/proc").iter())
        .filter_map(|entry| entry.parse().ok())
        .filter_map(|id| Some((id, Suspect::look(id)?)))
        .collect();
    for (id, suspect) in &suspects {
        if is_ours(*id, &suspects) {
            all.insert(format!("process {id}: {}", suspect.command));
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
        .filter(|file| !others_use(&Path::new("/tmp").join(file)))
    {
        all.insert(format!("below /tmp: {file}"));
    }
    all
}

/// A process that a lab or a lockstep may have started.
struct Suspect {
    command: String,
    parent: u32,
}

impl Suspect {
    fn look(id: u32) -> Option<Self> {
        let process = PathBuf::from(format!("/proc/{id}"));
        // Other namespaces than ours: a lab's first process, and everything in it.
        let namespace = |kind: &str| std::fs::read_link(process.join("ns").join(kind)).ok();
        let own = |kind: &str| std::fs::read_link(Path::new("/proc/self/ns").join(kind)).ok();
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let elsewhere = ["pid", "net"]
            .iter()
            .any(|kind| namespace(kind).is_some() && namespace(kind) != own(kind));
        // Emulators of testbed `virtual` are in no namespace.
        let suspect = elsewhere || command.contains("/vexp-lockstep-");
        suspect.then_some(())?;
        let parent = parent(id)?;
        Some(Self { command, parent })
    }
}

fn parent(id: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// Whether a process is below this one, or has lost whoever started it. Another vexp on this computer, or whatever else
/// uses namespaces, has a parent that lives.
fn is_ours(id: u32, suspects: &BTreeMap<u32, Suspect>) -> bool {
    let mut above = id;
    while let Some(suspect) = suspects.get(&above) {
        above = suspect.parent;
    }
    above <= 1 || is_below_this(above)
}

fn is_below_this(id: u32) -> bool {
    let chain = std::iter::successors(Some(id), |id| parent(*id));
    chain
        .take_while(|id| *id > 1)
        .any(|id| id == std::process::id())
}

/// Whether a process that is not below this one works in a folder, or has a file of it open.
fn others_use(folder: &Path) -> bool {
    let processes = names("/proc")
        .into_iter()
        .filter_map(|entry| entry.parse().ok());
    processes.filter(|id| !is_below_this(*id)).any(|id: u32| {
        let process = PathBuf::from(format!("/proc/{id}"));
        let open = names(&format!("/proc/{id}/fd"));
        let open = open.iter().map(|file| process.join("fd").join(file));
        open.chain([process.join("cwd")])
            .filter_map(|link| std::fs::read_link(link).ok())
            .any(|path| path.starts_with(folder))
    })
}

fn names(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}
