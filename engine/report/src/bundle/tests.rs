//! Which of a run's files is the study.

use super::*;

fn main<'a>(recorded: Option<&str>, sources: &[&'a str]) -> Option<&'a str> {
    let record: RunRecord = serde_json::from_value(serde_json::json!({
        "format": 1, "id": "r", "vexp": "1", "started": "", "ended": null, "controller": {},
        "main": recorded,
    }))
    .unwrap();
    main_file(&record, sources.iter().copied())
}

#[test]
fn the_main_file_is_the_one_that_was_recorded() {
    let sources = ["lib.ncl", "paper.ncl", "paper/claims.ncl"];
    assert_eq!(main(Some("paper.ncl"), &sources), Some("paper.ncl"));
    assert_eq!(main(Some("gone.ncl"), &sources), None);
}

#[test]
fn without_a_record_it_must_be_the_only_one_that_can_be_it() {
    let sources = ["paper.ncl", "paper/claims.ncl", "values.json"];
    assert_eq!(main(None, &sources), Some("paper.ncl"));
    assert_eq!(main(None, &["a.ncl", "b.ncl"]), None);
    assert_eq!(main(None, &["a/b.ncl"]), None);
}
