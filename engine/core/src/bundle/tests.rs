//! A bundle goes round, and one that somebody tampered with does not.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use vexp_api::digest::Digest;
use vexp_api::ids::Name;

use super::*;

const RUN: &str = "run-1";

fn run() -> Name {
    Name::new(RUN).unwrap()
}

fn path(text: &str) -> BundlePath {
    BundlePath::new(text).unwrap()
}

/// Three files, one from disk.
fn contents(folder: &Path) -> Contents {
    let raw = folder.join("raw");
    std::fs::write(&raw, "raw bytes\n".repeat(100)).unwrap();
    Contents::from([
        (path("run/run.json"), Source::Bytes(b"{}\n".to_vec())),
        (path("run/trials/t/raw/a"), Source::File(raw)),
        (path("run/trials/t/trial.json"), Source::Bytes(Vec::new())),
    ])
}

fn good(folder: &Path) -> PathBuf {
    let bundle = folder.join("bundle");
    pack(&run(), "1.2.3", &contents(folder), &bundle).unwrap();
    bundle
}

fn unpacked(bundle: &Path, limits: &Limits) -> Result<(tempfile::TempDir, Unpacked), BundleError> {
    let target = tempfile::tempdir().unwrap();
    let unpacked = unpack(bundle, target.path(), limits)?;
    Ok((target, unpacked))
}

#[test]
fn what_was_packed_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let (_target, unpacked) = unpacked(&good(folder.path()), &Limits::default()).unwrap();
    let read = |path: &str| std::fs::read_to_string(unpacked.root.join(path)).unwrap();
    assert_eq!(read("run/run.json"), "{}\n");
    assert_eq!(read("run/trials/t/raw/a").len(), 1000);
    assert_eq!(read("run/trials/t/trial.json"), "");
    assert_eq!(unpacked.manifest.vexp, "1.2.3");
    assert_eq!(unpacked.manifest.size(), 1003);
    let listed = list(&run(), "1.2.3", &contents(folder.path())).unwrap();
    assert_eq!(unpacked.manifest, listed);
}

#[test]
fn the_same_files_are_the_same_bundle_elsewhere_and_at_another_date() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] = folders.each_ref().map(|folder| {
        let contents = contents(folder.path());
        let raw = File::open(folder.path().join("raw")).unwrap();
        let day = std::time::Duration::from_secs(86_400);
        let age = day * u32::try_from(folder.path().as_os_str().len()).unwrap();
        raw.set_modified(std::time::SystemTime::UNIX_EPOCH + age)
            .unwrap();
        pack(&run(), "1.2.3", &contents, &folder.path().join("b")).unwrap()
    });
    assert_eq!(one.digest, two.digest);
    assert_eq!(
        one.manifest.digest().unwrap(),
        two.manifest.digest().unwrap()
    );
    // Another file, another digest.
    let folder = tempfile::tempdir().unwrap();
    let mut other = contents(folder.path());
    other.insert(path("x"), Source::Bytes(Vec::new()));
    let other = pack(&run(), "1.2.3", &other, &folder.path().join("b")).unwrap();
    assert_ne!(one.digest, other.digest);
}

#[test]
fn tar_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = File::open(good(folder.path())).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(bundle).unwrap());
    archive.unpack(folder.path().join("there")).unwrap();
    assert!(folder.path().join("there/run-1/run/run.json").exists());
}

