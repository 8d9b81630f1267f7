//! `vexp init`: a study to begin with.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use vexp_api::exit::Exit;
use vexp_api::ids::Name;
use vexp_engine::run::files;

use crate::error::{Failure, OrExit as _};
use crate::render;

const STUDY: &str = include_str!("init.ncl");
/// The name of [`STUDY`].
const NAME: &str = "my-study";
const FILE: &str = "study.ncl";

pub(super) fn run(folder: &Path) -> Result<Exit, Failure> {
    files::create_dir(folder).or_exit(Exit::Usage)?;
    let path = folder.join(FILE);
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = file.map_err(|error| {
        let message = format!("cannot make {}: {error}", path.display());
        Failure::new(Exit::Usage, message).hint("vexp init takes a folder that has no study yet")
    })?;
    let text = STUDY.replace(NAME, name(folder).as_ref().map_or(NAME, Name::as_str));
    file.write_all(text.as_bytes()).or_exit(Exit::Usage)?;
    let path = path.display();
    render::out(&format!("{path}\n"));
    render::say(&format!(
        "next: vexp check {path}; vexp plan {path}; vexp reproduce {path}"
    ));
    Ok(Exit::Fine)
}

/// The folder's name, as a study may have it.
fn name(folder: &Path) -> Option<Name> {
    let folder = folder.canonicalize().ok()?;
    let own = folder.file_name()?.to_str()?.to_lowercase();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let own = own.replace(|c| !fits(c), "-");
    let own = own.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    Name::new(own.get(..own.len().min(40))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_is_named_by_its_folder() {
        let parent = tempfile::tempdir().unwrap();
        for (folder, expected) in [
            ("bonding", Some("bonding")),
            ("Xen vs. KVM (2)", Some("xen-vs.-kvm--2")),
            ("_x_", Some("x")),
            ("研究", None),
        ] {
            let path = parent.path().join(folder);
            std::fs::create_dir(&path).unwrap();
            let name = name(&path);
            assert_eq!(name.as_ref().map(Name::as_str), expected, "{folder}");
        }
        let long = parent.path().join("a".repeat(100));
        std::fs::create_dir(&long).unwrap();
        assert_eq!(name(&long).map(|name| name.as_str().len()), Some(40));
    }
}
