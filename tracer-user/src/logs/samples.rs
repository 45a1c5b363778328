//! Lines of every system, and what is to be understood of each.
//!
//! A parser that is new adds its lines to [`FILES`] and its rows to [`EXPECTED`].

use proptest::prelude::*;
use proptest::sample::Index;

use super::format::Format;
use super::testing::assume;
use super::{codes, detect};

/// A line: the status that the client got, the code of its meaning (empty: it means no failure), and
/// the first class.
type Row = (Option<u16>, &'static str, &'static str);

/// The lines of each form, under its name.
const FILES: &[(&str, &str)] = &[
    ("apache-error", include_str!("samples/apache-error.log")),
    ("aws-alb", include_str!("samples/aws-alb.log")),
    (
        "aws-alb-connection",
        include_str!("samples/aws-alb-connection.log"),
    ),
    ("aws-nlb", include_str!("samples/aws-nlb.log")),
    (
        "azure-app-gateway",
        include_str!("samples/azure-app-gateway.log"),
    ),
    (
        "azure-front-door",
        include_str!("samples/azure-front-door.log"),
    ),
    ("big-ip", include_str!("samples/big-ip.log")),
    ("caddy", include_str!("samples/caddy.log")),
    ("combined", include_str!("samples/combined.log")),
    ("envoy", include_str!("samples/envoy.log")),
    ("envoy-json", include_str!("samples/envoy-json.log")),
    ("gcp", include_str!("samples/gcp.log")),
    ("haproxy", include_str!("samples/haproxy.log")),
    ("nginx-error", include_str!("samples/nginx-error.log")),
    ("nginx-json", include_str!("samples/nginx-json.log")),
    ("traefik", include_str!("samples/traefik.log")),
    ("traefik-json", include_str!("samples/traefik-json.log")),
];

