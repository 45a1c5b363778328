//! A certification authority of one run, and the servers it vouches for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::SITE;

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing.
    Good,
    /// Its time is over.
    Expired,
    /// It is for another name.
    OtherName,
    /// Nobody known vouches for it.
    UnknownAuthority,
}

/// The versions of TLS that a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.2 only.
    Tls12,
    /// 1.3 only.
    Tls13,
    /// Both.
    Any,
}

impl Version {
    fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&version::TLS12],
            Self::Tls13 => vec![&version::TLS13],
            Self::Any => vec![&version::TLS12, &version::TLS13],
        }
    }
}

/// A TLS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Its certificate.
    pub certificate: Certificate,
    /// Its versions.
    pub version: Version,
    /// Does it insist on a certificate of the client?
    pub client_certificate: bool,
}

/// Somebody who vouches.
type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Two authorities: one that the proxies trust and one that they do not know.
pub struct Authority {
    known: Issuer,
    unknown: Issuer,
}

impl Authority {
    /// Makes keys and certificates.
    pub fn new() -> Result<Self> {
        Ok(Self {
            known: issuer("why502 lab")?,
            unknown: issuer("somebody else")?,
        })
    }

    /// Writes the certificate of the authority to trust, for the proxies; gives the file.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        let file = directory.join("ca.pem");
        fs::write(&file, self.known.pem())?;
        Ok(file)
    }

    /// Writes a good certificate and its key, for a server that is a program of its own; gives the
    /// files.
    pub fn write_server(&self, directory: &Path) -> Result<(PathBuf, PathBuf)> {
        let (params, key) = params(Certificate::Good)?;
        let files = (directory.join("server.pem"), directory.join("server.key"));
        fs::write(&files.0, params.signed_by(&key, &self.known)?.pem())?;
        fs::write(&files.1, key.serialize_pem())?;
        Ok(files)
    }

    /// A server.
    pub fn server(&self, setup: Setup) -> Result<Arc<ServerConfig>> {
        let (params, key) = params(setup.certificate)?;
        let issuer = match setup.certificate {
            Certificate::UnknownAuthority => &self.unknown,
            _ => &self.known,
        };
        let chain = vec![params.signed_by(&key, issuer)?.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&setup.version.supported())?;
        let config = if setup.client_certificate {
            let mut roots = RootCertStore::empty();
            let known: &CertificateDer<'_> = self.known.der();
            roots.add(known.clone())?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build()?)
        } else {
            config.with_no_client_auth()
        };
        Ok(Arc::new(config.with_single_cert(chain, key)?))
    }
}

fn issuer(name: &str) -> Result<Issuer> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn params(certificate: Certificate) -> Result<(CertificateParams, KeyPair)> {
    let name = match certificate {
        Certificate::OtherName => "other.test",
        _ => SITE,
    };
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if certificate == Certificate::Expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    Ok((params, KeyPair::generate()?))
}
