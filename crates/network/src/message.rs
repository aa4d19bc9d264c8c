//! Queries and answers of the domain name system, RFC 1035 section 4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Error;

/// Length of the fixed part of a message.
const HEADER: usize = 12;
const IN: u16 = 1;
const CNAME: u16 = 5;
/// Aliases that are followed from one name to the next.
const MOST_ALIASES: usize = 16;
/// Addresses that are taken from one answer.
const MOST_ADDRESSES: usize = 64;

/// The two kinds of record that hold an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    A = 1,
    Aaaa = 28,
}

/// A domain name as it stands in messages, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// From text without a dot at its end.
    pub(crate) fn parse(text: &str) -> Result<Name, Error> {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !(1..=63).contains(&label.len()) || !label.bytes().all(allowed) {
                return Err(Error::NotAName);
            }
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        if bytes.len() > 255 { Err(Error::NotAName) } else { Ok(Name(bytes)) }
    }
}

/// One question to a server.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    pub id: u16,
    pub name: &'a Name,
    pub kind: Kind,
}

/// What a server says about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All addresses; none if the name exists and has none of this kind, or does not exist.
    Addresses(Vec<IpAddr>),
    /// The rest did not fit: to be asked for over TCP.
    Truncated,
    /// The server cannot or does not want to say.
    Trouble,
}

impl Query<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // Recursion desired; one question.
        let mut bytes = Vec::with_capacity(HEADER + self.name.0.len() + 4);
        for word in [self.id, 0x0100, 1, 0, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(self.question());
        bytes
    }

    fn question(&self) -> Vec<u8> {
        let mut bytes = self.name.0.clone();
        bytes.extend((self.kind as u16).to_be_bytes());
        bytes.extend(IN.to_be_bytes());
        bytes
    }

    /// Reads a message; `None` for one that does not answer this very question.
    pub(crate) fn read(&self, message: &[u8]) -> Option<Answer> {
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let (questions, answers) = (reader.u16()?, reader.u16()?);
        if id != self.id || flags & 0x8000 == 0 {
            return None;
        }
        reader.at = HEADER;
        let question = self.question();
        if questions != 1 || !reader.take(question.len())?.eq_ignore_ascii_case(&question) {
            return None;
        }
        let (truncated, code) = (flags & 0x0200 != 0, flags & 0x000f);
        Some(match code {
            _ if truncated => Answer::Truncated,
            0 => self.addresses(reader, answers).map_or(Answer::Trouble, Answer::Addresses),
            // No such name.
            3 => Answer::Addresses(Vec::new()),
            _ => Answer::Trouble,
        })
    }

    /// The addresses of the name, or of what it is an alias for; `None` where the records are malformed.
    fn addresses(&self, mut reader: Reader<'_>, count: u16) -> Option<Vec<IpAddr>> {
        let mut aliases: Vec<(Name, Name)> = Vec::new();
        let mut found: Vec<(Name, IpAddr)> = Vec::new();
        for _ in 0..count {
            let owner = reader.name()?;
            let (kind, class) = (reader.u16()?, reader.u16()?);
            reader.take(4)?;
            let length = usize::from(reader.u16()?);
            let start = reader.at;
            let data = reader.take(length)?;
            if class != IN {
                continue;
            }
            if kind == CNAME && aliases.len() < MOST_ALIASES {
                let target = Reader { message: reader.message, at: start }.name()?;
                aliases.push((owner, target));
            } else if kind == self.kind as u16 && found.len() < MOST_ADDRESSES {
                found.push((owner, address(data)?));
            }
        }
        // Servers list aliases in order, and nothing says that they must.
        let mut name = self.name;
        for _ in 0..MOST_ALIASES {
            match aliases.iter().find(|(alias, _)| alias == name) {
                Some((_, target)) => name = target,
                None => break,
            }
        }
        Some(found.iter().filter(|(owner, _)| owner == name).map(|(_, address)| *address).collect())
    }
}

fn address(data: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(data) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    <[u8; 16]>::try_from(data).ok().map(|bytes| Ipv6Addr::from(bytes).into())
}

