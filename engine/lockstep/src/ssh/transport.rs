//! The transport layer of RFC 4253 up to the first keys: versions, algorithms, key exchange, the host's key.

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use x25519_dalek::{PublicKey as Point, StaticSecret};

use super::data::{Reader, Writer};
use super::error::SshError;
use super::key::{ED25519, PublicKey};
use super::number;
use super::packet::{Keys, Opener, Packet, Sealer};
use super::random::Random;

/// What this client calls itself. It does not change with vexp's version, so that a run does not either.
const VERSION: &[u8] = b"SSH-2.0-vexp";
/// Most bytes that a server may say before its version, and the longest version (RFC 4253, section 4.2).
const GREETING: usize = 8 << 10;
const LONGEST_VERSION: usize = 255;
/// Bytes that are read at a time.
const PIECE: usize = 32 << 10;

/// What is agreed on, in the order of SSH_MSG_KEXINIT, and this client's only choice.
const ALGORITHMS: [(&str, &str); 10] = [
    ("key exchange", "curve25519-sha256"),
    ("host key", ED25519),
    ("cipher to the server", "aes128-ctr"),
    ("cipher to the client", "aes128-ctr"),
    ("code of authenticity to the server", "hmac-sha2-256"),
    ("code of authenticity to the client", "hmac-sha2-256"),
    ("compression to the server", "none"),
    ("compression to the client", "none"),
    ("language to the server", ""),
    ("language to the client", ""),
];

/// What keys were agreed on for.
pub(super) struct Session {
    /// Its identifier: the first hash, and the only one.
    pub(super) id: [u8; 32],
    /// The server's version.
    pub(super) server: String,
}

/// A byte stream with packets on it.
pub(super) struct Transport<S> {
    pub(super) stream: S,
    pub(super) opener: Opener,
    pub(super) sealer: Sealer,
    random: Random,
    /// What is sent with the next flush.
    out: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    pub(super) fn new(stream: S, mut random: Random) -> Self {
        Self {
            stream,
            opener: Opener::default(),
            sealer: Sealer::new(random.fork()),
            random,
            out: Vec::new(),
        }
    }

    /// Adds a message to what is sent with the next [`Transport::flush`].
    pub(super) fn say(&mut self, message: Writer) -> Result<(), SshError> {
        self.sealer.seal(&message.done(), &mut self.out)
    }

    /// Sends all that was said.
    pub(super) async fn flush(&mut self) -> Result<(), SshError> {
        let out = std::mem::take(&mut self.out);
        let sent = self.stream.write_all(&out).await;
        sent.map_err(|error| SshError::stream(&error))
    }

    async fn read(&mut self) -> Result<(), SshError> {
        let mut piece = vec![0; PIECE];
        let read = self.stream.read(&mut piece).await;
        match read.map_err(|error| SshError::stream(&error))? {
            0 => Err(SshError::Closed),
            n => {
                self.opener.feed(&piece[..n]);
                Ok(())
            }
        }
    }

    /// The next message that is of any consequence, of which the first byte is the number.
    pub(super) async fn hear(&mut self) -> Result<Vec<u8>, SshError> {
        loop {
            let packet = match self.opener.next()? {
                Some(packet) => packet,
                None => {
                    self.read().await?;
                    continue;
                }
            };
            if let Some(payload) = of_consequence(packet)? {
                return Ok(payload);
            }
        }
    }

    /// A message that must be of this number.
    async fn expect(&mut self, wanted: u8) -> Result<Vec<u8>, SshError> {
        let payload = self.hear().await?;
        match payload[0] == wanted {
            true => Ok(payload),
            false => Err(unexpected(&payload)),
        }
    }

    /// Agrees on keys.
    pub(super) async fn exchange_keys(&mut self, known: &[PublicKey]) -> Result<Session, SshError> {
        self.out.extend_from_slice(VERSION);
        self.out.extend_from_slice(b"\r\n");
        let proposal = proposal(self.random.array());
        self.say(Writer::new().raw(&proposal))?;
        self.flush().await?;
        let server_version = self.version().await?;
        let server_proposal = self.expect(number::KEXINIT).await?;
        let wrong_guess = agree(&server_proposal)?;

        let secret = StaticSecret::from(self.random.array::<32>());
        let own = Point::from(&secret);
        self.say(Writer::message(number::ECDH_INIT).string(own.as_bytes()))?;
        self.flush().await?;
        if wrong_guess {
            self.hear().await?;
        }
        let reply = self.expect(number::ECDH_REPLY).await?;
        let reply = Reply::parse(&reply)?;
        let shared = agreement(&secret, reply.point)?;
        let hash = Sha256::digest(
            Writer::new()
                .string(VERSION)
                .string(&server_version)
                .string(proposal)
                .string(server_proposal)
                .string(reply.host_key)
                .string(own.as_bytes())
                .string(reply.point)
                .mpint(&shared)
                .done(),
        );
        let hash: [u8; 32] = hash.into();
        verify_host(&reply, known, &hash)?;
        self.say(Writer::message(number::NEWKEYS))?;
        let keys = |[iv, key, mac]: [u8; 3]| {
            let [iv, key] = [iv, key].map(|letter| first_16(derive(&shared, &hash, letter)));
            Keys::new(iv, key, derive(&shared, &hash, mac))
        };
        self.sealer.keys(keys(*b"ACE"));
        self.flush().await?;
        let end = self.expect(number::NEWKEYS).await?;
        Reader::new(&end[1..], "SSH_MSG_NEWKEYS").end()?;
        self.opener.keys(keys(*b"BDF"));
        Ok(Session {
            id: hash,
            server: String::from_utf8_lossy(&server_version).into_owned(),
        })
    }

