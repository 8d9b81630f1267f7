//! Ed25519 keys (RFC 8032, RFC 8709) in OpenSSH's formats.

use std::path::Path;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::base64;
use super::data::{Malformed, Reader, Writer};
use super::random::Random;

/// The algorithm's name, of keys and of signatures.
pub(super) const ED25519: &str = "ssh-ed25519";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Bytes that the private part is filled up to, of a key that is not encrypted.
const BLOCK: usize = 8;

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read.
    #[error("cannot read the key {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no key that this client can use.
    #[error(
        "{path} is not an unencrypted Ed25519 key in OpenSSH's format: {reason}; ssh-keygen -t ed25519 -N '' makes one"
    )]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// As SSH sends it.
    pub(super) fn blob(&self) -> Vec<u8> {
        Writer::new().string(ED25519).string(self.0).done()
    }

    pub(super) fn from_blob(blob: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(blob, "public key");
        if reader.string()? != ED25519.as_bytes() {
            return Err(Malformed("public key: it is not ssh-ed25519"));
        }
        let key = reader.exactly()?;
        reader.end()?;
        Ok(Self(key))
    }

    /// `ssh-ed25519 BASE64`, as files of public keys and of known hosts have it.
    pub fn line(&self) -> String {
        format!("{ED25519} {}", base64::encode(&self.blob()))
    }

    /// Whether `blob` is this key's signature of `text`.
    pub(super) fn verifies(&self, text: &[u8], blob: &[u8]) -> bool {
        let parse = || {
            let mut reader = Reader::new(blob, "signature");
            let name = reader.string()?;
            let bytes = reader.exactly::<64>()?;
            reader.end()?;
            Ok::<_, Malformed>((name == ED25519.as_bytes()).then_some(bytes))
        };
        let (Ok(Some(bytes)), Ok(key)) = (parse(), VerifyingKey::from_bytes(&self.0)) else {
            return false;
        };
        key.verify_strict(text, &Signature::from_bytes(&bytes))
            .is_ok()
    }
}

/// A private key and its public one.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyPair").field(&self.public()).finish()
    }
}

impl KeyPair {
    /// A key that follows from a run's seed and its owner's name. Whoever knows the seed knows the key: it is for machines
    /// that nobody else can reach.
    pub fn from_seed(seed: u64, owner: &str) -> Self {
        let mut random = Random::new(seed, &format!("key\0{owner}"), 0);
        Self(SigningKey::from_bytes(&random.array()))
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// A signature of `text` as SSH sends it.
    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(text).to_bytes();
        Writer::new().string(ED25519).string(signature).done()
    }

    /// The private key's file, as ssh-keygen(1) writes it without a passphrase (PROTOCOL.key of OpenSSH).
    pub fn private_file(&self, comment: &str) -> String {
        let public = self.public();
        // ssh-keygen draws this number; it only tells whether decryption went well.
        let check = Sha256::digest(public.0);
        let mut private = Writer::new()
            .raw(&check[..4])
            .raw(&check[..4])
            .string(ED25519)
            .string(public.0)
            .string(self.0.to_keypair_bytes())
            .string(comment)
            .done();
        for padding in 1.. {
            if private.len().is_multiple_of(BLOCK) {
                break;
            }
            private.push(padding);
        }
        let file = Writer::new()
            .raw(MAGIC)
            .string("none")
            .string("none")
            .string("")
            .number(1)
            .string(public.blob())
            .string(private)
            .done();
        let text = base64::encode(&file);
        let mut lines = vec![BEGIN];
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(70));
            lines.push(line);
            rest = more;
        }
        lines.push(END);
        lines.join("\n") + "\n"
    }

    /// Reads a private key's file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path).map_err(|source| KeyError::Read {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&text).map_err(|reason| KeyError::Format {
            path: path.display().to_string(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let body = text.trim().strip_prefix(BEGIN);
        let body = body.and_then(|rest| rest.strip_suffix(END));
        let body: String = body
            .ok_or("its first or last line is another")?
            .lines()
            .collect();
        let file = base64::decode(&body).ok_or("it is not base64")?;
        parse_file(&file).map_err(|error| error.to_string())
    }
}

