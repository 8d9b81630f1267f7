//! Machines for the test: how they are booted, saved and restored.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::images::unpacked;
use vexp_lockstep::side::{Frame, LinkError, Side};
use vexp_lockstep::topology::{End, Link, LinkSpec, Nic, Topology, plugin_argument};

/// The emulator in its image.
const PROGRAM: &str = "usr/bin/qemu-system-x86_64";
const START: u64 = 5_000_000_000;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn advance(side: &mut Side, until: u64) -> Result<Vec<Frame>, LinkError> {
    side.advance(until, PATIENCE, &|| None)
}

pub(crate) fn stop_at(side: &mut Side, at: u64) -> Result<Vec<Frame>, LinkError> {
    side.stop_at(at, PATIENCE, &|| None)
}

/// Two machines that ping each other and talk TCP.
pub(crate) const PAIR: Setup = Setup {
    machines: 2,
    processor: "Opteron_G3",
    role: "pair",
};

/// What machines a test has: all with a control link, two of them with a data link between them.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) machines: u32,
    pub(crate) processor: &'static str,
    /// What they do; see `script.sh`.
    pub(crate) role: &'static str,
}

fn topology(machines: u32) -> Topology {
    let nic = |machine: &str, hub, paused: Option<&str>| {
        let (machine, paused) = (machine.to_owned(), paused.map(str::to_owned));
        End::Nic(Nic {
            machine,
            hub,
            paused,
            switched: None,
        })
    };
    let link = |name: &str, spec, ends| Link {
        name: name.into(),
        spec,
        ends,
    };
    let control = |machine: &str| {
        let ends = [End::Vexp, nic(machine, 0, None)];
        link(&format!("control-{machine}"), LinkSpec::control(), ends)
    };
    let ends = ["m1", "m2"].map(|machine| nic(machine, 1, Some("data")));
    let data = link("data", LinkSpec::data(1_000_000_000), ends);
    let mut links = vec![control("m1"), control("m2"), data];
    if machines == 1 {
        links.truncate(1);
    }
    Topology {
        start_ns: START,
        quantum_ns: 20_000,
        patience: PATIENCE,
        links,
    }
}

/// The machines of a lockstep, killed when it is dropped.
pub(crate) struct Machines {
    setup: Setup,
    folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Machines {
    fn new(setup: Setup) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::create_dir(folder.path().join("links")).unwrap();
        fs::write(folder.path().join("lockstep.so"), vexp_lockstep::LIBRARY).unwrap();
        Self {
            setup,
            folder,
            children: Vec::new(),
        }
    }

    pub(crate) fn boot(setup: Setup) -> (Self, Side) {
        let mut machines = Self::new(setup);
        let side = Side::create(&machines.path("links"), &topology(setup.machines)).unwrap();
        machines.start(&[]);
        (machines, side)
    }

