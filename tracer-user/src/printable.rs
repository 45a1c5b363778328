//! Makes untrusted text safe to show on a terminal.
//!
//! Text from the wire or a log can carry escape sequences that repaint the screen, or direction
//! marks that reorder what is read. Here all of them become visible.

use std::fmt::Write as _;

/// Shows `text` in at most `max_chars` characters (an ellipsis included). Control characters,
/// direction marks and invisible characters are written as escapes.
pub fn printable(text: &str, max_chars: usize) -> String {
    let mut line = Line::new(max_chars);
    for c in text.chars() {
        line.push(c);
    }
    line.finish()
}

/// Like [`printable`] for bytes; those that are not UTF-8 become `\xNN`.
pub fn printable_bytes(bytes: &[u8], max_chars: usize) -> String {
    let mut line = Line::new(max_chars);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            line.push(c);
        }
        for byte in chunk.invalid() {
            line.push_text(&format!("\\x{byte:02x}"), 4);
        }
    }
    line.finish()
}

/// Would this character act on a terminal or on the order of the text, instead of being seen?
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero-width characters, direction marks, line separators, embeddings and overrides.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags and private use: no glyph, or somebody else's.
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Text of bounded length. Keeps the length at which an ellipsis would still fit.
struct Line {
    text: String,
    chars: usize,
    max: usize,
    room_for_ellipsis: usize,
    full: bool,
}

impl Line {
    fn new(max: usize) -> Self {
        Self {
            text: String::new(),
            chars: 0,
            max,
            room_for_ellipsis: 0,
            full: false,
        }
    }

    fn push(&mut self, c: char) {
        let mut escape = String::new();
        match c {
            '\n' => escape.push_str("\\n"),
            '\r' => escape.push_str("\\r"),
            '\t' => escape.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _infallible = write!(escape, "\\x{:02x}", u32::from(c));
            }
            c if is_hidden(c) => {
                let _infallible = write!(escape, "\\u{{{:x}}}", u32::from(c));
            }
            c => escape.push(c),
        }
        let chars = escape.chars().count();
        self.push_text(&escape, chars);
    }

    fn push_text(&mut self, text: &str, chars: usize) {
        if self.full || self.chars + chars > self.max {
            self.full = true;
            return;
        }
        self.text.push_str(text);
        self.chars += chars;
        if self.chars < self.max {
            self.room_for_ellipsis = self.text.len();
        }
    }

    fn finish(mut self) -> String {
        if self.full && self.max > 0 {
            self.text.truncate(self.room_for_ellipsis);
            self.text.push('…');
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        for (text, want) in [
            ("plain /path", "plain /path"),
            ("größer 日本", "größer 日本"),
            ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
            ("\x1b[2Jgone", "\\x1b[2Jgone"),
            ("\x7f\u{9b}31m", "\\x7f\\u{9b}31m"),
            ("evil\u{202e}txt.exe", "evil\\u{202e}txt.exe"),
            ("\u{2066}\u{200b}\u{feff}", "\\u{2066}\\u{200b}\\u{feff}"),
        ] {
            assert_eq!(printable(text, 100), want);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_in_hex() {
        assert_eq!(printable_bytes(b"a\xff\xc3(\x1b", 100), "a\\xff\\xc3(\\x1b");
        assert_eq!(printable_bytes("ü".as_bytes(), 100), "ü");
        assert_eq!(printable_bytes(b"\xff\xff", 5), "\\xff…");
    }

    #[test]
    fn length_is_bounded() {
        for (text, max, want) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcd…"),
            ("abcdef", 1, "…"),
            ("abcdef", 0, ""),
            ("", 0, ""),
            // An escape is shown whole or not at all.
            ("ab\x1bcd", 5, "ab…"),
            ("ab\x1bcd", 6, "ab…"),
            ("ab\x1b", 6, "ab\\x1b"),
        ] {
            let got = printable(text, max);
            assert_eq!(got, want, "{text:?} {max}");
            assert!(got.chars().count() <= max);
        }
    }

    #[test]
    fn every_character_comes_out_visible() {
        for c in '\0'..=char::MAX {
            let shown = printable(&c.to_string(), 20);
            assert!(!shown.chars().any(is_hidden), "{:x}", u32::from(c));
        }
    }
}
