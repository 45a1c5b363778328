//! A healthy site: a proxy that passes everything on to an NGINX, which answers at once. What a tracer
//! costs is to be seen, so neither writes a log.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::usage;
use crate::lab::net::free_ports;
use crate::lab::process::{Running, bound, children, find_program, wait_for};
use crate::lab::proxy::Kind;

const PATIENCE: Duration = Duration::from_secs(20);

/// What an NGINX must have room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Its processes.
    pub(super) workers: usize,
    /// Connections in each of them.
    pub(super) connections: usize,
}

/// The running site; ended when dropped.
pub(super) struct Site {
    front: Running,
    back: Option<Running>,
    addr: SocketAddr,
    backend: SocketAddr,
    // Last, so that nothing writes into what is removed.
    _dir: tempfile::TempDir,
}

impl Site {
    /// Starts both and waits until the proxy answers; responses have a body of that many bytes.
    /// Errors: a program is missing or does not start; with what it said.
    pub(super) fn start(proxy: Kind, body: usize) -> Result<Self> {
        let room = Room {
            workers: 1,
            connections: 30_000,
        };
        Self::start_for(proxy, body, room)
    }

    /// The same, with room for that many connections of clients where the proxy is NGINX.
    pub(super) fn start_for(proxy: Kind, body: usize, room: Room) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("why502-site-").tempdir()?;
        let ports = free_ports(2)?;
        let (addr, backend) = (ports[0], ports[1]);
        fs::write(dir.path().join("body"), vec![b'x'; body])?;
        let files = format!(
            "sendfile off; open_file_cache max=10; root {}; location / {{ try_files /body =404; }}",
            dir.path().display()
        );
        let answers = match body {
            0..100 => format!("location / {{ return 200 \"{}\"; }}", "x".repeat(body)),
            _ => files,
        };
        let back = nginx(
            dir.path(),
            "back",
            backend,
            Room { workers: 1, ..room },
            "",
            &answers,
        )?;
        let front = match proxy {
            Kind::Nginx => {
                let backends = format!(
                    "upstream backends {{ server {backend}; keepalive 512; \
                     keepalive_requests 1000000000; keepalive_timeout 300s; }}"
                );
                let passes = "location / { proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                              proxy_pass http://backends; }";
                nginx(dir.path(), "front", addr, room, &backends, passes)?
            }
            Kind::Haproxy => haproxy(dir.path(), addr, backend)?,
            Kind::Envoy => envoy(dir.path(), addr, backend)?,
            Kind::Apache => bail!("Apache is not measured"),
        };
        Ok(Self {
            front,
            back: Some(back),
            addr,
            backend,
            _dir: dir,
        })
    }

    /// Where clients ask.
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the proxy asks.
    pub(super) const fn backend(&self) -> SocketAddr {
        self.backend
    }

    /// The main process of the proxy.
    pub(super) fn proxy_pid(&self) -> u32 {
        self.front.pid()
    }

    /// The main process of the backend; 0 once it has ended.
    pub(super) fn backend_pid(&self) -> u32 {
        self.back.as_ref().map_or(0, Running::pid)
    }

    /// From now on nobody is where the proxy asks.
    pub(super) fn end_backend(&mut self) {
        self.back = None;
    }

    /// Time that the processes which serve, the proxy's and the backend's, have spent on processors so far.
    pub(super) fn on_processor(&self) -> Result<Duration> {
        let back = self.back.as_ref().map(Running::pid);
        let back = back.map(|pid| children(pid).first().copied().unwrap_or(pid));
        [Some(self.worker_pid()), back]
            .into_iter()
            .flatten()
            .map(usage::on_processor)
            .sum()
    }

    /// The process of the proxy that serves: a child, if there is one.
    pub(super) fn worker_pid(&self) -> u32 {
        let children = children(self.proxy_pid());
        children.first().copied().unwrap_or(self.proxy_pid())
    }
}