    /// The server's version, without the end of its line. Other lines may come before.
    async fn version(&mut self) -> Result<Vec<u8>, SshError> {
        let mut seen = 0;
        loop {
            while let Some(mut line) = self.opener.line() {
                seen += line.len();
                while line.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
                if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
                    return match line.len() <= LONGEST_VERSION {
                        true => Ok(line),
                        false => Err(SshError::Protocol("its version is too long".to_owned())),
                    };
                }
                if line.starts_with(b"SSH-") {
                    let version = String::from_utf8_lossy(&line).into_owned();
                    return Err(SshError::Protocol(format!("it speaks {version:?}")));
                }
            }
            if seen + self.opener.waiting() > GREETING {
                return Err(SshError::Protocol("it says no version".to_owned()));
            }
            self.read().await?;
        }
    }
}

/// Whether a message is more than something to be passed over, at any time.
pub(super) fn of_consequence(packet: Packet) -> Result<Option<Vec<u8>>, SshError> {
    match packet.payload[0] {
        number::IGNORE | number::DEBUG | number::UNIMPLEMENTED | number::EXT_INFO => Ok(None),
        number::DISCONNECT => {
            let mut reader = Reader::new(&packet.payload[1..], "SSH_MSG_DISCONNECT");
            let (code, text) = (reader.number()?, reader.text()?);
            Err(SshError::Disconnected { code, text })
        }
        _ => Ok(Some(packet.payload)),
    }
}

/// The error of a message where it has no place.
pub(super) fn unexpected(payload: &[u8]) -> SshError {
    let number = payload.first().copied().unwrap_or(0);
    SshError::Protocol(format!("message {number} has no place here"))
}

/// SSH_MSG_KEXINIT of this client.
fn proposal(cookie: [u8; 16]) -> Vec<u8> {
    let message = Writer::message(number::KEXINIT).raw(&cookie);
    let message = ALGORITHMS
        .iter()
        .fold(message, |message, (_, name)| message.string(name));
    message.boolean(false).number(0).done()
}

/// Holds the server's proposal against this client's. True if a message follows that is to be ignored, since the server
/// has guessed wrongly what would be agreed on.
fn agree(proposal: &[u8]) -> Result<bool, SshError> {
    let mut reader = Reader::new(&proposal[1..], "SSH_MSG_KEXINIT");
    reader.array::<16>()?;
    let mut guessed = true;
    for (place, (what, wanted)) in ALGORITHMS.into_iter().enumerate() {
        let offered = reader.text()?;
        let has = offered.split(',').any(|name| name == wanted);
        if !has && !wanted.is_empty() {
            return Err(SshError::Algorithm {
                what,
                wanted,
                offered,
            });
        }
        // Only key exchange and host key are guessed: RFC 4253, section 7.
        guessed &= place > 1 || offered.split(',').next() == Some(wanted);
    }
    let follows = reader.boolean()?;
    reader.number()?;
    reader.end()?;
    Ok(follows && !guessed)
}

/// SSH_MSG_KEX_ECDH_REPLY.
struct Reply<'a> {
    host_key: &'a [u8],
    point: [u8; 32],
    signature: &'a [u8],
}

impl<'a> Reply<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, SshError> {
        let mut reader = Reader::new(&payload[1..], "SSH_MSG_KEX_ECDH_REPLY");
        let reply = Self {
            host_key: reader.string()?,
            point: reader.exactly()?,
            signature: reader.string()?,
        };
        reader.end()?;
        Ok(reply)
    }
}

/// The shared secret. RFC 8731 has the connection end where it is zero, as it is for points of small order.
fn agreement(secret: &StaticSecret, point: [u8; 32]) -> Result<[u8; 32], SshError> {
    let shared = secret.diffie_hellman(&Point::from(point));
    match shared.was_contributory() {
        true => Ok(shared.to_bytes()),
        false => Err(SshError::Protocol("its point is of small order".to_owned())),
    }
}

