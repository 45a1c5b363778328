//! `log`, `option httplog` and the like, `log-format`:
//! <https://docs.haproxy.org/2.6/configuration.html#8>.

use std::collections::BTreeMap;

use super::load::Loaded;
use super::words::{Word, words};
use crate::config::Source;
use crate::config::logging::{Log, LogKind, Tie, add};
use crate::printable::printable;

/// Longest address or name that is kept, characters.
const TEXT_MAX: usize = 256;
/// The connection to the server, as a log format can name it.
const EXACT: [&str; 3] = ["%bp", "bc_src_port", "%bi:"];
/// The request's own id.
const IDS: [&str; 4] = ["%ID", "unique-id", "x-request-id", "traceparent"];
/// The server, beside `%s`, whose name others begin with.
const BACKEND: [&str; 3] = ["%si", "%sp", "srv_name"];

/// What a section logs, as far as it is written there.
#[derive(Clone, Default)]
struct Section {
    /// `frontend fe_main`.
    title: String,
    targets: Vec<String>,
    format: Option<(String, Tie, Source)>,
}

/// The logs of the sections that take clients' connections.
pub(in crate::config) fn logs(loaded: &Loaded) -> Vec<Log> {
    let mut reader = Reader::default();
    for (name, text) in &loaded.files {
        reader.open(Place::Elsewhere);
        for (number, line) in (1_u32..).zip(text.split(|byte| *byte == b'\n')) {
            let source = Source::File {
                file: name.clone(),
                line: number,
            };
            if let Some(words) = words(line) {
                reader.line(&words, source);
            }
        }
    }
    reader.finish()
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Elsewhere,
    Global,
    Defaults,
    Clients,
}

#[derive(Default)]
struct Reader {
    place: Place,
    global: Vec<String>,
    /// The last `defaults` section.
    defaults: Section,
    named: BTreeMap<String, Section>,
    open_name: Option<String>,
    /// Section, and the line that opens it.
    sections: Vec<(Section, Source)>,
}

impl Reader {
    fn open(&mut self, place: Place) {
        if let Some(name) = self.open_name.take() {
            self.named.insert(name, self.defaults.clone());
        }
        self.place = place;
    }

    fn line(&mut self, line: &[Word], source: Source) {
        let text = |index: usize| line.get(index).map_or("", |word| word.text.as_str());
        match text(0) {
            "global" => self.open(Place::Global),
            "defaults" => {
                self.open(Place::Defaults);
                let (name, from) = match text(1) {
                    "from" => ("", text(2)),
                    name => (name, if text(2) == "from" { text(3) } else { "" }),
                };
                self.defaults = self.named.get(from).cloned().unwrap_or_default();
                self.open_name = (!name.is_empty()).then(|| name.to_owned());
            }
            kind @ ("frontend" | "listen") => {
                self.open(Place::Clients);
                let base = match text(2) {
                    "from" => self.named.get(text(3)).unwrap_or(&self.defaults),
                    _ => &self.defaults,
                };
                let mut section = base.clone();
                section.title = format!("{kind} {}", printable(text(1), TEXT_MAX));
                self.sections.push((section, source));
            }
            "backend" | "userlist" | "peers" | "resolvers" | "mailers" | "cache" | "program"
            | "http-errors" | "ring" | "log-forward" | "fcgi-app" | "crt-store" | "traces"
            | "log-profile" | "acme" => self.open(Place::Elsewhere),
            _ => self.keyword(line, source),
        }
    }

    fn keyword(&mut self, line: &[Word], source: Source) {
        let (line, negated) = match line.first().map(|word| word.text.as_str()) {
            Some("no") => (&line[1..], true),
            _ => (line, false),
        };
        let text = |index: usize| line.get(index).map_or("", |word| word.text.as_str());
        let section = match self.place {
            Place::Elsewhere => return,
            Place::Global => {
                if text(0) == "log" {
                    self.global.push(printable(text(1), TEXT_MAX));
                }
                return;
            }
            Place::Defaults => &mut self.defaults,
            Place::Clients => match self.sections.last_mut() {
                Some((section, _)) => section,
                None => return,
            },
        };
        match (text(0), text(1)) {
            ("log", "global") => section.targets.extend(self.global.iter().cloned()),
            ("log", "") if negated => section.targets.clear(),
            ("log", "") => {}
            ("log", address) => section.targets.push(printable(address, TEXT_MAX)),
            // The last of them counts.
            ("option", name @ ("httplog" | "tcplog" | "httpslog")) => {
                let format = (name.to_owned(), Tie::Backend, source);
                section.format = (!negated).then_some(format);
            }
            ("log-format", format) => {
                let cut = line.get(1).is_some_and(|word| word.variable);
                let tie = if cut { Tie::Unknown } else { tie(format) };
                section.format = Some(("log-format".to_owned(), tie, source));
            }
            _ => {}
        }
    }

    fn finish(self) -> Vec<Log> {
        let mut logs = Vec::new();
        for (section, opened) in self.sections {
            let (format, tie, source) = section.format.unwrap_or_else(|| {
                // Client and frontend, and no server.
                ("default".to_owned(), Tie::Time, opened)
            });
            let kind = LogKind::Access;
            if section.targets.is_empty() {
                let (format, tie) = (section.title, Some(Tie::Nothing));
                add(
                    &mut logs,
                    Log {
                        kind,
                        to: None,
                        format,
                        tie,
                        source,
                    },
                );
                continue;
            }
            let to = Some(section.targets.join(", "));
            add(
                &mut logs,
                Log {
                    kind,
                    to,
                    format,
                    tie: Some(tie),
                    source,
                },
            );
        }
        logs
    }
}

fn tie(format: &str) -> Tie {
    let holds = |parts: &[&str]| parts.iter().any(|part| format.contains(part));
    if holds(&EXACT) || holds(&IDS) {
        Tie::Exact
    } else if holds(&BACKEND) || names_server(format) {
        Tie::Backend
    } else {
        Tie::Time
    }
}

/// Is there a `%s` that is not `%sc`, `%sq`, `%sslv` and the like?
fn names_server(format: &str) -> bool {
    format
        .split("%s")
        .skip(1)
        .any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}
