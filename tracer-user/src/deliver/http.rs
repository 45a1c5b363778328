//! One attempt: a document to a receiver, and its answer back. The only file that knows the client.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::write::GzEncoder;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use ureq::http::{HeaderMap, header};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, RequestExt as _};

use super::destination::{ClientIdentity, Compression, Destination, Tls};
use super::outcome::{ANSWER_MAX, Answer, HttpAnswer};
use crate::printable::printable;

/// Who we are.
const USER_AGENT: &str = concat!("why502/", env!("CARGO_PKG_VERSION"));
/// Larger files are no certificates.
const PEM_MAX: u64 = 4 << 20;
/// Receivers close idle connections after a minute or less. A document that meets such a close is sent
/// again, but it is better not to meet it.
const IDLE: Duration = Duration::from_secs(10);

/// Why sending cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What is wrong.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {what} in PEM form (-----BEGIN …-----)")]
    NotPem {
        /// The file.
        path: String,
        /// What it should hold.
        what: &'static str,
    },
    /// The pair does not fit.
    #[error(
        "the client certificate {certificate} and the key {key} cannot be used together: {why}"
    )]
    Identity {
        /// The certificate.
        certificate: String,
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
}

/// Sends to one destination, over a connection that is kept for a while.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    to: Destination,
}

impl Client {
    /// Reads the certificates. Nothing is sent yet.
    pub fn new(to: Destination) -> Result<Self, TlsError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would carry our headers to somebody else, and a POST would become a GET.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .accept("application/json")
            .max_idle_connections(1)
            .max_idle_age(IDLE)
            .tls_config(tls(&to.tls)?);
        if to.url.is_loopback() {
            // HTTP_PROXY is not for this host.
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            to,
        })
    }

    /// Where it sends to.
    pub fn destination(&self) -> &Destination {
        &self.to
    }

    /// Sends, and waits for the answer for at most `limit` and the destination's own timeout.
    pub fn send(&self, body: &[u8], limit: Duration) -> Answer {
        let timeout = self.to.timeout.min(limit);
        match self.attempt(body, timeout) {
            Ok(answer) => Answer::Http(HttpAnswer {
                body: self.scrubbed(answer.body),
                location: answer.location.map(|text| self.to.scrub(&text)),
                ..answer
            }),
            Err(error) => Answer::Failed(self.to.scrub(&self.explain(error, timeout))),
        }
    }

    fn attempt(&self, body: &[u8], timeout: Duration) -> Result<HttpAnswer, ureq::Error> {
        let mut request = ureq::http::Request::post(self.to.url.uri().clone())
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in self.to.headers.iter() {
            request = request.header(name, value);
        }
        let packed;
        let body = match self.to.compression {
            Compression::None => body,
            Compression::Gzip => {
                request = request.header(header::CONTENT_ENCODING, "gzip");
                packed = gzip(body)?;
                &packed
            }
        };
        let mut response = request
            .body(body)?
            .with_agent(&self.agent)
            .configure()
            .timeout_global(Some(timeout))
            .run()?;
        let text = |headers: &HeaderMap, name| {
            let value: Option<&ureq::http::HeaderValue> = headers.get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let mut answer = HttpAnswer {
            status: response.status().as_u16(),
            retry_after: text(response.headers(), header::RETRY_AFTER),
            content_type: text(response.headers(), header::CONTENT_TYPE),
            location: text(response.headers(), header::LOCATION),
            body: Vec::new(),
            cut: false,
        };
        let reader = response.body_mut().as_reader();
        reader
            .take(ANSWER_MAX as u64 + 1)
            .read_to_end(&mut answer.body)?;
        answer.cut = answer.body.len() > ANSWER_MAX;
        answer.body.truncate(ANSWER_MAX);
        Ok(answer)
    }

    /// Answers are known to quote the token that they refuse.
    fn scrubbed(&self, body: Vec<u8>) -> Vec<u8> {
        match String::from_utf8(body) {
            Ok(text) => self.to.scrub(&text).into_bytes(),
            Err(error) => error.into_bytes(),
        }
    }

    fn explain(&self, error: ureq::Error, timeout: Duration) -> String {
        use ureq::Error;
        let url = &self.to.url;
        match error {
            Error::Timeout(_) => {
                let waited = humantime::format_duration(timeout);
                format!("{url} did not answer within {waited}")
            }
            Error::HostNotFound => format!("the host {} is not known; check the name", url.host()),
            Error::Rustls(error) => self.explain_tls(&error),
            Error::Io(error) => match inner_tls(&error) {
                Some(tls) => self.explain_tls(tls),
                None => self.explain_io(&error),
            },
            Error::Protocol(_) | Error::LargeResponseHeader(..) => format!(
                "{url} does not answer in HTTP/1.1; is it the port of another protocol? (OTLP over \
                 HTTP is 4318, over gRPC 4317; a TLS port wants https://)"
            ),
            error => printable(&format!("sending to {url} failed: {error}"), 300),
        }
    }

    fn explain_io(&self, error: &io::Error) -> String {
        let url = &self.to.url;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens at {url} (connection refused)")
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => {
                // A server may well drop the connection before its alert has been read.
                let perhaps = match url.is_tls() && self.to.tls.client.is_none() {
                    true => " (perhaps it wants a client certificate)",
                    false => "",
                };
                format!("{url} closed the connection without a whole answer{perhaps}")
            }
            _ => printable(&format!("sending to {url} failed: {error}"), 300),
        }
    }

    fn explain_tls(&self, error: &rustls::Error) -> String {
        let url = &self.to.url;
        let host = url.host();
        let trust = match self.to.tls.ca {
            Some(_) => "the CA file that was given",
            None => {
                "this system's roots (a private CA is named by a CA file, \
                     OTEL_EXPORTER_OTLP_CERTIFICATE)"
            }
        };
        let why = match error {
            rustls::Error::InvalidCertificate(error) => match error {
                // A CA of the same name with another key is another CA.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    format!("its certificate does not lead to {trust}")
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "its certificate has expired (or this host's clock is wrong)".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "its certificate is not valid yet (or this host's clock is wrong)".to_owned()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => format!(
                    "its certificate is for another name than {host}; use the name that stands in it"
                ),
                error => printable(&format!("its certificate is not accepted: {error}"), 300),
            },
            rustls::Error::InvalidMessage(_) => {
                "it does not speak TLS; does it want http:// instead?".to_owned()
            }
            rustls::Error::AlertReceived(alert) => format!(
                "it refused the handshake ({alert:?}); perhaps it wants a client certificate"
            ),
            error => printable(&format!("{error}"), 300),
        };
        format!("no TLS with {url}: {why}")
    }
}

