//! `why502 export --endpoint`: the documents of a recording to a receiver.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;

use super::{ExportArgs, ExportTo, SignalArg, UsageError, read, warned};
use crate::deliver::env::Env;
use crate::deliver::{Endpoint, Limits, Reason, Sender, Settings, Signal, seed};

/// What a receiver is given for one document, with all attempts.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends all signals that were asked for, one after the other.
pub(super) fn command(args: &ExportArgs, endpoint: &str) -> anyhow::Result<()> {
    let env = warned(Env::of_process());
    for signal in signals(args)? {
        send(args, endpoint, signal, &env)?;
    }
    Ok(())
}

fn signals(args: &ExportArgs) -> anyhow::Result<Vec<Signal>> {
    Ok(match (args.to, args.signal) {
        (ExportTo::Ndjson, _) => {
            let what = "--endpoint takes OTLP or Zipkin documents";
            return Err(UsageError::new(what, "give --to otlp or --to zipkin, or -o FILE").into());
        }
        (ExportTo::Zipkin, Some(_)) => {
            let what = "--signal chooses among the signals of OTLP";
            return Err(UsageError::new(what, "leave it out, or give --to otlp").into());
        }
        (ExportTo::Zipkin, None) => vec![Signal::Zipkin],
        (ExportTo::Otlp, None) => vec![Signal::Traces, Signal::Logs, Signal::Metrics],
        (ExportTo::Otlp, Some(SignalArg::Traces)) => vec![Signal::Traces],
        (ExportTo::Otlp, Some(SignalArg::Logs)) => vec![Signal::Logs],
        (ExportTo::Otlp, Some(SignalArg::Metrics)) => vec![Signal::Metrics],
    })
}

fn send(args: &ExportArgs, endpoint: &str, signal: Signal, env: &Env) -> anyhow::Result<()> {
    let typed = Settings {
        endpoint: Some(Endpoint::Base(endpoint.to_owned())),
        ..Settings::default()
    };
    let to = env.destination(signal, typed)?;
    let url = to.url.to_string();
    let said = Arc::new(Mutex::new(String::new()));
    let hear = Arc::clone(&said);
    let listener = Arc::new(move |notice: &crate::deliver::Notice| {
        if !notice.what.is_good() {
            *hear.lock().unwrap_or_else(PoisonError::into_inner) = notice.to_string();
        }
    });
    let sender = Sender::start(to, Limits::default(), None, seed(), listener)?;
    let why = || {
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        match said.is_empty() {
            true => "no answer in time".to_owned(),
            false => said.clone(),
        }
    };
    read(&args.file, signal, env, &mut |payload| {
        sender.offer(payload);
        // One after the other: what waits in memory stays small however long the recording is.
        if !sender.flush(PATIENCE) {
            bail!("cannot deliver to {url}: {}", why());
        }
        Ok(())
    })?;
    let counters = sender.finish(PATIENCE);
    let dropped: u64 = Reason::ALL
        .map(|reason| counters.dropped(reason).items)
        .iter()
        .sum();
    let lost = dropped + counters.rejected_items;
    if lost > 0 {
        bail!("{lost} items did not arrive at {url}: {}", why());
    }
    let items = counters.sent.items;
    eprintln!(
        "why502: {items} {} items delivered to {url}.",
        signal.name()
    );
    Ok(())
}
