//! Ways through the proxies to backends that speak something else than plain HTTP/1.1, or to which
//! the proxies do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::backend::Backend;
use crate::lab::netns::Namespace;
use crate::lab::process::{Running, bound, find_program, wait_for};
use crate::lab::proxy::Speak;
use crate::lab::tls::{Answer, Authority, Certificate, Raw, Setup, Version};

/// One such way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Door {
    /// Letters, digits and `_`.
    pub(super) name: &'static str,
    /// What the proxy speaks.
    from: From,
    /// What is behind it.
    to: To,
    /// Are connections kept? Then there are several of it, each with a backend of its own, and a
    /// trial has one for itself.
    pub(super) pooled: bool,
}

/// What the proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Plain,
    /// HTTP/2 without TLS, as if it were known that the backend can.
    Http2,
    Tls,
    /// TLS, any certificate will do.
    TlsUnverified,
}

/// What is behind the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Fin,
    Reset,
    Alert(u8),
    Text400,
    Banner,
    Deaf,
    Mute,
    Part,
    Server(Setup),
    /// `openssl s_server`: what a TLS server on OpenSSL does with what is no hello.
    Openssl,
}

const GOOD: Setup = Setup {
    certificate: Certificate::Good,
    version: Version::Any,
    client_certificate: false,
};

const fn raw(name: &'static str, to: To) -> Door {
    Door {
        name,
        from: From::Tls,
        to,
        pooled: false,
    }
}

const fn server(name: &'static str, certificate: Certificate, version: Version) -> Door {
    raw(
        name,
        To::Server(Setup {
            certificate,
            version,
            ..GOOD
        }),
    )
}

const fn demanding(name: &'static str, version: Version) -> Door {
    raw(
        name,
        To::Server(Setup {
            version,
            client_certificate: true,
            ..GOOD
        }),
    )
}

/// All of them.
pub(super) const DOORS: &[Door] = &[
    raw("tls_fin", To::Fin),
    raw("tls_reset", To::Reset),
    raw("tls_alert40", To::Alert(40)),
    raw("tls_alert42", To::Alert(42)),
    raw("tls_alert70", To::Alert(70)),
    raw("tls_alert80", To::Alert(80)),
    raw("tls_alert112", To::Alert(112)),
    raw("tls_text", To::Text400),
    raw("tls_banner", To::Banner),
    raw("tls_deaf", To::Deaf),
    raw("tls_mute", To::Mute),
    raw("tls_part", To::Part),
    demanding("tls_client12", Version::Tls12),
    demanding("tls_client13", Version::Tls13),
    server("tls_expired12", Certificate::Expired, Version::Tls12),
    server("tls_expired13", Certificate::Expired, Version::Tls13),
    server("tls_name12", Certificate::OtherName, Version::Tls12),
    server("tls_name13", Certificate::OtherName, Version::Tls13),
    server(
        "tls_unknown12",
        Certificate::UnknownAuthority,
        Version::Tls12,
    ),
    server(
        "tls_unknown13",
        Certificate::UnknownAuthority,
        Version::Tls13,
    ),
    Door {
        from: From::TlsUnverified,
        ..server(
            "tls_unverified",
            Certificate::UnknownAuthority,
            Version::Any,
        )
    },
    server("tls_good12", Certificate::Good, Version::Tls12),
    server("tls_good13", Certificate::Good, Version::Tls13),
    Door {
        pooled: true,
        ..server("tls_kept12", Certificate::Good, Version::Tls12)
    },
    Door {
        pooled: true,
        ..server("tls_kept13", Certificate::Good, Version::Tls13)
    },
    Door {
        from: From::Plain,
        ..raw("plain_to_rustls", To::Server(GOOD))
    },
    Door {
        from: From::Plain,
        ..raw("plain_to_openssl", To::Openssl)
    },
    Door {
        from: From::Http2,
        ..raw("h2_to_text", To::Text400)
    },
];

/// The door of that name; the table's tests make sure that there is one.
pub(super) fn door(name: &str) -> Option<&'static Door> {
    DOORS.iter().find(|door| door.name == name)
}

/// What opens doors.
pub(super) struct Keys {
    authority: Authority,
    trusted: PathBuf,
    server: (PathBuf, PathBuf),
}

/// Something that listens behind a door, until this is dropped.
pub(super) enum Behind {
    Backend(Backend),
    Raw { _raw: Raw },
    Program { _running: Running },
}

impl Keys {
    /// Makes certificates, and puts into `directory` what programs need of them.
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let authority = Authority::new().context("cannot make certificates")?;
        Ok(Self {
            trusted: authority.write(directory)?,
            server: authority.write_server(directory)?,
            authority,
        })
    }

    /// What the proxy is told to speak.
    pub(super) fn speak(&self, door: &Door) -> Speak {
        match door.from {
            From::Plain => Speak::Http1,
            From::Http2 => Speak::Http2,
            From::Tls => Speak::Tls {
                trusted: Some(self.trusted.clone()),
            },
            From::TlsUnverified => Speak::Tls { trusted: None },
        }
    }

    /// Lets something listen on that address.
    pub(super) fn open(
        &self,
        door: &Door,
        addr: SocketAddr,
        backends: &Namespace,
    ) -> Result<Behind> {
        let answer = match door.to {
            To::Fin => Answer::Fin,
            To::Reset => Answer::Reset,
            To::Alert(number) => Answer::Alert(number),
            To::Text400 => Answer::Text400,
            To::Banner => Answer::Banner,
            To::Deaf => Answer::Deaf,
            To::Mute => Answer::Mute,
            To::Part => Answer::Part(self.authority.server(GOOD)?),
            To::Server(setup) => {
                let config = self.authority.server(setup)?;
                let backend = backends.run(move || Backend::bind_tls(addr, config))?;
                return Ok(Behind::Backend(backend));
            }
            To::Openssl => {
                let (certificate, key) = self.server.clone();
                let running = backends.run(move || openssl(addr, &certificate, &key))?;
                return Ok(Behind::Program { _running: running });
            }
        };
        let raw = backends.run(move || Raw::bind(addr, answer))?;
        Ok(Behind::Raw { _raw: raw })
    }
}

fn openssl(addr: SocketAddr, certificate: &Path, key: &Path) -> Result<Running> {
    let program = find_program("openssl").context("openssl is not installed")?;
    let mut command = bound(&program);
    command
        .args(["s_server", "-www", "-accept", &addr.to_string(), "-cert"])
        .arg(certificate)
        .arg("-key")
        .arg(key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let running = Running::start(&mut command)?;
    let up = wait_for(Duration::from_secs(5), || {
        Ok(std::net::TcpStream::connect(addr).is_ok().then_some(()))
    })?;
    up.context("openssl s_server does not listen")?;
    Ok(running)
}
