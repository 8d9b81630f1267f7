//! Files out of images.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Kernel modules of the test's machines, in the order in which they are loaded, below `kernel/`.
const MODULES: &[&str] = &[
    "drivers/net/ethernet/intel/e1000/e1000.ko",
    "virt/lib/irqbypass.ko",
    "drivers/crypto/ccp/ccp.ko",
    "arch/x86/kvm/kvm.ko",
    "arch/x86/kvm/kvm-amd.ko",
];

/// What the test needs of the images, unpacked once.
pub(crate) struct Unpacked {
    /// The emulator's root.
    pub(crate) emulator: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
}

pub(crate) fn unpacked() -> &'static Unpacked {
    static UNPACKED: OnceLock<Unpacked> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        let emulator = unpack("VEXP_TEST_EMULATOR", "emulator", &[]);
        let modules = MODULES
            .iter()
            .map(|module| format!("usr/lib/modules/*/kernel/{module}"));
        let mut files: Vec<String> = modules.collect();
        files.push("usr/bin/busybox".into());
        let machine = unpack("VEXP_TEST_KVM", "kvm", &files);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (kernel, initramfs) = (folder.join("vmlinux"), folder.join("initramfs"));
        let compressed = fs::read(image("VEXP_TEST_KVM").join("vmlinuz")).unwrap();
        fs::write(&kernel, elf(&compressed)).unwrap();
        fs::write(&initramfs, archive(&machine)).unwrap();
        Unpacked {
            emulator,
            kernel,
            initramfs,
        }
    })
}

fn image(variable: &str) -> PathBuf {
    let folder = std::env::var_os(variable);
    PathBuf::from(folder.unwrap_or_else(|| panic!("{variable} isn't set; see the head of main.rs")))
}

fn unpack(variable: &str, name: &str, what: &[String]) -> PathBuf {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = Command::new("unsquashfs");
    command.args(["-no-progress", "-force", "-d"]).arg(&to);
    command
        .arg(image(variable).join("root.squashfs"))
        .args(what);
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    to
}

/// The ELF kernel in a compressed one: it boots in half the instructions.
fn elf(compressed: &[u8]) -> Vec<u8> {
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    let starts = compressed.windows(4).enumerate();
    for (start, _) in starts.filter(|(_, bytes)| *bytes == magic) {
        let mut zstd = Command::new("zstd");
        zstd.arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = zstd.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let bytes = compressed[start..].to_vec();
        // It stops reading at the frame's end.
        let writer = std::thread::spawn(move || input.write_all(&bytes).is_ok());
        let output = child.wait_with_output().unwrap().stdout;
        writer.join().unwrap();
        if output.starts_with(b"\x7fELF") {
            return output;
        }
    }
    panic!("the kernel isn't compressed by zstd");
}

/// The program `guest.c`.
fn guest() -> Vec<u8> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-O1", "-static", "-Wall", "-o"])
        .arg(&out)
        .arg("tests/emulators/guest.c");
    assert!(
        cc.current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap()
            .success()
    );
    fs::read(out).unwrap()
}

/// An uncompressed initramfs: cpio, "newc".
fn archive(machine: &Path) -> Vec<u8> {
    let release = fs::read_dir(machine.join("usr/lib/modules"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let mut archive = Vec::new();
    let mut entry = |name: &str, mode: u32, bytes: &[u8]| {
        let (length, name_length) = (bytes.len() as u32, name.len() as u32 + 1);
        let fields = [0, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0];
        archive.extend(b"070701");
        archive.extend(
            fields
                .iter()
                .flat_map(|field| format!("{field:08x}").into_bytes()),
        );
        archive.extend(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(bytes);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    entry("bin", 0o040_755, b"");
    entry("dev", 0o040_755, b"");
    for (number, module) in MODULES.iter().enumerate() {
        let bytes = fs::read(release.path().join("kernel").join(module)).unwrap();
        entry(&format!("module{number}.ko"), 0o100_644, &bytes);
    }
    entry(
        "bin/busybox",
        0o100_755,
        &fs::read(machine.join("usr/bin/busybox")).unwrap(),
    );
    entry("bin/guest", 0o100_755, &guest());
    entry("init", 0o100_755, include_bytes!("script.sh"));
    entry("TRAILER!!!", 0, b"");
    archive
}
