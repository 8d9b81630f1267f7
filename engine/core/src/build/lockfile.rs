//! `images/NAME/image.lock`: every package of an image, with version and digest.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vexp_api::digest::Digest;

use super::definition::{BadWord, ImageDef, PackageName, is_word, word};

/// The version of the lock's format. A reader refuses any other.
pub(super) const FORMAT: u32 = 1;

/// Why a lock can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is none.
    #[error("{} is missing: `vexp build --relock` writes it", .0.display())]
    Missing(PathBuf),
    /// It could not be read or written.
    #[error("could not access {}", .path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It is of another format.
    #[error(
        "{} has format {found}, this vexp reads {FORMAT}: `vexp build --relock` writes it anew",
        .path.display()
    )]
    Format {
        /// File.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not a lock.
    #[error("{}: field `{field}`", .path.display())]
    Field {
        /// File.
        path: PathBuf,
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A package is listed twice.
    #[error("{} lists `{package}` twice", .path.display())]
    Twice {
        /// File.
        path: PathBuf,
        /// Package.
        package: PackageName,
    },
    /// The definition has changed since.
    #[error(
        "{} was made for another definition of the image: `vexp build --relock` makes it anew",
        .0.display()
    )]
    Stale(PathBuf),
}

word!(
    /// Version of a Debian package (Debian policy, 5.6.12).
    Version, "a Debian package's version", |text| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c))
    }
);
word!(
    /// Path of a package below the archive's root: `pool/…/*.deb`.
    PoolPath, "a path of the form pool/…/*.deb", |text| {
        text.starts_with("pool/")
            && text.ends_with(".deb")
            && text.split('/').all(|part| is_word(&part.to_ascii_lowercase(), ".+-~_"))
    }
);

/// What is done with a package.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Files are taken out of it: kernel, hypervisor.
    Extract,
    /// It is installed.
    Install,
}

impl Use {
    /// The word that the build scripts know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extract => "extract",
            Self::Install => "install",
        }
    }
}

/// Architectures that images are made for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Any.
    All,
    /// x86-64.
    Amd64,
}

impl Architecture {
    /// Debian's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Amd64 => "amd64",
        }
    }
}

/// One package, exactly.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// What is done with it.
    #[serde(rename = "use")]
    pub usage: Use,
    /// Name.
    pub package: PackageName,
    /// Version.
    pub version: Version,
    /// Architecture.
    pub architecture: Architecture,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Where archives and their mirrors have it.
    pub filename: PoolPath,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// `1`; a reader refuses any other.
    pub format: u32,
    /// Digest of the definition's text. While it is the same, [`Lock::definition`] is taken as it
    /// stands, and nothing has to be evaluated.
    pub source: Digest,
    /// The definition that it was made for; also what `flake.nix` builds from.
    pub definition: ImageDef,
    /// Packages, sorted.
    pub packages: Vec<LockedPackage>,
}

impl Lock {
    /// Digest of what decides the image's bytes: not of the definition's text.
    pub fn digest(&self) -> Digest {
        // Plain data with string keys: it always serialises.
        Digest::of_value(&(self.format, &self.definition, &self.packages))
            .unwrap_or_else(|_| Digest::of(b""))
    }

    /// Reads a lock.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => LockError::Missing(path.to_owned()),
            _ => LockError::Io {
                path: path.to_owned(),
                source,
            },
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = parse_json(text, path)?;
        if head.format != FORMAT {
            return Err(LockError::Format {
                path: path.to_owned(),
                found: head.format,
            });
        }
        let lock: Self = parse_json(text, path)?;
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = lock.packages.iter().find(|p| !seen.insert(&p.package)) {
            return Err(LockError::Twice {
                path: path.to_owned(),
                package: twice.package.clone(),
            });
        }
        Ok(lock)
    }

    /// The text of the file: JSON with a line for each package, so that differences can be read.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let mut text = String::from("{\n");
        let _ = writeln!(text, "  \"format\": {},", self.format);
        let _ = writeln!(text, "  \"source\": \"{}\",", self.source);
        let definition = serde_json::to_string_pretty(&self.definition)?;
        let _ = writeln!(
            text,
            "  \"definition\": {},",
            definition.replace('\n', "\n  ")
        );
        text.push_str("  \"packages\": [\n");
        for (n, package) in self.packages.iter().enumerate() {
            let comma = if n + 1 < self.packages.len() { "," } else { "" };
            let _ = writeln!(text, "    {}{comma}", serde_json::to_string(package)?);
        }
        text.push_str("  ]\n}\n");
        Ok(text)
    }

    /// Writes the file, all of it or nothing.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let io = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let text = self.to_text().map_err(|error| io(error.into()))?;
        let partial = path.with_extension("lock.partial");
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, path))
            .map_err(io)
    }
}

