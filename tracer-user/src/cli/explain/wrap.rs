//! Paragraphs within the width of a terminal.

use std::io::{self, Write};

/// Continuation lines start below the text of the first.
pub(super) fn wrapped(
    text: &str,
    lead: &str,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    wrapped_with(text, lead, &" ".repeat(lead.chars().count()), width, out)
}

/// The first line begins with `lead`, the others with `indent`.
pub(super) fn wrapped_with(
    text: &str,
    lead: &str,
    indent: &str,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut line = lead.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            writeln!(out, "{line}")?;
            line = indent.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        let mut out = Vec::new();
        wrapped("one two three overlongword x", "- ", 9, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "- one two\n  three\n  overlongword\n  x\n"
        );
    }
}
