//! Which section a line stands in, and which `defaults` a section begins with
//! (<https://docs.haproxy.org/2.8/configuration.html#4>).

use std::collections::BTreeMap;

use super::words::{Word, text};

/// The sections of some kinds, in their order, each as an `S`: what its lines say.
pub(super) struct Sections<S> {
    kinds: [&'static str; 2],
    place: Place,
    /// The last `defaults` section: what a section without `from` begins with.
    defaults: S,
    named: BTreeMap<String, S>,
    /// Name of the open `defaults` section.
    open_name: Option<String>,
    sections: Vec<S>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    Global,
    Defaults,
    Section,
}

/// What a line is to the walk.
pub(super) enum Line<'a, S> {
    /// It opens a section of one of the kinds.
    Opens(&'a mut S),
    /// It stands in `global`.
    Global,
    /// In `defaults`.
    Defaults(&'a mut S),
    /// In a section of one of the kinds.
    Section(&'a mut S),
    /// It opens or stands in another one, or comes before all.
    Elsewhere,
}

impl<S: Clone + Default> Sections<S> {
    pub(super) fn new(kinds: [&'static str; 2]) -> Self {
        Self {
            kinds,
            place: Place::Elsewhere,
            defaults: S::default(),
            named: BTreeMap::new(),
            open_name: None,
            sections: Vec::new(),
        }
    }

    /// Sections do not go on in the next file.
    pub(super) fn next_file(&mut self) {
        self.open(Place::Elsewhere);
    }

    pub(super) fn line(&mut self, line: &[Word]) -> Line<'_, S> {
        let text = |index: usize| text(line, index);
        match text(0) {
            "global" => self.open(Place::Global),
            "defaults" => {
                self.open(Place::Defaults);
                let (name, from) = match text(1) {
                    "from" => ("", text(2)),
                    name => (name, if text(2) == "from" { text(3) } else { "" }),
                };
                // Each such section starts afresh.
                self.defaults = self.named.get(from).cloned().unwrap_or_default();
                self.open_name = (!name.is_empty()).then(|| name.to_owned());
            }
            kind if self.kinds.contains(&kind) => {
                self.open(Place::Section);
                let base = match text(2) {
                    "from" => self.named.get(text(3)).unwrap_or(&self.defaults),
                    _ => &self.defaults,
                };
                let section = base.clone();
                self.sections.push(section);
                return self.last(Line::Opens);
            }
            "frontend" | "backend" | "listen" | "userlist" | "peers" | "resolvers" | "mailers"
            | "cache" | "program" | "http-errors" | "ring" | "log-forward" | "fcgi-app"
            | "crt-store" | "traces" | "log-profile" | "acme" => self.open(Place::Elsewhere),
            _ => return self.inside(),
        }
        Line::Elsewhere
    }

    fn inside(&mut self) -> Line<'_, S> {
        match self.place {
            Place::Elsewhere => Line::Elsewhere,
            Place::Global => Line::Global,
            Place::Defaults => Line::Defaults(&mut self.defaults),
            Place::Section => self.last(Line::Section),
        }
    }

    fn last<'a>(&'a mut self, line: impl FnOnce(&'a mut S) -> Line<'a, S>) -> Line<'a, S> {
        self.sections.last_mut().map_or(Line::Elsewhere, line)
    }

    fn open(&mut self, place: Place) {
        if let Some(name) = self.open_name.take() {
            self.named.insert(name, self.defaults.clone());
        }
        self.place = place;
    }

    pub(super) fn finish(self) -> Vec<S> {
        self.sections
    }
}
