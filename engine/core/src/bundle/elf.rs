//! What an executable needs of the system that starts it, read from its ELF headers (System V ABI, chapters 4 and 5):
//! the program interpreter (`PT_INTERP`) and shared libraries (`DT_NEEDED`). Nothing of it is executed. The file may
//! be a stranger's: every read has a limit and a place inside of the file.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Most program headers, and bytes of a section of them that is read.
const MOST_HEADERS: u16 = 128;
const MOST_BYTES: u64 = 1 << 20;
/// Most bytes of a name.
const MOST_NAME: usize = 255;
/// Most libraries.
const MOST_LIBRARIES: usize = 64;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;

/// An executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Processors that it is for, as `uname -m` has them.
    pub machine: &'static str,
    /// What loads it; `None` if it is static.
    pub interpreter: Option<String>,
    /// Shared libraries that it asks for, in their order.
    pub libraries: Vec<String>,
}

/// Why a file can't be read as an executable.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It can't be read.
    #[error("cannot read it")]
    Io(#[from] std::io::Error),
    /// It is no executable of a kind that is known.
    #[error("it is no executable: {0}")]
    Not(&'static str),
}

/// A segment of the file.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// Reads an executable's headers.
///
/// # Errors
/// It can't be read, or is no 64-bit little-endian ELF executable.
pub fn executable(path: &Path) -> Result<Executable, ElfError> {
    let file = File::open(path)?;
    let header =
        bytes(&file, 0, 64).map_err(|_| ElfError::Not("it is shorter than an ELF header"))?;
    if header.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(ElfError::Not(
            "it does not begin as a 64-bit little-endian ELF file",
        ));
    }
    if ![2, 3].contains(&u16_at(&header, 16)?) {
        return Err(ElfError::Not("its type is another one"));
    }
    let machine = match u16_at(&header, 18)? {
        62 => "x86_64",
        183 => "aarch64",
        _ => {
            return Err(ElfError::Not(
                "it is for processors that vexp does not run on",
            ));
        }
    };
    let segments = segments(&file, &header)?;
    let interpreter = segments.iter().find(|segment| segment.kind == PT_INTERP);
    let interpreter = match interpreter {
        None => None,
        Some(segment) => Some(name(&bytes(&file, segment.offset, segment.size)?, 0)?),
    };
    Ok(Executable {
        machine,
        interpreter,
        libraries: libraries(&file, &segments)?,
    })
}

fn segments(file: &File, header: &[u8]) -> Result<Vec<Segment>, ElfError> {
    let (start, each, count) = (
        u64_at(header, 32)?,
        u16_at(header, 54)?,
        u16_at(header, 56)?,
    );
    if each != 56 || count > MOST_HEADERS {
        return Err(ElfError::Not("its program headers are other ones"));
    }
    let table = bytes(file, start, u64::from(each) * u64::from(count))?;
    (table.chunks_exact(usize::from(each)))
        .map(|header| {
            Ok(Segment {
                kind: u32_at(header, 0)?,
                offset: u64_at(header, 8)?,
                address: u64_at(header, 16)?,
                size: u64_at(header, 32)?,
            })
        })
        .collect()
}

fn libraries(file: &File, segments: &[Segment]) -> Result<Vec<String>, ElfError> {
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Ok(Vec::new());
    };
    let entries = bytes(file, dynamic.offset, dynamic.size)?;
    let (mut needed, mut strings, mut size) = (Vec::new(), None, 0);
    for entry in entries.chunks_exact(16) {
        let value = u64_at(entry, 8)?;
        match u64_at(entry, 0)? {
            DT_NULL => break,
            DT_NEEDED => needed.push(value),
            DT_STRTAB => strings = Some(value),
            DT_STRSZ => size = value,
            _ => {}
        }
    }
    if needed.is_empty() {
        return Ok(Vec::new());
    }
    if needed.len() > MOST_LIBRARIES {
        return Err(ElfError::Not("it asks for very many libraries"));
    }
    // The table is named by its address in memory.
    let at = strings.ok_or(ElfError::Not("its names have no table"))?;
    let inside = |segment: &&Segment| {
        let from = segment.address;
        segment.kind == PT_LOAD && at >= from && at - from < segment.size
    };
    let segment = segments.iter().find(inside);
    let segment = segment.ok_or(ElfError::Not("its table of names is not in the file"))?;
    let offset = segment.offset.checked_add(at - segment.address);
    let offset = offset.ok_or(ElfError::Not("its table of names is not in the file"))?;
    let names = bytes(file, offset, size)?;
    let all = needed.into_iter().map(|at| name(&names, at));
    all.collect()
}

