//! Serial consoles of emulators: files to which a machine may write without end.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::emulated::qemu::option;

/// Bytes at which a console is cut.
const MOST: u64 = 16 << 20;
/// Bytes that are left of its beginning: the boot, and much more.
const LEFT: u64 = 4 << 20;
/// How often its length is looked at.
const OFTEN: Duration = Duration::from_secs(2);

/// QEMU's arguments for a serial console in a file. It adds to the file's end, wherever that is by now.
pub(super) fn arguments(path: &Path) -> [String; 4] {
    [
        "-chardev".to_owned(),
        format!("file,id=console,append=on,path={}", option(path)),
        "-serial".to_owned(),
        "chardev:console".to_owned(),
    ]
}

/// A console that does not grow without end as long as this lives.
#[derive(Debug)]
pub(super) struct Console {
    /// Its thread ends when this is dropped.
    _wanted: Sender<()>,
}

impl Console {
    /// Makes the file, empty, and looks after it.
    pub(super) fn begin(path: &Path) -> std::io::Result<Self> {
        File::create(path)?;
        let (wanted, unwanted) = channel();
        let path: PathBuf = path.to_owned();
        std::thread::Builder::new()
            .name("vexp-console".to_owned())
            .spawn(move || {
                while unwanted.recv_timeout(OFTEN) == Err(RecvTimeoutError::Timeout) {
                    // One that was moved away is looked after no more; a full disk says so elsewhere.
                    let _ = cut(&path, MOST, LEFT);
                }
            })?;
        Ok(Self { _wanted: wanted })
    }
}

/// Cuts a file that is longer than `most` bytes to `left`, and says so at its end.
fn cut(path: &Path, most: u64, left: u64) -> std::io::Result<()> {
    let mut file = File::options().append(true).open(path)?;
    let bytes = file.metadata()?.len();
    if bytes <= most {
        return Ok(());
    }
    file.set_len(left)?;
    writeln!(
        file,
        "\n[vexp: the console had {bytes} bytes; {} after the first {left} were removed here]",
        bytes - left
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_that_is_written_without_end_is_cut_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let mut machine = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        machine.write_all(b"boot\n").unwrap();
        cut(&path, 100, 10).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"boot\n");
        for _ in 0..100 {
            machine.write_all(&[b'x'; 50]).unwrap();
            cut(&path, 100, 10).unwrap();
            assert!(path.metadata().unwrap().len() < 300);
        }
        machine.write_all(b"panic\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("boot\nxxxxx\n[vexp: the console had"),
            "{text}"
        );
        assert!(text.ends_with("panic\n"), "{text}");
    }

    #[test]
    fn an_earlier_machine_s_console_is_no_part_of_a_later_one_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        std::fs::write(&path, "vexp: ready\n").unwrap();
        let _console = Console::begin(&path).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 0);
        let arguments = arguments(&path).join(" ");
        assert!(arguments.contains("append=on"), "{arguments}");
    }
}
