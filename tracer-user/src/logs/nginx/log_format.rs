//! Access logs by a `log_format` of the user's own.
//!
//! <https://nginx.org/en/docs/http/ngx_http_log_module.html#log_format>.

use super::fields::{Fields, Variable};
use crate::logs::entry::Entry;
use crate::logs::escape::unescape;
use crate::logs::scan::{ParseError, Scan, text};
use crate::logs::stamp::Assume;

/// `22/Nov/2026:07:22:27 +0000`: always as long, and with a space in it.
const TIME_LOCAL_LEN: usize = 26;

/// A `log_format` string, ready to read lines with.
#[derive(Debug, PartialEq, Eq)]
pub struct LogFormat {
    text: String,
    /// In front of the first variable.
    begin: Vec<u8>,
    fields: Vec<Field>,
    escaping: Escaping,
    /// Why no line can be read with it.
    defect: Option<&'static str>,
}

/// A variable, and the text that ends it.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    /// `None`: nothing is known of the variable, and it is passed over.
    variable: Option<Variable>,
    /// `None`: it goes on to the end of the line.
    end: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escaping {
    /// `\xHH`
    Default,
    /// `\"` and `\u00HH`
    Json,
    None,
}

impl LogFormat {
    /// Takes the string as it stands in the configuration, without the quotes; `escape=…` may stand in
    /// front of it.
    pub fn new(text: &str) -> Self {
        let (escaping, string) = escaping(text.trim_start());
        let mut format = Self {
            text: text.to_owned(),
            begin: Vec::new(),
            fields: Vec::new(),
            escaping,
            defect: None,
        };
        let mut rest = string;
        while let Some(next) = rest.chars().next() {
            match variable(rest) {
                Some((name, behind)) => {
                    format.push_variable(name);
                    rest = behind;
                }
                None => {
                    let (letter, used) = letter(rest, next);
                    format.push_literal(letter);
                    rest = rest.get(used..).unwrap_or_default();
                }
            }
        }
        if format.fields.iter().all(|field| field.variable.is_none()) {
            format.defect = Some("a log_format with a variable that is known here");
        }
        format
    }

    fn push_variable(&mut self, name: &str) {
        if self.fields.last().is_some_and(|last| last.end.is_none()) {
            self.defect = Some("a log_format with text between its variables");
        }
        self.fields.push(Field {
            variable: Variable::named(name),
            end: None,
        });
    }

    fn push_literal(&mut self, letter: char) {
        let literal = match self.fields.last_mut() {
            Some(field) => field.end.get_or_insert_default(),
            None => &mut self.begin,
        };
        literal.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// The string.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(in crate::logs) fn parse<'a>(
        &self,
        line: &'a [u8],
        _assume: &Assume,
    ) -> Result<Entry<'a>, ParseError> {
        let mut scan = Scan::new(line);
        if let Some(defect) = self.defect {
            return Err(scan.error(defect));
        }
        if !scan.rest().starts_with(&self.begin) {
            return Err(scan.error("the text that the log_format begins with"));
        }
        scan.skip(self.begin.len());
        let mut fields = Fields::new();
        for field in &self.fields {
            let rest = scan.rest();
            let (value, used) = match &field.end {
                None => (rest, rest.len()),
                Some(end) => {
                    let at = self.value_len(rest, field.variable, end);
                    let at = at.ok_or_else(|| scan.error(AFTER_VARIABLE))?;
                    (rest.get(..at).unwrap_or_default(), at + end.len())
                }
            };
            scan.skip(used);
            if let Some(variable) = field.variable {
                let value = match self.escaping {
                    Escaping::None => text(value),
                    Escaping::Default | Escaping::Json => unescape(value),
                };
                fields.set(variable, value);
            }
        }
        if !scan.is_done() {
            return Err(scan.error("the end of the line, as in the log_format"));
        }
        Ok(fields.finish())
    }

    /// How long a value is that `end` follows. One pass over the line.
    fn value_len(&self, rest: &[u8], variable: Option<Variable>, end: &[u8]) -> Option<usize> {
        let first = *end.first()?;
        let is_list = variable.is_some_and(Variable::is_list);
        let mut at = match variable {
            Some(Variable::TimeLocal) => TIME_LOCAL_LEN,
            _ => 0,
        };
        loop {
            let here = rest.get(at..)?;
            let next = match self.escaping {
                Escaping::Json => memchr::memchr2(first, b'\\', here)?,
                Escaping::Default | Escaping::None => memchr::memchr(first, here)?,
            };
            at += next;
            let found = rest.get(at..)?;
            let is_end = found.starts_with(end) && !(is_list && is_inside_list(rest, at));
            if is_end {
                return Some(at);
            }
            let escaped = self.escaping == Escaping::Json && found.first() == Some(&b'\\');
            at += if escaped { 2 } else { 1 };
        }
    }
}

const AFTER_VARIABLE: &str = "the text that follows a variable in the log_format";

/// Is the space here one of `, ` or ` : ` of a list?
fn is_inside_list(value: &[u8], at: usize) -> bool {
    let before = value.get(..at).unwrap_or_default();
    let here = value.get(at..).unwrap_or_default();
    before.ends_with(b",")
        || before.ends_with(b" :")
        || here.starts_with(b", ")
        || here.starts_with(b" : ")
}

/// Takes `escape=…` off.
fn escaping(text: &str) -> (Escaping, &str) {
    let Some(named) = text.strip_prefix("escape=") else {
        return (Escaping::Default, text);
    };
    let (name, rest) = named.split_once(char::is_whitespace).unwrap_or((named, ""));
    match name {
        "json" => (Escaping::Json, rest.trim_start()),
        "none" => (Escaping::None, rest.trim_start()),
        "default" => (Escaping::Default, rest.trim_start()),
        _ => (Escaping::Default, text),
    }
}

