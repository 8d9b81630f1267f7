//! Two real emulators and vexp's side in one lockstep. Each machine is the kernel and busybox of an image.
//!
//! Ignored by default, since they take minutes. They need, in the environment:
//! `VEXP_TEST_EMULATOR`, the root folder of the image `emulator`; `VEXP_TEST_KERNEL`, a kernel (an ELF `vmlinux` boots
//! faster than a `vmlinuz`); `VEXP_TEST_INITRAMFS`, an initramfs whose /init runs the script `/script` (see `script.sh`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vexp_lockstep::side::{Frame, LinkError, Side};
use vexp_lockstep::topology::{End, Link, LinkSpec, Nic, Topology, plugin_argument};

const START: u64 = 5_000_000_000;
const GRID: u64 = 5_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn variable(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(value.unwrap_or_else(|| panic!("{name} isn't set; see the head of this file")))
}

fn topology() -> Topology {
    let nic = |machine: &str, hub, paused: Option<&str>| {
        let (machine, paused) = (machine.to_owned(), paused.map(str::to_owned));
        End::Nic(Nic {
            machine,
            hub,
            paused,
        })
    };
    let control = |machine: &str| Link {
        name: format!("control-{machine}"),
        spec: LinkSpec::control(),
        ends: [End::Vexp, nic(machine, 0, None)],
    };
    let data = Link {
        name: "data".into(),
        spec: LinkSpec::data(1_000_000_000),
        ends: [nic("m1", 1, Some("data")), nic("m2", 1, Some("data"))],
    };
    Topology {
        start_ns: START,
        quantum_ns: 20_000,
        patience: PATIENCE,
        links: vec![control("m1"), control("m2"), data],
    }
}

/// The machines of a lockstep, killed when it is dropped.
struct Machines {
    folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Machines {
    fn start() -> (Self, Side) {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::write(folder.path().join("lockstep.so"), vexp_lockstep::LIBRARY).unwrap();
        let side = Side::create(folder.path(), &topology()).unwrap();
        let mut machines = Self {
            folder,
            children: Vec::new(),
        };
        for number in [1, 2] {
            let child = machines.command(number).spawn().unwrap();
            machines.children.push(child);
        }
        (machines, side)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, number: u32) -> Command {
        let root = variable("VEXP_TEST_EMULATOR");
        let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(root.join("usr/lib/x86_64-linux-gnu"));
        command.arg(root.join("usr/bin/qemu-system-x86_64"));
        command
            .arg("-L")
            .arg(root.join("usr/share/qemu"))
            .arg("-L")
            .arg(root.join("usr/share/seabios"));
        command.args("-accel tcg,thread=single,tb-size=128 -icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm".split(' '));
        command.args("-machine pc -cpu Opteron_G3 -smp 1 -m 256 -seed 1 -nodefaults -no-user-config -display none -no-reboot".split(' '));
        command
            .args(["-monitor", "none", "-serial"])
            .arg(format!("file:{}", self.console(number).display()));
        for (hub, id) in [(0, "control"), (1, "data")] {
            command
                .arg("-netdev")
                .arg(format!("hubport,id=n{hub},hubid={hub}"));
            let mac = format!("52:54:00:00:0{hub}:0{number}");
            command
                .arg("-device")
                .arg(format!("e1000,id={id},netdev=n{hub},mac={mac},romfile="));
        }
        command.arg("-kernel").arg(variable("VEXP_TEST_KERNEL"));
        command.arg("-initrd").arg(variable("VEXP_TEST_INITRAMFS"));
        command.arg("-append").arg(format!(
            "console=ttyS0 quiet nokaslr panic=-1 mitigations=off net.ifnames=0 me={number}"
        ));
        let library = self.path().join("lockstep.so");
        let plugin = plugin_argument(&library, self.path(), &format!("m{number}")).unwrap();
        command.arg("-plugin").arg(plugin);
        let log = std::fs::File::create(self.path().join(format!("m{number}.log"))).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    fn console(&self, number: u32) -> PathBuf {
        self.path().join(format!("m{number}.console"))
    }

    fn said(&self, number: u32) -> String {
        let bytes = std::fs::read(self.console(number)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log(&self, number: u32) -> String {
        std::fs::read_to_string(self.path().join(format!("m{number}.log"))).unwrap()
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

fn advance(side: &mut Side, until: u64) -> Result<Vec<Frame>, LinkError> {
    side.advance(until, PATIENCE, &|| None)
}

#[test]
#[ignore = "boots machines"]
fn machines_talk() {
    let (machines, mut side) = Machines::start();
    let began = Instant::now();
    let mut grid = START;
    let mut shown = 0;
    while !machines.said(1).contains("finished") && grid < 12_000_000_000 {
        grid += GRID;
        for frame in advance(&mut side, grid)
            .unwrap_or_else(|error| panic!("{error}: {} {}", machines.log(1), machines.log(2)))
        {
            println!(
                "{} {} {:02x?}",
                frame.at,
                frame.link,
                &frame.bytes[..frame.bytes.len().min(60)]
            );
        }
        if grid / 100_000_000 != shown {
            shown = grid / 100_000_000;
            println!("{grid} {:?} {:#?}", began.elapsed(), side.counters());
        }
    }
    println!("{}\n{}", machines.said(1), machines.said(2));
    println!("{}\n{}", machines.log(1), machines.log(2));
}
