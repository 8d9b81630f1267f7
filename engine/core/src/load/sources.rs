//! Reads a study's files before evaluation and refuses imports that leave its folder.
//!
//! Nickel's imports are literals, so all of them can be found by walking the syntax trees. Every
//! file is read here, under our rules, and put into Nickel's cache under a path below `/dev/null`,
//! where no file can ever be: evaluation itself reads nothing.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use nickel_lang_core::ast::{Ast, AstAlloc, Import, InputFormat, Node};
use nickel_lang_core::cache::{CacheHub, SourcePath};
use nickel_lang_core::files::FileId;
use nickel_lang_core::position::TermPos;
use nickel_lang_core::traverse::{TraverseAlloc as _, TraverseControl};
use vexp_api::diagnostic::{Diagnostic, Severity};

use super::convert::{Names, from_nickel, label};
use crate::bundle::{BadPath, BundlePath};

/// Where the study's files are in Nickel's cache.
pub(super) const STUDY: &str = "/dev/null/study";
/// Where the library is in Nickel's cache.
pub(super) const LIBRARY: &str = "/dev/null/library";

/// Most files of a study.
const MAX_FILES: usize = 256;
/// Most bytes of one file.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The files of a study.
pub(super) struct Sources {
    /// Text by path below the folder.
    pub(super) texts: BTreeMap<String, String>,
    formats: BTreeMap<String, Vec<InputFormat>>,
}

impl Sources {
    /// A cache that holds all files and the library.
    pub(super) fn cache(&self, library: &[(&str, &str)]) -> (CacheHub, Names) {
        let mut cache = CacheHub::new();
        let mut names = HashMap::new();
        cache
            .sources
            .add_import_paths(std::iter::once(PathBuf::from(LIBRARY)));
        for (name, text) in library {
            let path = Path::new(LIBRARY).join(name);
            cache.sources.add_string(
                SourcePath::Path(path, InputFormat::Nickel),
                (*text).to_owned(),
            );
        }
        for (name, text) in &self.texts {
            for format in self.formats.get(name).into_iter().flatten() {
                let path = SourcePath::Path(Path::new(STUDY).join(name), *format);
                let id = cache.sources.add_string(path, text.clone());
                names.insert(id, name.clone());
            }
        }
        (cache, Names(names))
    }

    /// Reads `main` and everything that it imports.
    pub(super) fn read(
        root: &Path,
        main: &str,
        library: &[(&str, &str)],
    ) -> Result<Self, (BTreeMap<String, String>, Vec<Diagnostic>)> {
        let mut sources = Self {
            texts: BTreeMap::new(),
            formats: BTreeMap::new(),
        };
        let mut findings = Vec::new();
        let mut queue = vec![Wanted {
            name: main.to_owned(),
            format: InputFormat::Nickel,
            from: None,
        }];
        while let Some(wanted) = queue.pop() {
            let known = sources.formats.entry(wanted.name.clone()).or_default();
            if known.contains(&wanted.format) {
                continue;
            }
            known.push(wanted.format);
            if sources.formats.len() > MAX_FILES {
                findings.push(refuse(
                    format!("the study has more than {MAX_FILES} files"),
                    wanted.from.as_ref(),
                    None,
                ));
                break;
            }
            if !sources.texts.contains_key(&wanted.name) {
                if wanted.from.is_some() && is_everybodys(root) {
                    findings.push(refuse(
                        format!(
                            "`{}` is not read: the study lies in a home or in /",
                            wanted.name
                        ),
                        wanted.from.as_ref(),
                        Some("move the study into a folder of its own".to_owned()),
                    ));
                    continue;
                }
                // What `vexp export` could not put into a bundle, hours later.
                if let Err(BadPath { why, .. }) =
                    BundlePath::new(format!("run/source/{}", wanted.name))
                {
                    findings.push(refuse(
                        format!("a file of a study can't be called `{}`: {why}", wanted.name),
                        wanted.from.as_ref(),
                        Some(RENAME.to_owned()),
                    ));
                    continue;
                }
                match read_file(root, &wanted.name) {
                    Ok(text) => {
                        sources.texts.insert(wanted.name.clone(), text);
                    }
                    Err(refusal) => {
                        findings.push(refuse(refusal.message, wanted.from.as_ref(), refusal.help));
                        continue;
                    }
                }
            }
            if matches!(wanted.format, InputFormat::Nickel) {
                let text = &sources.texts[&wanted.name];
                let library = |name: &str| library.iter().any(|(known, _)| *known == name);
                match imports(&wanted.name, text, library) {
                    Ok((found, refused)) => {
                        queue.extend(found);
                        findings.extend(refused);
                    }
                    Err(errors) => findings.extend(errors),
                }
            }
        }
        if findings.is_empty() {
            Ok(sources)
        } else {
            Err((sources.texts, findings))
        }
    }
}

