//! Two runs with made-up verdicts, side by side.

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn claim(verdict: &str, points: &[&[&str]]) -> ClaimSeen {
    ClaimSeen {
        claim: name("c"),
        statement: "One <b>is</b> more.".to_owned(),
        place: "Table I".to_owned(),
        verdict: verdict.to_owned(),
        reason: format!("because of {verdict}"),
        tests: vec![TestSeen {
            of: "throughput of a".to_owned(),
            paper: "> 1 times throughput of b".to_owned(),
            measured: Some("ratio 1.2".to_owned()),
        }],
        decisive: Some(0),
        points: points
            .iter()
            .map(|point| point.iter().map(|trial| name(trial)).collect())
            .collect(),
    }
}

fn run(id: &str, claim: ClaimSeen, digests: &[(&str, &str)]) -> Seen {
    Seen {
        title: "A | study".to_owned(),
        facts: Facts {
            run: name(id),
            started: "2026-01-02T03:04:05Z".to_owned(),
            testbed: name("virtual"),
            effort: name("quick"),
            vexp: "1".to_owned(),
            measured: 1,
            planned: 2,
        },
        claims: vec![claim],
        digests: digests
            .iter()
            .map(|(trial, text)| (name(trial), Digest::of(text.as_bytes())))
            .collect(),
    }
}

fn compared(authors: &Seen, here: &Seen, left_out: Option<&str>) -> Row {
    let left_out = left_out
        .map(|why| (name("c"), why.to_owned()))
        .into_iter()
        .collect();
    page(&Digest::of(b""), authors, here, &[], &left_out)
        .rows
        .remove(0)
}

fn verdicts(authors: &str, here: &str) -> Answer {
    let [authors, here] = [authors, here].map(|verdict| run("r", claim(verdict, &[]), &[]));
    compared(&authors, &here, None).answer
}

#[test]
fn only_decided_verdicts_are_the_same_or_differ() {
    assert_eq!(verdicts("reproduced", "reproduced"), Answer::Same);
    assert_eq!(verdicts("not-reproduced", "not-reproduced"), Answer::Same);
    assert_eq!(verdicts("reproduced", "not-reproduced"), Answer::Differs);
    assert_eq!(verdicts("not-reproduced", "reproduced"), Answer::Differs);
    for open in ["inconclusive", "out-of-regime", "not-tested"] {
        assert_eq!(verdicts("reproduced", open), Answer::CannotTell, "{open}");
        assert_eq!(verdicts(open, "reproduced"), Answer::CannotTell, "{open}");
        assert_eq!(verdicts(open, open), Answer::CannotTell, "{open}");
    }
}

#[test]
fn in_virtual_time_trials_decide_that_are_the_same_to_the_last_bit() {
    let all: &[&[&str]] = &[&["a.r1", "a.r2"], &["b.r1", "b.r2"]];
    let some: &[&[&str]] = &[&["a.r1"], &["b.r1"]];
    let digests = [("a.r1", "1"), ("a.r2", "2"), ("b.r1", "3"), ("b.r2", "4")];
    let authors = run("authors", claim("reproduced", all), &digests);
    let here = |verdict: &str, points: &[&[&str]], digests: &[(&str, &str)]| {
        compared(
            &authors,
            &run("here", claim(verdict, points), digests),
            None,
        )
    };
    let same = here("inconclusive", some, &digests);
    assert_eq!(same.answer, Answer::Same);
    assert!(same.why.starts_with("2 of 4 trials"), "{}", same.why);
    // A point is missing, a bit is another one, or the claim can't be seen: nothing follows from bits.
    assert_eq!(
        here("inconclusive", &[&["a.r1"]], &digests).answer,
        Answer::CannotTell
    );
    let other = here("inconclusive", some, &[("a.r1", "1"), ("b.r1", "other")]);
    assert_eq!(other.answer, Answer::CannotTell);
    assert!(other.why.starts_with("1 trials differ"), "{}", other.why);
    assert_eq!(
        here("out-of-regime", some, &digests).answer,
        Answer::CannotTell
    );
    // In real time there are no digests.
    assert_eq!(here("inconclusive", some, &[]).answer, Answer::CannotTell);
}

#[test]
fn what_was_left_out_says_what_it_would_take() {
    let [authors, here] =
        ["reproduced", "not-tested"].map(|verdict| run("r", claim(verdict, &[]), &[]));
    let row = compared(&authors, &here, Some("it would take 40 min more"));
    assert_eq!(
        (row.answer, row.why.as_str()),
        (Answer::CannotTell, "it would take 40 min more")
    );
    let row = compared(&authors, &here, None);
    assert_eq!(row.why, "because of not-tested");
    let row = compared(&here, &authors, None);
    assert!(
        row.why.starts_with("the authors' run does not tell"),
        "{}",
        row.why
    );
}

#[test]
fn pages_show_all_sides_and_text_stays_text() {
    let authors = run("authors", claim("reproduced", &[]), &[]);
    let here = run("here", claim("not-reproduced", &[]), &[]);
    let page = page(
        &Digest::of(b"x"),
        &authors,
        &here,
        &[name("guest")],
        &BTreeMap::new(),
    );
    let (html, markdown) = (page.html().unwrap(), page.markdown().unwrap());
    for words in [
        "authors",
        "here",
        "differs",
        "ratio 1.2",
        "because of not-reproduced",
        "guest",
    ] {
        assert!(html.contains(words), "{words}: {html}");
        assert!(markdown.contains(words), "{words}: {markdown}");
    }
    assert!(
        html.contains("One &lt;b&gt;is&lt;&#x2f;b&gt; more."),
        "{html}"
    );
    assert!(html.contains("@media print") && !html.contains("<script"));
    assert!(markdown.contains("A \\| study"), "{markdown}");
    assert_eq!(html, page.html().unwrap());
    let text = serde_json::to_string(&page).unwrap();
    assert_eq!(serde_json::from_str::<Page>(&text).unwrap(), page);
}
