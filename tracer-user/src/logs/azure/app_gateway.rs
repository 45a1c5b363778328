//! Access log of an Azure Application Gateway, v1 and v2.
//!
//! Fields: <https://learn.microsoft.com/azure/application-gateway/monitor-application-gateway-reference>.
//! What 502 stands for: <https://learn.microsoft.com/azure/application-gateway/application-gateway-troubleshooting-502>.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::logs::entry::{Entry, Kind, LogAttempt, Peer, System, host_of};
use crate::logs::json;
use crate::logs::meaning::{Blame, GAVE_UP, Meaning};
use crate::logs::scan::{ParseError, Scan, seconds_as_us, status};
use crate::logs::stamp::rfc3339;

const CATEGORY: &str = "ApplicationGatewayAccessLog";
/// Most tries that are kept of one request.
const ATTEMPTS_MAX: usize = 16;

static NO_LIVE: Meaning = Meaning {
    code: "ERRORINFO_UPSTREAM_NO_LIVE",
    text: "The gateway had no backend to ask: the pool is empty, or the health probes of all its \
           members fail (also because of a certificate that is not trusted, a firewall, or DNS). No \
           connection was made for this request.",
    classes: &["no-backend-available", "name-resolution-failed"],
    blame: Blame::Backend,
};

static CLOSED: Meaning = Meaning {
    code: "ERRORINFO_UPSTREAM_CLOSED_CONNECTION",
    text: "The backend closed or reset the connection before there was an answer, or the TLS handshake \
           with it failed. The gateway does not say which; it keeps idle connections for 75 s (v2), so \
           a backend with a shorter keep-alive is the first suspect.",
    classes: &[
        "keepalive-race",
        "fin-before-response",
        "rst-before-response",
        "connect-refused",
        "backend-process-exit",
        "partial-header",
        "tls-peer-closed",
        "tls-reset",
        "tls-alert-from-backend",
        "tls-to-plaintext",
        "idle-drop-by-middlebox",
        "path-reset",
        "request-body-rejected",
    ],
    blame: Blame::Backend,
};

static TIMED_OUT: Meaning = Meaning {
    code: "ERRORINFO_UPSTREAM_TIMED_OUT",
    text: "No answer within the backend timeout (20 s unless changed), or no connection. A slow \
           backend, one that does not take up connections and a path that loses packets look alike \
           here.",
    classes: GAVE_UP,
    blame: Blame::Backend,
};

static APPLICATION: Meaning = Meaning {
    code: "ERRORINFO_NO_ERROR",
    text: "The backend itself answered with this status; its connection was in order. The cause is in \
           the application, or behind it.",
    classes: &["application-502"],
    blame: Blame::Application,
};

static CLIENT_LEFT: Meaning = Meaning {
    code: "ERRORINFO_CLIENT_CLOSED_REQUEST",
    text: "The client closed the connection before the gateway could answer.",
    classes: &["client-abort"],
    blame: Blame::Client,
};

const REFUSED: &str = "The gateway refused the client's request as it stood; no backend was asked.";

const fn refused(code: &'static str) -> Meaning {
    Meaning {
        code,
        text: REFUSED,
        classes: &[],
        blame: Blame::Client,
    }
}

/// v1 does not log why; it answers 502 for timeouts too.
static V1_502: Meaning = Meaning {
    code: "502 with SERVER-STATUS=0",
    text: "A gateway of version 1 made the 502 and does not say why: the backend could not be reached, \
           closed the connection, or gave no answer in the backend timeout (20 s unless changed; \
           version 1 answers 502 then, not 504).",
    classes: &[
        "response-timeout",
        "no-backend-available",
        "connect-refused",
        "connect-timeout",
        "keepalive-race",
        "fin-before-response",
        "rst-before-response",
        "tls-peer-closed",
        "tls-alert-from-backend",
        "mtu-black-hole",
        "header-too-large",
        "malformed-response",
    ],
    blame: Blame::Backend,
};

