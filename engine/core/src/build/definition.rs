//! `images/NAME/image.ncl`: what an image is made of.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vexp_api::digest::{Digest, Hasher};
use vexp_api::ids::Name;

/// Why an image's definition can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// There is no such image.
    #[error("no image `{name}` in {}: there are {known}", .images.display())]
    Unknown {
        /// Asked for.
        name: Name,
        /// Folder of the definitions.
        images: PathBuf,
        /// Names that exist, for people.
        known: String,
    },
    /// A file operation failed.
    #[error("could not read {}", .path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Nickel refuses the file.
    #[error("{} can't be evaluated:\n{report}", .path.display())]
    Nickel {
        /// File.
        path: PathBuf,
        /// Nickel's own report, with places.
        report: String,
    },
    /// The value has a field that is missing, unknown, or of the wrong kind.
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
    /// The definition's name is not its folder's.
    #[error("{} defines `{found}`: the name must be the folder's, `{expected}`", .path.display())]
    Misnamed {
        /// File.
        path: PathBuf,
        /// The folder's name.
        expected: Name,
        /// The definition's name.
        found: Name,
    },
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadWord;

            fn try_from(text: String) -> Result<Self, BadWord> {
                let ok: fn(&str) -> bool = $ok;
                if ok(&text) {
                    Ok(Self(text))
                } else {
                    Err(BadWord { text, what: $what })
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
pub(super) use word;

/// A text that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not {what}", .text.escape_debug())]
pub struct BadWord {
    pub(super) text: String,
    pub(super) what: &'static str,
}

/// Whether `text` begins with a lower-case letter or digit and holds only those and `more`.
pub(super) fn is_word(text: &str, more: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(plain) && text.chars().all(|c| plain(c) || more.contains(c))
}

word!(
    /// Name of a Debian package (Debian policy, 5.6.1). One that ends in `-` is refused: to apt it
    /// would mean the removal of another.
    PackageName, "a Debian package's name",
    |text| text.len() >= 2 && is_word(text, "+-.") && !text.ends_with('-')
);
word!(
    /// Name of a kernel module.
    ModuleName, "a kernel module's name", |text| is_word(text, "_-")
);
word!(
    /// Name of a Debian release: `trixie`, `bookworm`.
    Suite, "a Debian suite's name", |text| is_word(text, "-")
);

/// An image as it is defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageDef {
    /// Its name, and its folder's.
    pub name: Name,
    /// One line.
    pub about: String,
    /// Debian release.
    pub suite: Suite,
    /// The time of every file and of every maintainer script, seconds since 1970.
    pub source_date_epoch: u64,
    /// Package that the kernel is taken from, or a meta package that depends on it; `None` on
    /// images that never boot and are only mounted.
    #[serde(default)]
    pub kernel: Option<PackageName>,
    /// Package that Xen is taken from, on Xen host images.
    #[serde(default)]
    pub hypervisor: Option<PackageName>,
    /// Packages that are installed beside Debian's essential ones.
    pub packages: Vec<PackageName>,
    /// Kernel modules that the root has; those that reach it are in the initramfs as well.
    pub modules: Vec<ModuleName>,
}

/// Names of the images that a folder defines, sorted.
pub fn names(images: &Path) -> Result<Vec<Name>, DefinitionError> {
    let io = |source| DefinitionError::Io {
        path: images.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(images).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !path.join("image.ncl").is_file() {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        names.extend(name.and_then(|name| Name::new(name).ok()));
    }
    names.sort();
    Ok(names)
}

/// Path of an image's definition, which exists.
pub(super) fn file(images: &Path, name: &Name) -> Result<PathBuf, DefinitionError> {
    let path = images.join(name.as_str()).join("image.ncl");
    if path.is_file() {
        return Ok(path);
    }
    let known: Vec<_> = names(images)?.iter().map(Name::to_string).collect();
    Err(DefinitionError::Unknown {
        name: name.clone(),
        images: images.to_owned(),
        known: match known.is_empty() {
            true => "none".to_owned(),
            false => known.join(", "),
        },
    })
}

/// Digest of the text that a definition is evaluated from: its own file and the shared ones.
pub(super) fn source_digest(images: &Path, name: &Name) -> Result<Digest, DefinitionError> {
    let mut files = vec![file(images, name)?];
    let common = images.join("common");
    if let Ok(entries) = std::fs::read_dir(&common) {
        let shared = entries.filter_map(|entry| Some(entry.ok()?.path()));
        files.extend(shared.filter(|path| path.extension().is_some_and(|e| e == "ncl")));
    }
    files[1..].sort();
    let mut hasher = Hasher::new();
    for path in files {
        let text = std::fs::read(&path).map_err(|source| DefinitionError::Io {
            path: path.clone(),
            source,
        })?;
        hasher.update(format!("{}\n", text.len()).as_bytes());
        hasher.update(&text);
    }
    Ok(hasher.finish())
}

/// Evaluates `images/NAME/image.ncl`.
pub fn evaluate(images: &Path, name: &Name) -> Result<ImageDef, DefinitionError> {
    let path = file(images, name)?;
    let json = export(&path).map_err(|report| DefinitionError::Nickel {
        path: path.clone(),
        report,
    })?;
    let definition = parse(&json, &path)?;
    if definition.name != *name {
        return Err(DefinitionError::Misnamed {
            path,
            expected: name.clone(),
            found: definition.name,
        });
    }
    Ok(definition)
}

fn parse(json: &str, path: &Path) -> Result<ImageDef, DefinitionError> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(
        |error| DefinitionError::Field {
            path: path.to_owned(),
            field: error.path().to_string(),
            source: error.into_inner(),
        },
    )
}

/// The value of a Nickel file as JSON, or Nickel's report. Definitions are part of vexp and not of
/// a study, so they are trusted and evaluated in this process.
fn export(path: &Path) -> Result<String, String> {
    use nickel_lang_core::error::report::{ColorOpt, report_as_str};
    use nickel_lang_core::eval::cache::CacheImpl;
    use nickel_lang_core::program::ProgramBuilder;
    use nickel_lang_core::serialize::{ExportFormat, to_string};

    let mut program = ProgramBuilder::new()
        .add_path(path)
        .build::<CacheImpl>()
        .map_err(|error| error.to_string())?;
    let value = program
        .eval_full_for_export()
        .map_err(|error| report_as_str(&mut program.files(), error, ColorOpt::Never))?;
    to_string(ExportFormat::Json, &value).map_err(|error| format!("{error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(text: &str) -> tempfile::TempDir {
        let images = tempfile::tempdir().unwrap();
        std::fs::create_dir(images.path().join("tiny")).unwrap();
        std::fs::write(images.path().join("tiny/image.ncl"), text).unwrap();
        images
    }

    fn tiny() -> Name {
        Name::new("tiny").unwrap()
    }

    const GOOD: &str = r#"{ name = "tiny", about = "", suite = "trixie", source_date_epoch = 1,
        kernel = "linux-image-amd64", packages = ["busybox-static"], modules = ["virtio_net"] }"#;

    #[test]
    fn reads_a_definition() {
        let images = images(GOOD);
        let definition = evaluate(images.path(), &tiny()).unwrap();
        assert_eq!(definition.suite.as_str(), "trixie");
        assert_eq!(definition.hypervisor, None);
        assert_eq!(names(images.path()).unwrap(), [tiny()]);
    }

    #[test]
    fn names_the_wrong_field() {
        for (from, to, field) in [
            ("= 1,", "= -1,", "source_date_epoch"),
            ("= 1,", "= 1.5,", "source_date_epoch"),
            ("busybox-static", "$(id)", "packages[0]"),
            ("busybox-static", "busybox-", "packages[0]"),
            ("virtio_net", "../x", "modules[0]"),
            ("trixie", "-x", "suite"),
            ("about", "abuot", "abuot"),
        ] {
            let images = images(&GOOD.replace(from, to));
            match evaluate(images.path(), &tiny()) {
                Err(DefinitionError::Field { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        }
    }

    #[test]
    fn reports_what_nickel_refuses_and_wrong_names() {
        let bad = images("{ name = ");
        let error = evaluate(bad.path(), &tiny()).unwrap_err();
        assert!(matches!(error, DefinitionError::Nickel { .. }), "{error:?}");
        assert!(error.to_string().contains("image.ncl:1:"), "{error}");
        let other = images(&GOOD.replace("tiny", "other"));
        let error = evaluate(other.path(), &tiny()).unwrap_err();
        assert!(matches!(error, DefinitionError::Misnamed { .. }));
        let error = evaluate(other.path(), &Name::new("tony").unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("there are tiny"), "{error}");
    }

    #[test]
    fn the_source_digest_covers_shared_files() {
        let images = images(GOOD);
        let before = source_digest(images.path(), &tiny()).unwrap();
        std::fs::create_dir(images.path().join("common")).unwrap();
        std::fs::write(images.path().join("common/lib.ncl"), "{}").unwrap();
        assert_ne!(source_digest(images.path(), &tiny()).unwrap(), before);
    }
}
