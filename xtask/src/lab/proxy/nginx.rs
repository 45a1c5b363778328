//! NGINX.

use super::lane::{Lane, NAME, Open, Speak, Special};
use super::{RequestLog, Route, Spec, lines_with};
use crate::lab::tls::SITE;

pub(super) fn config(spec: &Spec<'_>) -> String {
    let up = spec.upstreams;
    let options = spec.options;
    let (connect, response) = (options.connect_ms, options.response_ms);
    // Those that listen and those to backends count too.
    let connections = options.clients + 96;
    let mut text = format!(
        r#"user root;
daemon off;
worker_processes {workers};
worker_rlimit_nofile {files};
pid {pid};
error_log {error} info;
events {{ worker_connections {connections}; }}
http {{
  log_format lab escape=json '{{"time":"$time_iso8601","msec":"$msec","connection":"$connection",'
    '"remote_addr":"$remote_addr","remote_port":"$remote_port","request":"$request","status":"$status",'
    '"bytes":"$body_bytes_sent","request_time":"$request_time","upstream_addr":"$upstream_addr",'
    '"upstream_status":"$upstream_status","upstream_connect_time":"$upstream_connect_time",'
    '"upstream_header_time":"$upstream_header_time","upstream_response_time":"$upstream_response_time",'
    '"upstream_bytes_received":"$upstream_bytes_received","upstream_bytes_sent":"$upstream_bytes_sent"}}';
  access_log {access} lab;
  client_body_temp_path {tmp}-body;
  proxy_temp_path {tmp}-proxy;
  fastcgi_temp_path {tmp}-fastcgi;
  uwsgi_temp_path {tmp}-uwsgi;
  scgi_temp_path {tmp}-scgi;
  keepalive_requests 1000000;
  large_client_header_buffers 4 128k;
  proxy_connect_timeout {connect}ms;
  proxy_read_timeout {response}ms;
  proxy_send_timeout {response}ms;
  proxy_http_version 1.1;
"#,
        workers = options.workers,
        connections = connections,
        // Not every client has a connection to a backend at the same time.
        files = connections + 4096,
        pid = spec.path("nginx.pid"),
        error = spec.path("error.log"),
        access = spec.path("access.log"),
        tmp = spec.path("tmp"),
    );
    if !spec.fronts.is_empty() {
        text += &format!(
            r#"  upstream fresh {{ server {main} max_fails=0; }}
  upstream pooled {{ server {main} max_fails=0; keepalive 64; keepalive_requests 1000000; }}
  upstream shared {{ server {main} max_fails=0; keepalive 64; keepalive_requests 1000000; }}
  upstream retry {{ server {main} max_fails=0; server {second} backup; }}
  upstream retry_refused {{ server {refused} max_fails=0; server {second} backup; }}
  upstream refused {{ server {refused}; }}
  upstream black_hole {{ server {black_hole}; }}
  upstream nobody {{ server {main} down; server {second} down; }}
"#,
            main = up.main,
            second = up.second,
            refused = up.refused,
            black_hole = up.black_hole,
        );
    }
    for (route, front) in spec.fronts {
        let kept = matches!(route, Route::Pooled | Route::Shared);
        let connection = if kept { "\"\"" } else { "close" };
        text += &format!(
            "  server {{ listen {front}; location / {{ \
             proxy_set_header Connection {connection}; proxy_pass http://{}; }} }}\n",
            route.name()
        );
    }
    for open in spec.lanes {
        text += &lane(open);
    }
    text + "}\n"
}

fn lane(Open { lane, front }: &Open) -> String {
    let Lane {
        name,
        to,
        pooled,
        connect_ms,
        response_ms,
        keep_ms,
        upgrade,
        special,
        speak: _,
        // Only the commercial version has checks.
        checked: _,
    } = lane;
    let mut keep = match pooled {
        true => "keepalive 64; keepalive_requests 1000000;".to_owned(),
        false => String::new(),
    };
    if let Some(keep_ms) = keep_ms {
        keep += &format!(" keepalive_timeout {keep_ms}ms;");
    }
    let connection = match (pooled, upgrade) {
        (_, true) => "upgrade; proxy_set_header Upgrade $http_upgrade",
        (true, false) => "\"\"",
        (false, false) => "close",
    };
    // With a zone the workers count together.
    let (servers, upstream) = match special {
        Special::Nothing => (format!("server {to} max_fails=0;"), name.clone()),
        Special::One { .. } => (
            format!("zone {name} 64k; server {to} max_fails=0 max_conns=1;"),
            name.clone(),
        ),
        Special::MarkedDown { second } => (
            format!(
                "zone {name} 64k; server {to} max_fails=1 fail_timeout=30s; \
                 server {second} max_fails=1 fail_timeout=30s;"
            ),
            name.clone(),
        ),
        Special::Named { resolver } => (
            format!("server {to};"),
            format!(
                "$lab_name:{port}; set $lab_name {NAME}; resolver {resolver} valid=1s ipv6=off; \
                 resolver_timeout 1s",
                port = to.port()
            ),
        ),
    };
    let pass = pass(lane, &upstream);
    format!(
        "  upstream {name} {{ {servers} {keep} }}\n  \
         server {{ listen {front}; location / {{ proxy_set_header Connection {connection}; \
         proxy_connect_timeout {connect_ms}ms; proxy_read_timeout {response_ms}ms; \
         proxy_send_timeout {response_ms}ms; client_max_body_size 0; {pass} }} }}\n"
    )
}

/// How the requests are passed on. What stands behind the name of the upstream in `upstream` are
/// directives of their own.
fn pass(lane: &Lane, upstream: &str) -> String {
    let Lane {
        connect_ms,
        response_ms,
        ..
    } = lane;
    match &lane.speak {
        Speak::Http1 => format!("proxy_pass http://{upstream};"),
        Speak::Http2 => format!(
            "grpc_connect_timeout {connect_ms}ms; grpc_read_timeout {response_ms}ms; \
             grpc_send_timeout {response_ms}ms; grpc_pass grpc://{upstream};"
        ),
        Speak::Tls { trusted } => {
            let verify = trusted.as_ref().map(|file| {
                format!(
                    "proxy_ssl_verify on; proxy_ssl_trusted_certificate {};",
                    file.display()
                )
            });
            // Before 1.23.4, TLS 1.3 is not among the defaults.
            format!(
                "proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_server_name on; \
                 proxy_ssl_name {SITE}; {} proxy_pass https://{upstream};",
                verify.unwrap_or_default()
            )
        }
    }
}

pub(super) fn log_of(error: &str, access: &str, path: &str) -> RequestLog {
    RequestLog {
        errors: lines_with(error, path).map(str::to_owned).collect(),
        access: lines_with(access, path).next().map(str::to_owned),
    }
}
