//! Reads a line from its beginning to its end, and knows where it stopped understanding.

use super::entry::Text;

/// A line that does not have the form it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: expected {expected}")]
pub struct ParseError {
    /// Where, in bytes from the beginning of the line.
    pub offset: usize,
    /// What should have been there.
    pub expected: &'static str,
}

/// A place in a line. A method that fails leaves it where it was.
#[derive(Clone, Debug)]
pub(super) struct Scan<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The error that something else should have been here.
    pub(super) fn error(&self, expected: &'static str) -> ParseError {
        ParseError {
            offset: self.at,
            expected,
        }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    pub(super) fn is_done(&self) -> bool {
        self.at >= self.line.len()
    }

    /// Goes on by so many bytes, at most to the end.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes).min(self.line.len());
    }

    /// Takes exactly this.
    pub(super) fn expect(&mut self, literal: &'static str) -> Result<(), ParseError> {
        if self.take_if(literal) {
            Ok(())
        } else {
            Err(self.error(literal))
        }
    }

    /// Takes this, if it is here.
    pub(super) fn take_if(&mut self, literal: &str) -> bool {
        let here = self.rest().starts_with(literal.as_bytes());
        if here {
            self.at += literal.len();
        }
        here
    }

    /// Takes what stands before the next `byte`, and the byte itself.
    pub(super) fn until(
        &mut self,
        byte: u8,
        expected: &'static str,
    ) -> Result<&'a [u8], ParseError> {
        let rest = self.rest();
        let end = memchr::memchr(byte, rest).ok_or(ParseError {
            offset: self.line.len(),
            expected,
        })?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    /// Takes what stands before the next occurrence of `literal`, and the literal itself.
    pub(super) fn until_text(
        &mut self,
        literal: &str,
        expected: &'static str,
    ) -> Result<&'a [u8], ParseError> {
        let rest = self.rest();
        let end = memchr::memmem::find(rest, literal.as_bytes()).ok_or(ParseError {
            offset: self.line.len(),
            expected,
        })?;
        self.at += end + literal.len();
        Ok(&rest[..end])
    }

    /// Takes a field that ends at a space or at the end of the line, and the space.
    pub(super) fn word(&mut self, expected: &'static str) -> Result<&'a [u8], ParseError> {
        let rest = self.rest();
        if rest.is_empty() {
            return Err(self.error(expected));
        }
        let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        self.skip(end + 1);
        Ok(&rest[..end])
    }

    /// Takes a field that may stand in quotes, and the space behind it. A backslash keeps the next
    /// byte from ending it; what the field holds is not unescaped.
    pub(super) fn field(&mut self, expected: &'static str) -> Result<&'a [u8], ParseError> {
        if self.rest().first() != Some(&b'"') {
            return self.word(expected);
        }
        let inside = self.quoted(expected)?;
        self.take_if(" ");
        Ok(inside)
    }

    /// Takes a field in quotes. A backslash keeps the next byte from ending it.
    pub(super) fn quoted(&mut self, expected: &'static str) -> Result<&'a [u8], ParseError> {
        let rest = self.rest();
        if rest.first() != Some(&b'"') {
            return Err(self.error(expected));
        }
        let mut at = 1;
        loop {
            let found = memchr::memchr2(b'"', b'\\', rest.get(at..).unwrap_or_default());
            let Some(next) = found.map(|next| at + next) else {
                return Err(ParseError {
                    offset: self.line.len(),
                    expected: "the closing quote",
                });
            };
            if rest[next] == b'"' {
                self.skip(next + 1);
                return Ok(&rest[1..next]);
            }
            at = next + 2;
        }
    }
}

/// Text of bytes that should be UTF-8.
pub(super) fn text(bytes: &[u8]) -> Text<'_> {
    String::from_utf8_lossy(bytes)
}

/// Text of a field, unless it says that there is none.
pub(super) fn known(bytes: &[u8]) -> Option<Text<'_>> {
    (!matches!(bytes, b"" | b"-" | b"\"\"" | b"\"-\"")).then(|| text(bytes))
}

/// A number of a field; `None` for everything else.
pub(super) fn number<N: std::str::FromStr>(bytes: &[u8]) -> Option<N> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Seconds with a fraction, as µs; `None` for `-`, `-1` and what is no number.
pub(super) fn seconds_as_us(bytes: &[u8]) -> Option<u64> {
    const MICROS: [u64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    // Every line of an access log has several of these: one pass, digit by digit.
    let (mut us, mut whole, mut places) = (0_u64, false, None);
    for byte in bytes {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        match places {
            None if *byte == b'.' && whole => {
                places = Some(0_usize);
                continue;
            }
            _ if digit > 9 => return None,
            None => whole = true,
            Some(6) => continue,
            Some(before) => places = Some(before + 1),
        }
        us = us.checked_mul(10)?.checked_add(digit)?;
    }
    let micros = MICROS.get(places.unwrap_or(0))?;
    whole.then(|| us.checked_mul(*micros)).flatten()
}

/// A status that was sent: `None` for `-`, `0`, `-1`.
pub(super) fn status(bytes: &[u8]) -> Option<u16> {
    number(bytes).filter(|status| (1..=999).contains(status))
}

/// The value of a hexadecimal digit.
pub(super) fn unhex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_quotes_may_hold_quotes() {
        let mut scan = Scan::new(br#"a "b \" c" "" d"#);
        assert_eq!(scan.field("a"), Ok(&b"a"[..]));
        assert_eq!(scan.field("b"), Ok(&br#"b \" c"#[..]));
        assert_eq!(scan.field("empty"), Ok(&b""[..]));
        assert_eq!(scan.field("d"), Ok(&b"d"[..]));
        assert!(scan.is_done());
        let error = scan.field("more").unwrap_err();
        assert_eq!(error.to_string(), "at byte 15: expected more");
    }

    #[test]
    fn an_open_quote_is_an_error_at_the_end() {
        for line in [&br#""abc"#[..], br#""abc\"#, br#""abc\""#] {
            let error = Scan::new(line).quoted("text").unwrap_err();
            assert_eq!(
                (error.offset, error.expected),
                (line.len(), "the closing quote")
            );
        }
    }

    #[test]
    fn durations() {
        for (text, us) in [
            ("0.000", Some(0)),
            ("1.5", Some(1_500_000)),
            ("0.0000019", Some(1)),
            ("30", Some(30_000_000)),
            ("-1", None),
            ("-", None),
            ("", None),
            ("1.x", None),
            ("1.", Some(1_000_000)),
            (".5", None),
            ("1.5.5", None),
            ("+1", None),
            ("18446744073709.551615", Some(u64::MAX)),
            ("18446744073709.551616", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds_as_us(text.as_bytes()), us, "{text}");
        }
    }
}
