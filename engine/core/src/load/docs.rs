//! What the files of the library say of their fields, for editors, schemas and tests.

use std::path::Path;

use nickel_lang_core::ast::primop::PrimOp;
use nickel_lang_core::ast::record::{FieldDef, Record};
use nickel_lang_core::ast::{Ast, AstAlloc, InputFormat, Node};
use nickel_lang_core::cache::{CacheHub, SourcePath};
use nickel_lang_core::traverse::{TraverseAlloc as _, TraverseControl};
use vexp_api::registry::Registry;

use super::eval;
use super::protocol::Contracts;
use super::sources::LIBRARY;

/// A field of a file, and what it says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documented {
    /// The field of the file that the record is, as `Platform`; empty for the file's own fields and
    /// for records that have no name.
    pub record: String,
    /// Its name.
    pub field: String,
    /// Whether it has a contract.
    pub contract: bool,
    /// Its `| doc`.
    pub doc: Option<String>,
}

/// The library's files as a study imports them, with the contracts of a registry's plugins: name
/// and text.
pub fn library(registry: &Registry) -> Vec<(&'static str, String)> {
    eval::strict_library(&Contracts::of(registry))
}

/// The fields of the record that a Nickel file ends in, as a plugin's contract of its options does. Empty
/// if it can't be read, or ends in something else.
pub fn fields(text: &str) -> Vec<Documented> {
    let mut cache = CacheHub::new();
    let path = SourcePath::Path(Path::new(LIBRARY).join("file.ncl"), InputFormat::Nickel);
    let id = cache.sources.add_string(path, text.to_owned());
    let alloc = AstAlloc::new();
    match cache.sources.parse_nickel(&alloc, id) {
        Ok(ast) => exported(&ast)
            .iter()
            .filter_map(|field| described("", field))
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// The fields that a Nickel file exports, those of its records, and all fields with a contract
/// anywhere in it. Empty if it can't be read.
pub fn documented(text: &str) -> Vec<Documented> {
    let mut cache = CacheHub::new();
    let path = SourcePath::Path(Path::new(LIBRARY).join("file.ncl"), InputFormat::Nickel);
    let id = cache.sources.add_string(path, text.to_owned());
    let alloc = AstAlloc::new();
    let Ok(ast) = cache.sources.parse_nickel(&alloc, id) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for field in exported(&ast) {
        found.extend(described("", field));
        if let Some(Node::Record(record)) = field.value.as_ref().map(|value| &value.node) {
            let name = name(field).unwrap_or_default();
            found.extend(
                record
                    .field_defs
                    .iter()
                    .filter_map(|field| described(&name, field)),
            );
        }
    }
    ast.traverse_ref(
        &mut |node: &Ast<'_>, (): &()| {
            if let Node::Record(record) = &node.node {
                for one in record
                    .field_defs
                    .iter()
                    .filter_map(|field| described("", field))
                {
                    let known =
                        |other: &Documented| (&other.field, &other.doc) == (&one.field, &one.doc);
                    if one.contract && !found.iter().any(known) {
                        found.push(one);
                    }
                }
            }
            TraverseControl::<(), ()>::Continue
        },
        &(),
    );
    found
}

fn name(field: &FieldDef<'_>) -> Option<String> {
    Some(field.path_as_ident()?.label().to_owned())
}

fn described(record: &str, field: &FieldDef<'_>) -> Option<Documented> {
    Some(Documented {
        record: record.to_owned(),
        field: name(field)?,
        contract: !field.metadata.annotation.is_empty(),
        doc: field.metadata.doc.map(str::to_owned),
    })
}

/// The fields of the record that a file ends in, also where it is merged into another.
fn exported<'ast>(ast: &'ast Ast<'ast>) -> &'ast [FieldDef<'ast>] {
    match &ast.node {
        Node::Let { body, .. } => exported(body),
        Node::Record(Record { field_defs, .. }) => field_defs,
        Node::PrimOpApp {
            op: PrimOp::Merge(_),
            args,
        } => args.last().map_or(&[], exported),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_with_what_is_said_of_them() {
        let text = "let Inner = { deep | String } in let other = { x = 1 } in other &
            { a | doc \"An a.\" = 1, B = { c | doc \"A c.\" | Number, d = 2 },
              list | doc \"A list.\" | Array { e | Number }, inner | Inner }";
        let found = documented(text);
        let of = |field: &str| {
            let one = found.iter().find(|one| one.field == field)?;
            Some((one.record.as_str(), one.doc.as_deref()))
        };
        assert_eq!(of("a"), Some(("", Some("An a."))));
        assert_eq!(of("B"), Some(("", None)));
        assert_eq!(of("c"), Some(("B", Some("A c."))));
        assert_eq!(of("d"), Some(("B", None)));
        assert_eq!(of("e"), Some(("", None)));
        assert_eq!(of("deep"), Some(("", None)));
        assert_eq!(of("x"), None);
        assert!(documented("{ a = ").is_empty());
    }
}
