//! Lines as words: quotes, escapes, comments and variables
//! (<https://docs.haproxy.org/2.8/configuration.html#2.2>).

use crate::printable::printable;

/// Most words of a line, as in HAProxy (`MAX_LINE_ARGS`), and most bytes kept of a word.
const WORDS_MAX: usize = 64;
const WORD_MAX: usize = 1024;

/// A word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Holds a variable of the environment: the text is not what HAProxy sees.
    pub(super) variable: bool,
}

/// The text of the word at a place; empty where there is none.
pub(super) fn text(line: &[Word], index: usize) -> &str {
    line.get(index).map_or("", |word| word.text.as_str())
}

/// `backend api`, of the line that opens it; `most` characters of the name.
pub(super) fn title(line: &[Word], most: usize) -> String {
    format!("{} {}", text(line, 0), printable(text(line, 1), most))
}

/// The words of a line; `None` if a quote is never closed.
pub(super) fn words(line: &[u8]) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut word: Option<(Vec<u8>, bool)> = None;
    let mut quote = None;
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let literal = match (quote, byte) {
            (None, b'#') => break,
            (None, b' ' | b'\t' | b'\r') => {
                finish(word.take(), &mut words);
                continue;
            }
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
                continue;
            }
            (Some(open), byte) if open == byte => {
                quote = None;
                continue;
            }
            (Some(b'\''), byte) => byte,
            (_, b'\\') => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(byte) => byte,
                None => b'\\',
            },
            (_, b'$') => {
                word.get_or_insert_default().1 = true;
                b'$'
            }
            (_, byte) => byte,
        };
        let (text, _) = word.get_or_insert_default();
        if text.len() < WORD_MAX {
            text.push(literal);
        }
    }
    finish(word, &mut words);
    quote.is_none().then_some(words)
}

fn finish(word: Option<(Vec<u8>, bool)>, words: &mut Vec<Word>) {
    if let Some((text, variable)) = word
        && words.len() < WORDS_MAX
    {
        words.push(Word {
            text: String::from_utf8_lossy(&text).into_owned(),
            variable,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, want) in [
            ("", Some(vec![])),
            (
                "  timeout server 30s # slow",
                Some(vec!["timeout", "server", "30s"]),
            ),
            ("a#b", Some(vec!["a"])),
            (
                "log-format \"%ci #1\" x",
                Some(vec!["log-format", "%ci #1", "x"]),
            ),
            (
                "a 'b \" c' \\# \\  ''",
                Some(vec!["a", "b \" c", "#", " ", ""]),
            ),
            ("a\r", Some(vec!["a"])),
            ("a \"b", None),
        ] {
            let got = words(line.as_bytes());
            let texts = got.map(|words| words.into_iter().map(|w| w.text).collect::<Vec<_>>());
            assert_eq!(
                texts,
                want.map(|w| w.into_iter().map(str::to_owned).collect()),
                "{line}"
            );
        }
    }

    #[test]
    fn variables_are_marked() {
        let marks = |line: &[u8]| -> Vec<bool> {
            words(line)
                .unwrap()
                .iter()
                .map(|word| word.variable)
                .collect()
        };
        assert_eq!(
            marks(br#"server a "${HOST}:80" '$x' \$y"#),
            [false, false, true, false, false]
        );
    }

    #[test]
    fn any_bytes_will_do() {
        let huge = b"x ".repeat(1 << 20);
        assert_eq!(words(&huge).unwrap().len(), WORDS_MAX);
        let long = vec![b'x'; 1 << 20];
        assert_eq!(words(&long).unwrap()[0].text.len(), WORD_MAX);
        for byte in 0..=255 {
            let _no_panic = words(&[byte, b'\\']);
            let _no_panic = words(&[b'"', byte]);
        }
    }
}
