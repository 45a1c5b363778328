//! From lines to what is in force for each server.

use super::load::Loaded;
use super::sections::{Line, Sections};
use super::words::{Word, text, title, words};
use crate::config::setting::{Directive, Source, UpstreamConfig, Value};
use crate::config::units::{haproxy_bytes, haproxy_ms};
use crate::config::{Servers, Upstreams, Values, add_server, address, in_force, note};

/// Longest name of a section, in characters.
const NAME_MAX: usize = 64;
/// Most servers of all sections together.
const SERVERS_MAX: usize = 50_000;

/// What the configuration says, and what could not be read of it.
pub(in crate::config) fn upstreams(loaded: Loaded) -> (Vec<UpstreamConfig>, Vec<String>) {
    let mut reader = Reader {
        complete: !loaded.gap,
        notes: loaded.notes,
        global: Values::new(),
        sections: Sections::new(["backend", "listen"]),
        conditions: 0,
        servers: 0,
    };
    for (name, text) in &loaded.files {
        reader.file(name, text);
    }
    reader.finish()
}

/// A section that servers get their values from.
#[derive(Clone, Default)]
struct Section {
    /// `backend api`.
    title: String,
    values: Values,
    /// Of `default-server` lines so far.
    for_servers: Values,
    /// Servers that are treated alike, and where they are.
    servers: Servers,
}

struct Reader {
    complete: bool,
    notes: Vec<String>,
    global: Values,
    sections: Sections<Section>,
    /// Open `.if` blocks: whether their lines count is decided by the running HAProxy.
    conditions: u32,
    servers: usize,
}

impl Reader {
    fn file(&mut self, name: &str, text: &[u8]) {
        self.sections.next_file();
        self.conditions = 0;
        let mut number: u32 = 0;
        let mut lines = text.split_inclusive(|byte| *byte == b'\n');
        for line in &mut lines {
            number = number.saturating_add(1);
            let Some(line) = line.strip_suffix(b"\n") else {
                // HAProxy refuses such a file: its last line may have been cut.
                return self.torn(name, number, "the file ends within a line");
            };
            let Some(words) = words(line) else {
                return self.torn(name, number, "a quote is not closed");
            };
            let source = Source::File {
                file: name.to_owned(),
                line: number,
            };
            self.line(&words, &source);
        }
    }

    fn torn(&mut self, name: &str, line: u32, reason: &str) {
        self.complete = false;
        note(&mut self.notes, format!("{name}:{line}: {reason}."));
    }

    fn line(&mut self, line: &[Word], source: &Source) {
        match text(line, 0) {
            "" => return,
            ".if" => {
                self.conditions += 1;
                return;
            }
            ".endif" => {
                self.conditions = self.conditions.saturating_sub(1);
                return;
            }
            directive if directive.starts_with('.') => return,
            _ => {}
        }
        let certain = self.conditions == 0;
        let (section, has_servers) = match self.sections.line(line) {
            Line::Opens(section) => {
                section.title = title(line, NAME_MAX);
                return;
            }
            Line::Global => {
                if let Some((directive, value)) = global_value(line) {
                    let value = value.filter(|_| certain);
                    let found = value.map(|value| (value, source.clone()));
                    self.global.insert(directive, found);
                }
                return;
            }
            Line::Elsewhere => return,
            Line::Defaults(section) => (section, false),
            Line::Section(section) => (section, true),
        };
        match text(line, 0) {
            "default-server" => {
                let values = server_values(&line[1..], certain, source);
                section.for_servers.extend(values);
            }
            "server" | "server-template" if has_servers => {
                let at = if text(line, 0) == "server" { 2 } else { 3 };
                let Some((address, rest)) = line.get(at..).and_then(<[Word]>::split_first) else {
                    return;
                };
                self.servers += 1;
                if self.servers > SERVERS_MAX {
                    let notes = &mut self.notes;
                    note(
                        notes,
                        format!("Only the first {SERVERS_MAX} servers were kept."),
                    );
                    return;
                }
                if let Some(target) = address::haproxy(&address.text, address.variable) {
                    let mut values = section.for_servers.clone();
                    values.extend(server_values(rest, certain, source));
                    add_server(&mut section.servers, values, target);
                }
            }
            _ => {
                if let Some((directive, value)) = section_value(line) {
                    let value = value.filter(|_| certain);
                    let found = value.map(|value| (value, source.clone()));
                    section.values.insert(directive, found);
                }
            }
        }
    }

    fn finish(self) -> (Vec<UpstreamConfig>, Vec<String>) {
        let defaults = defaults();
        let mut upstreams = Upstreams::default();
        for section in self.sections.finish() {
            for (values, targets) in section.servers {
                let mut all = self.global.clone();
                all.extend(section.values.clone());
                all.extend(values);
                upstreams.add(UpstreamConfig {
                    group: section.title.clone(),
                    targets,
                    settings: in_force(&all, &defaults, self.complete),
                });
            }
        }
        let Upstreams { list, more, .. } = upstreams;
        let mut notes = self.notes;
        if more {
            let text = format!("Only the first {} groups of servers were kept.", list.len());
            note(&mut notes, text);
        }
        (list, notes)
    }
}

