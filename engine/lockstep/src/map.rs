//! The shared files mapped: the only place that touches their memory.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::channel::{
    CHANNEL, Channel, LinkFields, PAGE, PHASES, PHASES_AT, Phase, SIDE_FILE, SideFields,
};
use crate::side::LinkError;

/// How long somebody may look at a side that this process is to hold.
const MOMENT: Duration = Duration::from_secs(10);

/// A mapped file of at least the bytes that its fields take.
#[derive(Debug)]
struct Mapped {
    path: PathBuf,
    file: File,
    map: MmapRaw,
}

impl Mapped {
    fn create(path: &Path, bytes: usize) -> Result<Self, LinkError> {
        let error = |source| LinkError::file("create", path, source);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(error)?;
        file.set_len(bytes as u64).map_err(error)?;
        Self::of(path, file)
    }

    fn open(path: &Path) -> Result<Self, LinkError> {
        let error = |source| LinkError::file("open", path, source);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(error)?;
        Self::of(path, file)
    }

    fn of(path: &Path, file: File) -> Result<Self, LinkError> {
        let map = MmapRaw::map_raw(&file).map_err(|source| LinkError::file("map", path, source))?;
        let path = path.to_owned();
        Ok(Self { path, file, map })
    }

    fn needs(self, bytes: usize) -> Result<Self, LinkError> {
        if self.map.len() < bytes {
            let why = format!(
                "it has {} bytes where at least {bytes} belong",
                self.map.len()
            );
            return Err(LinkError::format(&self.path, why));
        }
        Ok(self)
    }

    /// The fields `T` that begin at byte `at`. `T` is one of the layout's structures, which hold nothing but atomics.
    fn fields<T>(&self, at: usize) -> &T {
        debug_assert!(at + size_of::<T>() <= self.map.len() && at.is_multiple_of(64));
        // SAFETY: the bytes lie within the map (checked when it was opened), which is page-aligned and lives as long as
        // `self`; `at` is a multiple of 64; `T` consists of atomics only, for which every bit pattern is a value and which
        // other processes may change at any time.
        #[expect(unsafe_code, reason = "memory that is shared with other processes")]
        unsafe {
            &*self.map.as_ptr().add(at).cast::<T>()
        }
    }
}

/// A side's file.
#[derive(Debug)]
pub(crate) struct SideFile(Mapped);

impl SideFile {
    pub(crate) fn create(path: &Path) -> Result<Self, LinkError> {
        Mapped::create(path, SIDE_FILE).map(Self)
    }

    pub(crate) fn open(path: &Path) -> Result<Self, LinkError> {
        Mapped::open(path)?.needs(SIDE_FILE).map(Self)
    }

    pub(crate) fn fields(&self) -> &SideFields {
        self.0.fields(0)
    }

    /// Holds the file's lock as long as this process lives: others see by it that the side is there.
    /// Somebody who looks whether it is held has it for a moment; longer than [`MOMENT`] nobody may.
    pub(crate) fn lock(&self) -> Result<(), LinkError> {
        let began = Instant::now();
        loop {
            match flock(
                self.0.file.as_fd(),
                FlockOperation::NonBlockingLockExclusive,
            ) {
                Err(Errno::WOULDBLOCK | Errno::INTR) if began.elapsed() < MOMENT => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                held => {
                    return held
                        .map_err(|error| LinkError::file("lock", &self.0.path, error.into()));
                }
            }
        }
    }

    /// Whether a process holds its lock.
    pub(crate) fn is_held(&self) -> bool {
        let free = flock(self.0.file.as_fd(), FlockOperation::NonBlockingLockShared).is_ok();
        if free {
            // It fails only for a file that isn't open.
            let _ = flock(self.0.file.as_fd(), FlockOperation::Unlock);
        }
        !free
    }
}

/// A link's file.
#[derive(Debug)]
pub(crate) struct LinkFile {
    mapped: Mapped,
    ring: u64,
}

