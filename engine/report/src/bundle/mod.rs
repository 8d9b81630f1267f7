//! What a bundle says about itself, made of the run in it alone: a README, the licence, a research
//! object (RO-Crate) and an artifact appendix.
//!
//! Nothing here looks at a clock or at this machine, so that a bundle can be made again from what
//! is in it, byte for byte.

mod appendix;
mod elsewhere;
mod pages;
mod published;
mod ro_crate;

use std::collections::BTreeMap;

use serde::Serialize;
use vexp_api::digest::Digest;
use vexp_api::ids::Name;
use vexp_api::record::RunRecord;

use crate::derived::Derived;
use crate::report::{TemplateError, Templates};

/// What is said of an image.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Name.
    pub name: Name,
    /// What it is for, as its definition says.
    pub about: String,
    /// Digest of its files.
    pub digest: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// Packages that it was built from.
    pub packages: usize,
}

/// The executable of vexp in a bundle.
#[derive(Clone, Debug, Serialize)]
pub struct Binary {
    /// SHA-256 as `sha256sum` prints it.
    pub sha256: String,
    /// Processors that it is for.
    pub machine: String,
    /// Shared libraries that it needs; none if it is static.
    pub libraries: Vec<String>,
}

/// What a bundle is made of.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The run and what follows from it.
    pub derived: &'a Derived,
    /// Version of vexp that makes the bundle.
    pub vexp: &'a str,
    /// SPDX expression that the authors give their data under, if they do.
    pub license: Option<&'a str>,
    /// Who made the run.
    pub authors: &'a [String],
    /// Who answers about it: an e-mail address or a page.
    pub contact: Option<&'a str>,
    /// DOI under which an archive keeps the bundle.
    pub archive: Option<&'a str>,
    /// Address of the repository in which the study is developed.
    pub code: Option<&'a str>,
    /// Whether names of people and places were taken out, for a review in which authors are not known.
    pub anonymous: bool,
    /// Images that were used.
    pub images: &'a [Image],
    /// Whether their files are in the bundle.
    pub with_images: bool,
    /// The vexp that is in the bundle, if one is.
    pub binary: Option<&'a Binary>,
    /// All other files of the bundle: bytes by path.
    pub files: &'a BTreeMap<String, u64>,
}

/// A bundle's own words can't be written.
#[derive(Debug, thiserror::Error)]
pub enum AboutError {
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Not representable.
    #[error("cannot represent the research object as JSON")]
    Json(#[from] serde_json::Error),
}

/// File names in the bundle's folder, with their bytes. They are vexp's own words, whatever templates a report
/// was made with.
pub fn files(about: &About<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, AboutError> {
    let templates = Templates::load(None)?;
    let view = appendix::View::new(about);
    let text = |template| -> Result<Vec<u8>, AboutError> {
        let text = templates.page(template, &view)?;
        Ok(format!("{}\n", text.trim_end()).into_bytes())
    };
    let (short, printed) = pages::files(about);
    let mut files = vec![
        ("README.md", text("bundle/README.md.j2")?),
        ("LICENSE.md", text("bundle/LICENSE.md.j2")?),
        (
            "artifact-appendix.md",
            text("bundle/artifact-appendix.md.j2")?,
        ),
        ("appendix.md", short),
        ("appendix.pdf", printed),
        ("Dockerfile", elsewhere::dockerfile(about).into_bytes()),
        ("profile.py", elsewhere::profile(about).into_bytes()),
        (
            "ro-crate-metadata.json",
            ro_crate::json(about)?.into_bytes(),
        ),
    ];
    files.extend(published::files(about)?);
    Ok(files)
}

/// A run's main file among its sources, if it is known: recorded, or the only one that can be it.
pub fn main_file<'a>(
    record: &RunRecord,
    sources: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let can_be = |name: &&str| match &record.main {
        Some(main) => *name == main,
        None => name.ends_with(".ncl") && !name.contains('/'),
    };
    let mut found = sources.into_iter().filter(can_be);
    found.next().filter(|_| found.next().is_none())
}

impl About<'_> {
    fn run(&self) -> &Name {
        &self.derived.frames.run.record.id
    }

    /// What `vexp export` calls the file.
    fn bundle(&self) -> String {
        format!("{}.vexp.tar.zst", self.run())
    }

    /// What a command that measures begins with: `sudo ` where the testbed needs root on this computer.
    fn sudo(&self) -> &'static str {
        match self.derived.frames.run.plan.testbed.as_str() {
            "emulated" => "sudo ",
            _ => "",
        }
    }

    /// Whether the run's testbed makes its machines itself.
    fn emulated(&self) -> bool {
        let testbed = &self.derived.frames.run.plan.testbed;
        testbed == "emulated" || testbed == "virtual"
    }

    /// Path of the study's main file in the bundle, if it is known: recorded, or the only one that
    /// can be it.
    fn main(&self) -> Option<String> {
        let files = self.files.keys();
        let sources = files.filter_map(|path| path.strip_prefix("run/source/"));
        let main = main_file(&self.derived.frames.run.record, sources)?;
        Some(format!("run/source/{main}"))
    }

    /// Address of the licence's text, if it is one that has one.
    fn license_url(&self) -> Option<String> {
        let single = |text: &&str| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
        };
        let id = self.license.filter(single)?;
        Some(format!("https://spdx.org/licenses/{id}"))
    }
}

#[cfg(test)]
mod tests;
