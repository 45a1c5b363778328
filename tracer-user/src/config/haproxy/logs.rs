//! `log`, `option httplog` and the like, `log-format`:
//! <https://docs.haproxy.org/2.6/configuration.html#8>.

use super::load::Loaded;
use super::sections::{Line, Sections};
use super::words::{Word, text, title, words};
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
    let mut reader = Reader {
        global: Vec::new(),
        sections: Sections::new(["frontend", "listen"]),
        opened: Vec::new(),
    };
    for (name, text) in &loaded.files {
        reader.sections.next_file();
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

struct Reader {
    global: Vec<String>,
    sections: Sections<Section>,
    /// The lines that open them.
    opened: Vec<Source>,
}

impl Reader {
    fn line(&mut self, line: &[Word], source: Source) {
        let section = match self.sections.line(line) {
            Line::Opens(section) => {
                section.title = title(line, TEXT_MAX);
                self.opened.push(source);
                return;
            }
            Line::Global => {
                if text(line, 0) == "log" {
                    self.global.push(printable(text(line, 1), TEXT_MAX));
                }
                return;
            }
            Line::Elsewhere => return,
            Line::Defaults(section) | Line::Section(section) => section,
        };
        let (line, negated) = match text(line, 0) {
            "no" => (&line[1..], true),
            _ => (line, false),
        };
        match (text(line, 0), text(line, 1)) {
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
        for (section, opened) in self.sections.finish().into_iter().zip(self.opened) {
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