#[test]
fn names_that_have_no_place_are_refused_when_packing() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |contents: Contents| {
        let error = pack(&run(), "1", &contents, &folder.path().join("b")).unwrap_err();
        assert!(!folder.path().join("b").exists());
        error.to_string()
    };
    let with = |paths: &[&str]| -> Contents {
        let entry = |text: &&str| (path(text), Source::Bytes(Vec::new()));
        paths.iter().map(entry).collect()
    };
    assert!(fails(with(&["a/b", "A/c"])).contains("one on some systems"));
    assert!(fails(with(&["a", "a/b"])).contains("one on some systems"));
    assert!(fails(with(&["Manifest.json"])).contains("lists itself"));
    let gone = Contents::from([(path("a"), Source::File("/nowhere/x".into()))]);
    assert_eq!(fails(gone), "cannot look at /nowhere/x");
    // No slash where the header's two fields could meet.
    let long = with(&[&format!("{}/{}", "p".repeat(95), "q".repeat(100))]);
    let run = Name::new("r".repeat(63)).unwrap();
    let error = pack(&run, "1", &long, &folder.path().join("b")).unwrap_err();
    assert!(
        error.to_string().contains("too long for an archive"),
        "{error}"
    );
}

/// An archive that can be tampered with: headers with their files.
struct Parts {
    manifest: String,
    entries: Vec<(tar::Header, Vec<u8>)>,
    /// Behind the archive's end.
    tail: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let contents = contents(folder.path());
        let manifest = list(&run(), "1.2.3", &contents).unwrap();
        let entries = contents.iter().map(|(path, source)| {
            let bytes = match source {
                Source::Bytes(bytes) => bytes.clone(),
                Source::File(path) => std::fs::read(path).unwrap(),
            };
            (
                header(&run(), path.as_str(), bytes.len() as u64).unwrap(),
                bytes,
            )
        });
        Self {
            manifest: String::from_utf8(manifest.bytes().unwrap()).unwrap(),
            entries: entries.collect(),
            tail: vec![0; 2 * BLOCK],
        }
    }

    /// The file with this part of its name.
    fn entry(&mut self, name: &str) -> &mut (tar::Header, Vec<u8>) {
        let has =
            |header: &tar::Header| String::from_utf8_lossy(&header.path_bytes()).contains(name);
        self.entries
            .iter_mut()
            .find(|(header, _)| has(header))
            .unwrap()
    }

    /// The header with this part of its file's name, changed and with its checksum right again.
    fn header(&mut self, name: &str, change: impl FnOnce(&mut tar::Header)) {
        let header = &mut self.entry(name).0;
        change(header);
        header.set_cksum();
    }

    fn archive(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let first = header(&run(), MANIFEST, self.manifest.len() as u64).unwrap();
        let first = (first, self.manifest.clone().into_bytes());
        for (header, file) in std::iter::once(&first).chain(&self.entries) {
            bytes.extend(header.as_bytes());
            bytes.extend(file);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.extend(&self.tail);
        bytes
    }

    /// What is said of it.
    fn said(&self) -> String {
        said(
            &zstd::encode_all(self.archive().as_slice(), 1).unwrap(),
            &Limits::default(),
        )
    }
}

/// What is said of a file, and that nothing was written outside of the target.
fn said(bytes: &[u8], limits: &Limits) -> String {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    std::fs::write(&bundle, bytes).unwrap();
    let target = folder.path().join("deep/target");
    std::fs::create_dir_all(&target).unwrap();
    let said = match unpack(&bundle, &target, limits) {
        Ok(_) => "fine".to_owned(),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error} {}", cause.unwrap_or_default())
        }
    };
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(
        std::fs::read_dir(folder.path().join("deep"))
            .unwrap()
            .count(),
        1
    );
    said
}

#[test]
fn untampered_parts_are_fine() {
    assert_eq!(Parts::new().said(), "fine");
}

/// Sets the name field to bytes that no path can be made of by the library.
fn rename(header: &mut tar::Header, name: &[u8]) {
    let field = &mut header.as_old_mut().name;
    field.fill(0);
    field[..name.len()].copy_from_slice(name);
}

type Tampering = Box<dyn Fn(&mut Parts)>;

fn kind(kind: tar::EntryType, target: &'static str) -> Tampering {
    Box::new(move |parts| {
        parts.header("run.json", |header| {
            header.set_entry_type(kind);
            if !target.is_empty() {
                header.set_link_name(target).unwrap();
            }
        });
    })
}