fn parse_file(file: &[u8]) -> Result<KeyPair, Malformed> {
    let wrong = |what| Err(Malformed(what));
    let mut reader = Reader::new(file, "private key file");
    if reader.bytes(MAGIC.len())? != MAGIC {
        return wrong("private key file: another version");
    }
    let (cipher, kdf, _) = (reader.string()?, reader.string()?, reader.string()?);
    if cipher != b"none" || kdf != b"none" {
        return wrong("private key file: it has a passphrase");
    }
    if reader.number()? != 1 {
        return wrong("private key file: it has more than one key");
    }
    let public = PublicKey::from_blob(reader.string()?)?;
    let mut private = Reader::new(reader.string()?, "private key");
    reader.end()?;
    if private.number()? != private.number()? || private.string()? != ED25519.as_bytes() {
        return wrong("private key");
    }
    let (named, pair) = (private.exactly::<32>()?, private.exactly::<64>()?);
    let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| Malformed("private key"))?;
    let key = KeyPair(key);
    if key.public() != public || named != public.0 {
        return wrong("private key: it is not that of its public key");
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::known;
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        // Section 7.1, test 2.
        let hex = |text: &str| -> Vec<u8> {
            let byte = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
            (0..text.len() / 2).map(byte).collect()
        };
        let secret = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = hex(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        let key = KeyPair(SigningKey::from_bytes(&secret.try_into().unwrap()));
        assert_eq!(key.public().0[..], public);
        let blob = key.sign(&[0x72]);
        assert_eq!(blob[blob.len() - 64..], signature);
        assert!(key.public().verifies(&[0x72], &blob));
        assert!(!key.public().verifies(&[0x73], &blob));
        assert!(!KeyPair::from_seed(1, "x").public().verifies(&[0x72], &blob));
    }

    #[test]
    fn ssh_keygen_reads_what_was_written_and_the_other_way_round() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let keygen = |args: &[&str]| {
            let mut keygen = std::process::Command::new("ssh-keygen");
            let output = keygen.args(args).current_dir(&dir).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let ours = KeyPair::from_seed(5, "host");
        let path = dir.path().join("ours");
        std::fs::write(&path, ours.private_file("a comment")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let public = keygen(&["-y", "-f", "ours"]);
        assert_eq!(public.trim(), format!("{} a comment", ours.public().line()));

        keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "theirs"]);
        let theirs = KeyPair::read(&dir.path().join("theirs")).unwrap();
        let public = std::fs::read_to_string(dir.path().join("theirs.pub")).unwrap();
        assert!(public.starts_with(&theirs.public().line()), "{public}");
        keygen(&["-q", "-t", "ed25519", "-N", "secret", "-f", "locked"]);
        let locked = KeyPair::read(&dir.path().join("locked")).unwrap_err();
        assert!(locked.to_string().contains("passphrase"), "{locked}");
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(256))]

        #[test]
        fn a_damaged_file_is_no_key_and_no_panic(place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let whole = KeyPair::from_seed(3, "host").private_file("c");
            let body: String = whole.lines().filter(|line| !line.starts_with('-')).collect();
            let mut bytes = base64::decode(&body).unwrap();
            let at = place.index(bytes.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] = byte,
            }
            if let Ok(key) = parse_file(&bytes) {
                // The comment, its padding and the name of no options are all that may differ.
                prop_assert_eq!(key.public(), KeyPair::from_seed(3, "host").public());
            }
        }

        #[test]
        fn any_text_may_stand_among_known_hosts(text in "\\PC{0,200}") {
            let _ = known::keys(&text, "198.19.255.2".parse().unwrap(), 22);
            let _ = KeyPair::parse(&text);
        }
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for comment in ["", "vexp", "a longer comment"] {
            let key = KeyPair::from_seed(3, "host");
            let file = key.private_file(comment);
            let read = KeyPair::parse(&file).unwrap();
            assert_eq!(read.public(), key.public());
            assert_eq!(read.sign(b"x"), key.sign(b"x"));
        }
        let other = KeyPair::from_seed(3, "vm1");
        assert_ne!(other.public(), KeyPair::from_seed(3, "host").public());
    }
}
