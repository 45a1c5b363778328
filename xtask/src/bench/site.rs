//! A healthy site: NGINX that passes everything on to another NGINX, which answers at once. What a
//! tracer costs is to be seen, so neither writes a log.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::net::free_ports;
use crate::lab::process::{Running, bound, find_program, wait_for};

const PATIENCE: Duration = Duration::from_secs(10);

/// The running site; ended when dropped.
pub(super) struct Site {
    front: Running,
    _back: Running,
    addr: SocketAddr,
    // Last, so that nothing writes into what is removed.
    _dir: tempfile::TempDir,
}

impl Site {
    /// Starts both and waits until the first answers. Errors: no NGINX, or it does not start; with
    /// what it said.
    pub(super) fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("why502-site-").tempdir()?;
        let ports = free_ports(2)?;
        let (front, back) = (ports[0], ports[1]);
        let answers = "location / { return 200 \"ok\\n\"; }".to_owned();
        let passes = "location / { proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                      proxy_pass http://backends; }"
            .to_owned();
        let backends = format!(
            "upstream backends {{ server {back}; keepalive 512; keepalive_requests 1000000000; \
             keepalive_timeout 300s; }}"
        );
        let back = nginx(dir.path(), "back", back, "", &answers)?;
        let running = nginx(dir.path(), "front", front, &backends, &passes)?;
        Ok(Self {
            front: running,
            _back: back,
            addr: front,
            _dir: dir,
        })
    }

    /// Where clients ask.
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The main process of the proxy.
    pub(super) fn proxy_pid(&self) -> u32 {
        self.front.pid()
    }
}

fn nginx(dir: &Path, name: &str, addr: SocketAddr, http: &str, server: &str) -> Result<Running> {
    let at = |end: &str| dir.join(format!("{name}.{end}"));
    let (config, error) = (at("conf"), at("error"));
    let text = format!(
        "user root; daemon off; worker_processes 1; worker_rlimit_nofile 65536; pid {pid};\n\
         error_log {error};\nevents {{ worker_connections 30000; }}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {tmp}-body; proxy_temp_path {tmp}-proxy; fastcgi_temp_path {tmp}-f;\n  \
         uwsgi_temp_path {tmp}-u; scgi_temp_path {tmp}-s;\n  \
         keepalive_requests 1000000000; keepalive_timeout 300s;\n  {http}\n  \
         server {{ listen {addr} backlog=4096; {server} }}\n}}\n",
        pid = at("pid").display(),
        error = error.display(),
        tmp = at("tmp").display(),
    );
    fs::write(&config, text)?;
    let program = find_program("nginx").context("nginx is not installed (`cargo xtask setup`)")?;
    let mut command = bound(&program);
    command.arg("-c").arg(&config).arg("-e").arg(&error);
    let mut running = Running::start(&mut command)?;
    let up = wait_for(PATIENCE, || {
        let ended = running.exited()?.is_some();
        let up = std::net::TcpStream::connect_timeout(&addr, PATIENCE).is_ok();
        Ok((up || ended).then_some(up))
    })?;
    if up != Some(true) {
        let said = fs::read_to_string(&error).unwrap_or_default();
        anyhow::bail!("nginx ({name}) does not start: {}", said.trim());
    }
    Ok(running)
}
