//! Logs beside the kernel: a front in TLS, a proxy that is not known by name, and a balancer whose log
//! is all that there is of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use xtask::lab::backend::Backend;
use xtask::lab::capture::{Capture, Ended, Output};
use xtask::lab::client::{Client, Request};
use xtask::lab::net::{RefusedPort, free_ports};
use xtask::lab::process::{Running, bound, find_program, wait_for};
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::stand::{Behind, Stand};

use super::{turn, turn_with, why502};

const PATIENCE: Duration = Duration::from_secs(10);
/// Requests of each kind.
const EACH: usize = 12;

/// Waits until something accepts there.
fn wait_open(addr: SocketAddr) {
    let open = wait_for(PATIENCE, || Ok(std::net::TcpStream::connect(addr).ok()));
    assert!(open.unwrap().is_some(), "nothing listens on {addr}");
}

/// Asks over TLS, and reads to the end.
fn ask_tls(front: SocketAddr, request: &Request<'_>) {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &front.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let text = String::from_utf8(request.to_bytes()).unwrap();
    let text = text.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_to_end(&mut answer)
        .unwrap();
    child.wait().unwrap();
}

/// The cases by their paths; each path has one.
fn by_path(ended: &Ended) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for case in ended.cases() {
        let path = case["downstream"]["path"]
            .as_str()
            .unwrap_or("?")
            .to_owned();
        let before = found.insert(path.clone(), case);
        assert!(
            before.is_none(),
            "{path} has two cases:\n{}",
            ended.stdout()
        );
    }
    found
}

/// The line in the case is that of its own request.
fn assert_own_line(path: &str, case: &Value) {
    let more = case["log_more"].as_array().cloned().unwrap_or_default();
    for log in [&case["log"]].into_iter().chain(&more) {
        let line = log["line"].as_str().unwrap_or("");
        let own = line.contains(&format!("{path}?")) || line.contains(&format!("{path} "));
        assert!(own, "{path}: another request's line, or none\n{case:#}");
    }
}

#[test]
fn behind_tls_the_log_tells_of_the_failure_and_the_kernel_why() {
    let Some(_turn) = turn_with(&[Kind::Nginx], &["openssl"]) else {
        return;
    };
    let backend = Backend::start().unwrap();
    let refused = RefusedPort::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let front = free_ports(1).unwrap()[0];
    let mut nginx = tls_front(dir.path(), front, backend.addr(), refused.addr());
    let pid = nginx.pid().to_string();
    let logs = ["error.log", "access.log"].map(|name| dir.path().join(name).display().to_string());
    let args = [
        "--pid", &pid, "--log", &logs[0], "--log", &logs[1], "--format", "ndjson",
    ];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    let kinds = [
        ("fin", "fin-before-response", "error-response"),
        ("rst", "rst-before-response", "error-response"),
        ("refused", "connect-refused", "error-response"),
        ("body-fin", "body-truncated-fin", "truncated"),
        ("502", "application-502", "error-response"),
    ];
    std::thread::scope(|scope| {
        for (fault, _, _) in kinds {
            scope.spawn(move || {
                for n in 0..EACH {
                    ask_tls(front, &Request::get(&format!("/ok/h{n}-{fault}")));
                    let id = format!("{fault}-{n}");
                    let target = format!("/{fault}/{n}?secret=s{n}");
                    ask_tls(front, &Request::get(&target).with_id(&id));
                }
            });
        }
    });
    // A line waits some seconds for a case before it is taken for the only word.
    std::thread::sleep(Duration::from_secs(4));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    nginx.signal(rustix::process::Signal::TERM).unwrap();
    nginx.wait(PATIENCE).unwrap();

    let cases = by_path(&ended);
    for (fault, rule, outcome) in kinds {
        for n in 0..EACH {
            let path = format!("/{fault}/{n}");
            let case = cases.get(&path);
            let case = case.unwrap_or_else(|| panic!("{path} has no case\n{}", ended.stdout()));
            assert_eq!(case["verdict"]["rule"], rule, "{case:#}");
            assert_eq!(case["outcome"], outcome, "{case:#}");
            let attempts = case["attempts"].as_array().map_or(&[][..], Vec::as_slice);
            // No request went to a port that refuses: two that were refused within one moment can be
            // told apart by nothing, and are then both listed, as weak.
            let candidates = rule == "connect-refused" && case["verdict"]["confidence"] == "weak";
            assert!(
                attempts.len() == 1 || candidates && !attempts.is_empty(),
                "{case:#}"
            );
            for attempt in attempts {
                assert_eq!(attempt["how"] == "refused", fault == "refused", "{case:#}");
            }
            assert_eq!(case["verdict"]["agrees_with_log"], true, "{case:#}");
            assert_own_line(&path, case);
            assert!(!case.to_string().contains("secret"), "{case:#}");
            let sure = case["verdict"]["confidence"].as_str().unwrap_or("");
            let expected: &[&str] = match rule {
                "application-502" => &["none"],
                // No request went to the backend, so no id can tie the two.
                "connect-refused" => &["strong", "weak"],
                // The access log takes it for a success, and the error log has no id.
                "body-truncated-fin" => &["strong"],
                _ => &["exact"],
            };
            assert!(expected.contains(&sure), "{case:#}");
        }
    }
    assert_eq!(cases.len(), kinds.len() * EACH, "{}", ended.stdout());
}

