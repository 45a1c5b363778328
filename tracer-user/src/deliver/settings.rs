//! How to reach receivers, as far as one source says: a command line, a configuration, the
//! environment. Sources are laid over each other; what none says has a default.

use std::path::PathBuf;
use std::time::Duration;

use super::destination::{
    ClientIdentity, Compression, DEFAULT_TIMEOUT, Destination, Endpoint, Tls, Url, UrlError,
};
use super::headers::Headers;
use super::payload::Signal;

/// What one source says. `None`: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where to.
    pub endpoint: Option<Endpoint>,
    /// Headers of all sources are sent; of one name, the nearer source's.
    pub headers: Headers,
    /// For one attempt.
    pub timeout: Option<Duration>,
    /// How bodies are packed.
    pub compression: Option<Compression>,
    /// CA file instead of the system's roots.
    pub ca: Option<PathBuf>,
    /// Our certificate chain.
    pub client_certificate: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
}

/// The settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// About the URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Half of an identity.
    #[error("a client certificate needs its key and a key its certificate; give both files")]
    HalfIdentity,
}

impl Settings {
    /// Laid over `under`: what `self` says wins.
    #[must_use]
    pub fn over(self, under: &Self) -> Self {
        Self {
            endpoint: self.endpoint.or_else(|| under.endpoint.clone()),
            headers: under.headers.clone().overlaid(&self.headers),
            timeout: self.timeout.or(under.timeout),
            compression: self.compression.or(under.compression),
            ca: self.ca.or_else(|| under.ca.clone()),
            client_certificate: self
                .client_certificate
                .or_else(|| under.client_certificate.clone()),
            client_key: self.client_key.or_else(|| under.client_key.clone()),
        }
    }

    /// The destination, when every source has been asked.
    pub fn destination(self, signal: Signal) -> Result<Destination, SettingsError> {
        let endpoint = self.endpoint.unwrap_or_else(|| {
            Endpoint::Base(match signal {
                Signal::Zipkin => "http://localhost:9411".to_owned(),
                _ => "http://localhost:4318".to_owned(),
            })
        });
        let client = match (self.client_certificate, self.client_key) {
            (Some(certificate), Some(key)) => Some(ClientIdentity { certificate, key }),
            (None, None) => None,
            _ => return Err(SettingsError::HalfIdentity),
        };
        Ok(Destination {
            signal,
            url: Url::new(&endpoint, signal)?,
            headers: self.headers,
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            compression: self.compression.unwrap_or_default(),
            tls: Tls {
                ca: self.ca,
                client,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_source_wins() {
        let near = Settings {
            endpoint: Some(Endpoint::Base("http://near:1".into())),
            headers: Headers::from_lines("a: near").unwrap(),
            ..Settings::default()
        };
        let far = Settings {
            endpoint: Some(Endpoint::Exact("http://far/x".into())),
            headers: Headers::from_lines("a: far\nb: far").unwrap(),
            timeout: Some(Duration::from_secs(3)),
            compression: Some(Compression::Gzip),
            ca: Some("/ca".into()),
            client_certificate: Some("/c".into()),
            client_key: Some("/k".into()),
        };
        let to = near.over(&far).destination(Signal::Logs).unwrap();
        assert_eq!(to.url.to_string(), "http://near:1/v1/logs");
        assert_eq!(to.headers, Headers::from_lines("b: far\na: near").unwrap());
        assert_eq!(to.timeout, Duration::from_secs(3));
        assert_eq!(to.compression, Compression::Gzip);
        assert_eq!(to.tls.ca, Some("/ca".into()));
        assert_eq!(to.tls.client.unwrap().key, PathBuf::from("/k"));
    }

    #[test]
    fn what_nobody_says() {
        let url = |signal| {
            let to = Settings::default().destination(signal).unwrap();
            assert_eq!(
                (to.timeout, to.compression),
                (DEFAULT_TIMEOUT, Compression::None)
            );
            to.url.to_string()
        };
        assert_eq!(url(Signal::Traces), "http://localhost:4318/v1/traces");
        assert_eq!(url(Signal::Zipkin), "http://localhost:9411/api/v2/spans");
    }

    #[test]
    fn half_an_identity() {
        let settings = Settings {
            client_key: Some("/k".into()),
            ..Settings::default()
        };
        let error = settings.destination(Signal::Logs).unwrap_err();
        assert_eq!(error, SettingsError::HalfIdentity);
    }
}