static UNKNOWN: Meaning = Meaning {
    code: "5xx without a known error_info",
    text: "The gateway answered with this status and gave no reason that is known here. It counts as \
           a failure of the backend's connection until something says otherwise.",
    classes: &[],
    blame: Blame::Backend,
};

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[
    &NO_LIVE,
    &CLOSED,
    &TIMED_OUT,
    &APPLICATION,
    &CLIENT_LEFT,
    &V1_502,
    &UNKNOWN,
    &refused("ERRORINFO_INVALID_METHOD"),
    &refused("ERRORINFO_INVALID_METHOD_TRACE"),
    &refused("ERRORINFO_INVALID_REQUEST"),
    &refused("ERRORINFO_INVALID_VERSION"),
    &refused("ERRORINFO_INVALID_09_METHOD"),
    &refused("ERRORINFO_INVALID_HOST"),
    &refused("ERRORINFO_INVALID_CONTENT_LENGTH"),
    &refused("ERRORINFO_REQUEST_URI_INVALID"),
    &refused("ERRORINFO_HTTP_NO_HOST_HEADER"),
    &refused("ERRORINFO_HTTP_TO_HTTPS_PORT"),
    &refused("ERRORINFO_HTTPS_NO_CERT"),
];

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    json::names(line, &[CATEGORY])
}

pub(in crate::logs) fn parse(line: &[u8]) -> Result<Entry<'_>, ParseError> {
    let record = json::object(line)?;
    let wrong = |expected| Err(Scan::new(line).error(expected));
    if json::text(&record, "category").as_deref() != Some(CATEGORY) {
        return wrong("a record of the category ApplicationGatewayAccessLog");
    }
    let Some(about) = record.get("properties").filter(|about| about.is_object()) else {
        return wrong("a record with properties");
    };
    let text = |key| json::text(about, key);
    let mut entry = Entry::new(System::AzureAppGateway, Kind::Access);
    let time = json::text(&record, "timeStamp").or_else(|| json::text(&record, "time"));
    entry.time = time.and_then(|time| rfc3339(&time));
    entry.status = json::status(about, "httpStatus");
    entry.client = text("clientIP")
        .and_then(|ip| ip.parse().ok())
        .map(|ip| Peer {
            ip,
            port: port(about, "clientPort"),
        });
    entry.method = text("httpMethod").map(Into::into);
    let target = text("originalRequestUriWithArgs").or_else(|| text("requestUri"));
    entry.protocol = text("httpVersion").map(Into::into);
    let host = text("originalHost").or_else(|| text("host"));
    let host = host.or_else(|| host_of(target.as_deref()?).map(str::to_owned));
    entry.host = host.map(Into::into);
    entry.target = target.map(Into::into);
    entry.request_id = text("transactionId").map(Into::into);
    let says = text("error_info");
    let query = text("requestQuery").unwrap_or_default();
    let v1 = V1::of(&query).filter(|_| says.is_none());
    let taken = json::seconds_us(about, "timeTaken");
    if let Some(v1) = v1 {
        // Version 1 counts milliseconds where version 2 counts seconds.
        entry.timers.total_us = taken.map(|us| us / 1000);
        entry.attempts.extend(v1.routed.map(|routed| LogAttempt {
            status: v1.status,
            ..routed_to(routed)
        }));
        entry.meaning = match (entry.status, v1.status) {
            (Some(500..=599), Some(500..=599)) => Some(&APPLICATION),
            (Some(502), _) => Some(&V1_502),
            (Some(500..=599), _) => Some(&UNKNOWN),
            _ => None,
        };
    } else {
        entry.timers.total_us = taken;
        entry.attempts = attempts(about);
        entry.meaning = meaning(entry.status, says.as_deref());
    }
    entry.says = says.map(Into::into);
    Ok(entry)
}

fn meaning(status: Option<u16>, says: Option<&str>) -> Option<&'static Meaning> {
    let failed = status.is_some_and(|status| status >= 500);
    let found = says.and_then(|code| MEANINGS.iter().find(|meaning| meaning.code == code));
    match found.copied() {
        // The other answers that a backend gives are none of a failure.
        Some(meaning) if meaning == &APPLICATION => failed.then_some(meaning),
        None if failed => Some(&UNKNOWN),
        found => found,
    }
}

/// What version 1 puts into the query.
struct V1<'a> {
    routed: Option<&'a str>,
    /// `None`: the backend sent none (`0`).
    status: Option<u16>,
}

