//! Apache httpd with mod_proxy, event MPM.

use std::net::SocketAddr;
use std::path::Path;

use super::lane::{NAME, Open, Speak, Special};
use super::{RequestLog, Route, Spec, lines_with};

/// How a distribution packages httpd.
struct Packaged {
    modules: &'static str,
    user: &'static str,
    /// Modules that are part of the program elsewhere.
    parts: &'static [(&'static str, &'static str)],
}

/// The first whose modules are there; Debian's where none is.
const PACKAGED: [Packaged; 2] = [
    Packaged {
        modules: "/usr/lib/apache2/modules",
        user: "www-data",
        parts: &[],
    },
    // Fedora, the Enterprise Linux family, Amazon Linux.
    Packaged {
        modules: "/usr/lib64/httpd/modules",
        user: "apache",
        parts: &[
            ("unixd_module", "mod_unixd.so"),
            ("log_config_module", "mod_log_config.so"),
        ],
    },
];

fn packaged() -> &'static Packaged {
    let mut known = PACKAGED.iter();
    let found = known.find(|one| Path::new(one.modules).is_dir());
    found.unwrap_or(&PACKAGED[0])
}

const LOADED: [(&str, &str); 8] = [
    ("mpm_event_module", "mod_mpm_event.so"),
    ("authz_core_module", "mod_authz_core.so"),
    ("reqtimeout_module", "mod_reqtimeout.so"),
    ("slotmem_shm_module", "mod_slotmem_shm.so"),
    ("proxy_module", "mod_proxy.so"),
    ("proxy_http_module", "mod_proxy_http.so"),
    ("proxy_balancer_module", "mod_proxy_balancer.so"),
    ("lbmethod_byrequests_module", "mod_lbmethod_byrequests.so"),
];

pub(super) fn config(spec: &Spec<'_>) -> String {
    let up = spec.upstreams;
    let options = spec.options;
    let threads = 25;
    let mut text = format!("ServerRoot {}\n", spec.dir.display());
    let lanes_speak = |what: fn(&Speak) -> bool| spec.lanes.iter().any(|o| what(&o.lane.speak));
    let tls = lanes_speak(|speak| matches!(speak, Speak::Tls { .. }));
    let http2 = lanes_speak(|speak| matches!(speak, Speak::Http2));
    let also = [
        (tls, ("ssl_module", "mod_ssl.so")),
        (http2, ("proxy_http2_module", "mod_proxy_http2.so")),
    ];
    let also = also.into_iter().filter(|(wanted, _)| *wanted);
    let Packaged {
        modules,
        user,
        parts,
    } = packaged();
    let parts = parts.iter().copied();
    for (name, file) in parts.chain(LOADED).chain(also.map(|(_, module)| module)) {
        text += &format!("LoadModule {name} {modules}/{file}\n");
    }
    text += &format!(
        "User {user}\nGroup {user}\nServerName lab.test\nPidFile {pid}\n\
         DefaultRuntimeDir {dir}\nErrorLog {error}\nLogLevel info\n\
         LogFormat \"%{{begin:%H:%M:%S}}t.%{{begin:usec_frac}}t %h:%{{remote}}p \\\"%r\\\" %>s %B %D %X %{{X-Request-Id}}i\" lab\n\
         CustomLog {access} lab\n\
         ServerLimit {workers}\nStartServers {workers}\nThreadLimit {threads}\n\
         ThreadsPerChild {threads}\nMaxRequestWorkers {all}\n\
         KeepAlive On\nKeepAliveTimeout 30\nMaxKeepAliveRequests 0\nLimitRequestLine 131072\n",
        pid = spec.path("apache.pid"),
        dir = spec.dir.display(),
        error = spec.path("error.log"),
        access = spec.path("access.log"),
        workers = options.workers,
        all = threads * options.workers,
    );
    let times = format!(
        "connectiontimeout={}ms timeout={}",
        options.connect_ms,
        options.response_ms.div_ceil(1000)
    );
    // `retry=0`: a refused connection does not switch the worker off for a minute.
    let params = format!("retry=0 {times}");
    for (route, front) in spec.fronts {
        let name = route.name();
        let pass =
            |to: SocketAddr, more: &str| format!("  ProxyPass / http://{to}/ {params}{more}\n");
        let balancer = |members: &str| {
            format!(
                "  <Proxy balancer://{name}>\n{members}  </Proxy>\n  \
                 ProxyPass / balancer://{name}/\n"
            )
        };
        let member = |to: SocketAddr, more: &str| {
            format!("    BalancerMember http://{to} retry=1 {times}{more}\n")
        };
        let proxied = match route {
            Route::Fresh => pass(up.main, " disablereuse=On"),
            Route::Pooled | Route::Shared => pass(up.main, ""),
            Route::Retry | Route::RetryRefused => {
                let first = match route {
                    Route::Retry => up.main,
                    _ => up.refused,
                };
                // A hot standby is asked only when all others are in error, so `retry` must not be
                // 0: after a masked failure the first one rests for a second.
                balancer(
                    &(member(first, " disablereuse=On")
                        + &member(up.second, " disablereuse=On status=+H")),
                )
            }
            Route::Refused => pass(up.refused, ""),
            Route::BlackHole => pass(up.black_hole, ""),
            Route::Nobody => balancer(&member(up.main, " status=+D")),
        };
        text += &format!("Listen {front}\n<VirtualHost {front}>\n{proxied}</VirtualHost>\n");
    }
    for open in spec.lanes {
        text += &lane(open);
    }
    text
}