fn tls_front(dir: &Path, front: SocketAddr, main: SocketAddr, refused: SocketAddr) -> Running {
    let at = |name: &str| dir.join(name).display().to_string();
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=lab.test",
            "-keyout",
            &at("key.pem"),
            "-out",
            &at("cert.pem"),
        ])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let config = format!(
        r#"user root; daemon off; worker_processes 1; pid {pid}; error_log {error};
events {{ }}
http {{
  log_format full escape=json '{{"time":"$time_iso8601","msec":"$msec","connection":"$connection",'
    '"remote_addr":"$remote_addr","remote_port":"$remote_port","request":"$request",'
    '"status":"$status","http_x_request_id":"$http_x_request_id","pid":"$pid",'
    '"request_time":"$request_time","upstream_addr":"$upstream_addr",'
    '"upstream_status":"$upstream_status","upstream_connect_time":"$upstream_connect_time",'
    '"upstream_header_time":"$upstream_header_time",'
    '"upstream_response_time":"$upstream_response_time",'
    '"upstream_bytes_received":"$upstream_bytes_received",'
    '"upstream_bytes_sent":"$upstream_bytes_sent"}}';
  access_log {access} full;
  server {{
    listen {front} ssl; ssl_certificate {cert}; ssl_certificate_key {key};
    location / {{ proxy_pass http://{main}; proxy_http_version 1.1; }}
    location /refused/ {{ proxy_pass http://{refused}; }}
  }}
}}
"#,
        pid = at("pid"),
        error = at("error.log"),
        access = at("access.log"),
        cert = at("cert.pem"),
        key = at("key.pem"),
    );
    let file = at("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = bound(&find_program("nginx").unwrap());
    command.args(["-p", &dir.display().to_string(), "-c", &file]);
    let running = Running::start(command.stdin(Stdio::null())).unwrap();
    wait_open(front);
    running
}

/// A Caddy with this Caddyfile, listening at `front`.
pub(crate) fn start_caddy(dir: &Path, front: SocketAddr, config: &str) -> Running {
    let file = dir.join("Caddyfile");
    fs::write(&file, config).unwrap();
    let mut command = bound(&find_program("caddy").unwrap());
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&file)
        .env("HOME", dir)
        .env("XDG_DATA_HOME", dir)
        .env("XDG_CONFIG_HOME", dir)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let caddy = Running::start(&mut command).unwrap();
    wait_open(front);
    caddy
}

#[test]
fn caddy_is_traced_by_its_name_and_joined_by_its_log() {
    let Some(_turn) = turn_with(&[], &["caddy"]) else {
        return;
    };
    let backend = Backend::start().unwrap();
    let refused = RefusedPort::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let front = free_ports(1).unwrap()[0];
    let log = dir.path().join("caddy.log").display().to_string();
    let config = format!(
        "{{\n  admin off\n  auto_https off\n  log {{\n    output file {log}\n    format json\n  }}\n}}\n\
         http://:{port} {{\n  bind {ip}\n  log\n  reverse_proxy /refused/* {refused}\n  \
         reverse_proxy {main} {{\n    transport http {{\n      response_header_timeout 700ms\n    }}\n  }}\n}}\n",
        port = front.port(),
        ip = front.ip(),
        refused = refused.addr(),
        main = backend.addr(),
    );
    let caddy = start_caddy(dir.path(), front, &config);
    let args = ["--proxy", "caddy", "--log", &log, "--format", "ndjson"];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    let kinds = [
        ("fin", "fin-before-response"),
        ("rst", "rst-before-response"),
        ("refused", "connect-refused"),
        ("partial-header", "partial-header"),
        ("hang", "response-timeout"),
        ("502", "application-502"),
    ];
    std::thread::scope(|scope| {
        for (fault, _) in kinds {
            scope.spawn(move || {
                for n in 0..EACH {
                    let mut client = Client::connect(front).unwrap();
                    client
                        .send(&Request::get(&format!("/ok/{fault}-{n}")))
                        .unwrap();
                    let target = format!("/{fault}/{n}?secret=s{n}");
                    client.send(&Request::post(&target, b"x")).unwrap();
                }
            });
        }
    });
    std::thread::sleep(Duration::from_millis(1500));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    drop(caddy);

    let cases = by_path(&ended);
    for (fault, rule) in kinds {
        for n in 0..EACH {
            let path = format!("/{fault}/{n}");
            let case = cases.get(&path);
            let case = case.unwrap_or_else(|| panic!("{path} has no case\n{}", ended.stdout()));
            assert_eq!(case["verdict"]["rule"], rule, "{case:#}");
            assert_eq!(case["verdict"]["agrees_with_log"], true, "{case:#}");
            assert_own_line(&path, case);
        }
    }
}

/// Seconds by which the balancer's clock is ahead.
const AHEAD_S: i64 = 37;

#[test]
fn a_balancers_log_joins_the_recording_of_its_backends_host() {
    let Some(_turn) = turn(&[Kind::Haproxy]) else {
        return;
    };
    let behind = Behind::without_filter().unwrap();
    let stand = Stand::with(Kind::Haproxy, Options::default(), behind).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("backend.w502").display().to_string();
    let pid = std::process::id().to_string();
    let args = [
        "--role", "backend", "--pid", &pid, "-w", &recording, "--format", "ndjson",
    ];
    let capture = Capture::start(&why502(), &args, Output::Collect).unwrap();
    let faults = ["fin", "rst", "partial-header", "body-fin", "502"];
    std::thread::scope(|scope| {
        for fault in faults {
            let stand = &stand;
            scope.spawn(move || {
                for n in 0..EACH * 2 {
                    let target = format!("/ok/{fault}-{n}");
                    stand.ask(Route::Fresh, &Request::get(&target)).unwrap();
                    let target = format!("/{fault}/{n}");
                    stand.ask(Route::Fresh, &Request::get(&target)).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    let ended = capture.stop().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let alb = dir.path().join("alb.log");
    let lines: Vec<String> = stand
        .proxy
        .access_lines()
        .iter()
        .map(|line| as_alb(line))
        .collect();
    fs::write(&alb, lines.concat()).unwrap();

    let output = bound(&why502())
        .args(["report", &recording, "--format", "json", "--log"])
        .arg(&alb)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let log = &report["logs"][0];
    let failures = faults.len() * EACH * 2;
    // A body cut short is a 200 in a balancer's log like any other.
    let told = failures - EACH * 2;
    assert_eq!(log["failures"], told, "{log:#}");
    assert!(
        log["joined"].as_u64().unwrap() as usize * 100 >= told * 99,
        "{log:#}"
    );
    let skew = log["clock_skew_us"].as_i64().unwrap();
    assert!((skew - AHEAD_S * 1_000_000).abs() < 300_000, "{log:#}");
    let mut joined = 0;
    for case in report["cases"].as_array().unwrap() {
        if case["log"].is_null() {
            continue;
        }
        let path = case["downstream"]["path"].as_str().unwrap();
        assert_own_line(path, case);
        assert_eq!(case["verdict"]["agrees_with_log"], true, "{case:#}");
        joined += 1;
    }
    // The report keeps twenty examples of each group.
    assert!(joined >= 4 * 20, "{joined} cases have a line");
}

/// A line of HAProxy as an Application Load Balancer would have written it, with a clock of its own.
fn as_alb(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let accepted = words[1].trim_matches(['[', ']']);
    let timers: Vec<i64> = words[4].split('/').map(|t| t.parse().unwrap()).collect();
    let began = local_ms(accepted) + AHEAD_S * 1000;
    let ended = began + timers[4];
    let target = line
        .split("dst=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let request = line.split('"').nth(1).unwrap();
    let request = request.replacen(" /", " http://shop.example.com:80/", 1);
    let (status, code) = (words[5], words[9]);
    let own = if code.starts_with("--") || status == "200" {
        status
    } else {
        "-"
    };
    let seconds = |ms: i64| match ms {
        ms if ms < 0 => "-1".to_owned(),
        ms => format!("{}.{:03}", ms / 1000, ms % 1000),
    };
    let mut alb = String::new();
    let _ = writeln!(
        alb,
        "http {} app/shop/50dc6c495c0c9188 {} {target} 0.000 {} 0.000 {status} {own} 100 200 \
         \"{request}\" \"lab\" - - arn:aws:elasticloadbalancing:x:1:targetgroup/shop/7 \"Root=1-{began}\" \
         \"-\" \"-\" 0 {} \"forward\" \"-\" \"-\" \"{target}\" \"{own}\" \"-\" \"-\"",
        iso(ended),
        words[0],
        seconds(timers[3]),
        iso(began),
    );
    alb
}

/// `22/Nov/2026:19:48:01.216` of this machine's zone, as ms since the epoch.
fn local_ms(text: &str) -> i64 {
    let output = Command::new("date")
        .args(["+%s%3N", "-d"])
        .arg(text.replacen(':', " ", 1).replace('/', " "))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap()
}

fn iso(ms: i64) -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S", "-d", &format!("@{}", ms / 1000)])
        .output()
        .unwrap();
    let whole = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    format!("{whole}.{:03}000Z", ms % 1000)
}