/// What each line of a file says, in its order.
const EXPECTED: &[(&str, &[Row])] = &[
    (
        "apache-error",
        &[
            (None, "AH00957 (111)Connection refused", "connect-refused"),
            (None, "AH01114, AH01079, AH03352", ""),
            (None, "AH01102 (20014)Internal error", "fin-before-response"),
            (None, "AH00898 Error reading from remote server", ""),
            (
                None,
                "AH01102 (104)Connection reset by peer",
                "rst-before-response",
            ),
            (None, "AH10124", "header-too-large"),
            (
                None,
                "AH01110 (104)Connection reset by peer",
                "body-truncated-rst",
            ),
            (
                None,
                "AH00898 Error during SSL Handshake with remote server",
                "tls-verify-failed",
            ),
        ],
    ),
    (
        "big-ip",
        &[
            (
                None,
                "TCP RST from remote system (pool member)",
                "rst-before-response",
            ),
            (None, "No pool member available", "no-backend-available"),
            (None, "handshake timeout", "connect-timeout"),
            (None, "01260013", "tls-alert-from-backend"),
            (None, "01260009", "tls-alert-from-backend"),
            (None, "011f0005 (Server side)", "header-too-large"),
            (None, "01070638", "backend-process-exit"),
            (None, "01010028", "no-backend-available"),
            (None, "01220001", ""),
            (Some(502), "5xx in the request log", "application-502"),
        ],
    ),
    (
        "caddy",
        &[
            (
                Some(502),
                "dial tcp: connect: connection refused",
                "connect-refused",
            ),
            (Some(502), "dial tcp: i/o timeout", "connect-timeout"),
            (Some(502), "EOF", "fin-before-response"),
            (
                Some(502),
                "read tcp: connection reset by peer",
                "rst-before-response",
            ),
            (Some(502), "malformed HTTP response", "malformed-response"),
            (Some(503), "no upstreams available", "no-backend-available"),
        ],
    ),
    (
        "combined",
        &[
            (Some(502), "502", "fin-before-response"),
            (Some(504), "504", "response-timeout"),
            (Some(9), "009", "malformed-response"),
        ],
    ),
    (
        "envoy",
        &[
            (Some(503), "UC", "keepalive-race"),
            (Some(503), "UF", "connect-refused"),
            (Some(502), "UPE", "malformed-response"),
            (Some(504), "UT", "response-timeout"),
            (Some(503), "UH", "no-backend-available"),
            (Some(502), "5xx via_upstream", "application-502"),
        ],
    ),
    (
        "envoy-json",
        &[
            (Some(503), "UF Connection_refused", "connect-refused"),
            (
                Some(503),
                "TLS_error WRONG_VERSION_NUMBER",
                "tls-to-plaintext",
            ),
            (
                Some(200),
                "UC after the response began",
                "body-truncated-fin",
            ),
        ],
    ),
    (
        "haproxy",
        &[
            (Some(503), "SC", "connect-refused"),
            (Some(503), "sC", "connect-timeout"),
            (Some(502), "SH", "fin-before-response"),
            (Some(200), "SD", "body-truncated-fin"),
            (Some(502), "PH", "malformed-response"),
            (Some(504), "sH", "response-timeout"),
            (Some(503), "SC <NOSRV>", "no-backend-available"),
            (Some(200), "retries > 0", "connect-refused"),
            (Some(503), "sQ", "queue-timeout"),
            (Some(502), "---- 5xx", "application-502"),
            (Some(503), "SC bc_err -", "connect-refused"),
            (
                Some(503),
                "SC certificate verify failed",
                "tls-verify-failed",
            ),
            (
                Some(503),
                "SC SSL handshake failure, no SSL error",
                "tls-peer-closed",
            ),
            (Some(502), "SH", "fin-before-response"),
            (None, "Layer4 connection problem", "connect-refused"),
            (None, "Layer7 wrong status", "application-502"),
            (None, "has no server available!", "no-backend-available"),
            (None, "no free ports", "local-port-exhausted"),
        ],
    ),
    (
        "nginx-error",
        &[
            (
                None,
                "connect() failed (111: Connection refused) while connecting to upstream",
                "connect-refused",
            ),
            (
                None,
                "upstream timed out (110: Connection timed out) while connecting to upstream",
                "connect-timeout",
            ),
            (
                None,
                "upstream prematurely closed connection while reading response header from upstream",
                "fin-before-response",
            ),
            (
                None,
                "recv() failed (104: Connection reset by peer) while reading response header from upstream",
                "rst-before-response",
            ),
            (
                None,
                "recv() failed (104: Connection reset by peer) while reading upstream",
                "body-truncated-rst",
            ),
            (None, "upstream sent too big header", "header-too-large"),
            (None, "upstream sent invalid header", "malformed-response"),
            (
                None,
                "SSL_do_handshake() failed: SSL alert number",
                "tls-alert-from-backend",
            ),
            (
                None,
                "upstream SSL certificate verify error",
                "tls-verify-failed",
            ),
            (None, "no live upstreams", "no-backend-available"),
            (
                None,
                "connect() failed (99: Cannot assign requested address)",
                "local-port-exhausted",
            ),
            (None, "could not be resolved", "name-resolution-failed"),
        ],
    ),
    (
        "nginx-json",
        &[
            (Some(502), "502, upstream_connect_time -", "connect-refused"),
            (
                Some(502),
                "502, upstream_header_time -",
                "fin-before-response",
            ),
            (
                Some(502),
                "502, upstream_bytes_received but no upstream_header_time",
                "header-too-large",
            ),
            (Some(9), "009", "malformed-response"),
            (
                Some(200),
                "a 502 or 504 in upstream_status only",
                "keepalive-race",
            ),
            (
                Some(502),
                "502, upstream_header_time -",
                "fin-before-response",
            ),
            (Some(499), "499, upstream_header_time -", "client-abort"),
        ],
    ),
    (
        "traefik",
        &[
            (Some(502), "502, 11 bytes", "fin-before-response"),
            (Some(500), "500, 21 bytes", "tls-verify-failed"),
            (Some(504), "504, 15 bytes", "connect-timeout"),
            (Some(499), "499", "client-abort"),
        ],
    ),
    (
        "traefik-json",
        &[
            (Some(502), "502", "fin-before-response"),
            (
                Some(502),
                "dial tcp: connect: connection refused",
                "connect-refused",
            ),
            (Some(500), "x509", "tls-verify-failed"),
        ],
    ),
    (
        "aws-alb",
        &[
            (Some(502), "502 -", "keepalive-race"),
            (Some(502), "502 -", "keepalive-race"),
            (Some(502), "5xx by the target", "application-502"),
            (Some(504), "504 -", "response-timeout"),
            (Some(503), "503 -", "no-backend-available"),
            (Some(502), "502 without a target", "connect-unreachable"),
            (Some(460), "460", "client-abort"),
        ],
    ),
    (
        "aws-alb-connection",
        &[(None, "", ""), (None, "Failed:ClientCert", "")],
    ),
    (
        "aws-nlb",
        &[
            (None, "", ""),
            (None, "sent_bytes 0", "connect-refused"),
            (None, "tls_handshake_time -", ""),
            (None, "incoming_tls_alert", ""),
            (None, "connection_time 350000", "idle-drop-by-middlebox"),
        ],
    ),
    (
        "azure-app-gateway",
        &[
            (
                Some(502),
                "ERRORINFO_UPSTREAM_CLOSED_CONNECTION",
                "keepalive-race",
            ),
            (
                Some(502),
                "ERRORINFO_UPSTREAM_NO_LIVE",
                "no-backend-available",
            ),
            (
                Some(504),
                "ERRORINFO_UPSTREAM_TIMED_OUT",
                "response-timeout",
            ),
            (Some(502), "ERRORINFO_NO_ERROR", "application-502"),
            (Some(499), "ERRORINFO_CLIENT_CLOSED_REQUEST", "client-abort"),
            (Some(502), "502 with SERVER-STATUS=0", "response-timeout"),
        ],
    ),
    (
        "azure-front-door",
        &[
            (Some(503), "OriginInvalidResponse", "malformed-response"),
            (None, "OriginTimeout", "response-timeout"),
            (Some(503), "SSLHandshakeError", "tls-alert-from-backend"),
            (Some(502), "OriginConnectionAborted", "keepalive-race"),
            (Some(502), "OriginConnectionRefused", "connect-refused"),
            (Some(502), "ResponseHeaderTooBig", "header-too-large"),
        ],
    ),
    (
        "gcp",
        &[
            (
                Some(502),
                "backend_connection_closed_before_data_sent_to_client",
                "keepalive-race",
            ),
            (Some(503), "failed_to_connect_to_backend", "connect-refused"),
            (Some(502), "failed_to_pick_backend", "no-backend-available"),
            (Some(502), "backend_timeout", "response-timeout"),
            (
                Some(200),
                "backend_connection_closed_after_partial_response_sent",
                "body-truncated-fin",
            ),
            (Some(502), "response_sent_by_backend", "application-502"),
            (Some(503), "connection_terminated", "keepalive-race"),
        ],
    ),
];