impl<'a> V1<'a> {
    fn of(query: &'a str) -> Option<Self> {
        let of = |name| {
            query
                .split('&')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let (routed, status_text) = (of("SERVER-ROUTED"), of("SERVER-STATUS"));
        if routed.is_none() && status_text.is_none() {
            return None;
        }
        Some(Self {
            routed: routed.filter(|routed| !routed.is_empty()),
            status: status_text.and_then(|text| status(text.as_bytes())),
        })
    }
}

/// The gateway retries like the NGINX inside it: the fields are lists then, in the same order.
fn attempts(about: &Value) -> Vec<LogAttempt<'static>> {
    let list = |key| json::text(about, key).unwrap_or_default();
    let (statuses, latencies) = (list("serverStatus"), list("serverResponseLatency"));
    let ports = list("upstreamSourcePort");
    let (mut statuses, mut latencies) = (parts(&statuses), parts(&latencies));
    let mut ports = parts(&ports);
    parts(&list("serverRouted"))
        .filter(|routed| !routed.is_empty())
        .take(ATTEMPTS_MAX)
        .map(|routed| LogAttempt {
            local_port: ports.next().and_then(|port| port.parse().ok()),
            status: statuses.next().and_then(|text| status(text.as_bytes())),
            response_us: latencies.next().and_then(|s| seconds_as_us(s.as_bytes())),
            ..routed_to(routed)
        })
        .collect()
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

fn routed_to(routed: &str) -> LogAttempt<'static> {
    let addr: Option<SocketAddr> = routed.parse().ok();
    let ip: Option<IpAddr> = routed.parse().ok();
    LogAttempt {
        name: Some(routed.to_owned().into()),
        addr,
        ip,
        ..LogAttempt::default()
    }
}