fn nginx(
    dir: &Path,
    name: &str,
    addr: SocketAddr,
    room: Room,
    http: &str,
    server: &str,
) -> Result<Running> {
    let at = |end: &str| dir.join(format!("{name}.{end}"));
    let (config, error) = (at("conf"), at("error"));
    let Room {
        workers,
        connections,
    } = room;
    // Else one of them takes nearly all.
    let each = if workers > 1 { " reuseport" } else { "" };
    let text = format!(
        "user root; daemon off; worker_processes {workers}; worker_rlimit_nofile {files}; pid {pid};\n\
         error_log {error};\nevents {{ worker_connections {connections}; }}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {tmp}-body; proxy_temp_path {tmp}-proxy; fastcgi_temp_path {tmp}-f;\n  \
         uwsgi_temp_path {tmp}-u; scgi_temp_path {tmp}-s;\n  \
         keepalive_requests 1000000000; keepalive_timeout 300s;\n  {http}\n  \
         server {{ listen {addr} backlog=4096{each}; {server} }}\n}}\n",
        files = connections + 1000,
        pid = at("pid").display(),
        error = error.display(),
        tmp = at("tmp").display(),
    );
    fs::write(&config, text)?;
    let mut command = bound(&program("nginx")?);
    command.arg("-c").arg(&config).arg("-e").arg(&error);
    up(&mut command, &error, addr)
}

fn haproxy(dir: &Path, addr: SocketAddr, backend: SocketAddr) -> Result<Running> {
    let config = dir.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 20000\n  no strict-limits\ndefaults\n  mode http\n  \
         timeout client 300s\n  timeout connect 5s\n  timeout server 30s\n  http-reuse always\n\
         frontend front\n  bind {addr}\n  default_backend back\n\
         backend back\n  server one {backend}\n"
    );
    fs::write(&config, text)?;
    let mut command = bound(&program("haproxy")?);
    command.arg("-db").arg("-f").arg(&config);
    up(&mut command, &dir.join("haproxy.error"), addr)
}

fn envoy(dir: &Path, addr: SocketAddr, backend: SocketAddr) -> Result<Running> {
    let config = dir.join("envoy.json");
    let socket = |addr: SocketAddr| {
        json!({"socket_address": {
            "address": addr.ip().to_string(), "port_value": addr.port(),
        }})
    };
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "back"}}],
        }]},
    });
    let text = json!({
        "static_resources": {
            "listeners": [{"address": socket(addr), "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
            }]}]}],
            "clusters": [{"name": "back", "connect_timeout": "5s", "load_assignment": {
                "cluster_name": "back",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(backend)}}]}],
            }}],
        },
        "layered_runtime": {"layers": [{"name": "bench", "static_layer": {
            "overload": {"global_downstream_max_connections": 50000},
        }}]},
    });
    fs::write(&config, text.to_string())?;
    let program = crate::paths::envoy();
    if !crate::lab::process::is_program(&program) {
        bail!("Envoy is not here (`cargo xtask setup --for test`)");
    }
    let mut command = bound(&program);
    command
        .args(["--concurrency", "1", "--log-level", "error"])
        .args(["--disable-hot-restart", "-c"])
        .arg(&config);
    up(&mut command, &dir.join("envoy.error"), addr)
}

fn program(name: &str) -> Result<PathBuf> {
    find_program(name)
        .with_context(|| format!("{name} is not installed (`cargo xtask setup --for test`)"))
}

/// Starts it and waits until it listens.
fn up(command: &mut Command, error: &Path, addr: SocketAddr) -> Result<Running> {
    let log = fs::File::options().create(true).append(true).open(error)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut running = Running::start(command)?;
    let up = wait_for(PATIENCE, || {
        let ended = running.exited()?.is_some();
        let up = TcpStream::connect_timeout(&addr, PATIENCE).is_ok();
        Ok((up || ended).then_some(up))
    })?;
    if up != Some(true) {
        let said = fs::read_to_string(error).unwrap_or_default();
        bail!(
            "{:?} does not start: {}",
            command.get_program(),
            said.trim()
        );
    }
    Ok(running)
}
