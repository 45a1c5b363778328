//! The front of a DNS message: header and first question (RFC 1035, 4.1), cut anywhere.

use crate::printable::printable_bytes;

/// Longest name, bytes with its lengths (RFC 1035, 2.3.4).
const NAME_MAX: usize = 255;
/// Longest label.
const LABEL_MAX: usize = 63;

/// What the front of a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Joins an answer to its query.
    pub id: u16,
    /// An answer, not a query.
    pub answer: bool,
    /// Response code (RFC 1035, 4.1.1).
    pub rcode: u8,
    /// Records in the answer section.
    pub answers: u16,
    /// The name asked for, in lower case and safe to show; `None` if it was cut.
    pub name: Option<String>,
    /// Type of record asked for: 1 for IPv4 addresses, 28 for IPv6; `None` if it was cut.
    pub record: Option<u16>,
}

/// The message that begins with these bytes; `None` if not even its header is there.
pub fn message(bytes: &[u8]) -> Option<Message> {
    let (header, question) = bytes.split_at_checked(12)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (name, record) = match word(4) {
        0 => (None, None),
        _ => name(question).map_or((None, None), |(name, rest)| {
            let record = rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
            (Some(name), record)
        }),
    };
    Some(Message {
        id: word(0),
        answer: header[2] & 0x80 != 0,
        rcode: header[3] & 0x0f,
        answers: word(6),
        name,
        record,
    })
}

/// The name at the front, and what follows. A first question has nothing to point back to, so a
/// compressed name is none.
fn name(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut labels: Vec<u8> = Vec::new();
    loop {
        let (len, rest) = bytes.split_first()?;
        let len = usize::from(*len);
        if len == 0 {
            bytes = rest;
            break;
        }
        if len > LABEL_MAX || labels.len() + len >= NAME_MAX {
            return None;
        }
        let (label, rest) = rest.split_at_checked(len)?;
        if !labels.is_empty() {
            labels.push(b'.');
        }
        labels.extend(label.iter().map(u8::to_ascii_lowercase));
        bytes = rest;
    }
    Some((printable_bytes(&labels, NAME_MAX), bytes))
}

/// The name of a response code
/// (<https://www.iana.org/assignments/dns-parameters/dns-parameters.xhtml>, DNS RCODEs).
pub fn rcode_name(rcode: u8) -> String {
    match rcode {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("response code {other}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message about one name.
    pub(crate) fn build(id: u16, answer: bool, rcode: u8, answers: u16, name: &str) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend([if answer { 0x81 } else { 1 }, rcode, 0, 1]);
        bytes.extend(answers.to_be_bytes());
        bytes.extend([0; 4]);
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, 1, 0, 1]);
        bytes
    }

    #[test]
    fn messages() {
        let got = message(&build(7, true, 3, 0, "App.Internal")).unwrap();
        let want = Message {
            id: 7,
            answer: true,
            rcode: 3,
            answers: 0,
            name: Some("app.internal".into()),
            record: Some(1),
        };
        assert_eq!(got, want);
        let query = message(&build(7, false, 0, 0, "a")).unwrap();
        assert!(!query.answer);
    }

    #[test]
    fn cut_and_hostile_ones() {
        let whole = build(7, true, 0, 1, "app.internal");
        for cut in 0..whole.len() {
            let got = message(&whole[..cut]);
            assert_eq!(got.is_some(), cut >= 12, "{cut}");
            let name = got.and_then(|message| message.name);
            assert_eq!(name.is_some(), cut >= 12 + 14, "{cut}");
        }
        // A name that points at itself, one that is too long, one that acts on a terminal.
        let mut loops = whole[..12].to_vec();
        loops.extend([0xc0, 12]);
        assert_eq!(message(&loops).unwrap().name, None);
        let mut long = whole[..12].to_vec();
        long.extend([63; 400]);
        assert_eq!(message(&long).unwrap().name, None);
        let odd = build(1, true, 3, 0, "\u{1b}[2J");
        assert_eq!(message(&odd).unwrap().name.unwrap(), "\\x1b[2j");
    }
}
