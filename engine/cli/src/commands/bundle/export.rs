//! `vexp export`.

use std::path::PathBuf;

use serde::Serialize;
use vexp_api::digest::Digest;
use vexp_api::exit::Exit;
use vexp_api::registry::Registry;
use vexp_api::run_dir::{RECORD_BYTES, read_named};
use vexp_engine::bundle::pack;
use vexp_engine::store::Store;
use vexp_report::bundle::Binary;

use super::names::{Kind, Replaced, Secret, author};
use super::{FORMAT, Images, Ingredients, Made, Options, anonymous, failure, lint};
use crate::args::{ExportArgs, Format};
use crate::commands::report;
use crate::error::{Failure, OrExit as _};
use crate::render;

/// What was made.
#[derive(Serialize, schemars::JsonSchema)]
pub(in crate::commands) struct Exported {
    run: String,
    bundle: PathBuf,
    /// SHA-256 of the file.
    digest: Digest,
    /// SHA-256 of its manifest: of the contents, however they are compressed.
    contents: Digest,
    /// Bytes of the file.
    size: u64,
    /// Bytes of what is in it.
    unpacked: u64,
    files: usize,
    /// What `--anonymous` replaced; empty without it.
    replaced: Vec<Replaced>,
}

/// What is to be packed.
struct Ready {
    made: Made,
    replaced: Vec<Replaced>,
    /// Where a copy's files are until they are packed.
    _copy: Option<tempfile::TempDir>,
}

fn options(args: &ExportArgs) -> Options {
    Options {
        format: FORMAT,
        images: args.images,
        vexp: args.with_vexp.is_some(),
        templates: args.templates.is_some(),
        license: args.license.clone(),
        authors: args.authors.clone(),
        contact: args.contact.clone(),
        archive: args.archive.clone(),
        code: args.code.clone(),
        anonymous: args.anonymous,
    }
}

/// Names that the command line says.
fn said(args: &ExportArgs) -> Vec<Secret> {
    let mut secrets: Vec<Secret> = args.authors.iter().flat_map(|name| author(name)).collect();
    let contact = args.contact.as_deref();
    secrets.extend(contact.and_then(|contact| Secret::new(Kind::Mail, contact)));
    let code = args.code.as_deref();
    secrets.extend(code.and_then(|code| Secret::new(Kind::Repository, code)));
    let archive = args.archive.as_ref();
    secrets.extend(archive.and_then(|doi| Secret::new(Kind::Identifier, doi.as_str())));
    let words = args.hide.iter();
    secrets.extend(words.filter_map(|word| Secret::new(Kind::Word, word)));
    secrets
}

fn ready(args: &ExportArgs, registry: &Registry) -> Result<Ready, Failure> {
    let images = match (args.images, &args.store) {
        (false, _) => None,
        (true, Some(root)) => Some(Store::open(root)),
        (true, None) => Some(Store::open_default()),
    };
    let ingredients = Ingredients {
        run: &args.run,
        vexp: crate::VERSION,
        options: options(args),
        templates: args.templates.clone(),
        binary: args
            .with_vexp
            .clone()
            .map(|named| named.unwrap_or_else(crate::executable)),
        images: images.transpose().or_exit(Exit::Usage)?.map(Images::Store),
    };
    if args.anonymous {
        let anonymous = anonymous::made(ingredients, (&said(args), &args.show), registry)?;
        return Ok(Ready {
            made: anonymous.made,
            replaced: anonymous.replaced,
            _copy: Some(anonymous.folder),
        });
    }
    Ok(Ready {
        made: ingredients.made(registry)?,
        replaced: Vec::new(),
        _copy: None,
    })
}

pub(in crate::commands) fn run(args: &ExportArgs, registry: &Registry) -> Result<Exit, Failure> {
    report::is_run(&args.run)?;
    let Ready {
        made,
        replaced,
        _copy,
    } = ready(args, registry)?;
    if args.check {
        return lint::run(args, &made, &options(args));
    }
    let run = &made.derived.frames.run.record.id;
    advice(args, &made);
    for replaced in &replaced {
        render::say(&replaced.words());
    }
    let target = match &args.output {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{run}.vexp.tar.zst")),
    };
    let packed = pack(run, crate::VERSION, &made.contents, &target);
    let packed = packed.map_err(|error| failure(&error))?;
    let exported = Exported {
        run: run.to_string(),
        digest: packed.digest,
        contents: packed.manifest.digest().map_err(|error| failure(&error))?,
        size: packed.size,
        unpacked: packed.manifest.size(),
        files: packed.manifest.files.len(),
        bundle: target,
        replaced,
    };
    match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&exported).or_exit(Exit::Usage)?;
            render::out(&format!("{text}\n"));
        }
        Format::Text => {
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            let path = exported.bundle.display();
            render::out(&format!("{path}\n{}\n", exported.digest));
            render::say(&format!(
                "{} files, {:.1} MB, packed to {:.1} MB",
                exported.files,
                megabytes(exported.unpacked),
                megabytes(exported.size)
            ));
            if let Some(binary) = &made.binary {
                needs(binary);
            }
            render::say(&format!("next: vexp verify {path}"));
        }
    }
    Ok(Exit::Fine)
}

/// What the executable in the bundle needs where it is started.
fn needs(binary: &Binary) {
    let (machine, libraries) = (&binary.machine, binary.libraries.join(", "));
    render::say(&match libraries.is_empty() {
        true => {
            format!("bin/vexp is static, for {machine}; README.md in the bundle has the command")
        }
        false => format!(
            "note: bin/vexp, for {machine}, needs these shared libraries where it is started: {libraries}; \
             --with-vexp=FILE takes another one, e.g. a static one"
        ),
    });
}

/// What whoever exports should know before they pass the bundle on.
fn advice(args: &ExportArgs, made: &Made) {
    let frames = &made.derived.frames;
    if frames.run.record.ended.is_none() {
        render::say("note: this run has not ended; `vexp run --resume` finishes it");
    }
    if args.license.is_none() {
        render::say("note: without --license, nobody may pass the bundle on");
    }
    if args.anonymous {
        return;
    }
    let own = read_named(&args.run.join("frames/claims.json"), RECORD_BYTES);
    if own.is_ok_and(|own| made.derived.files.get("frames/claims.json") != Some(&own)) {
        render::say(
            "note: the report in the run's folder was made by another version or from other data; \
             the bundle has one that was made now",
        );
    }
}
