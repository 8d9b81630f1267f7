//! Data types of RFC 4251, section 5: lengths are believed only after they were held against what there is.

/// A message that is shorter than it says, or has what its kind can't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub(super) &'static str);

/// Reads a message from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// `what` is the message's name, for errors.
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes(N)?;
        bytes.try_into().map_err(|_| Malformed(self.what))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Malformed> {
        Ok(self.byte()? != 0)
    }

    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).map_err(|_| Malformed(self.what))?)
    }

    /// A string of exactly `N` bytes.
    pub(super) fn exactly<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let string = self.string()?;
        string.try_into().map_err(|_| Malformed(self.what))
    }

    /// A string for a message to the user: invalid UTF-8 and control characters replaced.
    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let text = String::from_utf8_lossy(self.string()?);
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Ok(text.chars().map(plain).collect())
    }

    /// What must be the end.
    pub(super) fn end(self) -> Result<(), Malformed> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Malformed(self.what)),
        }
    }
}

/// Writes a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A message of this number.
    pub(super) fn message(number: u8) -> Self {
        Self(vec![number])
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn boolean(self, value: bool) -> Self {
        self.raw(&[u8::from(value)])
    }

    pub(super) fn number(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A string; no caller has one of 4 GiB.
    pub(super) fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.number(length).raw(bytes)
    }

    /// A positive number, most significant byte first: without leading zeros, with one where it would look negative.
    pub(super) fn mpint(self, bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = &bytes[zeros..];
        match digits.first() {
            Some(0x80..) => self.string([&[0], digits].concat()),
            _ => self.string(digits),
        }
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiple_precision_integers_are_those_of_rfc_4251() {
        let mpint = |bytes: &[u8]| Writer::new().mpint(bytes).done();
        assert_eq!(mpint(&[]), [0, 0, 0, 0]);
        assert_eq!(mpint(&[0, 0]), [0, 0, 0, 0]);
        let long = [0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7];
        assert_eq!(mpint(&long), [&[0, 0, 0, 8], &long[..]].concat());
        assert_eq!(mpint(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(mpint(&[0, 0, 0x7f]), [0, 0, 0, 1, 0x7f]);
    }

    #[test]
    fn a_length_is_believed_only_where_the_bytes_are() {
        let mut reader = Reader::new(&[0, 0, 0, 3, b'a', b'b'], "word");
        assert_eq!(reader.string(), Err(Malformed("word")));
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 1], "word");
        assert!(reader.string().is_err());
        let mut reader = Reader::new(&[0, 0, 0, 2, b'a', 7, 1], "word");
        assert_eq!(reader.text().unwrap(), "a ");
        assert!(reader.end().is_err());
        assert!(reader.boolean().unwrap());
        assert!(reader.end().is_ok());
        assert!(Reader::new(&[0, 0, 1], "word").number().is_err());
    }
}