fn inner_tls(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    let direct = inner.downcast_ref();
    direct.or_else(|| inner.source()?.downcast_ref())
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

fn tls(tls: &Tls) -> Result<TlsConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = TlsConfig::builder().unversioned_rustls_crypto_provider(provider.clone());
    config = config.root_certs(match &tls.ca {
        None => RootCerts::PlatformVerifier,
        Some(path) => {
            let certificates = certificates(path)?;
            // The client leaves out what it cannot read; here that is an error.
            let mut store = RootCertStore::empty();
            let (good, _) = store.add_parsable_certificates(certificates.iter().cloned());
            if good == 0 {
                return Err(not_pem(path, "CA certificate"));
            }
            let own = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
            let certificates: Vec<_> = certificates.iter().map(own).collect();
            RootCerts::new_with_certs(&certificates)
        }
    });
    if let Some(identity) = &tls.client {
        config = config.client_cert(Some(client(identity, provider)?));
    }
    Ok(config.build())
}

fn client(
    identity: &ClientIdentity,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<ClientCert, TlsError> {
    let chain = certificates(&identity.certificate)?;
    let pem = read(&identity.key)?;
    let key =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| not_pem(&identity.key, "private key"))?;
    let unusable = |error: rustls::Error| TlsError::Identity {
        certificate: shown(&identity.certificate),
        key: shown(&identity.key),
        why: error.to_string(),
    };
    // A pair that does not fit would make the client panic at its first connection.
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain.clone(), key)
        .map_err(unusable)?;
    let own = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
    let chain: Vec<_> = chain.iter().map(own).collect();
    let key = PrivateKey::from_pem(&pem).map_err(|_| not_pem(&identity.key, "private key"))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(not_pem(path, "certificate")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Io {
        path: shown(path),
        error,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(PEM_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn not_pem(path: &Path, what: &'static str) -> TlsError {
    TlsError::NotPem {
        path: shown(path),
        what,
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), 300)
}