impl LinkFile {
    /// Bytes of a file whose rings have `ring` bytes.
    fn bytes(ring: u64) -> Option<usize> {
        let ring = usize::try_from(ring).ok()?;
        ring.checked_add(CHANNEL)?.checked_mul(2)?.checked_add(PAGE)
    }

    pub(crate) fn create(path: &Path, ring: u64) -> Result<Self, LinkError> {
        let bytes = Self::bytes(ring).filter(|_| ring.is_power_of_two());
        let bytes =
            bytes.ok_or_else(|| LinkError::format(path, format!("a ring of {ring} bytes")))?;
        let mapped = Mapped::create(path, bytes)?;
        Ok(Self { mapped, ring })
    }

    pub(crate) fn open(path: &Path) -> Result<Self, LinkError> {
        let mapped = Mapped::open(path)?.needs(PAGE)?;
        let ring = mapped
            .fields::<LinkFields>(0)
            .ring
            .load(std::sync::atomic::Ordering::Acquire);
        let bytes = Self::bytes(ring).filter(|_| ring.is_power_of_two());
        let bytes =
            bytes.ok_or_else(|| LinkError::format(path, format!("a ring of {ring} bytes")))?;
        let mapped = mapped.needs(bytes)?;
        Ok(Self { mapped, ring })
    }

    pub(crate) fn fields(&self) -> &LinkFields {
        self.mapped.fields(0)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mapped.path
    }

    fn channel_at(&self, end: usize) -> usize {
        PAGE + (end & 1) * (CHANNEL + self.ring as usize)
    }

    /// The channel that end 0 or 1 writes.
    pub(crate) fn channel(&self, end: usize) -> &Channel {
        self.mapped.fields(self.channel_at(end))
    }

    /// One of the phases of the generator at this end.
    pub(crate) fn phase(&self, end: usize, index: usize) -> &Phase {
        let at = self.channel_at(end) + PHASES_AT + (index % PHASES) * size_of::<Phase>();
        self.mapped.fields(at)
    }

    /// Bytes of each ring.
    pub(crate) fn ring(&self) -> u64 {
        self.ring
    }

    /// The place of the ring's byte number `at`, and how many bytes follow it without a wrap, at most `length`.
    fn place(&self, end: usize, at: u64, length: usize) -> (usize, usize) {
        let within = (at & (self.ring - 1)) as usize;
        let first = length.min(self.ring as usize - within);
        (self.channel_at(end) + CHANNEL + within, first)
    }

    /// Writes into the ring, from its byte number `at` on. `bytes` are fewer than the ring's.
    pub(crate) fn put(&self, end: usize, at: u64, bytes: &[u8]) {
        debug_assert!((bytes.len() as u64) < self.ring);
        let (place, first) = self.place(end, at, bytes.len());
        let (start, _) = self.place(end, 0, 0);
        // SAFETY: both parts lie within the map: `first` ends at the ring's end at most, and the rest is shorter than the
        // ring. No reader looks at them before `head`, stored with release after this, has passed them.
        #[expect(unsafe_code, reason = "memory that is shared with other processes")]
        unsafe {
            let map = self.mapped.map.as_mut_ptr();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.add(place), first);
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr().add(first),
                map.add(start),
                bytes.len() - first,
            );
        }
    }

    /// Reads from the ring, from its byte number `at` on. `bytes` are fewer than the ring's.
    pub(crate) fn get(&self, end: usize, at: u64, bytes: &mut [u8]) {
        debug_assert!((bytes.len() as u64) < self.ring);
        let (place, first) = self.place(end, at, bytes.len());
        let (start, _) = self.place(end, 0, 0);
        // SAFETY: as in `put`; the writer doesn't touch them before `tail`, stored with release after this, has passed.
        #[expect(unsafe_code, reason = "memory that is shared with other processes")]
        unsafe {
            let map = self.mapped.map.as_ptr();
            std::ptr::copy_nonoverlapping(map.add(place), bytes.as_mut_ptr(), first);
            std::ptr::copy_nonoverlapping(
                map.add(start),
                bytes.as_mut_ptr().add(first),
                bytes.len() - first,
            );
        }
    }
}
