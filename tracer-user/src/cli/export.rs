//! `why502 export`: a recording in the forms of other tools.

mod send;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;

use super::args::{ExportArgs, ExportTo, SignalArg};
use super::error::UsageError;
use crate::deliver::env::{Env, Warning};
use crate::deliver::{Payload, Signal};
use crate::export::replay;
use crate::recording::Tear;
use crate::report::{Format, Style};

/// Runs the command.
pub(super) fn command(args: &ExportArgs) -> anyhow::Result<()> {
    if let Some(endpoint) = &args.endpoint {
        return send::command(args, endpoint);
    }
    let signal = signal(args)?;
    let mut out = BufWriter::new(output(args)?);
    match signal {
        None => crate::report::command(&args.file, &[], Format::Ndjson, Style::PLAIN, &mut out)?,
        Some(signal) => {
            let mut written = Written::new(signal, &mut out);
            let env = warned(Env::resource_of_process());
            read(&args.file, signal, &env, &mut |payload| {
                written.add(&payload)
            })?;
            written.finish()?;
        }
    }
    out.flush().context("cannot write the export")
}

/// The signal that was asked for; `None` for the lines of a report.
fn signal(args: &ExportArgs) -> anyhow::Result<Option<Signal>> {
    if args.signal.is_some() && args.to != ExportTo::Otlp {
        let what = "--signal chooses among the signals of OTLP";
        return Err(UsageError::new(what, "leave it out, or give --to otlp").into());
    }
    Ok(match (args.to, args.signal) {
        (ExportTo::Ndjson, _) => None,
        (ExportTo::Zipkin, _) => Some(Signal::Zipkin),
        (ExportTo::Otlp, None | Some(SignalArg::Traces)) => Some(Signal::Traces),
        (ExportTo::Otlp, Some(SignalArg::Metrics)) => Some(Signal::Metrics),
        (ExportTo::Otlp, Some(SignalArg::Logs)) => Some(Signal::Logs),
    })
}

fn warned((env, warnings): (Env, Vec<Warning>)) -> Env {
    for warning in warnings {
        eprintln!("why502: warning: {warning}");
    }
    env
}

/// Hands the documents of a recording to `sink`: a file, or what sends them.
fn read(
    file: &Path,
    signal: Signal,
    env: &Env,
    sink: &mut dyn FnMut(Payload) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = file.display();
    let source = File::open(file).with_context(|| format!("cannot open {name}"))?;
    let tear: Option<Tear> = replay(BufReader::new(source), signal, &env.into(), sink)
        .with_context(|| format!("cannot export {name}"))?;
    if let Some(tear) = tear {
        eprintln!("why502: warning: {name}: {tear}");
    }
    Ok(())
}

fn output(args: &ExportArgs) -> anyhow::Result<Box<dyn Write>> {
    let Some(path) = &args.output else {
        return Ok(Box::new(io::stdout().lock()));
    };
    let same = |a: &Path, b: &Path| {
        let (a, b) = (a.metadata().ok()?, b.metadata().ok()?);
        Some((a.dev(), a.ino()) == (b.dev(), b.ino()))
    };
    if same(path, &args.file) == Some(true) {
        let what = "the export would overwrite its recording";
        return Err(UsageError::new(what, "name another file with -o").into());
    }
    // Like the recording, it holds paths and addresses.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write to {}", path.display()))?;
    Ok(Box::new(file))
}

/// The file form of documents: OTLP has one a line
/// (<https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/>), Zipkin a single array.
struct Written<'a, W> {
    out: &'a mut W,
    one_array: bool,
    any: bool,
}

impl<'a, W: Write> Written<'a, W> {
    fn new(signal: Signal, out: &'a mut W) -> Self {
        Self {
            out,
            one_array: signal == Signal::Zipkin,
            any: false,
        }
    }

    fn add(&mut self, payload: &Payload) -> anyhow::Result<()> {
        let body = &payload.body[..];
        if self.one_array {
            let inside = body.strip_prefix(b"[").and_then(|b| b.strip_suffix(b"]"));
            self.out.write_all(if self.any { b"," } else { b"[" })?;
            self.out.write_all(inside.unwrap_or(body))?;
        } else {
            self.out.write_all(body)?;
            self.out.write_all(b"\n")?;
        }
        self.any = true;
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        if self.one_array {
            self.out
                .write_all(if self.any { b"]\n" } else { b"[]\n" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn documents_become_a_file() {
        let payload = |body: &'static str| Payload {
            signal: Signal::Zipkin,
            body: Bytes::from_static(body.as_bytes()),
            items: 1,
        };
        for (signal, bodies, want) in [
            (Signal::Zipkin, &[][..], "[]\n"),
            (Signal::Zipkin, &["[1]"], "[1]\n"),
            (Signal::Zipkin, &["[1,2]", "[3]"], "[1,2,3]\n"),
            (Signal::Traces, &["{}", "{}"], "{}\n{}\n"),
            (Signal::Logs, &[], ""),
        ] {
            let mut out = Vec::new();
            let mut written = Written::new(signal, &mut out);
            for body in bodies {
                written.add(&payload(body)).unwrap();
            }
            written.finish().unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }
}
