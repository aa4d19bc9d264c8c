//! D-Bus messages, as far as they are needed (D-Bus Specification, "Marshaling" and "Message Format").
//!
//! In this machine's byte order, which both ends of a local socket have.

use std::io::{self, Read};

const ENDIAN: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
/// The largest message the protocol allows.
const MOST: usize = 128 << 20;

// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Values laid out one after the other, each at a multiple of its size.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_ne_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_ne_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// Also an object path.
    pub(crate) fn string(&mut self, text: &str) {
        // No text here comes near 4 GiB.
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(crate) fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend(bytes);
    }

    /// An array of elements that begin at multiples of `alignment`.
    pub(crate) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let begin = self.0.len();
        elements(self);
        let length = (self.0.len() - begin) as u32;
        if let Some(field) = self.0.get_mut(length_at..length_at + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// A structure's members follow.
    pub(crate) fn structure(&mut self) {
        self.align(8);
    }
}

/// A method call of systemd's manager object, ready to be sent.
pub(crate) fn call(serial: u32, member: &str, signature: &str, body: Writer) -> Vec<u8> {
    let Writer(body) = body;
    let mut message = Writer(vec![ENDIAN, METHOD_CALL, 0, 1]);
    message.u32(body.len() as u32);
    message.u32(serial);
    message.array(8, |fields| {
        let texts = [
            (PATH, "o", "/org/freedesktop/systemd1"),
            (INTERFACE, "s", "org.freedesktop.systemd1.Manager"),
            (MEMBER, "s", member),
            (DESTINATION, "s", "org.freedesktop.systemd1"),
        ];
        for (code, kind, text) in texts {
            fields.structure();
            fields.0.push(code);
            fields.signature(kind);
            fields.string(text);
        }
        fields.structure();
        fields.0.push(SIGNATURE);
        fields.signature("g");
        fields.signature(signature);
    });
    message.align(8);
    message.0.extend(body);
    message.0
}

/// Values read one after the other; `None` where they end too early or are of another kind.
#[derive(Debug)]
pub(crate) struct Reader<'m> {
    bytes: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn new(bytes: &'m [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize, alignment: usize) -> Option<&'m [u8]> {
        let begin = self.at.next_multiple_of(alignment);
        let taken = self.bytes.get(begin..begin.checked_add(count)?)?;
        self.at = begin + count;
        Some(taken)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4, 4)?.try_into().ok().map(u32::from_ne_bytes)
    }

    /// Also an object path.
    pub(crate) fn string(&mut self) -> Option<&'m str> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1, 1)?.first().copied()
    }

    fn signature(&mut self) -> Option<&'m str> {
        let length = self.u8()?.into();
        self.text(length)
    }

    /// With its final zero.
    fn text(&mut self, length: usize) -> Option<&'m str> {
        let (_, text) = self.take(length.checked_add(1)?, 1)?.split_last()?;
        std::str::from_utf8(text).ok()
    }
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The result of a call: its serial and values.
    Return(u32, Body),
    /// The failure of a call: its serial, the error's name and text.
    Error(u32, String, String),
    /// A signal: its name and values.
    Signal(String, Body),
    /// A call from the other side; nothing here is to be called.
    Call,
}

/// A message's values.
#[derive(Debug)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader::new(&self.0)
    }
}

/// Reads one message.
///
/// # Errors
/// Those of the connection, or `InvalidData`.
pub(crate) fn receive(mut from: impl Read) -> io::Result<Incoming> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a D-Bus message");
    let mut start = [0; 16];
    from.read_exact(&mut start)?;
    let [endian, kind, ..] = start;
    let mut fixed = Reader { bytes: &start, at: 4 };
    let (body, _serial, fields) = (fixed.u32(), fixed.u32(), fixed.u32());
    let (Some(body), Some(fields)) = (body, fields) else { return Err(invalid()) };
    let (body, fields) = (body as usize, fields as usize);
    if endian != ENDIAN || body > MOST || fields > MOST {
        return Err(invalid());
    }
    let mut header = vec![0; fields.next_multiple_of(8)];
    from.read_exact(&mut header)?;
    let mut bytes = vec![0; body];
    from.read_exact(&mut bytes)?;
    header.truncate(fields);
    let header = Header::parse(&header).ok_or_else(invalid)?;
    let body = Body(bytes);
    Ok(match kind {
        METHOD_RETURN => Incoming::Return(header.reply_to, body),
        ERROR => {
            let text = body.read().string().unwrap_or_default().to_owned();
            Incoming::Error(header.reply_to, header.error, text)
        }
        SIGNAL => Incoming::Signal(header.member, body),
        _ => Incoming::Call,
    })
}

#[derive(Default)]
struct Header {
    member: String,
    error: String,
    reply_to: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(bytes);
        let mut header = Self::default();
        while fields.at < bytes.len() {
            let code = fields.take(1, 8)?.first().copied()?;
            match (fields.signature()?, code) {
                ("s", MEMBER) => header.member = fields.string()?.to_owned(),
                ("s", ERROR_NAME) => header.error = fields.string()?.to_owned(),
                ("u", REPLY_SERIAL) => header.reply_to = fields.u32()?,
                ("s" | "o", _) => drop(fields.string()?),
                ("u", _) => drop(fields.u32()?),
                ("g", _) => drop(fields.signature()?),
                _ => return None,
            }
        }
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_at_multiples_of_their_size() {
        let mut writer = Writer::default();
        writer.string("ab");
        writer.u64(7);
        writer.array(8, |elements| {
            elements.structure();
            elements.signature("t");
        });
        let expected =
            [2, 0, 0, 0, b'a', b'b', 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, b't', 0];
        assert_eq!(writer.0, expected);
    }

    #[test]
    fn a_message_is_read_back_and_a_damaged_one_is_refused() {
        let mut body = Writer::default();
        body.u32(3);
        body.string("done");
        let mut bytes = call(1, "JobRemoved", "us", body);
        assert_eq!(bytes.len() % 8, 4 + 1);
        if let Some(kind) = bytes.get_mut(1) {
            *kind = SIGNAL;
        }
        let Incoming::Signal(member, body) = receive(bytes.as_slice()).unwrap() else { panic!("no signal") };
        let mut values = body.read();
        assert_eq!((member.as_str(), values.u32(), values.string()), ("JobRemoved", Some(3), Some("done")));
        assert_eq!(values.u32(), None);
        for length in 0..bytes.len() {
            assert!(receive(&bytes[..length]).is_err());
        }
        // A header whose lengths do not fit.
        for at in [12, 17, 20] {
            let mut damaged = bytes.clone();
            damaged[at] = 0xff;
            assert!(receive(damaged.as_slice()).is_err(), "{at}");
        }
    }
}