/// What counts where nothing is written: <https://docs.haproxy.org/2.8/configuration.html>, at each
/// keyword. `timeout tunnel` has none: `timeout server` goes on counting.
fn defaults() -> Vec<(Directive, Value)> {
    let word = |text: &str| Value::Words(vec![text.to_owned()]);
    vec![
        (Directive::TimeoutConnect, Value::Unlimited),
        (Directive::TimeoutServer, Value::Unlimited),
        (Directive::PoolPurgeDelay, Value::Millis(5_000)),
        (Directive::PoolMaxConn, Value::Unlimited),
        (Directive::Maxconn, Value::Unlimited),
        (Directive::Retries, Value::Count(3)),
        (Directive::RetryOn, word("conn-failure")),
        (Directive::HttpReuse, word("safe")),
        (Directive::Redispatch, word("off")),
        (Directive::Bufsize, Value::Bytes(16_384)),
        (Directive::Maxrewrite, Value::Bytes(1_024)),
        (Directive::Maxhdr, Value::Count(101)),
    ]
}

/// The text at a place, unless it holds a variable.
fn plain(line: &[Word], index: usize) -> Option<&str> {
    let word = line.get(index)?;
    (!word.variable).then_some(word.text.as_str())
}

/// A duration; 0 is no limit.
fn timeout(text: &str) -> Option<Value> {
    Some(match haproxy_ms(text)? {
        0 => Value::Unlimited,
        ms => Value::Millis(ms),
    })
}

/// A keyword of `global`; its inside is `None` if the value cannot be understood.
fn global_value(line: &[Word]) -> Option<(Directive, Option<Value>)> {
    let bytes = || plain(line, 1).and_then(haproxy_bytes).map(Value::Bytes);
    Some(match line.first()?.text.as_str() {
        "tune.bufsize" => (Directive::Bufsize, bytes()),
        "tune.maxrewrite" => (Directive::Maxrewrite, bytes()),
        "tune.http.maxhdr" => (
            Directive::Maxhdr,
            plain(line, 1)
                .and_then(|n| n.parse().ok())
                .map(Value::Count),
        ),
        _ => return None,
    })
}

/// A keyword of `defaults`, `backend` or `listen`.
fn section_value(line: &[Word]) -> Option<(Directive, Option<Value>)> {
    let (line, negated) = match line.first()?.text.as_str() {
        "no" => (&line[1..], true),
        _ => (line, false),
    };
    let second = line.get(1).map_or("", |word| word.text.as_str());
    Some(match line.first()?.text.as_str() {
        "timeout" => {
            let directive = match second {
                "connect" => Directive::TimeoutConnect,
                "server" => Directive::TimeoutServer,
                "queue" => Directive::TimeoutQueue,
                "tunnel" => Directive::TimeoutTunnel,
                _ => return None,
            };
            (directive, plain(line, 2).and_then(timeout))
        }
        "retries" => (
            Directive::Retries,
            plain(line, 1)
                .and_then(|n| n.parse().ok())
                .map(Value::Count),
        ),
        "retry-on" => (Directive::RetryOn, retry_words(&line[1..])),
        "http-reuse" => {
            let known = matches!(second, "never" | "safe" | "aggressive" | "always");
            let value = Value::Words(vec![second.to_owned()]);
            (Directive::HttpReuse, known.then_some(value))
        }
        "option" if second == "redispatch" => {
            let word = if negated { "off" } else { "on" };
            (
                Directive::Redispatch,
                Some(Value::Words(vec![word.to_owned()])),
            )
        }
        _ => return None,
    })
}

/// <https://docs.haproxy.org/2.8/configuration.html#4.2-retry-on>
fn retry_words(list: &[Word]) -> Option<Value> {
    let known = |word: &str| {
        matches!(
            word,
            "none"
                | "conn-failure"
                | "empty-response"
                | "junk-response"
                | "response-timeout"
                | "0rtt-rejected"
                | "all-retryable-errors"
        ) || (word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let all_known = !list.is_empty() && list.iter().all(|word| known(&word.text));
    all_known.then(|| Value::Words(list.iter().map(|word| word.text.clone()).collect()))
}

/// Parameters of a `server` or `default-server` line.
fn server_values(line: &[Word], certain: bool, source: &Source) -> Values {
    let mut values = Values::new();
    for index in 0..line.len() {
        let text = plain(line, index + 1);
        let (directive, value) = match line[index].text.as_str() {
            "pool-purge-delay" => (
                Directive::PoolPurgeDelay,
                text.and_then(haproxy_ms).map(Value::Millis),
            ),
            "pool-max-conn" => (
                Directive::PoolMaxConn,
                match text {
                    Some("-1") => Some(Value::Unlimited),
                    text => text.and_then(|n| n.parse().ok()).map(Value::Count),
                },
            ),
            "maxconn" => (
                Directive::Maxconn,
                match text {
                    Some("0") => Some(Value::Unlimited),
                    text => text.and_then(|n| n.parse().ok()).map(Value::Count),
                },
            ),
            _ => continue,
        };
        let value = value.filter(|_| certain);
        values.insert(directive, value.map(|value| (value, source.clone())));
    }
    values
}