/// A file that is to be read, and the import that asks for it.
struct Wanted {
    name: String,
    format: InputFormat,
    from: Option<vexp_api::diagnostic::Place>,
}

/// Why a file is not read.
struct Refusal {
    message: String,
    help: Option<String>,
}

fn refuse(
    message: String,
    from: Option<&vexp_api::diagnostic::Place>,
    help: Option<String>,
) -> Diagnostic {
    Diagnostic {
        code: "import".to_owned(),
        severity: Severity::Error,
        message,
        field: String::new(),
        labels: from
            .map(|place| vexp_api::diagnostic::Label {
                place: place.clone(),
                text: "imported here".to_owned(),
            })
            .into_iter()
            .collect(),
        help,
    }
}

const RENAME: &str = "rename it: a run keeps its study's files, and a bundle takes names of letters, \
                      digits and `._-+@=,~` only, since others are not the same on every system";
const INSIDE: &str = "a study may import files of its own folder and the library `vexp.ncl`";

/// Kinds of files that a study may import, by how their names end.
const KINDS: [&str; 11] = [
    "ncl", "json", "yaml", "yml", "toml", "txt", "csv", "tsv", "md", "cfg", "ini",
];

/// Why a file that lies in the study's folder is none of its files.
fn private(below: &Path) -> Option<String> {
    let hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    if below.components().any(hidden) {
        return Some("is a hidden file, or in a hidden folder, and no file of a study".to_owned());
    }
    let kind = below.extension().and_then(|kind| kind.to_str());
    if kind.is_some_and(|kind| KINDS.contains(&kind)) {
        return None;
    }
    let kinds = KINDS.join(", .");
    Some(format!("is of no kind that a study may import: .{kinds}"))
}

/// Whether a folder is no study's: all files, or somebody's home. A study that lies there by chance, as a
/// download does, may import nothing.
fn is_everybodys(root: &Path) -> bool {
    let home = std::env::var_os("HOME").is_some_and(|home| Path::new(&home) == root);
    let homes = ["/home", "/"].map(Path::new);
    let first = root.parent().is_none_or(|parent| homes.contains(&parent));
    home || first || root.join(".ssh").exists()
}

/// Reads one file, if it is a regular file inside `root` after all symbolic links.
fn read_file(root: &Path, name: &str) -> Result<String, Refusal> {
    let refusal = |message: String| Refusal {
        message,
        help: None,
    };
    let path = root.join(name);
    let real = path
        .canonicalize()
        .map_err(|error| refusal(format!("cannot read `{name}`: {error}")))?;
    let Ok(below) = real.strip_prefix(root) else {
        return Err(Refusal {
            message: format!("`{name}` is a link that leaves the study's folder"),
            help: Some(INSIDE.to_owned()),
        });
    };
    if let Some(why) = private(below) {
        return Err(Refusal {
            message: format!("`{name}` {why}"),
            help: Some(INSIDE.to_owned()),
        });
    }
    // NONBLOCK: opening a named pipe must not wait for its other end.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(
            (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW)
                .bits()
                .cast_signed(),
        )
        .open(&real)
        .map_err(|error| refusal(format!("cannot read `{name}`: {error}")))?;
    let regular = file.metadata().is_ok_and(|meta| meta.is_file());
    if !regular {
        return Err(refusal(format!("`{name}` is not a regular file")));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| refusal(format!("cannot read `{name}`: {error}")))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(refusal(format!(
            "`{name}` is larger than {} MiB",
            MAX_FILE_BYTES >> 20
        )));
    }
    // Some editors begin a file with a byte-order mark, which is no part of the text.
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}

