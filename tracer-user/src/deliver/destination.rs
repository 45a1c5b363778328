//! Where documents of one signal go, and how.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::Uri;

use super::headers::Headers;
use super::payload::Signal;

/// What a receiver is given to answer when nothing else is asked for
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

impl Signal {
    /// Every signal of OTLP.
    pub const OTLP: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// For people, and for names of folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Zipkin => "zipkin",
        }
    }

    /// What is appended to a base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
            Self::Logs => "v1/logs",
            Self::Zipkin => "api/v2/spans",
        }
    }
}

/// A URL as somebody gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The path of the signal is appended.
    Base(String),
    /// Used as it is; no path means `/`.
    Exact(String),
}

/// Why a URL cannot be used. Never quotes more of it than the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("this is not a URL; give one such as http://localhost:4318")]
    Unreadable,
    /// Another scheme than ours.
    #[error("a URL begins with http:// or https://; give one such as http://localhost:4318")]
    Scheme,
    /// `user:password@host`.
    #[error(
        "the URL holds a user or password, which every user of this host could see; put a line \
         `Authorization: Basic …` into a headers file instead"
    )]
    Credentials,
    /// A base that is no base.
    #[error(
        "the URL ends with {0}, which is the path of one signal; give the base in front of it, the \
         path is appended"
    )]
    SignalPath(&'static str),
}

/// A URL that can be sent to. Shown without its query, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// Makes the URL for a signal.
    pub fn new(endpoint: &Endpoint, signal: Signal) -> Result<Self, UrlError> {
        let (text, base) = match endpoint {
            Endpoint::Base(text) => (text, true),
            Endpoint::Exact(text) => (text, false),
        };
        let uri: Uri = text.trim().parse().map_err(|_| UrlError::Unreadable)?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            // `localhost:4318` reads as a scheme or as an authority alone.
            _ => return Err(UrlError::Scheme),
        };
        let authority = uri.authority().ok_or(UrlError::Unreadable)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        // The parser lets a port pass that is none.
        let port = authority.as_str().strip_prefix(authority.host());
        let bad_port = port != Some("") && uri.port_u16().is_none_or(|port| port == 0);
        if authority.host().is_empty() || bad_port {
            return Err(UrlError::Unreadable);
        }
        let query = uri
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let path = uri.path().trim_end_matches('/');
        let path = match base {
            false if path.is_empty() => "/".to_owned(),
            false => uri.path().to_owned(),
            true if signal == Signal::Zipkin && path.ends_with(signal.path()) => path.to_owned(),
            true => {
                let known = Signal::OTLP.map(Signal::path);
                let ends = |known: &&&str| path.ends_with(&format!("/{known}"));
                if let Some(known) = known.iter().find(ends) {
                    return Err(UrlError::SignalPath(known));
                }
                format!("{path}/{}", signal.path())
            }
        };
        format!("{scheme}://{authority}{path}{query}")
            .parse()
            .map(Self)
            .map_err(|_| UrlError::Unreadable)
    }

    /// For the client.
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    /// The host alone, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Is this host asked by a name or address of its own?
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        let address = host.parse::<std::net::IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }

    /// Is what is sent encrypted?
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The query, which is not to be shown.
    pub(super) fn secret(&self) -> Option<&str> {
        self.0.query()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())?;
        match self.0.query() {
            Some(_) => f.write_str("?…"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// How a document's bytes are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: every receiver takes it.
    #[default]
    None,
    /// `Content-Encoding: gzip`; some receivers refuse it.
    Gzip,
}

/// Whom to trust and who we are. PEM files, read when a sender starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Trusted instead of the system's roots.
    pub ca: Option<PathBuf>,
    /// Certificate chain and key that we show.
    pub client: Option<ClientIdentity>,
}

/// A certificate that we show, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The chain, ours first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// One receiver of one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// What it takes.
    pub signal: Signal,
    /// Where it listens.
    pub url: Url,
    /// Sent with every document; secret.
    pub headers: Headers,
    /// For one attempt, from the connection to the end of the answer.
    pub timeout: Duration,
    /// How bodies are packed.
    pub compression: Compression,
    /// For `https`.
    pub tls: Tls,
}

impl Destination {
    /// With everything but signal and URL at its default.
    pub fn new(signal: Signal, endpoint: &Endpoint) -> Result<Self, UrlError> {
        Ok(Self {
            signal,
            url: Url::new(endpoint, signal)?,
            headers: Headers::default(),
            timeout: DEFAULT_TIMEOUT,
            compression: Compression::None,
            tls: Tls::default(),
        })
    }

    /// Takes our secrets out of a text that came back or goes to a person.
    pub fn scrub(&self, text: &str) -> String {
        let text = self.headers.scrub(text);
        match self.url.secret().filter(|secret| !secret.is_empty()) {
            Some(secret) => text.replace(secret, "[…]"),
            None => text,
        }
    }

