//! Undoes what servers do to bytes that would break their own lines.

use super::entry::Text;
use super::scan::{text, unhex};

/// Undoes `\xHH` (NGINX, Apache), `\"` and the letters of C (Apache, JSON) and `\uHHHH` (JSON).
///
/// NGINX writes a backslash of the value as `\x5C` or `\\`, so one function serves all of its kinds of
/// escaping: <https://nginx.org/en/docs/http/ngx_http_log_module.html#log_format>.
pub(super) fn unescape(bytes: &[u8]) -> Text<'_> {
    if memchr::memchr(b'\\', bytes).is_none() {
        return text(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escaped) = rest.split_at(at);
        out.extend_from_slice(before);
        let behind = escaped.get(1..).unwrap_or_default();
        let used = unescape_one(behind, &mut out);
        rest = behind.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    String::from_utf8_lossy(&out).into_owned().into()
}

/// How many bytes behind the backslash belong to it. A backslash that escapes nothing stays.
fn unescape_one(behind: &[u8], out: &mut Vec<u8>) -> usize {
    match *behind {
        [b'x', high, low, ..] => {
            if let (Some(high), Some(low)) = (unhex(high), unhex(low)) {
                out.push(high << 4 | low);
                return 3;
            }
        }
        [b'u', a, b, c, d, ..] => {
            let unit = [a, b, c, d]
                .iter()
                .try_fold(0, |unit, digit| Some(unit << 4 | u32::from(unhex(*digit)?)));
            if let Some(unit) = unit {
                let letter = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                return 5;
            }
        }
        [byte, ..] => {
            let plain = match byte {
                b'"' | b'\\' | b'/' | b'\'' => byte,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'f' => 12,
                b'v' => 11,
                _ => {
                    out.push(b'\\');
                    return 0;
                }
            };
            out.push(plain);
            return 1;
        }
        [] => {}
    }
    out.push(b'\\');
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_escape() {
        for (escaped, plain) in [
            ("plain", "plain"),
            (r"a\x22b\x5Cc", "a\"b\\c"),
            (r"\xC3\xA9", "é"),
            (r#"a\"b\\c\n\t"#, "a\"b\\c\n\t"),
            (r"\u001b[2J\u00e9", "\u{1b}[2Jé"),
            (r"\ud800", "\u{fffd}"),
            (r"\xZZ \q \u00", r"\xZZ \q \u00"),
            ("\\", "\\"),
            (r"\x", r"\x"),
        ] {
            assert_eq!(unescape(escaped.as_bytes()), plain, "{escaped}");
        }
        assert_eq!(unescape(b"\\xff\xfe"), "\u{fffd}\u{fffd}");
        assert!(matches!(unescape(b"/cart"), Text::Borrowed("/cart")));
    }
}
