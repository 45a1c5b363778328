//! Whole configurations, in real files.

use std::path::{Path, PathBuf};

use super::logging::{Log, Tie};
use super::root::Root;
use super::setting::UpstreamConfig;
use super::{haproxy, nginx};

/// A root directory with these files in it.
fn root(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

/// `directive=value@source` of the directives asked for, by group.
fn show(upstreams: &[UpstreamConfig], wanted: &[&str]) -> Vec<String> {
    let one = |upstream: &UpstreamConfig| {
        let targets: Vec<String> = upstream.targets.iter().map(|t| format!("{t:?}")).collect();
        let settings = wanted.iter().map(|name| {
            let found = upstream
                .settings
                .iter()
                .find(|s| s.directive.name() == *name);
            match found {
                Some(s) => format!("{}@{}", s.value, s.source),
                None => "-".to_owned(),
            }
        });
        let settings: Vec<String> = settings.collect();
        format!(
            "{}: {}: {}",
            upstream.group,
            targets.join(" "),
            settings.join(" ")
        )
    };
    upstreams.iter().map(one).collect()
}

fn nginx_of(files: &[(&str, &[u8])]) -> (Vec<UpstreamConfig>, Vec<String>) {
    let (_dir, root) = root(files);
    let loaded = nginx::load(&root, Path::new("/etc/nginx/nginx.conf")).unwrap();
    nginx::upstreams(loaded, 4096)
}

fn nginx_text(text: &str, wanted: &[&str]) -> Vec<String> {
    let (upstreams, notes) = nginx_of(&[("etc/nginx/nginx.conf", text.as_bytes())]);
    assert!(notes.is_empty(), "{notes:?}");
    show(&upstreams, wanted)
}

#[test]
fn nginx_values_come_from_the_innermost_block() {
    let text = "http {\n proxy_read_timeout 30s;\n\
                server { location / { proxy_pass http://10.0.0.5:8080; }\n\
                location /slow {\n proxy_read_timeout 2m; proxy_pass http://10.0.0.5:8080/x;\n\
                if ($x) { proxy_pass http://10.0.0.6; } } } }";
    assert_eq!(
        nginx_text(text, &["proxy_read_timeout", "proxy_connect_timeout"]),
        [
            "proxy_pass to 10.0.0.5:8080: Address(10.0.0.5:8080): \
             30s@/etc/nginx/nginx.conf:2 60s@default",
            "proxy_pass to 10.0.0.5:8080: Address(10.0.0.5:8080): \
             120s@/etc/nginx/nginx.conf:5 60s@default",
            "proxy_pass to 10.0.0.6: Address(10.0.0.6:80): 120s@/etc/nginx/nginx.conf:5 60s@default",
        ]
    );
}

#[test]
fn nginx_groups_and_the_clients_keepalive() {
    let text = "http {\n keepalive_timeout 75s;\n\
                upstream Api { server 10.0.0.5:8080; server 10.0.0.6:8080 max_fails=0;\n\
                server app:81 max_fails=0; server unix:/x; keepalive 16; keepalive_timeout 4s; }\n\
                upstream unused { server 10.0.0.9; }\n\
                server { location / { proxy_pass http://api/; } } }";
    assert_eq!(
        nginx_text(
            text,
            &[
                "keepalive",
                "keepalive_timeout",
                "keepalive_requests",
                "max_fails"
            ]
        ),
        [
            "upstream Api: Address(10.0.0.5:8080): 16@/etc/nginx/nginx.conf:4 \
             4s@/etc/nginx/nginx.conf:4 1000@default 1@default",
            "upstream Api: Address(10.0.0.6:8080): 16@/etc/nginx/nginx.conf:4 \
             4s@/etc/nginx/nginx.conf:4 1000@default 0@/etc/nginx/nginx.conf:3",
            "upstream Api: Port(81): 16@/etc/nginx/nginx.conf:4 \
             4s@/etc/nginx/nginx.conf:4 1000@default 0@/etc/nginx/nginx.conf:4",
        ]
    );
}

#[test]
fn nginx_variables_may_name_any_group() {
    let text = "http { upstream a { server 10.0.0.5:8080; }\n\
                server { location / { proxy_read_timeout 7s; proxy_pass http://$x; } } }";
    assert_eq!(
        nginx_text(text, &["proxy_read_timeout", "keepalive_timeout"]),
        [
            "proxy_pass with a variable: Any: 7s@/etc/nginx/nginx.conf:2 -",
            "upstream a: Address(10.0.0.5:8080): 7s@/etc/nginx/nginx.conf:2 60s@default",
        ]
    );
}

#[test]
fn nginx_headers_are_inherited_only_where_none_is_set() {
    let text = "http { proxy_set_header Connection \"\";\n\
                server { location /a { proxy_pass http://10.0.0.1; }\n\
                location /b { proxy_set_header Host $host; proxy_pass http://10.0.0.2; }\n\
                location /c { proxy_set_header connection $x; proxy_pass http://10.0.0.3; } } }";
    assert_eq!(
        nginx_text(text, &["proxy_set_header Connection"]),
        [
            "proxy_pass to 10.0.0.1: Address(10.0.0.1:80): \"\"@/etc/nginx/nginx.conf:1",
            "proxy_pass to 10.0.0.2: Address(10.0.0.2:80): -",
            "proxy_pass to 10.0.0.3: Address(10.0.0.3:80): -",
        ]
    );
}

#[test]
fn nginx_keywords_that_are_not_known_are_not_kept() {
    let text = "http { proxy_next_upstream error secret; proxy_http_version 1.1;\n\
                proxy_buffers 4 8k; proxy_buffer_size 16k; proxy_read_timeout later;\n\
                server { location / { proxy_pass https://10.0.0.1; } } }";
    let wanted = [
        "proxy_next_upstream",
        "proxy_http_version",
        "proxy_buffers",
        "proxy_buffer_size",
        "proxy_read_timeout",
    ];
    assert_eq!(
        nginx_text(text, &wanted),
        [
            "proxy_pass to 10.0.0.1: Address(10.0.0.1:443): - 1.1@/etc/nginx/nginx.conf:1 \
          4 8k@/etc/nginx/nginx.conf:2 16k@/etc/nginx/nginx.conf:2 -"
        ]
    );
}

#[test]
fn nginx_includes() {
    let (upstreams, notes) = nginx_of(&[
        (
            "etc/nginx/nginx.conf",
            b"http { include conf.d/*.conf; include sites/one; include nothing-*; }",
        ),
        ("etc/nginx/conf.d/10.conf", b"\nproxy_read_timeout 9s;"),
        (
            "etc/nginx/conf.d/20.conf",
            b"upstream a { server 10.0.0.5:8080; }",
        ),
        ("etc/nginx/conf.d/no.txt", b"proxy_read_timeout 1s;"),
        (
            "etc/nginx/sites/one",
            b"server { location / { include proxy.inc; proxy_pass http://a; } }",
        ),
        ("etc/nginx/proxy.inc", b"proxy_connect_timeout 2s;"),
    ]);
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(
        show(&upstreams, &["proxy_read_timeout", "proxy_connect_timeout"]),
        [
            "upstream a: Address(10.0.0.5:8080): 9s@/etc/nginx/conf.d/10.conf:2 \
          2s@/etc/nginx/proxy.inc:1"
        ]
    );
}

/// What could not be read may hold what seems absent.
#[test]
fn nginx_without_an_included_file_claims_no_default() {
    let (upstreams, notes) = nginx_of(&[(
        "etc/nginx/nginx.conf",
        b"http { proxy_read_timeout 9s; proxy_connect_timeout 3s;\n\
          server { include gone; proxy_connect_timeout 2s;\n\
          location / { proxy_pass http://10.0.0.5; } }\n\
          server { location / { proxy_pass http://10.0.0.6; } } }",
    )]);
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].starts_with("/etc/nginx/gone was not read"),
        "{notes:?}"
    );
    assert_eq!(
        show(
            &upstreams,
            &[
                "proxy_read_timeout",
                "proxy_connect_timeout",
                "proxy_send_timeout"
            ]
        ),
        [
            "proxy_pass to 10.0.0.5: Address(10.0.0.5:80): - 2s@/etc/nginx/nginx.conf:2 -",
            "proxy_pass to 10.0.0.6: Address(10.0.0.6:80): 9s@/etc/nginx/nginx.conf:1 \
             3s@/etc/nginx/nginx.conf:1 60s@default",
        ]
    );
}

