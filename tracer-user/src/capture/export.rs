//! Cases of a capture on their way to the receivers of `--otlp` and `--zipkin`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::options::Exports;
use crate::case::Case;
use crate::deliver::env::Env;
use crate::deliver::{
    Delivery, Destination, Endpoint, Headers, Limits, Listener, Sender, Settings, Signal, seed,
};
use crate::event::{Input, MonoNs};
use crate::export::{Gathering, ResourceConfig};

/// What receivers are given at the end.
const LAST: Duration = Duration::from_secs(10);

/// Batches cases and hands them to the senders. Nothing here waits, but [`Export::finish`].
pub(super) struct Export {
    delivery: Delivery,
    gathering: Gathering,
}

impl Export {
    /// Starts the senders, if anybody is to be sent to. What cannot work fails here, before the capture.
    pub(super) fn start(exports: &Exports) -> anyhow::Result<Option<Self>> {
        if exports.otlp.is_none() && exports.zipkin.is_none() {
            return Ok(None);
        }
        let (env, warnings) = Env::of_process();
        for warning in warnings {
            eprintln!("why502: warning: {warning}");
        }
        let headers = exports.headers_file.as_deref().map(Path::new);
        let headers = headers.map(Headers::from_file).transpose()?;
        let destinations = destinations(exports, &headers.unwrap_or_default(), &env)?;
        let mut senders = Vec::new();
        for to in destinations {
            if let Some(warning) = to.warning() {
                eprintln!("why502: warning: {warning}");
            }
            senders.push(Sender::start(
                to,
                Limits::of(&env),
                None,
                seed(),
                listener(),
            )?);
        }
        let delivery = Delivery::new(senders);
        let gathering = Gathering::new(delivery.signals(), ResourceConfig::from(&env)).paced(&env);
        Ok(Some(Self {
            delivery,
            gathering,
        }))
    }

    /// Takes the cases that an input led to.
    pub(super) fn input(&mut self, input: &Input, cases: &[Case], now: MonoNs) {
        if let Input::Start(start) = input {
            self.delivery.offer_all(self.gathering.start(start));
        }
        for case in cases {
            self.delivery
                .offer_all(self.gathering.add(case.clone(), now));
        }
        self.delivery.offer_all(self.gathering.tick(now));
    }

    /// Sends the rest, and says what did not arrive: on standard error, since the report must be the same
    /// when the recording is replayed.
    pub(super) fn finish(mut self, now: Instant) {
        self.delivery.offer_all(self.gathering.take());
        let ended = self.delivery.finish(LAST);
        let waited = now.elapsed() >= LAST;
        for (signal, counters) in ended {
            for (name, items) in counters.losses(signal) {
                eprintln!("why502: warning: not delivered: {name}: {items}");
            }
        }
        if waited {
            eprintln!("why502: warning: a receiver did not take everything in time.");
        }
    }
}

/// The command line over the environment.
fn destinations(
    exports: &Exports,
    headers: &Headers,
    env: &Env,
) -> anyhow::Result<Vec<Destination>> {
    let mut found = Vec::new();
    let otlp = [Signal::Traces, Signal::Logs].map(|signal| (signal, &exports.otlp));
    for (signal, url) in otlp.into_iter().chain([(Signal::Zipkin, &exports.zipkin)]) {
        let Some(url) = url else {
            continue;
        };
        if env.is_none(signal) {
            continue;
        }
        let typed = Settings {
            endpoint: Some(Endpoint::Base(url.clone())),
            headers: headers.clone(),
            ..Settings::default()
        };
        found.push(env.destination(signal, typed)?);
    }
    Ok(found)
}

fn listener() -> Listener {
    Arc::new(|notice| {
        let kind = match notice.what.is_good() {
            true => "",
            false => "warning: ",
        };
        eprintln!("why502: {kind}{notice}");
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_over_the_environment() {
        let vars = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=env,b=env"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "123"),
            ("OTEL_SDK_DISABLED", "true"),
        ];
        let read = |more: &[(&str, &str)]| {
            let all = vars.iter().chain(more);
            Env::read(all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))).0
        };
        let headers = Headers::from_lines("b: file").unwrap();
        let exports = Exports {
            otlp: Some("http://line:4318".into()),
            zipkin: Some("http://z:9411".into()),
            headers_file: None,
        };
        let found = destinations(&exports, &headers, &read(&[])).unwrap();
        let urls: Vec<_> = found.iter().map(|to| to.url.to_string()).collect();
        let want = [
            "http://line:4318/v1/traces",
            "http://line:4318/v1/logs",
            "http://z:9411/api/v2/spans",
        ];
        assert_eq!(urls, want);
        assert_eq!(found[1].timeout, Duration::from_millis(123));
        assert_eq!(
            found[0].headers,
            Headers::from_lines("a: env\nb: file").unwrap()
        );
        assert_eq!(found[2].headers, headers);
        let env = read(&[("OTEL_LOGS_EXPORTER", "none")]);
        assert_eq!(destinations(&exports, &headers, &env).unwrap().len(), 2);
    }

    #[test]
    fn nothing_is_started_unasked() {
        assert!(Export::start(&Exports::default()).unwrap().is_none());
    }
}
