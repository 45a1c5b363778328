//! HAProxy.

use super::lane::{Lane, NAME, Open, Speak, Special};
use super::{RequestLog, Route, Spec, lines_with};
use crate::lab::tls::SITE;

/// The recommended format of the catalogue: `httplog` plus both ends of the server connection.
const LOG_FORMAT: &str = r#""%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r src=%bi:%bp dst=%si:%sp""#;

pub(super) fn config(spec: &Spec<'_>) -> String {
    let up = spec.upstreams;
    let options = spec.options;
    // Lanes have the size that users have.
    let buffer = match spec.fronts.is_empty() {
        true => "",
        false => "tune.bufsize 131072\n  ",
    };
    let mut text = format!(
        // It asks for twice as many descriptors as clients; what the machine gives will do.
        "global\n  nbthread {threads}\n  maxconn {clients}\n  no strict-limits\n  {buffer}log stdout format raw local0 info\n\
         defaults\n  mode http\n  log global\n  log-format {LOG_FORMAT}\n  \
         timeout client 30s\n  timeout connect {connect}ms\n  timeout server {response}ms\n  \
         retries 0\n",
        threads = options.workers,
        clients = options.clients,
        connect = options.connect_ms,
        response = options.response_ms,
    );
    for (route, front) in spec.fronts {
        let name = route.name();
        let servers = match route {
            Route::Fresh => format!("http-reuse never\n  server a {} pool-max-conn 0", up.main),
            Route::Pooled => format!("http-reuse safe\n  server a {}", up.main),
            Route::Shared => format!("http-reuse always\n  server a {}", up.main),
            Route::Retry | Route::RetryRefused => {
                let first = match route {
                    Route::Retry => up.main,
                    _ => up.refused,
                };
                // The first try goes to `a`; a redispatch asks the balancer, which goes on in its
                // circle and leaves out the server that has just failed.
                format!(
                    "http-reuse never\n  retries 1\n  retry-on all-retryable-errors\n  \
                     option redispatch 1\n  balance roundrobin\n  use-server a if TRUE\n  \
                     server a {first} weight 1\n  server b {} weight 255",
                    up.second
                )
            }
            Route::Refused => format!("server a {}", up.refused),
            Route::BlackHole => format!("server a {}", up.black_hole),
            Route::Nobody => format!("server a {} disabled", up.main),
        };
        text += &format!(
            "frontend {name}\n  bind {front}\n  default_backend be_{name}\n\
             backend be_{name}\n  {servers}\n"
        );
    }
    for open in spec.lanes {
        text += &lane(open);
    }
    text
}

fn lane(Open { lane, front }: &Open) -> String {
    let Lane {
        name,
        to,
        pooled,
        connect_ms,
        response_ms,
        keep_ms,
        checked,
        special,
        speak,
        // It needs no permission.
        upgrade: _,
    } = lane;
    let (reuse, mut server) = match pooled {
        true => ("safe", String::new()),
        false => ("never", " pool-max-conn 0".to_owned()),
    };
    server += &match speak {
        Speak::Http1 => String::new(),
        Speak::Http2 => " proto h2".to_owned(),
        Speak::Tls { trusted: None } => format!(" ssl verify none sni str({SITE})"),
        Speak::Tls {
            trusted: Some(file),
        } => format!(
            " ssl verify required ca-file {} verifyhost {SITE} sni str({SITE})",
            file.display()
        ),
    };
    if let Some(keep_ms) = keep_ms {
        server += &format!(" pool-purge-delay {keep_ms}ms");
    }
    if *checked {
        server += " check inter 100ms";
    }
    let mut host = to.to_string();
    let mut section = String::new();
    let mut more = String::new();
    match special {
        Special::Nothing => {}
        Special::One { queue_ms } => {
            more = format!("  timeout queue {queue_ms}ms\n");
            server += " maxconn 1";
        }
        Special::MarkedDown { .. } => server += " check inter 100ms fall 1",
        Special::Named { resolver } => {
            section = format!(
                "resolvers dns_{name}\n  nameserver lab {resolver}\n  resolve_retries 1\n  \
                 timeout resolve 1s\n  timeout retry 200ms\n  hold nx 1s\n"
            );
            host = format!("{NAME}:{}", to.port());
            server += &format!(" resolvers dns_{name} init-addr none");
        }
    }
    format!(
        "{section}frontend {name}\n  bind {front}\n  default_backend be_{name}\n\
         backend be_{name}\n  timeout connect {connect_ms}ms\n  timeout server {response_ms}ms\n  \
         http-reuse {reuse}\n{more}  server a {host}{server}\n"
    )
}

pub(super) fn log_of(stdout: &str, path: &str) -> RequestLog {
    RequestLog {
        errors: Vec::new(),
        access: lines_with(stdout, path).next().map(str::to_owned),
    }
}
