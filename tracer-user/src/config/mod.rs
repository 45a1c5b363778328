//! What the configuration of a traced proxy says about its backends: the few values that decide
//! between an answer and a 502, each with file and line, or marked as the documented default.
//!
//! Everything here but [`root`] and [`watch`] is a plain function of text. Configurations are
//! somebody else's files: parsers take any bytes, their work is bounded, and what cannot be
//! understood is unknown, never guessed.

mod address;
mod glob;
mod haproxy;
mod locate;
mod logging;
mod nginx;
mod root;
mod setting;
mod units;
mod watch;

#[cfg(test)]
mod tests;

pub use logging::{Log, LogKind, Logging, Tie};
pub use setting::{Directive, ProxyConfig, Setting, Source, Target, UpstreamConfig, Value};
pub use watch::Configs;

/// Most upstreams that one configuration may give.
const UPSTREAMS_MAX: usize = 1024;
/// Most addresses in one of them.
const TARGETS_MAX: usize = 1024;
/// Most files of one configuration.
const FILES_MAX: usize = 512;
/// Most bytes of all files of one configuration.
const BYTES_MAX: usize = 8 << 20;
/// Most notes of one configuration.
const NOTES_MAX: usize = 8;

/// One value as it was found: `None` where the place is known and the value is not.
type Found = Option<(Value, Source)>;
/// Values by directive; a directive that is not there was not written.
type Values = std::collections::BTreeMap<Directive, Found>;

/// Servers that are treated alike, and where they are.
type Servers = Vec<(Values, Vec<Target>)>;

/// Puts a server to those that are treated like it, while there is room.
fn add_server(servers: &mut Servers, values: Values, target: Target) {
    match servers.iter().position(|(known, _)| *known == values) {
        Some(alike) if servers[alike].1.len() < TARGETS_MAX => servers[alike].1.push(target),
        None if servers.len() < TARGETS_MAX => servers.push((values, vec![target])),
        _ => {}
    }
}

/// The settings of one place: what was written, else what is documented, if `complete` (the whole
/// configuration of that place could be read).
fn in_force(values: &Values, defaults: &[(Directive, Value)], complete: bool) -> Vec<Setting> {
    let written = values.iter().filter_map(|(directive, found)| {
        let (value, source) = found.clone()?;
        Some(Setting {
            directive: *directive,
            value,
            source,
        })
    });
    let absent = defaults
        .iter()
        .filter(|(directive, _)| complete && !values.contains_key(directive));
    let mut settings: Vec<Setting> = written
        .chain(absent.map(|(directive, value)| Setting {
            directive: *directive,
            value: value.clone(),
            source: Source::Default,
        }))
        .collect();
    settings.sort_by_key(|setting| setting.directive);
    settings
}

/// Upstreams under construction: equal ones are kept once, and there is a limit.
#[derive(Debug, Default)]
struct Upstreams {
    list: Vec<UpstreamConfig>,
    index: std::collections::HashSet<UpstreamConfig>,
    more: bool,
}

impl Upstreams {
    fn add(&mut self, upstream: UpstreamConfig) {
        if self.index.contains(&upstream) {
            return;
        }
        if self.list.len() == UPSTREAMS_MAX {
            self.more = true;
            return;
        }
        self.index.insert(upstream.clone());
        self.list.push(upstream);
    }
}

/// A path as reports show it.
fn name_of(path: &std::path::Path) -> String {
    crate::printable::printable(&path.to_string_lossy(), 512)
}

/// Adds a note, once, while there is room.
fn note(notes: &mut Vec<String>, text: String) {
    if notes.len() < NOTES_MAX && !notes.contains(&text) {
        notes.push(text);
    }
}
