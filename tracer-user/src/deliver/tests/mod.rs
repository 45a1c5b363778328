//! The whole way, against real HTTP servers on loopback that misbehave as told.

mod answers;
mod down;
mod full;
mod kill;
mod server;
mod tls;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use spool::SpoolOptions;

/// Longer than anything here takes; a test that waits for it has failed.
const LONG: Duration = Duration::from_secs(60);

/// Impatient, so that tests are quick.
fn limits() -> Limits {
    Limits {
        first_wait: Duration::from_millis(10),
        longest_wait: Duration::from_millis(40),
        ..Limits::default()
    }
}

fn document(number: u64) -> Payload {
    let span = format!("{{\"spanId\":\"{number:016x}\"}}");
    Payload {
        signal: Signal::Traces,
        body: format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{span}]}}]}}]}}").into(),
        items: 1,
    }
}

fn documents(numbers: impl IntoIterator<Item = u64>) -> Vec<Vec<u8>> {
    numbers
        .into_iter()
        .map(|number| document(number).body.to_vec())
        .collect()
}

fn destination(url: &str) -> Destination {
    let endpoint = Endpoint::Base(url.to_owned());
    Destination::new(Signal::Traces, &endpoint).unwrap()
}

/// What the sender said.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Notice>>>);

impl Heard {
    fn listener(&self) -> Listener {
        let heard = Arc::clone(&self.0);
        Arc::new(move |notice| heard.lock().unwrap().push(notice.clone()))
    }

    fn text(&self) -> String {
        let heard = self.0.lock().unwrap();
        let lines: Vec<_> = heard.iter().map(Notice::to_string).collect();
        lines.join("\n")
    }
}

fn start(to: Destination, limits: Limits, spool: Option<&Path>) -> (Sender, Heard) {
    let heard = Heard::default();
    let spool = spool.map(|folder| SpoolOptions {
        folder: folder.join("spool"),
        max_bytes: 1 << 20,
    });
    let sender = Sender::start(to, limits, spool.as_ref(), 7, heard.listener());
    (sender.unwrap(), heard)
}

/// Every document is in exactly one number.
fn adds_up(counters: &Counters) {
    let dropped = Reason::ALL
        .into_iter()
        .fold(Tally::default(), |sum, reason| {
            sum + counters.dropped(reason)
        });
    let out = counters.sent.items + dropped.items + counters.waiting.items;
    let came = counters.offered.items + counters.recovered.items;
    assert_eq!(came, out, "{counters:?}");
}