    /// Would secrets cross a network in the clear?
    pub fn sends_secrets_in_clear(&self) -> bool {
        let secret = !self.headers.is_empty() || self.url.secret().is_some();
        secret && !self.url.is_tls() && !self.url.is_loopback()
    }

    /// What the user should know of it, in a sentence.
    pub fn warning(&self) -> Option<String> {
        let url = &self.url;
        self.sends_secrets_in_clear()
            .then(|| format!("headers go to {url} unencrypted; use https://"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(endpoint: Endpoint, signal: Signal) -> Result<String, UrlError> {
        Url::new(&endpoint, signal).map(|url| url.uri().to_string())
    }

    #[test]
    fn a_base_gets_the_path_of_the_signal() {
        use Signal::{Logs, Metrics, Traces, Zipkin};
        for (base, signal, want) in [
            (
                "http://localhost:4318",
                Traces,
                "http://localhost:4318/v1/traces",
            ),
            (
                "http://localhost:4318/",
                Metrics,
                "http://localhost:4318/v1/metrics",
            ),
            ("https://x.test/otlp", Logs, "https://x.test/otlp/v1/logs"),
            ("https://x.test/otlp//", Logs, "https://x.test/otlp/v1/logs"),
            (
                "https://x.test/a/b/?k=1",
                Traces,
                "https://x.test/a/b/v1/traces?k=1",
            ),
            ("http://[::1]:4318", Traces, "http://[::1]:4318/v1/traces"),
            (" http://h ", Traces, "http://h/v1/traces"),
            ("http://h:9411", Zipkin, "http://h:9411/api/v2/spans"),
            (
                "http://h:9411/api/v2/spans",
                Zipkin,
                "http://h:9411/api/v2/spans",
            ),
            ("http://h/zipkin/", Zipkin, "http://h/zipkin/api/v2/spans"),
        ] {
            let got = url(Endpoint::Base(base.into()), signal);
            assert_eq!(got.as_deref(), Ok(want), "{base}");
        }
    }

    #[test]
    fn an_exact_url_stays_as_it_is() {
        for (exact, want) in [
            ("http://h:4318/v1/traces", "http://h:4318/v1/traces"),
            ("http://h:4318", "http://h:4318/"),
            ("http://h/a/", "http://h/a/"),
            ("https://h/a?x=y", "https://h/a?x=y"),
        ] {
            let got = url(Endpoint::Exact(exact.into()), Signal::Logs);
            assert_eq!(got.as_deref(), Ok(want), "{exact}");
        }
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused() {
        for (text, want) in [
            ("", UrlError::Unreadable),
            ("localhost:4318", UrlError::Scheme),
            ("localhost", UrlError::Scheme),
            ("/v1/traces", UrlError::Scheme),
            ("grpc://h:4317", UrlError::Scheme),
            ("unix:///run/x", UrlError::Unreadable),
            ("http://", UrlError::Unreadable),
            ("http://h:0", UrlError::Unreadable),
            ("http://h:99999", UrlError::Unreadable),
            ("http://a b/", UrlError::Unreadable),
            ("http://me:hunter2@h/", UrlError::Credentials),
            ("http://h/v1/traces", UrlError::SignalPath("v1/traces")),
            ("http://h/x/v1/logs/", UrlError::SignalPath("v1/logs")),
        ] {
            let got = url(Endpoint::Base(text.into()), Signal::Traces);
            let got = got.unwrap_err();
            assert!(!got.to_string().contains("hunter2"));
            if text.starts_with("unix") {
                assert!(matches!(got, UrlError::Unreadable | UrlError::Scheme));
            } else {
                assert_eq!(got, want, "{text}");
            }
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let endpoint = Endpoint::Exact("https://h/v1/traces?token=hunter2".into());
        let mut to = Destination::new(Signal::Traces, &endpoint).unwrap();
        to.headers = Headers::from_lines("Authorization: Bearer s3cr3t-t0ken").unwrap();
        let shown = format!("{to:?} {} {:?}", to.url, to.url);
        assert!(
            !shown.contains("hunter2") && !shown.contains("s3cr3t"),
            "{shown}"
        );
        assert!(shown.contains("https://h/v1/traces"));
        let echo = to.scrub("bad token s3cr3t-t0ken in token=hunter2");
        assert_eq!(echo, "bad token […] in […]");
    }

    #[test]
    fn secrets_in_clear() {
        for (url, headers, want) in [
            ("http://collector:4318", "a: b", true),
            ("http://collector:4318", "", false),
            ("http://localhost:4318", "a: b", false),
            ("http://127.0.0.9:4318", "a: b", false),
            ("http://[::1]:4318", "a: b", false),
            ("https://collector:4318", "a: b", false),
            ("http://collector:4318?key=1", "", true),
        ] {
            let mut to = Destination::new(Signal::Logs, &Endpoint::Base(url.into())).unwrap();
            to.headers = Headers::from_lines(headers).unwrap();
            assert_eq!(to.sends_secrets_in_clear(), want, "{url} {headers}");
        }
    }
}