/// Bytes of the file.
fn bytes(file: &File, offset: u64, size: u64) -> Result<Vec<u8>, ElfError> {
    if size > MOST_BYTES {
        return Err(ElfError::Not("a part of its headers is very large"));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// A name that ends with a zero; nothing but what can be printed.
fn name(table: &[u8], at: u64) -> Result<String, ElfError> {
    let wrong = ElfError::Not("a name in it is none");
    let start = usize::try_from(at).ok().and_then(|at| table.get(at..));
    let Some(start) = start else {
        return Err(wrong);
    };
    let end = start.iter().take(MOST_NAME + 1).position(|byte| *byte == 0);
    let name = end.and_then(|end| start.get(..end));
    let name = name.filter(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    name.map(str::to_owned).ok_or(wrong)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ElfError> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or(ElfError::Not("a header is cut off"))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, ElfError> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, ElfError> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, ElfError> {
    array(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Executable, ElfError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        executable(file.path())
    }

    /// An executable with an interpreter and a library, or a static one.
    fn elf(dynamic: bool) -> Vec<u8> {
        let segments: u16 = if dynamic { 3 } else { 1 };
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[16..20].copy_from_slice(&[3, 0, 62, 0]);
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..58].copy_from_slice(&[56, 0, segments as u8, 0]);
        let tail = 64 + 56 * u64::from(segments);
        let (names, table) = (b"\0libm.so.6\0/lib/ld.so\0", tail + 48);
        let mut segment = |kind: u32, offset: u64, address: u64, size: u64| {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 4]);
            for value in [offset, address, 0, size, size, 0] {
                bytes.extend(value.to_le_bytes());
            }
        };
        segment(PT_LOAD, 0, 0x1000, table + names.len() as u64);
        if dynamic {
            segment(PT_DYNAMIC, tail, 0, 48);
            segment(PT_INTERP, table + 11, 0, 11);
            for (tag, value) in [
                (DT_NEEDED, 1),
                (DT_STRTAB, 0x1000 + table),
                (DT_STRSZ, names.len() as u64),
            ] {
                bytes.extend(tag.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
            bytes.extend(names);
        }
        bytes
    }

    #[test]
    fn what_an_executable_needs_is_in_its_headers() {
        let found = read(&elf(true)).unwrap();
        assert_eq!(found.machine, "x86_64");
        assert_eq!(found.interpreter.as_deref(), Some("/lib/ld.so"));
        assert_eq!(found.libraries, ["libm.so.6"]);
        let found = read(&elf(false)).unwrap();
        assert_eq!((found.interpreter, found.libraries), (None, Vec::new()));
        // This test itself, as the compiler made it.
        let own = executable(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(own.machine, std::env::consts::ARCH);
        if own.interpreter.is_some() {
            assert!(
                own.libraries.iter().any(|name| name.starts_with("libc.")),
                "{own:?}"
            );
        }
    }

    #[test]
    fn what_is_no_executable_is_refused() {
        for (bytes, why) in [
            (b"#!/bin/sh\n".to_vec(), "shorter"),
            (vec![0; 100], "does not begin"),
            (
                [b"\x7fELF\x01\x01".to_vec(), vec![0; 100]].concat(),
                "64-bit",
            ),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn changed_executables_are_read_or_refused() {
        vexp_testkit::hostile::on_changes(400, &elf(true), |bytes| {
            if let Ok(found) = read(bytes) {
                let all = found.interpreter.iter().chain(&found.libraries);
                assert!(
                    all.flat_map(|name| name.bytes())
                        .all(|byte| byte.is_ascii_graphic())
                );
            }
        });
    }
}
