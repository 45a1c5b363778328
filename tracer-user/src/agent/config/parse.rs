//! From text to [`Config`]: which keys there are, and what they may be.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::Uri;
use toml::de::DeTable;

use super::place::{Problem, Problems};
use super::section::{Section, Source, nearest};
use super::{
    Capture, Compression, Config, Export, LogForm, LogLevel, LogOutput, LookBack, NdjsonFile,
    Receiver, Role, Snapshot,
};
use crate::capture::options::LogOption;
use crate::case::Outcome;
use crate::cli::values;
use crate::kernel::types::TypeSource;
use crate::logs::Format;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

pub(super) fn parse(text: &str) -> Result<Config, Problems> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or(text.len(), |span| span.start);
        Problems(vec![Problem::at(text, place, error.message())])
    })?;
    let source = Source::new(text);
    let mut top = Section::top(&source, &table);
    let default = Config::default();
    let config = Config {
        runtime_directory: top
            .parsed("runtime_directory", absolute)
            .unwrap_or(default.runtime_directory),
        capture: capture(top.section("capture"), default.capture),
        logs: top.sections("log").into_iter().filter_map(log).collect(),
        lookback: lookback(top.section("lookback"), default.lookback),
        snapshot: snapshot(top.section("snapshot"), default.snapshot),
        export: export(top.section("export")),
        metrics_listen: metrics(top.section("metrics"), default.metrics_listen),
        log_output: log_output(top.section("log_output"), default.log_output),
    };
    top.done();
    match source.problems() {
        problems if problems.is_empty() => Ok(config),
        problems => Err(Problems(problems)),
    }
}

fn capture(mut section: Section<'_, '_>, default: Capture) -> Capture {
    let number = |number: Option<u64>, default: u32| {
        number
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(default)
    };
    let pids: Vec<u32> = section
        .integers("pids", 1..=u64::from(u32::MAX), "")
        .map_or(default.pids, |pids| {
            pids.into_iter().map(|pid| pid as u32).collect()
        });
    let proxies = section.parsed_list("proxies", values::proxy_name);
    let capture = Capture {
        // Who names processes and nothing else means those.
        proxies: proxies.unwrap_or(match pids.is_empty() {
            true => default.proxies,
            false => Vec::new(),
        }),
        pids,
        role: section
            .parsed("role", |name| {
                let roles = [
                    ("auto", Role::Auto),
                    ("proxy", Role::Proxy),
                    ("backend", Role::Backend),
                ];
                one_of(name, &roles)
            })
            .unwrap_or(default.role),
        statuses: section.integers("statuses", 100..=599, "").map_or(
            default.statuses,
            |statuses| {
                let mut statuses: Vec<u16> = statuses.into_iter().map(|s| s as u16).collect();
                statuses.sort_unstable();
                statuses.dedup();
                statuses
            },
        ),
        outcomes: section
            .parsed_list("outcomes", |name| {
                one_of(name, &Outcome::ALL.map(|outcome| (outcome.name(), outcome)))
            })
            .map_or(default.outcomes, |named| {
                crate::cli::convert::outcomes(&named)
            }),
        snaplen: section
            .integer("snaplen", 64..=1024, "bytes")
            .map_or(default.snaplen, |bytes| bytes as u16),
        sample_every: section
            .parsed("sample", |text| match text {
                "none" => Ok(0),
                "all" => Ok(1),
                rate => values::sample_every(rate)
                    .map_err(|why| format!("{why}; or \"none\", or \"all\"")),
            })
            .unwrap_or(default.sample_every),
        standby_seconds: section
            .integer("standby_seconds", 0..=86_400, "seconds")
            .unwrap_or(default.standby_seconds),
        ring_bytes: number(
            section.integer("ring_bytes", 4 * KIB..=GIB, "bytes"),
            default.ring_bytes,
        )
        .next_power_of_two(),
        max_connections: number(
            section.integer("max_connections", 1..=4_194_304, "connections"),
            default.max_connections,
        ),
        types: section
            .parsed("btf", absolute)
            .map_or(default.types, TypeSource::File),
    };
    section.done();
    capture
}

fn log(mut section: Section<'_, '_>) -> Option<LogOption> {
    let path = section.required("path", absolute);
    let format = section.parsed("format", |name| {
        name.parse::<Format>().map_err(|error| {
            let names: Vec<_> = Format::names().collect();
            match nearest(name, &names) {
                Some(right) => format!("{error}; did you mean {right}?"),
                None => format!("{error}; the forms are {}", names.join(", ")),
            }
        })
    });
    section.done();
    Some(LogOption {
        path: path?,
        format,
    })
}

fn lookback(mut section: Section<'_, '_>, default: LookBack) -> LookBack {
    let lookback = LookBack {
        minutes: section
            .integer("minutes", 1..=1440, "minutes")
            .unwrap_or(default.minutes),
        bytes: section
            .integer("bytes", MIB..=GIB, "bytes")
            .unwrap_or(default.bytes),
    };
    section.done();
    lookback
}