#[test]
fn nginx_include_loops_end() {
    let (_, notes) = nginx_of(&[
        ("etc/nginx/nginx.conf", b"http { include a; include a; }"),
        ("etc/nginx/a", b"include b; include b; include nginx.conf;"),
        ("etc/nginx/b", b"include a; include [ab];"),
    ]);
    assert!(
        notes.iter().any(|note| note.contains("includes itself")),
        "{notes:?}"
    );
    let chain: Vec<(String, Vec<u8>)> = (0..40)
        .map(|n| {
            let text = format!("include f{}; include f{};", n + 1, n + 1);
            (format!("etc/nginx/f{n}"), text.into_bytes())
        })
        .collect();
    let mut files: Vec<(&str, &[u8])> = chain.iter().map(|(n, t)| (n.as_str(), &t[..])).collect();
    files.push(("etc/nginx/nginx.conf", b"http { include f0; }"));
    let (_, notes) = nginx_of(&files);
    assert!(notes.iter().any(|note| note.contains("too")), "{notes:?}");
}

#[test]
fn nginx_torn_anywhere_never_claims_a_wrong_value() {
    let whole = b"http { upstream a { server 10.0.0.5:8080; keepalive_timeout 15s; }\n\
                  server { location / { proxy_read_timeout 30s; proxy_pass http://a; } } }";
    for end in 0..whole.len() {
        let (upstreams, notes) = nginx_of(&[("etc/nginx/nginx.conf", &whole[..end])]);
        // Cut within the only block, or before it.
        assert!(end == 0 || !notes.is_empty(), "{end}");
        for text in show(&upstreams, &["proxy_read_timeout", "keepalive_timeout"]) {
            assert!(!text.contains("default"), "{end}: {text}");
            assert!(
                !text.contains("3s") && !text.contains(" 1s"),
                "{end}: {text}"
            );
        }
    }
}

