//! What a `log-format` of the user's own adds, as far as it can be known: `key=value` behind the
//! standard fields, and captured headers that look like what they are.

use std::net::SocketAddr;

use crate::logs::entry::Text;
use crate::logs::scan::{known, number};

use super::head::address;

/// Errors of the server's connection.
#[derive(Default)]
pub(super) struct ServerError<'a> {
    /// The fields were in the line, whatever they said.
    pub(super) logged: bool,
    /// `%[bc_err]`, if there was an error.
    pub(super) code: Option<u16>,
    /// `%[bc_err_str]`.
    pub(super) connection: Option<&'a [u8]>,
    /// `%[ssl_bc_err_str]`.
    pub(super) tls: Option<&'a [u8]>,
}

/// Added fields.
#[derive(Default)]
pub(super) struct Extra<'a> {
    /// `dst=%si:%sp`.
    pub(super) server: Option<SocketAddr>,
    /// `src=%bi:%bp`: HAProxy's own end.
    pub(super) local: Option<SocketAddr>,
    pub(super) error: ServerError<'a>,
    pub(super) request_id: Option<Text<'a>>,
    pub(super) traceparent: Option<Text<'a>>,
}

const REQUEST_IDS: [&[u8]; 10] = [
    b"id",
    b"uniqueid",
    b"unique_id",
    b"unique-id",
    b"rid",
    b"reqid",
    b"req_id",
    b"request_id",
    b"request-id",
    b"x-request-id",
];

impl<'a> Extra<'a> {
    /// `key=value key="a value"`; anything else between them is passed over.
    pub(super) fn read_pairs(&mut self, fields: &'a [u8]) {
        let mut rest = fields;
        while !rest.is_empty() {
            let (field, after) = split_field(rest);
            rest = after;
            let Some(at) = memchr::memchr(b'=', field) else {
                continue;
            };
            let (key, value) = (&field[..at], &field[at + 1..]);
            self.take(key, value);
        }
    }

    fn take(&mut self, key: &[u8], value: &'a [u8]) {
        match key.to_ascii_lowercase().as_slice() {
            b"src" => self.local = address(value),
            b"dst" => self.server = address(value),
            b"be" => {
                let (code, words) = halves(value);
                self.error.logged = true;
                self.error.code = number(code).filter(|code| *code != 0);
                // "Success" goes with code 0.
                self.error.connection = words.filter(|_| self.error.code.is_some());
            }
            b"sslbe" => {
                let (_code, words) = halves(value);
                self.error.logged = true;
                self.error.tls = words;
            }
            b"traceparent" => self.traceparent = known(unquoted(value)),
            key if REQUEST_IDS.contains(&key) => self.request_id = known(unquoted(value)),
            _ => {}
        }
    }

    /// `{shop.example.com|curl} {}`: captures have no names, but some have a shape.
    pub(super) fn read_captures(&mut self, captures: &'a [u8]) {
        for value in captures.split(|byte| b"{|} ".contains(byte)) {
            if is_traceparent(value) {
                self.traceparent = known(value);
            } else if is_uuid(value) {
                self.request_id = known(value);
            }
        }
    }
}

/// A field, which ends at a space that stands in no quotes, and what follows it.
fn split_field(fields: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = false;
    for at in memchr::memchr2_iter(b'"', b' ', fields) {
        match fields[at] {
            b'"' => quoted = !quoted,
            _ if !quoted => return (&fields[..at], &fields[at + 1..]),
            _ => {}
        }
    }
    (fields, &[])
}

/// `34/"SSL handshake failure"`; words that say nothing are none.
fn halves(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(at) = memchr::memchr(b'/', value) else {
        return (value, None);
    };
    let words = unquoted(&value[at + 1..]);
    let said = !matches!(words, b"" | b"-");
    (&value[..at], said.then_some(words))
}

fn unquoted(value: &[u8]) -> &[u8] {
    let open = value.strip_prefix(b"\"").unwrap_or(value);
    open.strip_suffix(b"\"").unwrap_or(open)
}

/// `00-` 32 hex digits `-` 16 `-` 2: <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn is_traceparent(value: &[u8]) -> bool {
    has_shape(value, &[2, 32, 16, 2])
}

fn is_uuid(value: &[u8]) -> bool {
    has_shape(value, &[8, 4, 4, 4, 12])
}

/// Hex digits in groups of these lengths, with `-` between them.
fn has_shape(value: &[u8], groups: &[usize]) -> bool {
    value.len() == groups.iter().sum::<usize>() + groups.len() - 1
        && value
            .split(|byte| *byte == b'-')
            .map(<[u8]>::len)
            .eq(groups.iter().copied())
        && value
            .iter()
            .all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let mut extra = Extra::default();
        extra.read_pairs(
            br#" 0/x "junk = x" src=192.0.2.10:41022 dst=::1:9023 be=34/"SSL handshake failure" sslbe=0A/"error:0A:a b" rid="x-7" traceparent=- other=z"#,
        );
        assert_eq!(extra.local, "192.0.2.10:41022".parse().ok());
        assert_eq!(extra.server, "[::1]:9023".parse().ok());
        assert_eq!(extra.error.code, Some(34));
        assert_eq!(extra.error.connection, Some(&b"SSL handshake failure"[..]));
        assert_eq!(extra.error.tls, Some(&b"error:0A:a b"[..]));
        assert_eq!(extra.request_id.as_deref(), Some("x-7"));
        assert_eq!(extra.traceparent, None);
    }

    #[test]
    fn errors_that_say_nothing() {
        for line in [
            r#"be=0/"Success" sslbe=-/"""#,
            "be=-/- sslbe=-/-",
            r#"be=-/"" sslbe=0000000000000000/-"#,
        ] {
            let mut extra = Extra::default();
            extra.read_pairs(line.as_bytes());
            let error = &extra.error;
            assert!(error.logged);
            assert_eq!(
                (error.code, error.connection, error.tls),
                (None, None, None)
            );
        }
    }

    #[test]
    fn captured_headers() {
        let mut extra = Extra::default();
        extra.read_captures(
            b"{shop|a b|cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2} {00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01}",
        );
        assert_eq!(
            extra.request_id.as_deref(),
            Some("cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2")
        );
        assert_eq!(
            extra.traceparent.as_deref(),
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        );
    }
}
