//! Verdicts of several runs, claim by claim.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vexp_report::ClaimVerdict;

/// A claim's verdicts; none where it is not, or where nothing was run.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct ClaimRow {
    pub(crate) claim: String,
    /// In the bundle.
    pub(crate) bundle: Option<String>,
    /// From the bundle's raw data.
    pub(crate) again: Option<String>,
    /// When it was measured again.
    pub(crate) rerun: Option<String>,
}

/// The verdicts of judged claims, as a `claims.json` has them.
pub(super) fn of(claims: &[ClaimVerdict]) -> BTreeMap<String, String> {
    let pair = |claim: &ClaimVerdict| {
        let verdict = claim.verdict.as_str().replace(' ', "-");
        (claim.claim.to_string(), verdict)
    };
    claims.iter().map(pair).collect()
}

/// The verdicts in a `claims.json`, by claim.
pub(super) fn verdicts(bytes: &[u8]) -> Result<BTreeMap<String, String>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Claim {
        claim: String,
        verdict: String,
    }
    #[derive(Deserialize)]
    struct Claims {
        claims: Vec<Claim>,
    }
    let claims: Claims = serde_json::from_slice(bytes)?;
    let pair = |claim: Claim| (claim.claim, claim.verdict);
    Ok(claims.claims.into_iter().map(pair).collect())
}

/// All claims of either.
pub(super) fn rows(
    mut bundle: BTreeMap<String, String>,
    again: BTreeMap<String, String>,
) -> Vec<ClaimRow> {
    let mut rows: Vec<ClaimRow> = again
        .into_iter()
        .map(|(claim, verdict)| ClaimRow {
            bundle: bundle.remove(&claim),
            again: Some(verdict),
            rerun: None,
            claim,
        })
        .collect();
    rows.extend(bundle.into_iter().map(|(claim, verdict)| ClaimRow {
        claim,
        bundle: Some(verdict),
        ..ClaimRow::default()
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_either_side_are_listed() {
        let of = |pairs: &[(&str, &str)]| {
            let pair =
                |(claim, verdict): &(&str, &str)| ((*claim).to_owned(), (*verdict).to_owned());
            pairs.iter().map(pair).collect::<BTreeMap<_, _>>()
        };
        let rows = rows(
            of(&[("a", "x"), ("gone", "y")]),
            of(&[("a", "x"), ("new", "z")]),
        );
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.claim.as_str(),
                    row.bundle.as_deref(),
                    row.again.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("a", Some("x"), Some("x")),
                ("new", None, Some("z")),
                ("gone", Some("y"), None)
            ]
        );
    }

    #[test]
    fn changed_verdicts_are_read_or_refused() {
        let whole = br#"{"format": 1, "claims": [{"claim": "a", "verdict": "reproduced"}]}"#;
        vexp_testkit::hostile::on_changes(200, whole, |bytes| drop(verdicts(bytes)));
    }
}