    /// Saves the memory of the machines, which have stopped.
    pub(crate) fn migrate(&mut self) {
        for number in 1..=self.setup.machines {
            let mut monitor = self.monitor(number);
            // QEMU would announce a restored machine at host times.
            monitor.ask(
                r#"{"execute":"migrate-set-parameters","arguments":{"announce-rounds":0,"max-bandwidth":10000000000}}"#,
            );
            let to = self.path(&format!("m{number}.memory"));
            let uri = format!(r#""arguments":{{"uri":"file:{}"}}"#, to.display());
            monitor.ask(&format!(r#"{{"execute":"migrate",{uri}}}"#));
            monitor.until("query-migrate", r#""status": "completed""#);
        }
        for number in 1..=self.setup.machines {
            self.kill(number as usize);
        }
    }

    fn monitor(&self, number: u32) -> Monitor {
        let path = self.path(&format!("m{number}.qmp"));
        let began = Instant::now();
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(error) => assert!(
                    began.elapsed() < PATIENCE,
                    "{error}: {}",
                    self.log(number as usize)
                ),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut monitor = Monitor { stream, lines };
        monitor.ask(r#"{"execute":"qmp_capabilities"}"#);
        monitor
    }

    /// Starts machines where these were saved. `change` sees the lockstep before they run.
    pub(crate) fn restore(&self, change: impl FnOnce(&mut Side)) -> (Self, Side) {
        let mut machines = Self::new(self.setup);
        for entry in fs::read_dir(self.path("links")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), machines.path("links").join(entry.file_name())).unwrap();
        }
        let mut side = Side::open(&machines.path("links"), PATIENCE).unwrap();
        change(&mut side);
        let memory = [1, 2]
            .map(|number| format!("file:{}", self.path(&format!("m{number}.memory")).display()));
        machines.start(&memory);
        for number in 1..=self.setup.machines {
            let mut monitor = machines.monitor(number);
            // A machine that was saved while it stood still stands still.
            monitor.until("query-status", r#""status": "paused""#);
            monitor.ask(r#"{"execute":"cont"}"#);
        }
        (machines, side)
    }

    fn start(&mut self, memory: &[String]) {
        for number in 1..=self.setup.machines {
            let mut command = self.command(number);
            if let Some(memory) = memory.get(number as usize - 1) {
                command.args(["-incoming", memory]);
            }
            self.children.push(command.spawn().unwrap());
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, number: u32) -> Command {
        let mut command = emulator(&unpacked().emulator.join(PROGRAM));
        command.args(["-cpu", self.setup.processor]);
        command.args(
            "-icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm -seed 1 -no-reboot".split(' '),
        );
        command.arg("-serial").arg(format!(
            "file:{}",
            self.path(&format!("m{number}.console")).display()
        ));
        command.arg("-qmp").arg(format!(
            "unix:{},server=on,wait=off",
            self.path(&format!("m{number}.qmp")).display()
        ));
        command.args(["-global", "migration.announce-rounds=0"]);
        for (hub, id) in [(0, "control"), (1, "data")] {
            command
                .arg("-netdev")
                .arg(format!("hubport,id=n{hub},hubid={hub}"));
            let mac = format!("52:54:00:00:0{hub}:0{number}");
            command
                .arg("-device")
                .arg(format!("e1000,id={id},netdev=n{hub},mac={mac},romfile="));
        }
        command
            .arg("-kernel")
            .arg(&unpacked().kernel)
            .arg("-initrd")
            .arg(&unpacked().initramfs);
        let line = "console=ttyS0 quiet nokaslr panic=-1 mitigations=off net.ifnames=0";
        command
            .arg("-append")
            .arg(format!("{line} role={} me={number}", self.setup.role));
        let plugin = plugin_argument(
            &self.path("lockstep.so"),
            &self.path("links"),
            &format!("m{number}"),
        );
        command.arg("-plugin").arg(plugin.unwrap());
        let log = fs::File::create(self.path(&format!("m{number}.log"))).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    /// Lets machines go on that have stopped.
    pub(crate) fn go_on(&self, names: &[String]) {
        for number in 1..=self.setup.machines {
            if names.contains(&format!("m{number}")) {
                self.monitor(number).ask(r#"{"execute":"cont"}"#);
            }
        }
    }

    /// What a machine's console showed.
    pub(crate) fn said(&self, number: usize) -> String {
        let bytes = fs::read(self.path(&format!("m{number}.console"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Processor seconds that its emulator took.
    pub(crate) fn processor_time(&self, number: usize) -> f64 {
        let path = format!("/proc/{}/stat", self.children[number - 1].id());
        let line = fs::read_to_string(path).unwrap();
        let fields: Vec<&str> = line
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// What its emulator said.
    pub(crate) fn log(&self, number: usize) -> String {
        fs::read_to_string(self.path(&format!("m{number}.log"))).unwrap()
    }

    pub(crate) fn kill(&mut self, number: usize) {
        self.children[number - 1].kill().unwrap();
        self.children[number - 1].wait().unwrap();
    }

    /// The exit code of an emulator that ends by itself.
    pub(crate) fn wait(&mut self, number: usize) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.children[number - 1].try_wait().unwrap() {
                return status.code();
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the emulator of m{number} goes on"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// An emulator's QMP monitor.
struct Monitor {
    stream: UnixStream,
    lines: std::io::Lines<BufReader<UnixStream>>,
}

impl Monitor {
    fn ask(&mut self, command: &str) -> String {
        writeln!(self.stream, "{command}").unwrap();
        let is_answer = |line: &String| line.contains("\"return\"") || line.contains("\"error\"");
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .find(is_answer)
            .unwrap()
    }

    fn until(&mut self, command: &str, answer: &str) {
        let began = Instant::now();
        loop {
            let said = self.ask(&format!(r#"{{"execute":"{command}"}}"#));
            if said.contains(answer) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{command}: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A command that is an emulator out of its image, with a machine's hardware.
fn emulator(program: &Path) -> Command {
    let root = &unpacked().emulator;
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(root.join("usr/lib/x86_64-linux-gnu"))
        .arg(program);
    command
        .arg("-L")
        .arg(root.join("usr/share/qemu"))
        .arg("-L")
        .arg(root.join("usr/share/seabios"));
    command.args("-accel tcg,thread=single,tb-size=128 -machine pc -smp 1 -m 256".split(' '));
    command.args("-nodefaults -no-user-config -display none -monitor none".split(' '));
    command
}

/// Starts an emulator in whose program one sequence of bytes is another. Its exit code, and what it said.
pub(crate) fn start_changed(from: &[u8], to: &[u8]) -> (Option<i32>, String) {
    let mut program = fs::read(unpacked().emulator.join(PROGRAM)).unwrap();
    let places: Vec<usize> = program
        .windows(from.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == from)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 1, "{places:x?}");
    program[places[0]..places[0] + to.len()].copy_from_slice(to);
    let machines = Machines::new(PAIR);
    let changed = machines.path("emulator");
    fs::write(&changed, program).unwrap();
    Side::create(&machines.path("links"), &topology(2)).unwrap();
    let plugin =
        plugin_argument(&machines.path("lockstep.so"), &machines.path("links"), "m1").unwrap();
    let output = emulator(&changed)
        .args(["-icount", "shift=0,sleep=off", "-plugin", &plugin])
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