/// `$name` or `${name}` at the beginning of `text`: the name, and what follows.
fn variable(text: &str) -> Option<(&str, &str)> {
    let named = text.strip_prefix('$')?;
    if let Some((name, rest)) = named
        .strip_prefix('{')
        .and_then(|inside| inside.split_once('}'))
    {
        return (!name.is_empty()).then_some((name, rest));
    }
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let len = named.find(|letter| !is_part(letter)).unwrap_or(named.len());
    (len > 0).then(|| named.split_at(len))
}

/// A letter of the string, and how many bytes of the configuration it takes.
fn letter(text: &str, first: char) -> (char, usize) {
    let escaped = text.strip_prefix('\\').and_then(|rest| rest.chars().next());
    match escaped {
        Some(quoted @ ('"' | '\'' | '\\')) => (quoted, 2),
        Some('t') => ('\t', 2),
        Some('n') => ('\n', 2),
        Some('r') => ('\r', 2),
        _ => (first, first.len_utf8()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry, assume};

    const FORMAT: &str = r#"$remote_addr [$time_local] "$request" $status $upstream_addr $upstream_status ${upstream_header_time} "$http_user_agent""#;
    const LINE: &str = r#"203.0.113.5 [22/Nov/2026:07:22:33 +0000] "GET /two?q=\x22z HTTP/1.1" 502 192.0.2.20:39199, [2001:db8::21]:39198 502, 502 -, - "a\x22b\x5Cc""#;

    fn read<'a>(format: &str, line: &'a str) -> Result<Entry<'a>, ParseError> {
        LogFormat::new(format).parse(line.as_bytes(), &assume())
    }

    #[test]
    fn lists_between_spaces() {
        let entry = read(FORMAT, LINE).unwrap();
        assert_eq!(entry.status, Some(502));
        assert_eq!(entry.target.as_deref(), Some("/two?q=\"z"));
        let peers: Vec<_> = entry
            .attempts
            .iter()
            .map(|one| (one.addr.map(|addr| addr.to_string()), one.status))
            .collect();
        assert_eq!(
            peers,
            [
                (Some("192.0.2.20:39199".to_owned()), Some(502)),
                (Some("[2001:db8::21]:39198".to_owned()), Some(502)),
            ]
        );
        assert_eq!(
            entry.meaning.map(|one| one.code),
            Some("502, phase not logged")
        );
        let passes = LINE
            .replace(", [2001", " : [2001")
            .replace("502, 502", "502 : 200")
            .replace("-, -", "- : 0.000");
        let entry = read(FORMAT, &passes).unwrap();
        assert_eq!(entry.attempts.len(), 2);
        assert_eq!(entry.attempts.last().and_then(|one| one.header_us), Some(0));
    }

    #[test]
    fn every_kind_of_string() {
        for (format, line, target, seconds) in [
            (
                r#"escape=json {"at":$msec,"uri":"$request_uri","n":{"s":"$status"}}"#,
                r#"{"at":1795332147.000,"uri":"/a\"b\\","n":{"s":"502"}}"#,
                "/a\"b\\",
                26_547,
            ),
            (
                r#"escape=none $time_iso8601 $uri"#,
                r#"2026-11-22T07:22:27+00:00 /\x22"#,
                r"/\x22",
                26_547,
            ),
            (
                r#"escape=default $time_local|$request_uri|\"$unknown\""#,
                r#"22/Nov/2026:07:22:27 +0000|/b|"what\x22ever""#,
                "/b",
                26_547,
            ),
            (
                "$time_local $request_uri é$$",
                "22/Nov/2026:07:22:27 +0000 /c é$$",
                "/c",
                26_547,
            ),
        ] {
            let entry = read(format, line).unwrap();
            assert_eq!(entry.target.as_deref(), Some(target), "{format}");
            assert_eq!(
                entry
                    .time
                    .map(|at| (at.unix_ns - MORNING_NS) / 1_000_000_000),
                Some(seconds),
                "{format}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read() {
        for (format, line, offset, expected) in [
            (
                "$remote_addr$status",
                "1",
                0,
                "a log_format with text between its variables",
            ),
            (
                "$a $b",
                "1 2",
                0,
                "a log_format with a variable that is known here",
            ),
            (
                "",
                "1",
                0,
                "a log_format with a variable that is known here",
            ),
            (
                "[$status]",
                "502",
                0,
                "the text that the log_format begins with",
            ),
            ("[$status] $pid", "[502", 1, AFTER_VARIABLE),
            (
                "[$status]",
                "[502] more",
                5,
                "the end of the line, as in the log_format",
            ),
            ("$time_local $status", "short", 0, AFTER_VARIABLE),
        ] {
            let error = read(format, line).unwrap_err();
            assert_eq!(
                (error.offset, error.expected),
                (offset, expected),
                "{format}"
            );
        }
        let format = LogFormat::new(FORMAT);
        any_prefix_is_an_error_or_an_entry(LINE.as_bytes(), |line| format.parse(line, &assume()));
    }

    /// A megabyte of what could be the end of a value but is not, in a moment.
    #[test]
    fn long_lines() {
        for (format, line) in [
            ("$request_uri\" x$status", "\" ".repeat(500_000)),
            ("$upstream_addr $status", ", ".repeat(500_000)),
            ("escape=json $request_uri\"$status", "\\\"".repeat(500_000)),
        ] {
            assert!(read(format, &line).is_err(), "{format}");
        }
    }
}