/// The imports of a Nickel file: those to follow, and findings about those that are refused.
fn imports(
    name: &str,
    text: &str,
    library: impl Fn(&str) -> bool,
) -> Result<(Vec<Wanted>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut cache = CacheHub::new();
    let path = SourcePath::Path(Path::new(STUDY).join(name), InputFormat::Nickel);
    let id = cache.sources.add_string(path, text.to_owned());
    let names = Names(HashMap::from([(id, name.to_owned())]));
    let alloc = AstAlloc::new();
    let ast = cache.sources.parse_nickel(&alloc, id).map_err(|errors| {
        errors
            .errors
            .into_iter()
            .map(|error| {
                let mut files = cache.sources.files().clone();
                from_nickel("syntax", error, &mut files, &names)
            })
            .collect::<Vec<_>>()
    })?;
    let mut found = Vec::new();
    let mut refused = Vec::new();
    let place = |pos: &TermPos| place_of(pos, &cache, &names);
    ast.traverse_ref(
        &mut |node: &Ast<'_>, (): &()| {
            match &node.node {
                Node::Import(Import::Package { id }) => refused.push(refuse(
                    format!("`{id}` is a package, and packages are not available"),
                    place(&node.pos).as_ref(),
                    Some(INSIDE.to_owned()),
                )),
                Node::Import(Import::Path { path, format }) => {
                    let path = path.to_string_lossy();
                    match resolve(name, &path) {
                        _ if library(&path) => {}
                        Some(target) => found.push(Wanted {
                            name: target,
                            format: *format,
                            from: place(&node.pos),
                        }),
                        None => refused.push(refuse(
                            format!("`{}` is outside the study's folder", path.escape_debug()),
                            place(&node.pos).as_ref(),
                            Some(INSIDE.to_owned()),
                        )),
                    }
                }
                _ => {}
            }
            TraverseControl::<(), ()>::Continue
        },
        &(),
    );
    Ok((found, refused))
}

fn place_of(pos: &TermPos, cache: &CacheHub, names: &Names) -> Option<vexp_api::diagnostic::Place> {
    let span = pos.into_opt()?;
    let range = span.to_range::<usize>();
    label(cache.sources.files(), names, span.src_id, range, "").map(|label| label.place)
}

/// The path below the study's folder that `path` means in the file `from`, unless it leaves it.
fn resolve(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<String> = Path::new(from)
        .parent()?
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?.to_owned()),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// The id under which the main file is in the cache.
pub(super) fn main_path(main: &str) -> String {
    format!("{STUDY}/{main}")
}

/// Adds text that is not a file of the study.
pub(super) fn add_snippet(cache: &mut CacheHub, name: &str, text: String) -> FileId {
    cache.sources.add_string(
        SourcePath::Path(Path::new(LIBRARY).join(name), InputFormat::Nickel),
        text,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_or_of_another_kind_is_no_file_of_a_study() {
        for secret in [
            ".ssh/id_ed25519",
            "a/.env",
            ".netrc.json",
            "id_rsa",
            "key.pem",
            "a.sh",
        ] {
            assert!(private(Path::new(secret)).is_some(), "{secret}");
        }
        for fine in ["a.ncl", "data/points.csv", "a.b.json"] {
            assert!(private(Path::new(fine)).is_none(), "{fine}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_everybodys(folder.path()));
        std::fs::create_dir(folder.path().join(".ssh")).unwrap();
        assert!(is_everybodys(folder.path()));
        for home in ["/", "/root", "/home/me"] {
            assert!(is_everybodys(Path::new(home)), "{home}");
        }
    }

    #[test]
    fn resolves_inside_only() {
        assert_eq!(resolve("a/b.ncl", "c.ncl").as_deref(), Some("a/c.ncl"));
        assert_eq!(resolve("a/b.ncl", "../c.ncl").as_deref(), Some("c.ncl"));
        assert_eq!(resolve("b.ncl", "./x/../c.ncl").as_deref(), Some("c.ncl"));
        assert_eq!(resolve("b.ncl", "../c.ncl"), None);
        assert_eq!(resolve("b.ncl", "x/../../c.ncl"), None);
        assert_eq!(resolve("b.ncl", "/etc/shadow"), None);
    }
}