fn lane(Open { lane, front }: &Open) -> String {
    let mut reuse = match lane.pooled {
        true => String::new(),
        false => " disablereuse=On".to_owned(),
    };
    if let Some(keep_ms) = lane.keep_ms {
        reuse += &format!(" ttl={}", keep_ms.div_ceil(1000));
    }
    if lane.upgrade {
        reuse += " upgrade=websocket";
    }
    let (scheme, how) = match &lane.speak {
        Speak::Http1 => ("http", String::new()),
        Speak::Http2 => ("h2c", String::new()),
        Speak::Tls { trusted } => {
            let verify = match trusted {
                Some(file) => format!(
                    "  SSLProxyVerify require\n  SSLProxyCACertificateFile {}\n",
                    file.display()
                ),
                // The first is the default; the others are checked even so.
                None => "  SSLProxyVerify none\n  SSLProxyCheckPeerExpire off\n  \
                         SSLProxyCheckPeerName off\n"
                    .to_owned(),
            };
            // The name it asks for and checks is that of the client's request.
            (
                "https",
                format!("  SSLProxyEngine on\n  ProxyPreserveHost on\n{verify}"),
            )
        }
    };
    let to = lane.to;
    let times = format!(
        "connectiontimeout={}ms timeout={}",
        lane.connect_ms,
        lane.response_ms.div_ceil(1000)
    );
    let pass = match lane.special {
        Special::Nothing => {
            format!("{how}  ProxyPass / {scheme}://{to}/ retry=0 {times}{reuse}\n")
        }
        Special::One { queue_ms } => {
            format!("  ProxyPass / http://{to}/ retry=0 {times} max=1 acquire={queue_ms}\n")
        }
        Special::MarkedDown { second } => format!(
            "  <Proxy balancer://{name}>\n    BalancerMember http://{to} retry=30 {times}\n    \
             BalancerMember http://{second} retry=30 {times}\n    \
             ProxySet forcerecovery=Off\n  </Proxy>\n  ProxyPass / balancer://{name}/\n",
            name = lane.name
        ),
        Special::Named { .. } => format!(
            "  ProxyPass / http://{NAME}:{}/ retry=0 {times}{reuse}\n",
            to.port()
        ),
    };
    format!("Listen {front}\n<VirtualHost {front}>\n{pass}</VirtualHost>\n")
}

/// Error lines carry the client's address, not the path, except AH00957 (a failed connect), which
/// has neither and stands shortly before its AH01114 in the same thread. An address may have served
/// before, so only lines from the begin of the request on count.
pub(super) fn log_of(error: &str, access: &str, path: &str, client: SocketAddr) -> RequestLog {
    let access = lines_with(access, path).next();
    let begin = access.and_then(|line| line.split(' ').next()).unwrap_or("");
    let client = format!("[client {client}]");
    let lines: Vec<_> = error
        .lines()
        .filter(|line| time_of_day(line).is_some_and(|time| time >= begin))
        .collect();
    let mut errors = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if !line.contains(&client) {
            continue;
        }
        if line.contains("AH01114") {
            let same_thread = lines[..at]
                .iter()
                .rev()
                .filter(|before| thread(before) == thread(line));
            let since_last = same_thread.take_while(|before| !before.contains("AH01114"));
            errors.extend(since_last.filter(|before| before.contains("AH00957")));
        }
        errors.push(line);
    }
    RequestLog {
        errors: errors.into_iter().map(|&line| line.to_owned()).collect(),
        access: access.map(str::to_owned),
    }
}

/// `14:49:19.231626` of `[Sun Nov 22 14:49:19.231626 2026] …`.
fn time_of_day(line: &str) -> Option<&str> {
    line.split(' ').nth(3)
}

/// `pid P:tid T` of a line.
fn thread(line: &str) -> Option<&str> {
    let start = line.find("[pid ")?;
    let end = line[start..].find(']')?;
    Some(&line[start..start + end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_connect_is_found_through_its_thread() {
        let error = "\
[Sun Nov 22 14:00:01.000001 2026] [proxy_http:error] [pid 1:tid 2] [client 127.0.0.1:5] AH01102: another request
[Sun Nov 22 14:00:02.000001 2026] [proxy:error] [pid 1:tid 2] (111)Connection refused: AH00957: http: attempt to connect to A failed
[Sun Nov 22 14:00:02.000002 2026] [proxy:error] [pid 1:tid 3] (111)Connection refused: AH00957: http: attempt to connect to B failed
[Sun Nov 22 14:00:02.000003 2026] [proxy_http:error] [pid 1:tid 2] [client 127.0.0.1:5] AH01114: HTTP: failed to make connection to backend: A
[Sun Nov 22 14:00:02.000004 2026] [proxy_http:error] [pid 1:tid 3] [client 127.0.0.1:6] AH01114: HTTP: failed to make connection to backend: B
";
        let access = "14:00:02.000000 127.0.0.1:5 \"GET /x HTTP/1.1\" 503 1\n";
        let log = log_of(error, access, "/x", SocketAddr::from(([127, 0, 0, 1], 5)));
        assert_eq!(log.errors.len(), 2);
        assert!(log.errors[0].contains("connect to A"));
    }
}
