//! Memory that the machine and this computer share (QEMU's `ivshmem-plain`, docs/specs/ivshmem-spec):
//! what the machine is told while its time stands still, and what it says.
//!
//! ```text
//! 0          a page: lengths of the letter, of the words and of the parcel, u64, little endian
//! LETTER     JSON for the machine
//! WORDS      what it says, a line of JSON each (Word)
//! PARCEL     what it leaves, a tar archive
//! ```
//!
//! Nobody is interrupted: the machine reads after it was stopped and goes on, and this computer looks
//! now and then. So when either of them looks changes nothing that the machine can see.

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, fence};

use memmap2::MmapMut;
use serde::{Deserialize, Serialize};
use vexp_api::site::Site;

/// Bytes in all. A power of two, as PCI has it. Pages that were never written take no place.
pub(super) const SIZE: usize = 256 << 20;
const LETTER: usize = 4096;
const WORDS: usize = 8 << 20;
const PARCEL: usize = 32 << 20;

/// A length's place in the first page.
#[derive(Clone, Copy)]
enum Length {
    Letter = 0,
    Words = 8,
    Parcel = 16,
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Letter {
    /// A worker's manifest.
    pub(super) manifest: serde_json::Value,
}

/// What the machine says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// All is up.
    Ready(Box<Site>),
    /// It could not be set up.
    Failed {
        /// What was being done.
        step: String,
        /// Why it failed.
        message: String,
    },
    /// A line of the worker's standard output: an event.
    Event(String),
    /// A line of its standard error.
    Said(String),
    /// The worker has ended, with this exit code.
    Ended(i32),
}

/// Seen from the machine.
pub(super) struct Inside {
    map: MmapMut,
    words: usize,
}

/// Where the kernel lists PCI devices.
const DEVICES: &str = "/sys/bus/pci/devices";

impl Inside {
    /// Finds and maps it.
    pub(super) fn open() -> Result<Self> {
        let device = find(Path::new(DEVICES))?;
        std::fs::write(device.join("enable"), "1")?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(device.join("resource2"))?;
        // SAFETY: this is memory of a device that no other program maps. The other side, QEMU's
        // host, writes to it only while this machine stands still.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::MmapOptions::new().len(SIZE).map_mut(&file)? };
        Ok(Self { map, words: 0 })
    }

    fn length(&self, of: Length) -> usize {
        let at = of as usize;
        let bytes = self.map[at..at + 8].try_into().unwrap_or_default();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap_or(usize::MAX)
    }

    fn set(&mut self, of: Length, length: usize) {
        // What it counts is there before it is counted.
        fence(Ordering::SeqCst);
        let at = of as usize;
        self.map[at..at + 8].copy_from_slice(&(length as u64).to_le_bytes());
        fence(Ordering::SeqCst);
    }

    /// What it is told.
    pub(super) fn letter(&self) -> Result<Letter> {
        let end = LETTER.saturating_add(self.length(Length::Letter));
        let bytes = self.map.get(LETTER..end.min(WORDS)).unwrap_or_default();
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Forgets what was said.
    pub(super) fn clear(&mut self) {
        self.words = 0;
        self.set(Length::Words, 0);
        self.set(Length::Parcel, 0);
    }

    /// Says something.
    pub(super) fn say(&mut self, word: &Word) -> Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        let at = WORDS + self.words;
        let place = self.map.get_mut(at..at + line.len());
        let place = place
            .filter(|_| at + line.len() <= PARCEL)
            .ok_or_else(full)?;
        place.copy_from_slice(&line);
        self.words += line.len();
        self.set(Length::Words, self.words);
        Ok(())
    }

    /// Leaves what `pack` writes.
    pub(super) fn leave(&mut self, pack: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let mut rest = &mut self.map[PARCEL..];
        let before = rest.len();
        pack(&mut rest)?;
        let length = before - rest.len();
        self.set(Length::Parcel, length);
        Ok(())
    }
}

fn full() -> Error {
    Error::new(ErrorKind::StorageFull, "the mailbox is full")
}

