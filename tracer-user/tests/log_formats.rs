//! The log configurations that `explain log-format` prints, as the proxies themselves read them.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail like the test"
)]

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn printed(proxy: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_why502"))
        .args(["explain", "log-format", proxy])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Not with a printing macro: the test harness hides what a passing test prints.
///
/// Under CI everything is there: a skipped test must not look like a passed one.
fn skipped(missing: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "cannot run under CI without {missing}"
    );
    let _ = writeln!(
        std::io::stderr().lock(),
        "\n*** SKIPPED, NOTHING WAS TESTED. Missing: {missing} ***\n"
    );
}

/// `None`: the program is not here, and that was said.
fn ran(program: &str, arguments: &[&str]) -> Option<Output> {
    // Where programs of the system are, whoever runs the tests.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output();
    match output {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skipped(program);
            None
        }
        output => Some(output.unwrap()),
    }
}

/// Nothing is written outside of the directory.
fn within(text: &str, dir: &Path, from: &str) -> String {
    let own = format!("{}/", dir.display());
    let text = text.replace(from, &own);
    assert!(text.contains(&own), "{text}");
    text
}

fn accepted(output: &Output, config: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{config}");
    let trouble = said.to_lowercase();
    assert!(!trouble.contains("warn"), "{said}\n{config}");
}

#[test]
fn nginx_accepts_it() {
    let dir = tempfile::tempdir().unwrap();
    let format = within(&printed("nginx"), dir.path(), "/var/log/nginx/");
    let own = dir.path().display();
    let config = format!(
        "pid {own}/pid; error_log {own}/main.log; events {{ }}\nhttp {{\naccess_log off;\n{format}\n\
         client_body_temp_path {own}/a; proxy_temp_path {own}/b; fastcgi_temp_path {own}/c;\n\
         uwsgi_temp_path {own}/d; scgi_temp_path {own}/e;\n\
         server {{ listen 127.0.0.1:1; location / {{ proxy_pass http://127.0.0.1:2; }} }} }}\n"
    );
    let file = dir.path().join("nginx.conf");
    fs::write(&file, &config).unwrap();
    let error_log = format!("{own}/start.log");
    let arguments = ["-t", "-q", "-e", &error_log, "-c", file.to_str().unwrap()];
    if let Some(output) = ran("nginx", &arguments) {
        accepted(&output, &config);
    }
}

#[test]
fn haproxy_accepts_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "global\n    log stdout format raw local0\ndefaults\n    mode http\n    log global\n\
         \x20   timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n{}\
         frontend a\n    bind 127.0.0.1:1\n    default_backend b\n\
         backend b\n    server s 127.0.0.1:2\n",
        printed("haproxy")
    );
    let file = dir.path().join("haproxy.cfg");
    fs::write(&file, &config).unwrap();
    if let Some(output) = ran("haproxy", &["-c", "-f", file.to_str().unwrap()]) {
        accepted(&output, &config);
    }
}

#[test]
fn apache_accepts_it() {
    let modules = Path::new("/usr/lib/apache2/modules");
    if !modules.join("mod_mpm_event.so").exists() {
        skipped("Apache httpd with its modules");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let format = within(&printed("apache"), dir.path(), "/var/log/apache2/");
    let own = dir.path().display();
    let config = format!(
        "LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
         ServerRoot {own}\nServerName localhost\nListen 127.0.0.1:1\n\
         DefaultRuntimeDir {own}\nPidFile {own}/pid\nErrorLog {own}/error.log\n{format}",
        modules = modules.display()
    );
    let file = dir.path().join("apache.conf");
    fs::write(&file, &config).unwrap();
    if let Some(output) = ran("apache2", &["-t", "-f", file.to_str().unwrap()]) {
        accepted(&output, &config);
    }
}

/// Envoy is not a package of the distributions: `WHY502_ENVOY` names it.
#[test]
fn envoy_accepts_it() {
    let format = printed("envoy");
    // Where `cargo xtask setup` puts it.
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/envoy");
    let named = std::env::var("WHY502_ENVOY").ok();
    let fetched = Path::new(fetched).exists().then(|| fetched.to_owned());
    let envoy = named.or(fetched).unwrap_or_else(|| "envoy".to_owned());
    let indented: String = format
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "static_resources:\n  listeners:\n  - name: a\n    address: {{socket_address: {{address: 127.0.0.1, \
         port_value: 1}}}}\n    filter_chains:\n    - filters:\n      - name: \
         envoy.filters.network.http_connection_manager\n        typed_config:\n          \"@type\": \
         type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
         stat_prefix: a\n          route_config: {{name: a}}\n          http_filters:\n          - name: \
         envoy.filters.http.router\n            typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n{indented}"
    );
    let file = dir.path().join("envoy.yaml");
    fs::write(&file, &config).unwrap();
    let arguments = [
        "--mode",
        "validate",
        "--use-dynamic-base-id",
        "-l",
        "warning",
        "-c",
    ];
    let arguments = [&arguments[..], &[file.to_str().unwrap()]].concat();
    if let Some(output) = ran(&envoy, &arguments) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{config}");
    }
}