fn haproxy_of(files: &[(&str, &[u8])], paths: &[&str]) -> (Vec<UpstreamConfig>, Vec<String>) {
    let (_dir, root) = root(files);
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    haproxy::upstreams(haproxy::load(&root, &paths).unwrap())
}

fn haproxy_text(text: &str, wanted: &[&str]) -> Vec<String> {
    let (upstreams, notes) = haproxy_of(&[("h.cfg", text.as_bytes())], &["/h.cfg"]);
    assert!(notes.is_empty(), "{notes:?}");
    show(&upstreams, wanted)
}

#[test]
fn haproxy_values_come_from_defaults_section_and_server() {
    let text = "global\n tune.bufsize 32768\n maxconn 5\n\
                defaults\n timeout server 30s\n timeout connect 5000\n default-server maxconn 9\n\
                frontend f\n timeout server 1s\n\
                backend api\n http-reuse always\n server a 10.0.0.5:8080 check\n\
                \x20server b 10.0.0.6:8080 maxconn 3 pool-purge-delay 2s\n";
    let wanted = [
        "timeout server",
        "timeout connect",
        "maxconn",
        "pool-purge-delay",
        "http-reuse",
        "tune.bufsize",
        "retries",
    ];
    assert_eq!(
        haproxy_text(text, &wanted),
        [
            "backend api: Address(10.0.0.5:8080): 30s@/h.cfg:5 5s@/h.cfg:6 9@/h.cfg:7 5s@default \
             always@/h.cfg:11 32k@/h.cfg:2 3@default",
            "backend api: Address(10.0.0.6:8080): 30s@/h.cfg:5 5s@/h.cfg:6 3@/h.cfg:13 \
             2s@/h.cfg:13 always@/h.cfg:11 32k@/h.cfg:2 3@default",
        ]
    );
}

