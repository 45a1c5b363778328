//! Takes out of a line what nobody needs in order to explain a failure.

/// The line without what stands behind a `?` up to the next space or quote: query strings carry
/// secrets. A backslash keeps the next character from ending it.
pub fn without_queries(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('?') {
        let (before, query) = rest.split_at(at + 1);
        out.push_str(before);
        let end = end_of_query(query.as_bytes());
        if end > 0 {
            out.push('…');
        }
        rest = &query[end..];
    }
    out.push_str(rest);
    out
}

/// Ends before a space, a quote or a control character; all of them are one byte.
fn end_of_query(query: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = query.get(at) {
        match byte {
            // Of a longer character the first byte; what follows is none of those that end it.
            b'\\' => at += 2,
            b' ' | b'"' | b'\'' => break,
            byte if byte.is_ascii_control() => break,
            _ => at += 1,
        }
    }
    at.min(query.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_go_and_the_rest_stays() {
        for (line, want) in [
            (
                r#""GET /a?token=x HTTP/1.1" 502, upstream: "http://h:1/a?token=x", host: "h""#,
                r#""GET /a?… HTTP/1.1" 502, upstream: "http://h:1/a?…", host: "h""#,
            ),
            (
                r#"{"request":"GET /a?q=\"s\"&t HTTP/1.1","status":502}"#,
                r#"{"request":"GET /a?… HTTP/1.1","status":502}"#,
            ),
            ("GET /? HTTP/1.1", "GET /? HTTP/1.1"),
            ("GET /?ü=ö\\", "GET /?…"),
            ("what? no", "what? no"),
            ("no query", "no query"),
        ] {
            assert_eq!(without_queries(line), want);
        }
    }

    #[test]
    fn a_backslash_before_a_long_character_is_taken_whole() {
        // The byte behind the backslash may be the first of several.
        assert_eq!(without_queries("/?a\\ö b"), "/?… b");
        assert_eq!(without_queries("/?a\\ö"), "/?…");
    }
}
