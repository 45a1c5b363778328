//! TLS, with certificates made for each run.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::server;
use super::*;

struct Pki {
    dir: tempfile::TempDir,
    ca_der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let ca_der = ca.der().clone();
        let issuer = Issuer::new(params, key);
        Self {
            dir,
            ca_der,
            issuer,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn leaf(&self, name: &str, expired: bool) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The address of a server with this certificate.
    fn serve(&self, name: &str, expired: bool, wants_client: bool) -> u16 {
        let (certificate, key) = self.leaf(name, expired);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.ca_der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut reader = BufReader::new(StreamOwned::new(connection, stream));
                if server::read(&mut reader).is_some() {
                    let answer =
                        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
                    let stream = reader.get_mut();
                    stream.write_all(answer).unwrap();
                    stream.conn.send_close_notify();
                    let _gone = stream.flush();
                }
            }
        });
        port
    }
}

/// The port of a server without TLS, which says so as servers do.
fn plain_http() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _hello = stream.read(&mut [0; 4096]);
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    port
}

fn attempt(to: Destination) -> Answer {
    Client::new(to).unwrap().send(b"{}", LONG)
}

fn failure(to: Destination) -> String {
    match attempt(to) {
        Answer::Failed(reason) => reason,
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn certificates_are_checked_and_errors_say_what_is_wrong() {
    let (pki, other) = (Pki::new(), Pki::new());
    let to = |host: &str, port: u16, ca: Option<PathBuf>| {
        let mut to = destination(&format!("https://{host}:{port}"));
        to.headers = Headers::from_lines("Authorization: Bearer s3cr3t").unwrap();
        to.tls.ca = ca;
        to
    };
    let port = pki.serve("localhost", false, false);
    let ca = Some(pki.path("ca.pem"));
    let answer = attempt(to("localhost", port, ca.clone()));
    assert!(
        matches!(answer, Answer::Http(HttpAnswer { status: 200, .. })),
        "{answer:?}"
    );
    let expired = pki.serve("localhost", true, false);
    let wrong_name = pki.serve("collector.test", false, false);
    let plain = plain_http();
    for (to, words) in [
        (
            to("localhost", port, None),
            "does not lead to this system's roots",
        ),
        (
            to("localhost", port, Some(other.path("ca.pem"))),
            "does not lead to the CA file",
        ),
        (
            to("127.0.0.1", port, ca.clone()),
            "another name than 127.0.0.1",
        ),
        (to("localhost", expired, ca.clone()), "expired"),
        (
            to("localhost", wrong_name, ca.clone()),
            "another name than localhost",
        ),
        (to("127.0.0.1", plain, ca), "does not speak TLS"),
    ] {
        let reason = failure(to);
        assert!(reason.contains(words), "{words}: {reason}");
        assert!(!reason.contains("s3cr3t"), "{reason}");
    }
    let to_tls_port = destination(&format!("http://localhost:{port}"));
    let reason = failure(to_tls_port);
    assert!(
        reason.contains("https://") || reason.contains("without a whole answer"),
        "{reason}"
    );
}

#[test]
fn a_client_certificate_is_shown() {
    let pki = Pki::new();
    let port = pki.serve("localhost", false, true);
    let mut to = destination(&format!("https://localhost:{port}"));
    to.tls.ca = Some(pki.path("ca.pem"));
    let reason = failure(to.clone());
    assert!(reason.contains("client certificate"), "{reason}");
    for name in ["a", "b"] {
        let (certificate, key) = pki.leaf(name, false);
        fs::write(pki.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(pki.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let identity = |certificate: &str, key: &str| ClientIdentity {
        certificate: pki.path(certificate),
        key: pki.path(key),
    };
    to.tls.client = Some(identity("a.pem", "a.key"));
    let answer = attempt(to.clone());
    assert!(
        matches!(answer, Answer::Http(HttpAnswer { status: 200, .. })),
        "{answer:?}"
    );
    for (certificate, key, words) in [
        ("a.pem", "b.key", "cannot be used together"),
        ("a.key", "a.key", "no certificate"),
        ("a.pem", "a.pem", "no private key"),
        ("none.pem", "a.key", "none.pem"),
    ] {
        to.tls.client = Some(identity(certificate, key));
        let error = Client::new(to.clone()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    to.tls.ca = Some(pki.path("a.key"));
    assert!(Client::new(to).is_err());
}