#[test]
fn haproxy_defaults_by_name() {
    let text = "defaults slow\n timeout server 90s\n\
                defaults slower from slow\n timeout connect 9s\n\
                defaults\n timeout server 5s\n\
                listen a from slower\n server x 10.0.0.1:80\n\
                listen b\n server x 10.0.0.2:80\n\
                listen c from nobody\n server x 10.0.0.3:80\n";
    assert_eq!(
        haproxy_text(text, &["timeout server", "timeout connect"]),
        [
            "listen a: Address(10.0.0.1:80): 90s@/h.cfg:2 9s@/h.cfg:4",
            "listen b: Address(10.0.0.2:80): 5s@/h.cfg:6 unlimited@default",
            "listen c: Address(10.0.0.3:80): 5s@/h.cfg:6 unlimited@default",
        ]
    );
}

#[test]
fn haproxy_what_depends_on_the_run_is_not_known() {
    let text = "backend b\n retries \"$N\"\n.if defined(X)\n timeout server 5s\n.endif\n\
                \x20option redispatch\n no option redispatch\n retry-on 503 conn-failure\n\
                \x20timeout connect 0\n server x \"${HOST}:80\"\n server-template y 3 app:81 check\n";
    let wanted = [
        "retries",
        "timeout server",
        "option redispatch",
        "retry-on",
        "timeout connect",
    ];
    assert_eq!(
        haproxy_text(text, &wanted),
        ["backend b: Any Port(81): - - off@/h.cfg:7 503 conn-failure@/h.cfg:8 unlimited@/h.cfg:9"]
    );
}

#[test]
fn haproxy_files_and_directories() {
    let files: &[(&str, &[u8])] = &[
        ("etc/d/10.cfg", b"defaults\n timeout server 4s\n"),
        ("etc/d/20.cfg", b"backend b\n server x 10.0.0.1:80\n"),
        ("etc/d/.30.cfg", b"defaults\n"),
        ("etc/d/30.txt", b"backend c\n server x 10.0.0.9:80\n"),
        ("e.cfg", b"backend e\n server x 10.0.0.2:80\n"),
    ];
    let (upstreams, notes) = haproxy_of(files, &["/etc/d", "/e.cfg"]);
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(
        show(&upstreams, &["timeout server", "retries"]),
        [
            "backend b: Address(10.0.0.1:80): 4s@/etc/d/10.cfg:2 3@default",
            "backend e: Address(10.0.0.2:80): 4s@/etc/d/10.cfg:2 3@default",
        ]
    );
    let (upstreams, notes) = haproxy_of(files, &["/e.cfg", "/gone.cfg"]);
    assert_eq!(notes.len(), 1);
    assert_eq!(
        show(&upstreams, &["timeout server", "retries"]),
        ["backend e: Address(10.0.0.2:80): - -"]
    );
}

#[test]
fn haproxy_torn_anywhere_never_claims_a_wrong_value() {
    let whole = b"defaults\n timeout server 30s\nbackend b\n server x 10.0.0.5:80 maxconn 25\n";
    for end in 0..whole.len() {
        let (upstreams, _) = haproxy_of(&[("h.cfg", &whole[..end])], &["/h.cfg"]);
        for text in show(&upstreams, &["timeout server", "maxconn"]) {
            assert_eq!(end, whole.len(), "{text}");
        }
    }
}

#[test]
fn any_bytes_will_do() {
    let mut noise = Vec::new();
    let mut state: u32 = 7;
    for _ in 0..200_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.push((state >> 24) as u8);
    }
    let huge_line = vec![b'{'; 1 << 20];
    for bytes in [&noise[..], &huge_line, b"\0\0\0"] {
        let _no_panic = nginx_of(&[("etc/nginx/nginx.conf", bytes)]);
        let _no_panic = haproxy_of(&[("h.cfg", bytes)], &["/h.cfg"]);
    }
}

#[test]
fn many_servers_are_bounded() {
    let mut text = String::from("http {\n");
    for n in 0..5_000 {
        text += &format!(
            "server {{ location / {{ proxy_read_timeout 1s;\nproxy_pass http://10.0.{}.{}; }} }}\n",
            n / 250,
            n % 250
        );
    }
    text += "}\n";
    let (upstreams, notes) = nginx_of(&[("etc/nginx/nginx.conf", text.as_bytes())]);
    assert_eq!(upstreams.len(), super::UPSTREAMS_MAX);
    assert!(notes[0].contains("Only the first"), "{notes:?}");
}

