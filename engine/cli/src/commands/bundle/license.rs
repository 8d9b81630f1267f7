//! A licence that can be named.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An SPDX licence expression whose licences there are: `CC-BY-4.0`, `MIT OR Apache-2.0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct License(String);

impl License {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for License {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match spdx::Expression::parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!(
                "{}; names are those of https://spdx.org/licenses, e.g. CC-BY-4.0 for data",
                error.reason
            )),
        }
    }
}

impl TryFrom<String> for License {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<License> for String {
    fn from(license: License) -> Self {
        license.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_licences_that_there_are_can_be_named() {
        for good in ["CC-BY-4.0", "MIT OR Apache-2.0", "LicenseRef-ours"] {
            assert_eq!(good.parse::<License>().unwrap().as_str(), good);
        }
        for bad in ["", "CC BY", "Mine", "MIT OR"] {
            let error = bad.parse::<License>().unwrap_err();
            assert!(error.contains("spdx.org"), "{error}");
        }
    }
}
