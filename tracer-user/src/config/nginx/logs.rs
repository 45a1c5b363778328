//! `access_log`, `log_format` and `error_log`:
//! <https://nginx.org/en/docs/http/ngx_http_log_module.html> and
//! <https://nginx.org/en/docs/ngx_core_module.html#error_log>.

use std::collections::BTreeMap;

use super::include::Loaded;
use super::parse::{Directive, Item, WORD_MAX};
use crate::config::Source;
use crate::config::logging::{Log, LogKind, Tie, add};
use crate::printable::printable;

/// The format that is always there.
const COMBINED: &str = "combined";
/// Longest path or name that is kept, characters.
const TEXT_MAX: usize = 256;
/// Variables that name the client's connection, or an id that the request carries.
const EXACT: [&str; 4] = [
    "remote_port",
    "request_id",
    "http_x_request_id",
    "http_traceparent",
];
const BACKEND: &str = "upstream_addr";

/// The logs of a configuration.
pub(in crate::config) fn logs(loaded: &Loaded) -> Vec<Log> {
    let mut formats = BTreeMap::from([(COMBINED.to_owned(), Tie::Time)]);
    each(&loaded.items, &mut |directive| {
        if directive.name == "log_format"
            && let Some((name, words)) = directive.words.split_first()
        {
            formats.insert(name.clone(), tie(words));
        }
    });
    let (mut access, mut errors) = (Vec::new(), Vec::new());
    let mut written = false;
    each(&loaded.items, &mut |directive| {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        let source = loaded.source(directive);
        match (directive.name.as_str(), words.as_slice()) {
            ("access_log", ["off", ..]) => {
                written = true;
                let format = "off".to_owned();
                let tie = Some(Tie::Nothing);
                let (kind, to) = (LogKind::Access, None);
                add(
                    &mut access,
                    Log {
                        kind,
                        to,
                        format,
                        tie,
                        source,
                    },
                );
            }
            ("access_log", [path, rest @ ..]) => {
                written = true;
                // Parameters have a `=` in them, a format's name stands before them.
                let name = rest.first().filter(|word| !word.contains('='));
                let name = name.copied().unwrap_or(COMBINED);
                add(
                    &mut access,
                    Log {
                        kind: LogKind::Access,
                        to: Some(printable(path, TEXT_MAX)),
                        format: printable(name, TEXT_MAX),
                        tie: Some(formats.get(name).copied().unwrap_or(Tie::Unknown)),
                        source,
                    },
                );
            }
            ("error_log", [path, rest @ ..]) => {
                let level = rest.first().copied().unwrap_or("error");
                add(
                    &mut errors,
                    Log {
                        kind: LogKind::Error,
                        to: Some(printable(path, TEXT_MAX)),
                        format: printable(level, TEXT_MAX),
                        tie: None,
                        source,
                    },
                );
            }
            _ => {}
        }
    });
    let complete = loaded.notes.is_empty();
    if !written && complete {
        access.push(built_in(LogKind::Access, COMBINED, Some(Tie::Time)));
    }
    if errors.is_empty() && complete {
        errors.push(built_in(LogKind::Error, "error", None));
    }
    access.extend(errors);
    access
}

fn built_in(kind: LogKind, format: &str, tie: Option<Tie>) -> Log {
    Log {
        kind,
        to: None,
        format: format.to_owned(),
        tie,
        source: Source::Default,
    }
}

fn each<'a>(items: &'a [Item], f: &mut impl FnMut(&'a Directive)) {
    for item in items {
        if let Item::Directive(directive) = item {
            f(directive);
            each(&directive.block, f);
        }
    }
}

/// What a format's strings name.
fn tie(strings: &[String]) -> Tie {
    let names = |wanted: &[&str]| {
        strings
            .iter()
            .flat_map(|string| variables(string))
            .any(|name| wanted.contains(&name))
    };
    if names(&EXACT) {
        Tie::Exact
    } else if strings.iter().any(|string| string.len() >= WORD_MAX) {
        Tie::Unknown
    } else if names(&[BACKEND]) {
        Tie::Backend
    } else {
        Tie::Time
    }
}

/// `$name` and `${name}`.
fn variables(string: &str) -> impl Iterator<Item = &str> {
    string.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}