fn named(name: &'static [u8]) -> Tampering {
    Box::new(move |parts| parts.header("run.json", |header| rename(header, name)))
}

/// Changes the manifest's text.
fn listed(from: &'static str, to: &'static str) -> Tampering {
    Box::new(move |parts| {
        assert!(parts.manifest.contains(from), "{}", parts.manifest);
        parts.manifest = parts.manifest.replace(from, to);
    })
}

fn with(change: impl Fn(&mut Parts) + 'static) -> Tampering {
    Box::new(change)
}

#[test]
fn every_tampering_is_named() {
    use tar::EntryType as T;
    let tamperings: Vec<(&str, Tampering)> = vec![
        // Bytes.
        (
            "`run/trials/t/raw/a` is not the file that was packed",
            with(|p| p.entry("raw/a").1[500] ^= 1),
        ),
        (
            "`run/run.json` has 4 bytes, and manifest.json says 3",
            with(|p| {
                p.entry("run.json").1.push(b'\n');
                p.header("run.json", |header| header.set_size(4));
            }),
        ),
        (
            "between two files",
            with(|p| {
                // Hidden in what fills the last block.
                let file = &mut p.entry("run.json").1;
                file.resize(BLOCK, b'x');
            }),
        ),
        (
            "its header is damaged",
            with(|p| p.entry("run.json").0.as_mut_bytes()[110] ^= 1),
        ),
        // Files.
        (
            "`run/run.json` is in manifest.json and not in the archive",
            with(|p| drop(p.entries.remove(0))),
        ),
        (
            "`run/trials/t/trial.json` is in manifest.json and not",
            with(|p| drop(p.entries.pop())),
        ),
        (
            "`run/trials/t/trial.json` is in the archive twice",
            with(|p| p.entries.push(p.entries[2].clone())),
        ),
        (
            "`run/run.json` is in the archive twice",
            with(|p| p.entries.insert(1, p.entries[0].clone())),
        ),
        (
            "`run/run.json` is in manifest.json and not in the archive, or not in its place",
            with(|p| p.entries.swap(0, 1)),
        ),
        (
            "`run/new` is in the archive and not in manifest.json",
            with(|p| {
                p.entries
                    .insert(0, (header(&run(), "run/new", 0).unwrap(), Vec::new()));
            }),
        ),
        (
            "`zzz` is in the archive and not in manifest.json",
            with(|p| {
                p.entries
                    .push((header(&run(), "zzz", 0).unwrap(), Vec::new()));
            }),
        ),
        // Names.
        (
            "`/etc/passwd` can't be a file's name in a bundle: it is absolute",
            named(b"/etc/passwd"),
        ),
        (
            "`../x` can't be a file's name in a bundle: `.` and `..` lead elsewhere",
            named(b"run-1/../x"),
        ),
        ("`../../x` can't be a file's name", named(b"../../x")),
        ("it has a backslash in it", named(b"run-1/..\\x")),
        (
            "not that of a bundle's files",
            named(b"run-1/run/run.json\0/../x"),
        ),
        (
            "other than ASCII letters",
            named("run-1/caf\u{e9}".as_bytes()),
        ),
        ("other than letters, digits", named(b"run-1/a b")),
        (
            "it is not in the bundle's folder `run-1`",
            named(b"run-2/run/run.json"),
        ),
        ("a part of it is empty", named(b"run-1/run//run.json")),
        // Kinds.
        (
            "it is a symbolic link to `/etc/passwd`",
            kind(T::Symlink, "/etc/passwd"),
        ),
        ("it is a hard link to `../../x`", kind(T::Link, "../../x")),
        ("it is a character device", kind(T::Char, "")),
        ("it is a block device", kind(T::Block, "")),
        ("it is a FIFO", kind(T::Fifo, "")),
        ("it is a folder", kind(T::Directory, "")),
        ("it is a sparse file", kind(T::GNUSparse, "")),
        ("it is an extended header", kind(T::XHeader, "")),
        ("it is an extended header", kind(T::XGlobalHeader, "")),
        ("it is a GNU long name", kind(T::GNULongName, "")),
        ("of an unknown kind", kind(T::new(b'9'), "")),
        (
            "its mode, owner, time or another field",
            with(|p| p.header("run.json", |h| h.set_mode(0o4755))),
        ),
        (
            "its mode, owner, time or another field",
            with(|p| p.header("run.json", |h| h.set_uid(1000))),
        ),
        (
            "its mode, owner, time or another field",
            with(|p| p.header("run.json", |h| h.set_mtime(1))),
        ),
        // The manifest.
        ("it is not the file", listed("", "")),
        (
            "can't be a file's name in a bundle: `.` and `..` lead",
            listed("run/run.json", "../run.json"),
        ),
        (
            "can't be a file's name in a bundle: it has a NUL",
            listed("run/run.json", "run/\\u0000.json"),
        ),
        (
            "manifest.json is not canonical JSON: a name stands in it twice",
            with(|p| {
                let (start, end) = (
                    p.manifest.find("\"run/run.json\"").unwrap(),
                    p.manifest.find("\"run/trials/t/raw").unwrap(),
                );
                let twice = p.manifest[start..end].to_owned();
                p.manifest.insert_str(start, &twice);
            }),
        ),
        (
            "`Run/run.json` and `run/run.json`",
            with(|p| {
                let start = p.manifest.find("\"run/run.json\"").unwrap();
                let end = p.manifest.find("\"run/trials/t/raw").unwrap();
                let twice = p.manifest[start..end].replace("run/run.json", "Run/run.json");
                p.manifest.insert_str(start, &twice);
            }),
        ),
        (
            "the bundle has format 2, and this vexp reads format 1",
            listed("\"format\":1", "\"format\":2"),
        ),
        (
            "manifest.json is damaged unknown field `more`",
            listed("\"format\":1", "\"format\":1,\"more\":1"),
        ),
        (
            "manifest.json is of run run-2, and stands in folder `run-1`",
            listed("\"run\":\"run-1\"", "\"run\":\"run-2\""),
        ),
        ("is not a digest", listed("sha256:", "md5:")),
        (
            "bytes, and 17179869184 are accepted",
            listed("\"size\":1000", "\"size\":99999999999999"),
        ),
        (
            "bytes for one of its size",
            listed("\"size\":1000", "\"size\":9999999999"),
        ),
        (
            "manifest.json is damaged",
            listed("{\"files\"", "{{\"files\""),
        ),
        // Ends.
        ("behind the archive's end", with(|p| p.tail.push(0))),
        (
            "behind the archive's end",
            with(|p| p.tail.extend([0; 18 * BLOCK])),
        ),
        (
            "the archive ends in the middle of its end mark",
            with(|p| p.tail.truncate(BLOCK)),
        ),
    ];
    assert!(tamperings.len() >= 40);
    for (expected, tamper) in tamperings {
        let mut parts = Parts::new();
        tamper(&mut parts);
        let said = parts.said();
        if expected == "it is not the file" {
            // The control: what changes nothing is found fine.
            assert_eq!(said, "fine");
            continue;
        }
        assert!(
            said.contains(expected),
            "expected `{expected}`, and it said: {said}"
        );
    }
}

