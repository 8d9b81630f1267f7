//! The binary packet protocol of RFC 4253, section 6: bytes to payloads and back, without any input or output.

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::error::SshError;
use super::random::Random;

/// Longest packet that is taken; RFC 4253 asks for 35,000 bytes, and no channel here lets the server send more at once.
const LONGEST: usize = 64 << 10;
/// Bytes that a code of authenticity has.
const MAC: usize = 32;
/// Cipher block, and what packets without one are filled up to.
const BLOCK: usize = 16;
const PLAIN_BLOCK: usize = 8;
/// Least padding.
const PADDING: usize = 4;
/// Bytes that one direction may carry: RFC 4253, section 9, has new keys after a gigabyte.
const LIMIT: u64 = 1 << 30;

/// Keys of one direction.
pub(super) struct Keys {
    cipher: Ctr128BE<Aes128>,
    mac: Hmac<Sha256>,
}

impl Keys {
    pub(super) fn new(iv: [u8; 16], key: [u8; 16], mac: [u8; 32]) -> Self {
        Self {
            cipher: Ctr128BE::new(&key.into(), &iv.into()),
            mac: Hmac::new(&mac_key(&mac)),
        }
    }

    /// The code over a packet before its encryption.
    fn mac(&self, sequence: u32, packet: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&sequence.to_be_bytes());
        mac.update(packet);
        mac
    }
}

/// HMAC takes a key of one block of its hash; a shorter one is followed by zeros (RFC 2104).
fn mac_key(mac: &[u8; 32]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
    key[..32].copy_from_slice(mac);
    key
}

/// Makes packets.
pub(super) struct Sealer {
    random: Random,
    keys: Option<Keys>,
    sequence: u32,
    bytes: u64,
}

impl Sealer {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            keys: None,
            sequence: 0,
            bytes: 0,
        }
    }

    pub(super) fn keys(&mut self, keys: Keys) {
        self.keys = Some(keys);
    }

    /// Appends the packet of a payload to `out`.
    pub(super) fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), SshError> {
        let block = if self.keys.is_some() {
            BLOCK
        } else {
            PLAIN_BLOCK
        };
        let bare = 4 + 1 + payload.len();
        let mut padding = block - bare % block;
        if padding < PADDING {
            padding += block;
        }
        let start = out.len();
        // Payloads are this client's own, of at most a channel's packet.
        let length = u32::try_from(bare - 4 + padding).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.push(u8::try_from(padding).unwrap_or(u8::MAX));
        out.extend_from_slice(payload);
        let filled = out.len();
        out.resize(filled + padding, 0);
        self.random.fill(&mut out[filled..]);
        if let Some(keys) = &mut self.keys {
            let mac = keys.mac(self.sequence, &out[start..]);
            keys.cipher.apply_keystream(&mut out[start..]);
            out.extend_from_slice(&mac.finalize().into_bytes());
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes += (out.len() - start) as u64;
        match self.bytes > LIMIT {
            true => Err(SshError::Rekey { bytes: self.bytes }),
            false => Ok(()),
        }
    }
}

/// A payload with its packet's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) sequence: u32,
    /// Never empty.
    pub(super) payload: Vec<u8>,
}

/// Takes packets apart.
#[derive(Default)]
pub(super) struct Opener {
    keys: Option<Keys>,
    sequence: u32,
    bytes: u64,
    buffer: Vec<u8>,
    /// Bytes of the packet at the buffer's beginning, of which the first block is decrypted.
    begun: Option<usize>,
}

impl Opener {
    /// From the next packet on.
    pub(super) fn keys(&mut self, keys: Keys) {
        self.keys = Some(keys);
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes a line and its end, of the time before there are packets; `None` until it is whole.
    pub(super) fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        Some(self.buffer.drain(..=end).collect())
    }