/// The device that QEMU calls `ivshmem-plain`.
fn find(devices: &Path) -> Result<PathBuf> {
    for entry in std::fs::read_dir(devices)? {
        let path = entry?.path();
        let is = |name: &str, value: &str| {
            let text = std::fs::read_to_string(path.join(name));
            text.is_ok_and(|text| text.trim() == value)
        };
        if is("vendor", "0x1af4") && is("device", "0x1110") {
            return Ok(path);
        }
    }
    Err(Error::new(
        ErrorKind::NotFound,
        "this machine has no mailbox",
    ))
}

/// Seen from this computer.
pub(super) struct Outside {
    file: File,
    /// Words that were read.
    read: u64,
}

impl Outside {
    /// Makes an empty one.
    pub(super) fn create(path: &Path) -> Result<()> {
        File::create(path)?.set_len(SIZE as u64)
    }

    /// Opens it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { file, read: 0 })
    }

    fn length(&self, of: Length) -> Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, of as u64)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Tells the machine something, which stands still.
    pub(super) fn tell(&mut self, letter: &Letter) -> Result<()> {
        let bytes = serde_json::to_vec(letter)?;
        if bytes.len() > WORDS - LETTER {
            return Err(full());
        }
        self.file.write_all_at(&bytes, LETTER as u64)?;
        let length = (bytes.len() as u64).to_le_bytes();
        self.file.write_all_at(&length, Length::Letter as u64)?;
        for said in [Length::Words, Length::Parcel] {
            self.file.write_all_at(&[0; 8], said as u64)?;
        }
        self.read = 0;
        Ok(())
    }

    /// What it has said since the last time.
    pub(super) fn hear(&mut self) -> Result<Vec<Word>> {
        let length = self.length(Length::Words)?.min((PARCEL - WORDS) as u64);
        let new = length.saturating_sub(self.read);
        let mut bytes = vec![0; usize::try_from(new).map_err(Error::other)?];
        self.file
            .read_exact_at(&mut bytes, WORDS as u64 + self.read)?;
        self.read += new;
        let lines = bytes.split(|byte| *byte == b'\n');
        let words = lines.filter(|line| !line.is_empty());
        words
            .map(|line| serde_json::from_slice(line).map_err(Error::from))
            .collect()
    }

    /// What it has left.
    pub(super) fn parcel(&self) -> Result<Vec<u8>> {
        let length = self.length(Length::Parcel)?.min((SIZE - PARCEL) as u64);
        let mut bytes = vec![0; usize::try_from(length).map_err(Error::other)?];
        self.file.read_exact_at(&mut bytes, PARCEL as u64)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(folder: &Path) -> (Inside, Outside) {
        let path = folder.join("mailbox");
        Outside::create(&path).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: nobody else has this file.
        #[allow(unsafe_code)]
        let map = unsafe { MmapMut::map_mut(&file).unwrap() };
        (Inside { map, words: 0 }, Outside::open(&path).unwrap())
    }

    #[test]
    fn letters_words_and_parcels_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let (mut inside, mut outside) = both(folder.path());
        let letter = Letter {
            manifest: serde_json::json!({"format": 1}),
        };
        outside.tell(&letter).unwrap();
        assert_eq!(inside.letter().unwrap(), letter);
        inside.clear();
        assert_eq!(outside.hear().unwrap(), []);
        inside.say(&Word::Event("{\"a\":\"b\\n\"}".into())).unwrap();
        inside.say(&Word::Said("oh".into())).unwrap();
        assert_eq!(outside.hear().unwrap().len(), 2);
        inside.say(&Word::Ended(0)).unwrap();
        assert_eq!(outside.hear().unwrap(), [Word::Ended(0)]);
        inside.leave(|to| to.write_all(b"parcel")).unwrap();
        assert_eq!(outside.parcel().unwrap(), b"parcel");
        // A shorter letter, and nothing of what was said before.
        let short = Letter {
            manifest: serde_json::json!(1),
        };
        outside.tell(&short).unwrap();
        assert_eq!(inside.letter().unwrap(), short);
        assert!(outside.parcel().unwrap().is_empty() && outside.hear().unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (mut inside, mut outside) = both(folder.path());
        let letter = Letter {
            manifest: "x".repeat(WORDS).into(),
        };
        assert_eq!(
            outside.tell(&letter).unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        let long = Word::Said("x".repeat(PARCEL - WORDS));
        assert_eq!(
            inside.say(&long).unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        inside.leave(|to| to.write_all(&vec![1; SIZE])).unwrap_err();
        assert!(outside.parcel().unwrap().is_empty());
    }
}