/// `to format tie source` of each log.
fn show_logs(logs: &[Log]) -> Vec<String> {
    let one = |log: &Log| {
        let tie = log.tie.map_or("-", Tie::name);
        let to = log.to.as_deref().unwrap_or("-");
        format!(
            "{} {to} {} {tie} {}",
            log.kind.name(),
            log.format,
            log.source
        )
    };
    logs.iter().map(one).collect()
}

#[test]
fn logs_of_nginx() {
    let logs = |text: &str| {
        let (_dir, root) = root(&[
            ("n.conf", text.as_bytes()),
            (
                "own.conf",
                include_bytes!("../cli/explain/log_format/nginx.conf"),
            ),
        ]);
        show_logs(&nginx::logs(
            &nginx::load(&root, Path::new("/n.conf")).unwrap(),
        ))
    };
    assert_eq!(
        logs("http { server { listen 80; } }"),
        ["access - combined time default", "error - error - default"]
    );
    assert_eq!(
        logs(
            "error_log /e.log warn;\nhttp {\n\
             log_format up '$remote_addr $status ' '$upstream_addr';\n\
             log_format id '$remote_addr ${request_id}';\n\
             access_log /a.log;\naccess_log /u.log up buffer=4k;\n\
             server { access_log /i.log id; access_log /a.log; access_log /b.log if=$x;\n\
             location / { access_log off; } access_log /g.log gone; } }"
        ),
        [
            "access /a.log combined time /n.conf:5",
            "access /u.log up backend /n.conf:6",
            "access /i.log id exact /n.conf:7",
            "access /b.log combined time /n.conf:7",
            "access - off nothing /n.conf:8",
            "access /g.log gone unknown /n.conf:8",
            "error /e.log warn - /n.conf:1",
        ]
    );
    let own = logs("http { include own.conf; }");
    assert!(
        own[0].starts_with("access /var/log/nginx/why502.log why502 exact /own.conf:"),
        "{own:?}"
    );
    // What is not readable may hold the directives.
    assert_eq!(logs("http { include gone.conf; }"), Vec::<String>::new());
    // A string that was cut may go on with the variable.
    let long = format!(
        "http {{ log_format l '{}'; access_log /l l; }}",
        "x".repeat(5000)
    );
    assert_eq!(logs(&long)[0], "access /l l unknown /n.conf:1");
}

#[test]
fn logs_of_haproxy() {
    let logs = |text: &str| {
        let (_dir, root) = root(&[("h.cfg", text.as_bytes())]);
        show_logs(&haproxy::logs(
            &haproxy::load(&root, &[PathBuf::from("/h.cfg")]).unwrap(),
        ))
    };
    let own = include_str!("../cli/explain/log_format/haproxy.cfg");
    let number = own
        .lines()
        .position(|line| line.contains("log-format \""))
        .unwrap()
        + 4;
    assert_eq!(
        logs(&format!(
            "global\n log /dev/log local0\nfrontend a\n{own} log global\n"
        )),
        [format!("access /dev/log log-format exact /h.cfg:{number}")]
    );
    assert_eq!(
        logs(
            "global\n log /dev/log local0\n log 192.0.2.1:514 local1\n\
             defaults\n log global\n option httplog\n\
             frontend a\n bind :80\n\
             listen b\n no log\n log stdout format raw local0\n log-format \"%ci:%cp %b/%s %ST\"\n\
             defaults x\n mode http\n\
             frontend c\n bind :81\n\
             frontend d\n log stderr local0\n\
             frontend e\n log stderr local0\n log-format \"%ci $X\"\n\
             frontend g\n log stderr local1\n log-format \"%ci %sc/%sq\"\n\
             backend f\n log-format \"%bp\"\n"
        ),
        [
            "access /dev/log, 192.0.2.1:514 httplog backend /h.cfg:6",
            "access stdout log-format backend /h.cfg:12",
            "access - frontend c nothing /h.cfg:15",
            "access stderr default time /h.cfg:17",
            "access stderr log-format unknown /h.cfg:21",
            "access stderr log-format time /h.cfg:24",
        ]
    );
}