/// The key must be known, and the server must have it.
fn verify_host(reply: &Reply<'_>, known: &[PublicKey], hash: &[u8]) -> Result<(), SshError> {
    let key = PublicKey::from_blob(reply.host_key)?;
    if !known.contains(&key) {
        return Err(SshError::HostKey { shown: key.line() });
    }
    match key.verifies(hash, reply.signature) {
        true => Ok(()),
        false => Err(SshError::HostKey {
            shown: "the known one, and a signature that is not that key's".to_owned(),
        }),
    }
}

/// Keys of RFC 4253, section 7.2, none of which is longer than the hash. The session's identifier is the first hash, and
/// there is no other.
fn derive(shared: &[u8], hash: &[u8; 32], letter: u8) -> [u8; 32] {
    let text = Writer::new().mpint(shared).raw(hash).raw(&[letter]);
    Sha256::digest(text.raw(hash).done()).into()
}

fn first_16(bytes: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|i| bytes[i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::KeyPair;
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    /// SSH_MSG_KEXINIT of a server with these names first, and then this client's.
    fn offers(first: [&str; 10], follows: bool) -> Vec<u8> {
        let message = Writer::message(number::KEXINIT).raw(&[0; 16]);
        let lists = first.iter().zip(ALGORITHMS);
        let message = lists.fold(message, |message, (other, (_, own))| match *other {
            "" => message.string(own),
            other => message.string(format!("{other},{own}")),
        });
        message.boolean(follows).number(0).done()
    }

    #[test]
    fn the_shared_secret_is_that_of_rfc_7748() {
        // Section 6.1.
        let alice = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let shared = agreement(&StaticSecret::from(alice), bob).unwrap();
        let expected = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(shared, expected);
        let small = agreement(&StaticSecret::from(alice), [0; 32]).unwrap_err();
        assert!(small.to_string().contains("small order"), "{small}");
    }

    #[test]
    fn a_server_without_an_algorithm_is_told_apart_by_it() {
        let message = Writer::message(number::KEXINIT).raw(&[0; 16]);
        let message = message
            .string("curve25519-sha256")
            .string("ssh-rsa,ssh-dss");
        let message = (0..8).fold(message, |message, _| message.string(""));
        let error = agree(&message.boolean(false).number(0).done()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("ssh-rsa,ssh-dss") && text.contains("host key"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_guess_of_the_server_is_passed_over() {
        let none = [""; 10];
        assert_eq!(agree(&offers(none, false)), Ok(false));
        assert_eq!(agree(&offers(none, true)), Ok(false));
        let other = ["other-kex", "", "", "", "", "", "", "", "", ""];
        assert_eq!(agree(&offers(other, true)), Ok(true));
        assert_eq!(agree(&offers(other, false)), Ok(false));
        // Ciphers aren't guessed.
        let cipher = ["", "", "other-cipher", "", "", "", "", "", "", ""];
        assert_eq!(agree(&offers(cipher, true)), Ok(false));
    }

    #[test]
    fn a_host_must_have_the_known_key_and_not_only_show_it() {
        let [host, other] = ["host", "other"].map(|owner| KeyPair::from_seed(1, owner));
        let verified = |shown: &KeyPair, signer: &KeyPair| {
            let (host_key, signature) = (shown.public().blob(), signer.sign(b"hash"));
            let reply = Reply {
                host_key: &host_key,
                point: [0; 32],
                signature: &signature,
            };
            verify_host(&reply, &[host.public()], b"hash")
        };
        assert_eq!(verified(&host, &host), Ok(()));
        for error in [verified(&other, &other), verified(&host, &other)] {
            let text = error.unwrap_err().to_string();
            assert!(text.contains("Host key verification failed"), "{text}");
        }
    }

    proptest! {
        #![proptest_config(vexp_testkit::cases(512))]

        #[test]
        fn damaged_messages_of_the_exchange_are_errors_or_harmless(
            place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
        ) {
            let key = KeyPair::from_seed(1, "host");
            let reply = Writer::message(number::ECDH_REPLY)
                .string(key.public().blob())
                .string([9; 32])
                .string(key.sign(b"hash"))
                .done();
            for mut message in [offers([""; 10], true), reply] {
                let at = 1 + place.index(message.len() - 1);
                match cut {
                    true => message.truncate(at),
                    false => message[at] = byte,
                }
                let _ = agree(&message);
                if let Ok(reply) = Reply::parse(&message) {
                    let _ = verify_host(&reply, &[key.public()], b"hash");
                }
            }
        }
    }
}