fn snapshot(mut section: Section<'_, '_>, default: Snapshot) -> Snapshot {
    let snapshot = Snapshot {
        directory: section
            .parsed("directory", absolute)
            .unwrap_or(default.directory),
        max_files: section
            .integer("max_files", 1..=10_000, "files")
            .unwrap_or(default.max_files),
        max_bytes: section
            .integer("max_bytes", MIB..=TIB, "bytes")
            .unwrap_or(default.max_bytes),
        burst_failures: section
            .integer("burst_failures", 0..=1_000_000, "failures; 0 for never")
            .unwrap_or(default.burst_failures),
        burst_seconds: section
            .integer("burst_seconds", 1..=3600, "seconds")
            .unwrap_or(default.burst_seconds),
        burst_pause_seconds: section
            .integer("burst_pause_seconds", 1..=86_400, "seconds")
            .unwrap_or(default.burst_pause_seconds),
    };
    section.done();
    snapshot
}

fn export(mut section: Section<'_, '_>) -> Export {
    let export = Export {
        otlp: receiver(section.section("otlp")),
        zipkin: receiver(section.section("zipkin")),
        ndjson: ndjson(section.section("ndjson")),
    };
    section.done();
    export
}

fn receiver(mut section: Section<'_, '_>) -> Option<Receiver> {
    if !section.is_there() {
        return None;
    }
    let default = Receiver::new("");
    let endpoint = section.required("endpoint", url);
    let receiver = Receiver {
        endpoint: String::new(),
        headers_file: section.parsed("headers_file", absolute),
        compression: section
            .parsed("compression", |name| {
                one_of(
                    name,
                    &[("none", Compression::None), ("gzip", Compression::Gzip)],
                )
            })
            .unwrap_or(default.compression),
        timeout_seconds: section
            .integer("timeout_seconds", 1..=300, "seconds")
            .unwrap_or(default.timeout_seconds),
        spool_directory: section
            .parsed("spool_directory", absolute)
            .unwrap_or(default.spool_directory),
        spool_bytes: section
            .integer("spool_bytes", MIB..=TIB, "bytes")
            .unwrap_or(default.spool_bytes),
    };
    section.done();
    endpoint.map(|endpoint| Receiver {
        endpoint,
        ..receiver
    })
}

fn ndjson(mut section: Section<'_, '_>) -> Option<NdjsonFile> {
    if !section.is_there() {
        return None;
    }
    let path = section.required("path", absolute);
    let default = NdjsonFile::new("");
    let max_bytes = section.integer("max_bytes", MIB..=TIB, "bytes");
    let max_files = section.integer("max_files", 1..=1000, "files");
    section.done();
    Some(NdjsonFile {
        path: path?,
        max_bytes: max_bytes.unwrap_or(default.max_bytes),
        max_files: max_files.unwrap_or(default.max_files),
    })
}

fn metrics(mut section: Section<'_, '_>, default: Option<SocketAddr>) -> Option<SocketAddr> {
    let listen = section.parsed("listen", |text| match text {
        "off" => Ok(None),
        addr => addr.parse().map(Some).map_err(|_| {
            "give an address and a port, such as \"127.0.0.1:9502\" or \"[::1]:9502\", or \"off\""
                .to_owned()
        }),
    });
    section.done();
    listen.unwrap_or(default)
}

fn log_output(mut section: Section<'_, '_>, default: LogOutput) -> LogOutput {
    let log_output = LogOutput {
        format: section
            .parsed("format", |name| {
                one_of(name, &[("text", LogForm::Text), ("json", LogForm::Json)])
            })
            .unwrap_or(default.format),
        level: section
            .parsed("level", |name| {
                one_of(name, &LogLevel::ALL.map(|level| (level.name(), level)))
            })
            .unwrap_or(default.level),
    };
    section.done();
    log_output
}

fn one_of<T: Copy>(name: &str, known: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = known.iter().find(|(known, _)| *known == name) {
        return Ok(*value);
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    Err(match nearest(name, &names) {
        Some(right) => format!("{name:?} is not known here; did you mean {right:?}?"),
        None => format!("{name:?} is not known here; there are {}", names.join(", ")),
    })
}

/// A service has no directory of its own that a path could begin in.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.is_absolute() && !text.contains('\0') {
        return Ok(path.to_owned());
    }
    Err("give a whole path, which begins with /".into())
}

fn url(text: &str) -> Result<String, String> {
    const EXAMPLE: &str = "give a URL such as \"http://127.0.0.1:4318\"";
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("{error}; {EXAMPLE}"))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(format!("only http and https can be used; {EXAMPLE}"));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(
            "a password does not belong here: put an authorization header into \
                    headers_file"
                .into(),
        );
    }
    if uri.host().unwrap_or_default().is_empty() {
        return Err(format!("the host is missing; {EXAMPLE}"));
    }
    Ok(text.to_owned())
}