fn parse_json<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, LockError> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(
        |error| LockError::Field {
            path: path.to_owned(),
            field: error.path().to_string(),
            source: error.into_inner(),
        },
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::build) fn package(name: &str, bytes: &[u8]) -> LockedPackage {
        LockedPackage {
            usage: Use::Install,
            package: PackageName::try_from(name.to_owned()).unwrap(),
            version: Version::try_from("1:2.0+b1~x-3".to_owned()).unwrap(),
            architecture: Architecture::Amd64,
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
            filename: PoolPath::try_from(format!("pool/main/x/{name}_2.0+b1~x-3_amd64.deb"))
                .unwrap(),
        }
    }

    pub(in crate::build) fn lock(packages: Vec<LockedPackage>) -> Lock {
        let definition = serde_json::json!({
            "name": "tiny", "about": "small", "suite": "trixie", "source_date_epoch": 1735689600,
            "kernel": "linux-image-amd64", "packages": ["busybox-static"], "modules": ["loop"],
        });
        Lock {
            format: FORMAT,
            source: Digest::of(b"source"),
            definition: serde_json::from_value(definition).unwrap(),
            packages,
        }
    }

    #[test]
    fn the_file_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.lock");
        for packages in [
            vec![],
            vec![package("ab", b"1")],
            vec![package("ab", b"1"), package("cd", b"2")],
        ] {
            let lock = lock(packages);
            lock.write(&path).unwrap();
            assert_eq!(Lock::read(&path).unwrap(), lock);
        }
        let lines = std::fs::read_to_string(&path).unwrap();
        assert_eq!(lines.matches("\"filename\"").count(), 2);
    }

    #[test]
    fn unknown_formats_and_fields_are_refused() {
        let path = Path::new("image.lock");
        let text = lock(vec![package("ab", b"1")]).to_text().unwrap();
        let parse = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Lock::parse(&text.replace(from, to), path).unwrap_err()
        };
        let error = parse("\"format\": 1", "\"format\": 2, \"other\": []");
        assert!(
            matches!(error, LockError::Format { found: 2, .. }),
            "{error:?}"
        );
        for (from, to, at) in [
            ("\"source\"", "\"sauce\"", "sauce"),
            ("pool/main", "pool/../x", "packages[0].filename"),
            ("pool/main", "/etc", "packages[0].filename"),
            ("sha256:6b", "md5:6b", "packages[0].digest"),
            ("\"install\"", "\"run\"", "packages[0].use"),
            ("\"size\":1", "\"size\":-1", "packages[0].size"),
            ("1:2.0", "$(id)", "packages[0].version"),
        ] {
            match parse(from, to) {
                LockError::Field { field, .. } => assert_eq!(field, at),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        }
        assert!(matches!(
            Lock::read(Path::new("/nonexistent")),
            Err(LockError::Missing(_))
        ));
    }

    #[test]
    fn a_package_listed_twice_is_refused() {
        let text = lock(vec![package("ab", b"1"), package("ab", b"2")])
            .to_text()
            .unwrap();
        let error = Lock::parse(&text, Path::new("image.lock")).unwrap_err();
        assert!(matches!(error, LockError::Twice { .. }));
    }

    #[test]
    fn the_digest_ignores_the_definitions_text_only() {
        let one = lock(vec![package("ab", b"1")]);
        let mut two = one.clone();
        two.source = Digest::of(b"with a comment");
        assert_eq!(one.digest(), two.digest());
        two.packages[0].digest = Digest::of(b"other");
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn changed_locks_are_read_or_refused() {
        use proptest::prelude::*;
        let path = Path::new("image.lock");
        let text = lock(vec![package("ab", b"1"), package("cd", b"2")])
            .to_text()
            .unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cases = vexp_testkit::cases(400);
        let check = |text: &str| {
            let Ok(lock) = Lock::parse(text, path) else {
                return;
            };
            for package in lock.packages {
                // It is appended to the address of an archive, and is a word of a script's line.
                let file = package.filename.to_string();
                let plain = |c: char| c.is_ascii_graphic() && !"\"'\\$`;&|".contains(c);
                assert!(
                    !file.starts_with(['/', '-']) && !file.contains(".."),
                    "{file}"
                );
                assert!(file.chars().all(plain), "{file}");
            }
        };
        proptest!(cases.clone(), |(bytes in vexp_testkit::hostile::changed(text.as_bytes()))| {
            check(&String::from_utf8_lossy(&bytes));
        });
        proptest!(cases, |(changed in vexp_testkit::hostile::changed_json(&whole))| {
            check(&changed.to_string());
        });
    }
}
