//! Ways through the proxies to backends that speak something else than plain HTTP/1.1, or to which
//! the proxies do.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
    /// Are connections kept? Then each copy of it has a backend of its own.
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
    TextGo,
    Banner,
    Deaf,
    Mute,
    Part,
    Server(Setup),
    /// `openssl s_server`: what a TLS server on OpenSSL does with what is no hello.
    Openssl,
    /// NGINX, which answers what is no hello with an error page.
    Nginx,
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
        from: From::Plain,
        ..raw("plain_to_nginx", To::Nginx)
    },
    Door {
        from: From::Plain,
        ..raw("plain_to_go", To::TextGo)
    },
    Door {
        from: From::Http2,
        ..raw("h2_to_text", To::Text400)
    },
];

/// What a server of plain HTTP says to a ClientHello.
const TEXT_400: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
                        Content-Length: 12\r\nConnection: close\r\n\r\nbad request\n";
/// What a TLS server in Go says to plain HTTP (net/http, `tlsRecordHeaderLooksLikeHTTP`).
const TEXT_GO: &str =
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// The door of that name; the table's tests make sure that there is one.
pub(super) fn door(name: &str) -> Option<&'static Door> {
    DOORS.iter().find(|door| door.name == name)
}

/// What opens doors.
pub(super) struct Keys {
    authority: Authority,
    directory: PathBuf,
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
            directory: directory.to_path_buf(),
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
            To::Text400 => Answer::Text(TEXT_400),
            To::TextGo => Answer::Text(TEXT_GO),
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
            To::Nginx => {
                let (directory, files) = (self.directory.clone(), self.server.clone());
                let running = backends.run(move || nginx(addr, &directory, &files))?;
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
    listening(&mut command, addr)
}

fn nginx(addr: SocketAddr, directory: &Path, files: &(PathBuf, PathBuf)) -> Result<Running> {
    let program = find_program("nginx").context("nginx is not installed")?;
    let config = directory.join("tls-backend.conf");
    let text = format!(
        "user root; daemon off; worker_processes 1; pid {here}/tls-backend.pid;\n\
         error_log {here}/tls-backend.log;\nevents {{ }}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {here}/tls-body; proxy_temp_path {here}/tls-proxy;\n  \
         fastcgi_temp_path {here}/tls-fastcgi; uwsgi_temp_path {here}/tls-uwsgi;\n  \
         scgi_temp_path {here}/tls-scgi;\n  server {{ listen {addr} ssl; return 200 ok;\n    \
         ssl_certificate {certificate}; ssl_certificate_key {key}; }}\n}}\n",
        here = directory.display(),
        certificate = files.0.display(),
        key = files.1.display(),
    );
    fs::write(&config, text)?;
    let mut command = bound(&program);
    command
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    listening(&mut command, addr)
}

/// Starts it and waits until it listens.
fn listening(command: &mut Command, addr: SocketAddr) -> Result<Running> {
    let running = Running::start(command)?;
    let up = wait_for(Duration::from_secs(5), || {
        Ok(TcpStream::connect(addr).is_ok().then_some(()))
    })?;
    up.with_context(|| format!("nothing listens on {addr}"))?;
    Ok(running)
}