/// Reads what may be anything; `None` beyond its end.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A name, which may go on at an earlier place of the message. Each jump leads further back than the last, so it ends.
    fn name(&mut self) -> Option<Name> {
        let mut bytes = Vec::new();
        let mut reader = Reader { message: self.message, at: self.at };
        let (mut lowest, mut after) = (self.at, None);
        loop {
            let length = reader.u8()?;
            match length & 0xc0 {
                0x00 => {
                    bytes.push(length);
                    bytes.extend(reader.take(length.into())?.iter().map(u8::to_ascii_lowercase));
                    if bytes.len() > 255 {
                        return None;
                    }
                    if length == 0 {
                        break;
                    }
                }
                0xc0 => {
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, reader.u8()?]));
                    after.get_or_insert(reader.at);
                    if to >= lowest {
                        return None;
                    }
                    (lowest, reader.at) = (to, to);
                }
                _ => return None,
            }
        }
        self.at = after.unwrap_or(reader.at);
        Some(Name(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u16 = 0x1234;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// Flags, number of answers, and what stands behind the question.
    fn answer(query: &Query<'_>, flags: u16, answers: u16, records: &[u8]) -> Vec<u8> {
        let mut bytes = query.bytes();
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&answers.to_be_bytes());
        bytes.extend(records);
        bytes
    }

    fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = owner.to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        bytes
    }

    /// Points to the name in the question.
    const ASKED: &[u8] = &[0xc0, 12];

    #[test]
    fn names_are_those_of_hosts() {
        assert_eq!(name("Web.a_b.x-y").0, b"\x03web\x03a_b\x03x-y\0");
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(name(&longest).0.len(), 255);
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            ".a",
            "a b",
            "ü",
            "a\0",
            "a/b",
            &format!("{label}a"),
            &format!("{longest}a"),
        ] {
            assert_eq!(Name::parse(text), Err(Error::NotAName), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_those_of_the_name_at_the_end_of_its_aliases() {
        let asked = name("web.test");
        let query = Query { id: ID, name: &asked, kind: Kind::A };
        let read = |records: &[Vec<u8>]| {
            query.read(&answer(&query, 0x8180, records.len() as u16, &records.concat()))
        };
        let addresses =
            |list: &[[u8; 4]]| Some(Answer::Addresses(list.iter().map(|a| IpAddr::from(*a)).collect()));
        assert_eq!(
            read(&[record(ASKED, 1, &[10, 0, 0, 1]), record(ASKED, 1, &[10, 0, 0, 2])]),
            addresses(&[[10, 0, 0, 1], [10, 0, 0, 2]])
        );
        // In disorder, another case, with what was not asked for.
        let (first, second) = (name("one.test"), name("two.test"));
        let two = b"\x03TWO\x04test\0";
        assert_eq!(
            read(&[
                record(two, 1, &[10, 0, 0, 3]),
                record(&first.0, 5, &second.0),
                record(&name("evil.test").0, 1, &[6, 6, 6, 6]),
                record(ASKED, 5, &first.0),
                record(two, 28, &[0; 16]),
                record(two, 16, b"\x04text"),
            ]),
            addresses(&[[10, 0, 0, 3]])
        );
        // In a circle, and to nowhere.
        assert_eq!(read(&[record(ASKED, 5, &first.0), record(&first.0, 5, &asked.0)]), addresses(&[]));
        assert_eq!(read(&[record(ASKED, 5, &first.0)]), addresses(&[]));
        assert_eq!(read(&[]), addresses(&[]));
    }

    #[test]
    fn what_the_server_says_of_itself_is_understood() {
        let asked = name("web.test");
        let query = Query { id: ID, name: &asked, kind: Kind::Aaaa };
        let read = |flags| query.read(&answer(&query, flags, 0, &[]));
        assert_eq!(read(0x8183), Some(Answer::Addresses(vec![])));
        assert_eq!(read(0x8182), Some(Answer::Trouble));
        assert_eq!(read(0x8185), Some(Answer::Trouble));
        assert_eq!(read(0x8380), Some(Answer::Truncated));
        assert_eq!(read(0x0100), None, "a question is no answer");
        let address: IpAddr = "fd00::1".parse().unwrap();
        let data = "fd00::1".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(
            query.read(&answer(&query, 0x8180, 1, &record(ASKED, 28, &data))),
            Some(Answer::Addresses(vec![address]))
        );
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let (asked, other) = (name("web.test"), name("evil.test"));
        let query = Query { id: ID, name: &asked, kind: Kind::A };
        for wrong in [
            Query { id: ID + 1, name: &asked, kind: Kind::A },
            Query { id: ID, name: &other, kind: Kind::A },
            Query { id: ID, name: &asked, kind: Kind::Aaaa },
        ] {
            assert_eq!(query.read(&answer(&wrong, 0x8180, 0, &[])), None);
        }
        let mut case = answer(&query, 0x8180, 0, &[]);
        case[13] = b'W';
        assert_eq!(query.read(&case), Some(Answer::Addresses(vec![])));
    }

    #[test]
    fn names_that_lead_forward_or_in_circles_are_refused() {
        let asked = name("web.test");
        let query = Query { id: ID, name: &asked, kind: Kind::A };
        let here = (HEADER + query.question().len()) as u8;
        for owner in [[0xc0, here], [0xc0, here + 2], [0xff, 0xff], [0x80, 0], [0x41, 0]] {
            let message = answer(&query, 0x8180, 1, &record(&owner, 1, &[10, 0, 0, 1]));
            assert_eq!(query.read(&message), Some(Answer::Trouble), "{owner:?}");
        }
    }

    #[test]
    fn no_message_cut_anywhere_or_with_any_byte_changed_does_harm() {
        let asked = name("web.test");
        let query = Query { id: ID, name: &asked, kind: Kind::A };
        let alias = [b"\x03one".as_slice(), &[0xc0, 16]].concat();
        let whole = answer(
            &query,
            0x8180,
            2,
            &[record(ASKED, 5, &alias), record(&name("one.test").0, 1, &[10, 0, 0, 1])].concat(),
        );
        assert_eq!(query.read(&whole), Some(Answer::Addresses(vec![[10, 0, 0, 1].into()])));
        for length in 0..whole.len() {
            query.read(&whole[..length]);
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = byte;
                if let Some(Answer::Addresses(addresses)) = query.read(&changed) {
                    assert!(addresses.len() <= 1);
                }
            }
        }
    }
}
