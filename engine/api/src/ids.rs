//! Names that are safe as file names, host names, command-line arguments and Nickel fields.

use std::fmt;
use std::sync::Arc;

/// What is the same for every kind of text that is parsed once.
macro_rules! text {
    ($type:ident, $error:ident) => {
        impl $type {
            /// It as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // `pad` honours a caller's width, which tables use.
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.as_str().to_owned()
            }
        }
    };
}

/// A name: 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`, beginning with a letter or a digit.
///
/// Such a name can't be taken for an option (`-x`), a path (`../x`) or shell syntax, and is a host
/// name where it has no `_` or `.`.
///
/// A copy shares the text: a plan repeats few names many times, every sample has two, and a long ping has a million
/// samples.
#[derive(
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// The text can't be a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a name: expected 1 to 63 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit",
    .0.escape_debug()
)]
pub struct BadName(pub String);

impl Name {
    /// Parses a name.
    pub fn new(text: impl Into<String>) -> Result<Self, BadName> {
        let text = text.into();
        let ok = (1..=63).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
            });
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(BadName(text))
        }
    }
}

text!(Name, BadName);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::new(text)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

/// A network interface of a machine, as its kernel names it: 1 to 15 of letters, digits, `.`, `_`, `-`,
/// `+` and `@`, beginning with a letter, a digit or `_`.
///
/// The kernel takes all that is shorter than `IFNAMSIZ` and has no `/`, no `:` and no blank
/// (`dev_valid_name`). What could be taken for an option or for shell syntax is refused beside that.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Interface(String);

/// The text can't be an [`Interface`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not an interface: expected 1 to 15 letters, digits, `.`, `_`, `-`, `+`, `@`, as `ip link` shows them",
    .0.escape_debug()
)]
pub struct BadInterface(pub String);

impl Interface {
    /// Parses an interface's name.
    pub fn new(text: impl Into<String>) -> Result<Self, BadInterface> {
        let text = text.into();
        let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let ok = (1..=15).contains(&text.len())
            && first(text.as_bytes()[0])
            && (text.bytes()).all(|b| first(b) || b".-+@".contains(&b));
        if ok {
            Ok(Self(text))
        } else {
            Err(BadInterface(text))
        }
    }
}

text!(Interface, BadInterface);

/// A host as ssh takes it: an IP address, a host name, or an alias of the user's configuration. 1 to
/// 253 of letters, digits, `.`, `_` and `-`, beginning with a letter or a digit; or an IPv6 address.
///
/// It can't be taken for an option, and has nothing that means something in a pattern, a list or a
/// token of ssh_config(5).
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// The text can't be a [`HostName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a host: expected an IP address, or 1 to 253 letters, digits, `.`, `_`, `-`, beginning with a letter or digit",
    .0.escape_debug()
)]
pub struct BadHostName(pub String);

impl HostName {
    /// Parses a host.
    pub fn new(text: impl Into<String>) -> Result<Self, BadHostName> {
        let text = text.into();
        let word = (1..=253).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && (text.bytes()).all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if word || text.parse::<std::net::Ipv6Addr>().is_ok() {
            Ok(Self(text))
        } else {
            Err(BadHostName(text))
        }
    }
}

text!(HostName, BadHostName);

/// An absolute path on another machine, at most 4095 bytes of letters, digits and `/._+:@,=-`: it
/// means nothing but itself in a shell, a configuration file and a guest's definition.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct RemotePath(pub(crate) String);

/// The text can't be a [`RemotePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a path here: expected an absolute one of letters, digits and `/._+:@,=-`, without `..`",
    .0.escape_debug()
)]
pub struct BadRemotePath(pub String);

impl RemotePath {
    /// Parses a path.
    pub fn new(text: impl Into<String>) -> Result<Self, BadRemotePath> {
        let text = text.into();
        let ok = text.starts_with('/')
            && text.len() < 4096
            && text.split('/').all(|part| part != "..")
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/._+:@,=-".contains(&b));
        if ok {
            Ok(Self(text))
        } else {
            Err(BadRemotePath(text))
        }
    }
}

text!(RemotePath, BadRemotePath);

/// A DOI without its resolver: `10.5281/zenodo.3678171`.
///
/// The letters are those that the Citation File Format takes (`doi` of its schema 1.2.0), without the backslash.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Doi(String);

/// The text can't be a [`Doi`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a DOI: expected one without its resolver, such as 10.5281/zenodo.3678171", .0.escape_debug())]
pub struct BadDoi(pub String);

impl Doi {
    /// Parses a DOI.
    pub fn new(text: impl Into<String>) -> Result<Self, BadDoi> {
        let text = text.into();
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let suffix = |b: u8| b.is_ascii_alphanumeric() || b":/_;().-".contains(&b);
        let ok = text.split_once('/').is_some_and(|(prefix, rest)| {
            let mut parts = prefix.split('.');
            let registrant = (parts.next(), parts.next());
            matches!(registrant, (Some("10"), Some(number)) if digits(number) && (4..=9).contains(&number.len()))
                && parts.all(digits)
                && !rest.is_empty()
                && rest.bytes().all(suffix)
        });
        if ok {
            Ok(Self(text))
        } else {
            Err(BadDoi(text))
        }
    }
}

text!(Doi, BadDoi);

impl std::str::FromStr for Doi {
    type Err = BadDoi;

    fn from_str(text: &str) -> Result<Self, BadDoi> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_field_names_only() {
        for good in ["a", "xen-3.1a", "kvm-84-pv", "0", "send_tcp"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            ".x",
            "../x",
            "a b",
            "A",
            "a\n",
            "a$(id)",
            "é",
            &"a".repeat(64),
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts_and_paths_mean_nothing_else() {
        for good in ["rack-7.lab", "Node1", "10.0.0.1", "::1", "fe80::1"] {
            assert!(HostName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=id",
            "a b",
            "a\0",
            "a\n",
            "*",
            "!a",
            "a,b",
            "a@b",
            "%h",
            "$(id)",
            ":",
        ] {
            assert!(HostName::new(bad).is_err(), "{bad:?}");
        }
        assert!(RemotePath::new("/opt/iperf3-3.17/bin/iperf3").is_ok());
        for bad in [
            "", "iperf3", "-x", "/a b", "/a\0", "/a\nb", "/../x", "/$(id)", "/a;b", "/\"x",
        ] {
            assert!(RemotePath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_doi_has_no_resolver() {
        for good in [
            "10.5281/zenodo.3678171",
            "10.1000.10/a(b)c",
            "10.1145/3447786.3456248",
        ] {
            assert_eq!(Doi::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "10.5281",
            "10.5281/",
            "10.52/x",
            "11.5281/x",
            "10.5281x/x",
            "https://doi.org/10.5281/zenodo.1",
            "10.5281/a b",
        ] {
            assert!(Doi::new(bad).is_err(), "{bad}");
        }
    }
}
