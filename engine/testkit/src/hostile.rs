//! Input that somebody has changed, for property tests of what reads it.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// Texts that mean something to somebody: shells, ssh, HTML, paths, numbers.
pub const TEXTS: [&str; 20] = [
    "",
    "$(touch /tmp/pwned)",
    "`id`",
    "a\nb",
    "a\0b",
    "-oProxyCommand=id",
    "--help",
    "../../etc/shadow",
    "/etc/shadow",
    "<script>alert(1)</script>",
    "\" ' \\ ; & | * ? ~ %h",
    "NaN",
    "-inf",
    "1e999",
    "-1",
    "18446744073709551616",
    "0.1s",
    "9999999999999GB",
    "\u{202e}é\u{fffd}",
    "%{x}",
];

/// A place and what happens there.
#[derive(Clone, Debug)]
enum Edit {
    Flip(u8),
    Cut(usize),
    Repeat(usize),
    Insert(&'static str),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        any::<u8>().prop_map(Edit::Flip),
        (1..200_usize).prop_map(Edit::Cut),
        (1..200_usize).prop_map(Edit::Repeat),
        proptest::sample::select(&TEXTS[..]).prop_map(Edit::Insert),
    ]
}

/// These bytes with one to four changes: a byte, a piece that is lost or there twice, a text put in.
pub fn changed(bytes: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let bytes = bytes.to_vec();
    proptest::collection::vec((any::<Index>(), edit()), 1..5).prop_map(move |edits| {
        let mut bytes = bytes.clone();
        for (place, edit) in edits {
            let at = place.index(bytes.len().max(1)).min(bytes.len());
            let end = |len: usize| (at + len).min(bytes.len());
            match edit {
                Edit::Flip(byte) => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = byte),
                Edit::Cut(len) => drop(bytes.drain(at..end(len))),
                Edit::Repeat(len) => {
                    let piece = bytes[at..end(len)].to_vec();
                    drop(bytes.splice(at..at, piece));
                }
                Edit::Insert(text) => drop(bytes.splice(at..at, text.bytes())),
            }
        }
        bytes
    })
}

/// Tries a parser on so many changes of these bytes: it may refuse them, and not panic.
pub fn on_changes(usual: u32, bytes: &[u8], parse: impl Fn(&[u8])) {
    proptest!(crate::cases(usual), |(bytes in changed(bytes))| parse(&bytes));
}

/// The same for a parser of text.
pub fn on_changed_text(usual: u32, text: &str, parse: impl Fn(&str)) {
    on_changes(usual, text.as_bytes(), |bytes| {
        parse(&String::from_utf8_lossy(bytes))
    });
}

/// Values that fit nowhere, or everywhere.
fn value() -> impl Strategy<Value = Value> {
    let texts = TEXTS.map(|text| json!(text)).to_vec();
    let others = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(-1e308),
        json!(1e308),
        json!(u64::MAX),
        json!(u32::MAX),
        json!(4_294_967_296_u64),
        json!([]),
        json!({}),
        json!([[[[]]]]),
        json!("a".repeat(10_000)),
    ];
    proptest::sample::select([texts, others].concat())
}

/// This value with one to three of the values in it replaced, removed or there twice.
pub fn changed_json(whole: &Value) -> impl Strategy<Value = Value> + use<> {
    let whole = whole.clone();
    let change = (any::<Index>(), proptest::option::weighted(0.8, value()));
    proptest::collection::vec(change, 1..4).prop_map(move |changes| {
        let mut whole = whole.clone();
        for (place, new) in changes {
            let mut pointers = Vec::new();
            below(&whole, String::new(), &mut pointers);
            if pointers.is_empty() {
                return new.unwrap_or(Value::Null);
            }
            let pointer = &pointers[place.index(pointers.len())];
            match new {
                Some(new) => drop(whole.pointer_mut(pointer).map(|at| *at = new)),
                None => remove(&mut whole, pointer),
            }
        }
        whole
    })
}

/// JSON pointers (RFC 6901) of all values below the top.
fn below(value: &Value, at: String, out: &mut Vec<String>) {
    let mut child = |key: &str, value: &Value| {
        let key = key.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{at}/{key}");
        out.push(pointer.clone());
        below(value, pointer, out);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| child(key, value)),
        Value::Array(all) => {
            let all = all.iter().enumerate();
            all.for_each(|(i, value)| child(&i.to_string(), value));
        }
        _ => {}
    }
}

fn remove(whole: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    match whole.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(&key)),
        Some(Value::Array(all)) => {
            if let Ok(index) = key.parse::<usize>() {
                all.push(all[index].clone());
                all.swap_remove(index);
            }
        }
        _ => {}
    }
}