#[test]
fn a_stream_that_is_none_or_goes_on_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read(good(folder.path())).unwrap();
    let limits = Limits::default();
    assert_eq!(said(&good, &limits), "fine");
    for (expected, bytes) in [
        (
            "the compressed stream can't be read at 0 bytes",
            b"PK\x03\x04 not a bundle".to_vec(),
        ),
        ("the compressed stream can't be read at 0 bytes", Vec::new()),
        (
            "the compressed stream can't be read at",
            good[..good.len() / 2].to_vec(),
        ),
        // The checksum of the frame.
        ("the compressed stream can't be read at", {
            let mut bytes = good.clone();
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        }),
        (
            "behind the compressed stream",
            [good.as_slice(), b"x"].concat(),
        ),
        (
            "behind the compressed stream",
            [good.as_slice(), &good].concat(),
        ),
        // A skippable frame (RFC 8878, 3.1.2).
        (
            "behind the compressed stream",
            [good.as_slice(), b"\x50\x2a\x4d\x18\0\0\0\0"].concat(),
        ),
        ("the first entry is `other` and not `RUN/manifest.json`", {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            tar.append_data(&mut header, "other", std::io::empty())
                .unwrap();
            zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap()
        }),
    ] {
        let said = said(&bytes, &limits);
        assert!(
            said.contains(expected),
            "expected `{expected}`, and it said: {said}"
        );
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let limits = Limits {
        bytes: 1002,
        ..Limits::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read(good(folder.path())).unwrap();
    assert!(said(&good, &limits).contains("1003 bytes, and 1002 are accepted"));
    let limits = Limits {
        files: 2,
        ..Limits::default()
    };
    assert!(said(&good, &limits).contains("3 files, and 2 are accepted"));

    // Honest about its size: a gibibyte of zeros in a hundred kilobytes.
    let size = 1_u64 << 30;
    let zeros = super::Manifest {
        files: [(
            path("zeros"),
            crate::store::FileEntry {
                size,
                digest: Digest::of(b""),
            },
        )]
        .into(),
        ..list(&run(), "1", &Contents::new()).unwrap()
    };
    let bomb = |files: &super::Manifest, listed: u64| {
        let mut stream = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let manifest = files.bytes().unwrap();
        let first = header(&run(), MANIFEST, manifest.len() as u64).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        stream.write_all(&manifest).unwrap();
        stream
            .write_all(&vec![
                0;
                manifest.len().next_multiple_of(BLOCK) - manifest.len()
            ])
            .unwrap();
        stream
            .write_all(header(&run(), "zeros", listed).unwrap().as_bytes())
            .unwrap();
        for _ in 0..64 {
            stream.write_all(&vec![0; 1 << 20]).unwrap();
        }
        stream.finish().unwrap()
    };
    let said_of = said(&bomb(&zeros, size), &Limits::default());
    assert!(said_of.contains("bytes for one of its size"), "{said_of}");
    // Not honest: the manifest says three bytes, and the header and the stream have more.
    let mut small = zeros.clone();
    small.files.values_mut().for_each(|file| file.size = 3);
    let said_of = said(&bomb(&small, size), &Limits::default());
    assert!(
        said_of.contains("has 1073741824 bytes, and manifest.json says 3"),
        "{said_of}"
    );
    let said_of = said(&bomb(&small, 3), &Limits::default());
    assert!(
        said_of.contains("is not the file that was packed"),
        "{said_of}"
    );
}

use std::fs::File;

/// Whatever bytes an archive has: it is unpacked below its folder, with the digests of its manifest, or refused.
#[test]
fn changed_archives_are_unpacked_below_their_folder_or_refused() {
    use proptest::prelude::*;
    use vexp_testkit::hostile::changed;
    let limits = Limits {
        bytes: 1 << 20,
        ..Limits::default()
    };
    let archive = Parts::new().archive();
    let packed = zstd::encode_all(archive.as_slice(), 1).unwrap();
    let cases = vexp_testkit::cases(60);
    proptest!(cases.clone(), |(bytes in changed(&packed))| {
        said(&bytes, &limits);
    });
    proptest!(cases, |(bytes in changed(&archive))| {
        said(&zstd::encode_all(bytes.as_slice(), 1).unwrap(), &limits);
    });
}
