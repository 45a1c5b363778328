//! A configuration as TOML, as `--check` prints it.

use std::fmt::{Display, Write as _};
use std::path::Path;

use super::{Compression, Config, LogForm, Receiver, Role};
use crate::kernel::types::TypeSource;

pub(super) fn show(config: &Config) -> String {
    let mut text = String::new();
    let out = &mut text;
    line(out, "runtime_directory", path(&config.runtime_directory));
    let capture = &config.capture;
    section(out, "[capture]");
    line(
        out,
        "proxies",
        list(capture.proxies.iter().map(|name| quoted(name))),
    );
    line(out, "pids", list(capture.pids.iter()));
    let role = match capture.role {
        Role::Auto => "auto",
        Role::Proxy => "proxy",
        Role::Backend => "backend",
    };
    line(out, "role", quoted(role));
    line(out, "statuses", list(capture.statuses.iter()));
    line(
        out,
        "outcomes",
        list(
            capture
                .outcomes
                .iter()
                .map(|outcome| quoted(outcome.name())),
        ),
    );
    line(out, "snaplen", capture.snaplen);
    let sample = match capture.sample_every {
        0 => "none".to_owned(),
        1 => "all".to_owned(),
        every => format!("1/{every}"),
    };
    line(out, "sample", quoted(&sample));
    line(out, "standby_seconds", capture.standby_seconds);
    line(out, "ring_bytes", capture.ring_bytes);
    line(out, "max_connections", capture.max_connections);
    if let TypeSource::File(file) = &capture.types {
        line(out, "btf", path(file));
    }
    for log in &config.logs {
        section(out, "[[log]]");
        line(out, "path", path(&log.path));
        if let Some(format) = &log.format {
            line(out, "format", quoted(format.spec()));
        }
    }
    section(out, "[lookback]");
    line(out, "minutes", config.lookback.minutes);
    line(out, "bytes", config.lookback.bytes);
    let snapshot = &config.snapshot;
    section(out, "[snapshot]");
    line(out, "directory", path(&snapshot.directory));
    line(out, "max_files", snapshot.max_files);
    line(out, "max_bytes", snapshot.max_bytes);
    line(out, "burst_failures", snapshot.burst_failures);
    line(out, "burst_seconds", snapshot.burst_seconds);
    line(out, "burst_pause_seconds", snapshot.burst_pause_seconds);
    if let Some(otlp) = &config.export.otlp {
        receiver(out, "[export.otlp]", otlp);
    }
    if let Some(zipkin) = &config.export.zipkin {
        receiver(out, "[export.zipkin]", zipkin);
    }
    if let Some(ndjson) = &config.export.ndjson {
        section(out, "[export.ndjson]");
        line(out, "path", path(&ndjson.path));
        line(out, "max_bytes", ndjson.max_bytes);
        line(out, "max_files", ndjson.max_files);
    }
    section(out, "[metrics]");
    let listen = config.metrics_listen;
    let listen = listen.map_or("off".to_owned(), |addr| addr.to_string());
    line(out, "listen", quoted(&listen));
    section(out, "[log_output]");
    let format = match config.log_output.format {
        LogForm::Text => "text",
        LogForm::Json => "json",
    };
    line(out, "format", quoted(format));
    line(out, "level", quoted(config.log_output.level.name()));
    text
}

fn receiver(out: &mut String, name: &str, receiver: &Receiver) {
    section(out, name);
    line(out, "endpoint", quoted(&receiver.endpoint));
    if let Some(file) = &receiver.headers_file {
        line(out, "headers_file", path(file));
    }
    let compression = match receiver.compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
    };
    line(out, "compression", quoted(compression));
    line(out, "timeout_seconds", receiver.timeout_seconds);
    line(out, "spool_directory", path(&receiver.spool_directory));
    line(out, "spool_bytes", receiver.spool_bytes);
}

fn section(out: &mut String, name: &str) {
    let _ = writeln!(out, "\n{name}");
}

fn line(out: &mut String, key: &str, value: impl Display) {
    let _ = writeln!(out, "{key} = {value}");
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
