//! Names and values beside a span, a log record, a data point or a resource. Text is bounded, and what
//! would act on a terminal is made visible.

use std::borrow::Cow;

use crate::printable::printable;

/// Longest short text: a name, an address, a method; characters.
pub(super) const LABEL_MAX: usize = 256;
/// Longest text: a sentence, a path, a line of a log; characters.
pub(super) const TEXT_MAX: usize = 1024;
/// Most texts in one list.
pub(super) const LIST_MAX: usize = 32;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    /// Text.
    Text(String),
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// Several texts; not none.
    Texts(Vec<String>),
}

/// Attributes, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attributes(Vec<(Cow<'static, str>, Value)>);

impl Attributes {
    /// Adds a text of at most so many characters. An empty one says nothing and is left out.
    pub(super) fn text(&mut self, key: &'static str, text: &str, max: usize) {
        let text = printable_lines(text, max);
        if !text.is_empty() {
            self.put(key, Value::Text(text));
        }
    }

    /// Adds a text, if there is one.
    pub(super) fn maybe(&mut self, key: &'static str, text: Option<&str>, max: usize) {
        self.text(key, text.unwrap_or_default(), max);
    }

    /// Adds a number, if there is one; what is beyond the greatest number is that number.
    pub(super) fn int(&mut self, key: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            self.put(key, Value::Int(i64::try_from(number).unwrap_or(i64::MAX)));
        }
    }

    /// Adds a yes or no.
    pub(super) fn bool(&mut self, key: &'static str, value: bool) {
        self.put(key, Value::Bool(value));
    }

    /// Adds the first [`LIST_MAX`] texts; no list if there is none.
    pub(super) fn texts<T: AsRef<str>>(
        &mut self,
        key: &'static str,
        texts: impl IntoIterator<Item = T>,
    ) {
        let texts = texts.into_iter().take(LIST_MAX);
        let texts: Vec<String> = texts
            .map(|text| printable_lines(text.as_ref(), TEXT_MAX))
            .collect();
        if !texts.is_empty() {
            self.put(key, Value::Texts(texts));
        }
    }

    fn put(&mut self, key: &'static str, value: Value) {
        debug_assert!(self.get(key).is_none(), "{key} is there already");
        self.0.push((key.into(), value));
    }

    /// Adds an attribute in place of one of that name.
    pub(super) fn replace(&mut self, key: &str, value: Value) {
        self.0.retain(|(other, _)| other != key);
        self.0.push((Cow::Owned(key.to_owned()), value));
    }

    /// Adds those whose names are not taken.
    pub(super) fn extend(&mut self, other: Self) {
        for (key, value) in other.0 {
            if self.get(&key).is_none() {
                self.0.push((key, value));
            }
        }
    }

    /// The value of that name.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let mut found = self.iter();
        found.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// All, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }
}

/// Like [`printable`], but line feeds stay: a remedy can be several lines of a configuration.
pub(super) fn printable_lines(text: &str, max: usize) -> String {
    // What lies beyond cannot be shown, and hostile text is long.
    let end = text.char_indices().nth(max.saturating_add(1));
    let text = &text[..end.map_or(text.len(), |(at, _)| at)];
    let mut shown = String::new();
    let mut left = max;
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            if left <= 1 {
                shown.push_str(if left == 1 { "…" } else { "" });
                break;
            }
            shown.push('\n');
            left -= 1;
        }
        let line = printable(line, left);
        left -= line.chars().count();
        shown.push_str(&line);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_harmless() {
        for (text, max, want) in [
            ("a\nb", 10, "a\nb"),
            ("a\r\nb\x1b[2J", 20, "a\\r\nb\\x1b[2J"),
            ("a\nbcdef", 4, "a\nb…"),
            ("ab\ncd", 3, "ab…"),
            ("ab\ncd", 2, "ab"),
            ("\n\n\n\n", 3, "\n\n…"),
            ("abc", 0, ""),
            ("\u{202e}", 20, "\\u{202e}"),
        ] {
            let got = printable_lines(text, max);
            assert_eq!(got, want, "{text:?} {max}");
            assert!(got.chars().count() <= max);
        }
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let mut found = Attributes::default();
        found.text("a", "", 9);
        found.maybe("b", None, 9);
        found.int("c", None);
        found.texts("d", [""; 0]);
        assert_eq!(found, Attributes::default());
        found.int("big", Some(u64::MAX));
        found.texts("many", ["x"; 100]);
        assert_eq!(found.get("big"), Some(&Value::Int(i64::MAX)));
        assert!(matches!(found.get("many"), Some(Value::Texts(t)) if t.len() == LIST_MAX));
    }
}