    /// Bytes that are waiting for more.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next packet, if it is whole.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, SshError> {
        let Some(total) = self.begin()? else {
            return Ok(None);
        };
        let mac = if self.keys.is_some() { MAC } else { 0 };
        if self.buffer.len() < total + mac {
            return Ok(None);
        }
        if let Some(keys) = &mut self.keys {
            keys.cipher.apply_keystream(&mut self.buffer[BLOCK..total]);
            let code = keys.mac(self.sequence, &self.buffer[..total]);
            let right = code.verify_slice(&self.buffer[total..total + MAC]);
            right.map_err(|_| SshError::Packet("its code of authenticity is wrong"))?;
        }
        let padding = usize::from(self.buffer[4]);
        let end = total.checked_sub(padding).filter(|end| *end > 5);
        let end = end.filter(|_| padding >= PADDING);
        let end = end.ok_or(SshError::Packet("its padding can't be"))?;
        let payload = self.buffer[5..end].to_vec();
        self.buffer.drain(..total + mac);
        self.begun = None;
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes += (total + mac) as u64;
        if self.bytes > LIMIT {
            return Err(SshError::Rekey { bytes: self.bytes });
        }
        Ok(Some(Packet { sequence, payload }))
    }

    /// Decrypts the first block, and reads the packet's length there.
    fn begin(&mut self) -> Result<Option<usize>, SshError> {
        if self.begun.is_some() {
            return Ok(self.begun);
        }
        let block = if self.keys.is_some() {
            BLOCK
        } else {
            PLAIN_BLOCK
        };
        let Some(first) = self.buffer.get_mut(..block) else {
            return Ok(None);
        };
        if let Some(keys) = &mut self.keys {
            keys.cipher.apply_keystream(first);
        }
        let length = u32::from_be_bytes([first[0], first[1], first[2], first[3]]);
        let total = usize::try_from(length).ok().and_then(|n| n.checked_add(4));
        let fits = |total: &usize| (16..=LONGEST).contains(total) && total.is_multiple_of(block);
        let total = total.filter(fits);
        self.begun = Some(total.ok_or(SshError::Packet("its length can't be"))?);
        Ok(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(vexp_testkit::cases(512))]

        /// Any bytes, in any pieces: packets or an error, and nothing kept beyond the longest packet.
        #[test]
        fn any_bytes_are_packets_or_an_error(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..20),
            small in any::<bool>(),
            encrypted in any::<bool>(),
        ) {
            let (_, mut opener) = pair(encrypted);
            if small {
                // A length that can be, so that more than lengths is tried.
                opener.feed(&[0, 0, 0, 12]);
            }
            'all: for piece in pieces {
                opener.feed(&piece);
                loop {
                    match opener.next() {
                        Ok(Some(packet)) => prop_assert!(!packet.payload.is_empty()),
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
                prop_assert!(opener.waiting() <= LONGEST + MAC);
            }
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    fn keys() -> Keys {
        Keys::new([1; 16], [2; 16], [3; 32])
    }

    fn pair(encrypted: bool) -> (Sealer, Opener) {
        let mut sealer = Sealer::new(Random::new(1, "test", 0));
        let mut opener = Opener::default();
        if encrypted {
            sealer.keys(keys());
            opener.keys(keys());
        }
        (sealer, opener)
    }

    #[test]
    fn the_cipher_is_nists_example() {
        // SP 800-38A, F.5.1.
        let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
        let counter = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        let mut text = hex("6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51");
        let mut keys = Keys::new(
            counter.try_into().unwrap(),
            key.try_into().unwrap(),
            [0; 32],
        );
        keys.cipher.apply_keystream(&mut text);
        let expected = hex("874d6191b620e3261bef6864990db6ce 9806f66b7970fdff8617187bb9fffdff");
        assert_eq!(text, expected);
    }

    #[test]
    fn the_code_of_authenticity_is_that_of_rfc_4231() {
        // Case 2's key is four bytes: the zeros that fill 32 are those that HMAC adds. Its text, after a number of 4 bytes.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let keys = Keys::new([0; 16], [0; 16], key);
        let number = u32::from_be_bytes(*b"what");
        let code = keys.mac(number, b" do ya want for nothing?").finalize();
        let expected = hex("5bdcc146bf60754e6a042426089575c7 5a003f089d2739839dec58b964ec3843");
        assert_eq!(code.into_bytes()[..], expected);
    }

    #[test]
    fn payloads_of_any_length_come_back_byte_by_byte() {
        for encrypted in [false, true] {
            let (mut sealer, mut opener) = pair(encrypted);
            let payloads: Vec<Vec<u8>> = (1..70).chain([32768]).map(|n| vec![7; n]).collect();
            let mut stream = Vec::new();
            for payload in &payloads {
                let before = stream.len();
                sealer.seal(payload, &mut stream).unwrap();
                let block = if encrypted { 16 } else { 8 };
                let packet = stream.len() - before - if encrypted { 32 } else { 0 };
                assert_eq!(packet % block, 0);
            }
            let mut back = Vec::new();
            for byte in stream {
                opener.feed(&[byte]);
                back.extend(opener.next().unwrap());
            }
            assert_eq!(opener.waiting(), 0);
            let numbers: Vec<u32> = back.iter().map(|packet| packet.sequence).collect();
            assert_eq!(numbers, (0..70).collect::<Vec<u32>>());
            let back: Vec<Vec<u8>> = back.into_iter().map(|packet| packet.payload).collect();
            assert_eq!(back, payloads);
        }
    }

    #[test]
    fn lengths_and_paddings_that_can_not_be_are_refused() {
        let refused = |packet: &[u8]| {
            let mut opener = Opener::default();
            opener.feed(packet);
            opener.next().unwrap_err()
        };
        for length in [0u32, 1, 5, 8, 11, 13, 64 << 10, u32::MAX - 3, u32::MAX] {
            let packet = [&length.to_be_bytes()[..], &[4; 60]].concat();
            assert_eq!(refused(&packet), SshError::Packet("its length can't be"));
        }
        for padding in [0, 3, 11, 12, 255] {
            let packet = [&12u32.to_be_bytes()[..], &[padding], &[1; 11]].concat();
            assert_eq!(refused(&packet), SshError::Packet("its padding can't be"));
        }
    }

    #[test]
    fn each_flipped_bit_of_an_encrypted_packet_is_seen() {
        let (mut sealer, _) = pair(true);
        let mut stream = Vec::new();
        sealer.seal(b"payload", &mut stream).unwrap();
        for bit in 0..stream.len() * 8 {
            let mut damaged = stream.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // What makes the length greater waits for more, which never is authentic.
            damaged.resize(LONGEST + MAC, 0);
            let (_, mut opener) = pair(true);
            opener.feed(&damaged);
            assert!(opener.next().is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_replayed_packet_is_seen() {
        let (mut sealer, mut opener) = pair(true);
        let mut stream = Vec::new();
        sealer.seal(b"payload", &mut stream).unwrap();
        opener.feed(&stream);
        assert!(opener.next().unwrap().is_some());
        opener.feed(&stream);
        assert!(opener.next().is_err());
    }

    #[test]
    fn a_gigabyte_is_the_limit() {
        let (mut sealer, mut opener) = pair(true);
        sealer.bytes = LIMIT - 10;
        opener.bytes = LIMIT - 10;
        let mut stream = Vec::new();
        let error = sealer.seal(b"x", &mut stream).unwrap_err();
        assert!(error.to_string().contains("new keys"), "{error}");
        opener.feed(&stream);
        assert!(matches!(opener.next(), Err(SshError::Rekey { .. })));
    }
}