/// Which parsers are there.
fn expected(format: &str) -> Option<&'static [Row]> {
    let found = EXPECTED.iter().find(|(name, _)| *name == format);
    found.map(|(_, rows)| *rows)
}

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES
        .iter()
        .flat_map(|(name, text)| text.lines().map(move |line| (*name, line)))
}

#[test]
fn every_line_is_told_by_a_look() {
    for (name, line) in lines() {
        let found = detect(line.as_bytes());
        let found = found.as_ref().map(Format::name);
        match expected(name) {
            Some(_) => assert_eq!(found, Some(name), "{line}"),
            // A form whose parser is not there yet must at least not be taken for another.
            None => assert!(found.is_none_or(|found| found == name), "{found:?}: {line}"),
        }
    }
}

#[test]
fn every_line_is_understood() {
    for (name, rows) in EXPECTED {
        let text = FILES.iter().find(|(file, _)| file == name).unwrap().1;
        let format: Format = name.parse().unwrap();
        assert_eq!(text.lines().count(), rows.len(), "{name}");
        for (line, (status, code, class)) in text.lines().zip(*rows) {
            let entry = format.parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.status, *status, "{line}");
            assert_eq!(entry.meaning.map_or("", |m| m.code), *code, "{line}");
            let first = entry.classes().first().copied().unwrap_or_default();
            assert_eq!(first, *class, "{line}");
            let moment = entry.time.or(entry.started);
            assert!(moment.is_some(), "no time: {line}");
            if let Some(meaning) = entry.meaning {
                let listed = codes().any(|(_, listed)| std::ptr::eq(listed, meaning));
                assert!(
                    listed,
                    "{} is in no table: explain cannot find it",
                    meaning.code
                );
            }
        }
    }
}

/// Every parser, over these bytes.
fn no_parser_panics(line: &[u8]) -> Result<(), TestCaseError> {
    let _form = detect(line);
    let custom: Format = "$remote_addr [$time_local] \"$request\" $status $upstream_addr"
        .parse()
        .unwrap();
    for format in Format::all().cloned().chain([custom]) {
        if let Err(error) = format.parse(line, &assume()) {
            let within = error.offset <= line.len();
            prop_assert!(within, "{}: {error} of {}", format.name(), line.len());
        }
    }
    Ok(())
}

/// A change of a line.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index, Index),
    Double(Index, Index),
    Put(Index, Vec<u8>),
    Replace(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let marks = proptest::sample::select(b" \"\\[]{}:,;-=/|%\0\n\xff09".to_vec());
    prop_oneof![
        any::<(Index, Index)>().prop_map(|(a, b)| Change::Cut(a, b)),
        any::<(Index, Index)>().prop_map(|(a, b)| Change::Double(a, b)),
        (
            any::<Index>(),
            proptest::collection::vec(any::<u8>(), 0..16)
        )
            .prop_map(|(at, bytes)| Change::Put(at, bytes)),
        (any::<Index>(), marks).prop_map(|(at, byte)| Change::Replace(at, byte)),
    ]
}

fn changed(mut line: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: &Index| at.index(line.len() + 1);
        let range = |a, b| {
            let (a, b) = (place(a), place(b));
            a.min(b)..a.max(b)
        };
        match change {
            Change::Cut(a, b) => {
                line.drain(range(a, b));
            }
            Change::Double(a, b) => {
                let part = line[range(a, b)].to_vec();
                let at = place(b);
                line.splice(at..at, part);
            }
            Change::Put(at, bytes) => {
                let at = place(at);
                line.splice(at..at, bytes.iter().copied());
            }
            Change::Replace(at, byte) => {
                let at = place(at);
                line.splice(at..(at + 1).min(line.len()), [*byte]);
            }
        }
    }
    line
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_will_do(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        no_parser_panics(&line)?;
    }

    #[test]
    fn any_text_will_do(line in "[ -~]{0,120}|[\\[{\"a-z]\\PC{0,80}") {
        no_parser_panics(line.as_bytes())?;
    }

    #[test]
    fn any_change_of_a_line_will_do(
        which in any::<Index>(),
        changes in proptest::collection::vec(change(), 1..5),
    ) {
        let all: Vec<_> = lines().collect();
        let (_, line) = which.get(&all);
        no_parser_panics(&changed(line.as_bytes().to_vec(), &changes))?;
    }
}
