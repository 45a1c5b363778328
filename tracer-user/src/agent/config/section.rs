//! Reads tables key by key; what nobody asked for is unknown.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::Problem;

/// How alike two names must be for one to be suggested for the other.
const ALIKE: f64 = 0.75;

/// The text, and what was found wrong in it so far.
pub(super) struct Source<'t> {
    pub(super) text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            problems: RefCell::default(),
        }
    }

    pub(super) fn problem(&self, place: Range<usize>, what: impl Into<String>) {
        let problem = Problem::at(self.text, place.start, what);
        self.problems.borrow_mut().push(problem);
    }

    /// In the order of the text.
    pub(super) fn problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

/// One table, or none: then every key has its default.
pub(super) struct Section<'s, 't> {
    source: &'s Source<'t>,
    /// As it is written in brackets; empty: the top.
    name: String,
    place: Range<usize>,
    table: Option<&'s DeTable<'t>>,
    asked: Vec<&'static str>,
}

/// A value in its place.
pub(super) type Placed<T> = (T, Range<usize>);

impl<'s, 't> Section<'s, 't> {
    /// The whole document.
    pub(super) fn top(source: &'s Source<'t>, table: &'s Spanned<DeTable<'t>>) -> Self {
        Self {
            source,
            name: String::new(),
            place: table.span(),
            table: Some(table.get_ref()),
            asked: Vec::new(),
        }
    }

    /// Is it in the text?
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    fn get(&mut self, key: &'static str) -> Option<&'s Spanned<DeValue<'t>>> {
        self.asked.push(key);
        let table = self.table?;
        let mut entries = table.iter();
        entries
            .find(|(name, _)| name.get_ref().as_ref() == key)
            .map(|(_, value)| value)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let is = name_of(value.get_ref());
        self.source.problem(
            value.span(),
            format!("{} has to be {wanted}, this is {is}", self.full(key)),
        );
    }

    /// `snaplen of [capture]`.
    fn full(&self, key: &str) -> String {
        match self.name.as_str() {
            "" => key.to_owned(),
            name => format!("{key} of {name}"),
        }
    }

    /// A whole number in a range; `unit` in words, such as `bytes`.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> Option<u64> {
        let value = self.get(key)?;
        self.number(key, value, &range, unit)
    }

    fn number(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        range: &RangeInclusive<u64>,
        unit: &str,
    ) -> Option<u64> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let allowed = match unit {
            "" => allowed,
            unit => format!("{allowed} ({unit})"),
        };
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_type(key, value, &allowed);
            return None;
        };
        let digits = integer.as_str().replace('_', "");
        let number = u64::from_str_radix(&digits, integer.radix());
        match number {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let what = format!("{} has to be {allowed}", self.full(key));
                self.source.problem(value.span(), what);
                None
            }
        }
    }

    /// Numbers in a range.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> Option<Vec<u64>> {
        let items = self.array(key, "numbers")?;
        let each = items.iter();
        let numbers = each.map(|item| self.number(key, item, &range, unit));
        Some(numbers.collect::<Vec<_>>().into_iter().flatten().collect())
    }

    fn array(&mut self, key: &'static str, of: &str) -> Option<&'s [Spanned<DeValue<'t>>]> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Array(items) => Some(items),
            _ => {
                self.wrong_type(key, value, &format!("a list of {of}: [ …, … ]"));
                None
            }
        }
    }

    /// A string that means something.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        self.string(key, value, &parse).map(|(parsed, _)| parsed)
    }

    /// As [`Section::parsed`], for a key that has no default. Without the section it is not asked for.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.table?;
        match self.get(key) {
            Some(value) => self.string(key, value, &parse).map(|(parsed, _)| parsed),
            None => {
                let what = format!("{} needs the key {key}", self.name);
                self.source.problem(self.place.clone(), what);
                None
            }
        }
    }

    fn string<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, value, "a string in quotes");
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some((parsed, value.span())),
            Err(why) => {
                let what = format!("{}: {why}", self.full(key));
                self.source.problem(value.span(), what);
                None
            }
        }
    }

    /// A list of strings that mean something.
    pub(super) fn parsed_list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = self.array(key, "strings in quotes")?;
        let each = items.iter();
        let parsed = each.map(|item| Some(self.string(key, item, &parse)?.0));
        Some(parsed.collect::<Vec<_>>().into_iter().flatten().collect())
    }

    /// A table of this one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'s, 't> {
        let value = self.get(key);
        let name = match self.name.trim_matches(['[', ']']) {
            "" => format!("[{key}]"),
            outer => format!("[{outer}.{key}]"),
        };
        let table = value.and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong_type(key, value, &format!("a section: {name}"));
                None
            }
        });
        Section {
            source: self.source,
            name,
            place: value.map_or(0..0, Spanned::span),
            table,
            asked: Vec::new(),
        }
    }

    /// Tables that may be given several times.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'s, 't>> {
        let name = format!("[[{key}]]");
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(
                key,
                value,
                &format!("given in two pairs of brackets: {name}"),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            let DeValue::Table(table) = item.get_ref() else {
                self.wrong_type(key, item, &format!("a section: {name}"));
                continue;
            };
            sections.push(Section {
                source: self.source,
                name: name.clone(),
                place: item.span(),
                table: Some(table),
                asked: Vec::new(),
            });
        }
        sections
    }

    /// Everything that may be here was asked for: the rest is unknown.
    pub(super) fn done(self) {
        for (key, value) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let is_section = matches!(value.get_ref(), DeValue::Table(_));
            let place = match self.name.as_str() {
                "" if is_section => format!("there is no section [{}]", shown(name)),
                "" => format!("there is no key {} outside of the sections", shown(name)),
                section => format!("{section} has no key {}", shown(name)),
            };
            let hint = match nearest(name, &self.asked) {
                Some(right) => format!("did you mean {right}?"),
                None => format!("there are {}", self.asked.join(", ")),
            };
            self.source.problem(key.span(), format!("{place}; {hint}"));
        }
    }
}

/// A name from the file, safe to print and not too long.
fn shown(name: &str) -> String {
    const MAX: usize = 60;
    let mut text: String = name.escape_debug().take(MAX).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    text
}

/// The name that was most likely meant.
pub(super) fn nearest<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let name = name.to_lowercase().replace('-', "_");
    let alike = names
        .iter()
        .map(|other| (strsim::jaro_winkler(&name, other), *other));
    let best = alike.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= ALIKE).then_some(best.1)
}

fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