fn port(about: &Value, key: &str) -> Option<u16> {
    u16::try_from(json::number(about, key)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const V2: &str = r#"{"timeStamp":"2026-11-22T07:31:02+00:00","category":"ApplicationGatewayAccessLog","properties":{"clientIP":"203.0.113.5","clientPort":51544,"httpMethod":"GET","originalRequestUriWithArgs":"/cart?id=7","requestUri":"/x","httpStatus":502,"httpVersion":"HTTP/1.1","timeTaken":0.034,"transactionId":"592d1649f75a8d480a3c4dc6a975309d","serverRouted":"192.0.2.20:8080","serverStatus":"502","serverResponseLatency":"0.028","upstreamSourcePort":"21564","originalHost":"shop.example.com","host":"inner","error_info":"ERRORINFO_UPSTREAM_CLOSED_CONNECTION"}}"#;
    const V1_LINE: &str = r#"{"time":"2026-11-22T07:34:00Z","category":"ApplicationGatewayAccessLog","properties":{"instanceId":"ApplicationGatewayRole_IN_0","clientIP":"203.0.113.5","clientPort":46886,"httpMethod":"GET","requestUri":"/report","requestQuery":"X-AzureApplicationGateway-CACHE-HIT=0&SERVER-ROUTED=192.0.2.20&SERVER-STATUS=0","httpStatus":502,"timeTaken":20012,"host":"shop.example.com"}}"#;

    #[test]
    fn version_2() {
        assert!(looks_like(V2.as_bytes()));
        let entry = parse(V2.as_bytes()).unwrap();
        assert_eq!(entry.time.unwrap().unix_ns - MORNING_NS, 27_062_000_000_000);
        assert_eq!(entry.status, Some(502));
        assert_eq!(
            (entry.path(), entry.host.as_deref()),
            (Some("/cart"), Some("shop.example.com"))
        );
        assert_eq!(entry.client.unwrap().port, Some(51544));
        assert_eq!(entry.timers.total_us, Some(34_000));
        let attempt = &entry.attempts[0];
        assert_eq!(attempt.addr, "192.0.2.20:8080".parse().ok());
        assert_eq!(
            (attempt.local_port, attempt.status),
            (Some(21564), Some(502))
        );
        assert_eq!(attempt.response_us, Some(28_000));
        assert_eq!(
            entry.request_id.as_deref(),
            Some("592d1649f75a8d480a3c4dc6a975309d")
        );
        assert_eq!(entry.meaning, Some(&CLOSED));
        assert_eq!(entry.says.as_deref(), Some(CLOSED.code));
    }

    #[test]
    fn version_1_counts_in_milliseconds() {
        let entry = parse(V1_LINE.as_bytes()).unwrap();
        assert_eq!(entry.timers.total_us, Some(20_012_000));
        let attempt = &entry.attempts[0];
        assert_eq!(
            (attempt.addr, attempt.ip),
            (None, "192.0.2.20".parse().ok())
        );
        assert_eq!(attempt.status, None);
        assert_eq!(
            (entry.meaning, entry.path()),
            (Some(&V1_502), Some("/report"))
        );
        let own = V1_LINE.replace("STATUS=0", "STATUS=502");
        assert_eq!(parse(own.as_bytes()).unwrap().meaning, Some(&APPLICATION));
        let fine = V1_LINE
            .replace("STATUS=0", "STATUS=200")
            .replace(":502", ":200");
        assert_eq!(parse(fine.as_bytes()).unwrap().meaning, None);
    }

    #[test]
    fn what_the_codes_mean() {
        let code = CLOSED.code;
        for (from, to, meaning) in [
            (code, "ERRORINFO_UPSTREAM_NO_LIVE", Some(&NO_LIVE)),
            (code, "ERRORINFO_UPSTREAM_TIMED_OUT", Some(&TIMED_OUT)),
            (code, "ERRORINFO_NO_ERROR", Some(&APPLICATION)),
            (code, "ERRORINFO_CLIENT_CLOSED_REQUEST", Some(&CLIENT_LEFT)),
            (code, "ERRORINFO_SOMETHING_NEW", Some(&UNKNOWN)),
            (code, "", Some(&UNKNOWN)),
        ] {
            let entry_of = |line: &str| parse(line.as_bytes()).unwrap().meaning;
            assert_eq!(entry_of(&V2.replace(from, to)), meaning, "{to}");
        }
        for (to, meaning) in [("ERRORINFO_NO_ERROR", None), ("ERRORINFO_NEW", None)] {
            let line = V2.replace(code, to).replace(":502,", ":404,");
            let entry = parse(line.as_bytes()).unwrap();
            assert_eq!((entry.meaning, entry.status), (meaning, Some(404)), "{to}");
        }
        let line = V2.replace(code, "ERRORINFO_INVALID_HOST");
        let refused = parse(line.as_bytes()).unwrap().meaning.unwrap();
        assert_eq!((refused.text, refused.blame), (REFUSED, Blame::Client));
    }

    #[test]
    fn text_and_numbers() {
        let other_types = V2
            .replace("51544", "\"51544\"")
            .replace("\"httpStatus\":502", "\"httpStatus\":\"502\"")
            .replace("0.034", "\"0.034\"")
            .replace("\"0.028\"", "0.028")
            .replace("\"21564\"", "21564")
            .replace("\"serverStatus\":\"502\"", "\"serverStatus\":502");
        assert_eq!(
            parse(other_types.as_bytes()),
            parse(V2.as_bytes()),
            "{other_types}"
        );
    }

    #[test]
    fn a_retry_is_a_list() {
        let line = V2
            .replace("192.0.2.20:8080", "192.0.2.20:8080, 192.0.2.21:8080")
            .replace(r#":"502""#, r#":"502, 200""#)
            .replace("0.028", "0.001, 0.027")
            .replace("21564", "21564, 21570");
        let entry = parse(line.as_bytes()).unwrap();
        let told: Vec<_> = entry
            .attempts
            .iter()
            .map(|at| (at.local_port, at.status))
            .collect();
        assert_eq!(told, [(Some(21564), Some(502)), (Some(21570), Some(200))]);
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.21:8080"));
    }

    #[test]
    fn unpleasant_lines() {
        let nothing = r#"{"category":"ApplicationGatewayAccessLog","properties":{"serverRouted":"","httpStatus":[1],"clientPort":-1,"timeTaken":-5}}"#;
        let entry = parse(nothing.as_bytes()).unwrap();
        assert_eq!((entry.status, entry.meaning), (None, None));
        assert!(entry.attempts.is_empty());
        for line in [
            r#"{"category":"ApplicationGatewayFirewallLog","properties":{}}"#,
            r#"{"category":"ApplicationGatewayAccessLog","properties":7}"#,
            "[]",
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err().offset, 0, "{line}");
        }
        any_prefix_is_an_error_or_an_entry(V2.as_bytes(), parse);
        any_prefix_is_an_error_or_an_entry(V1_LINE.as_bytes(), parse);
    }
}
