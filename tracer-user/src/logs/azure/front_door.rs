//! Access log of Azure Front Door.
//!
//! Fields and codes: <https://learn.microsoft.com/azure/frontdoor/front-door-diagnostics>.

use serde_json::Value;

use crate::logs::entry::{Entry, Kind, LogAttempt, Peer, System, host_of, peer};
use crate::logs::json;
use crate::logs::meaning::{Blame, Meaning};
use crate::logs::scan::{ParseError, Scan};
use crate::logs::stamp::rfc3339;

/// The profiles of today, and the classic ones.
const CATEGORIES: [&str; 2] = ["FrontDoorAccessLog", "FrontdoorAccessLog"];

static APPLICATION: Meaning = Meaning {
    code: "NoError",
    text: "The origin itself answered with this status; its connection was in order. The cause is in \
           the application, or behind it.",
    classes: &["application-502"],
    blame: Blame::Application,
};

static CUT: Meaning = Meaning {
    code: "OriginConnectionAborted after the status",
    text: "The origin ended the connection when the response had begun: the client has the status of \
           the origin and less than the whole body.",
    classes: &["body-truncated-fin", "body-truncated-rst", "path-reset"],
    blame: Blame::Backend,
};

static STALLED: Meaning = Meaning {
    code: "OriginTimeout after the status",
    text: "The origin's response had begun and then stopped: the client has the status of the origin \
           and less than the whole body.",
    classes: &["body-stalled", "mtu-black-hole", "packet-loss"],
    blame: Blame::Backend,
};

static UNKNOWN: Meaning = Meaning {
    code: "5xx without a known errorInfo",
    text: "Front Door answered with this status and gave no reason that is known here. It counts as a \
           failure of the origin's connection until something says otherwise.",
    classes: &[],
    blame: Blame::Backend,
};

const HANDSHAKE: &str = "The TLS handshake between Front Door and the origin failed before any request \
    was sent. A name that the origin does not know (SNI), no common version or cipher, and a port \
    without TLS look alike here.";
const HANDSHAKE_CLASSES: &[&str] = &[
    "tls-alert-from-backend",
    "tls-peer-closed",
    "tls-reset",
    "tls-to-plaintext",
    "tls-handshake-timeout",
];
const CERTIFICATE: &str = "Front Door did not accept the origin's certificate: expired, issued for \
    another name, or by a CA that is not publicly trusted. The origin itself may be in good health.";
const NAMES: &str = "The origin's name could not be resolved, so no connection was made.";
const NOT_THE_ORIGIN: &str = "Front Door refused the client's request, or could not read it; no \
    origin was asked.";

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[
    &APPLICATION,
    &CUT,
    &STALLED,
    &UNKNOWN,
    &Meaning {
        code: "OriginConnectionRefused",
        text: "The origin answered the attempt to connect with a reset: nothing listens on that \
               address and port, or a firewall rejects it.",
        classes: &["connect-refused"],
        blame: Blame::Backend,
    },
    &Meaning {
        code: "OriginConnectionError",
        text: "No connection to the origin came about: unreachable, no answer in time, or refused. \
               The code does not say which.",
        classes: &[
            "connect-unreachable",
            "connect-timeout",
            "connect-refused",
            "listen-queue-overflow",
        ],
        blame: Blame::Backend,
    },
    &Meaning {
        code: "OriginConnectionAborted",
        text: "The origin closed or reset the connection before its response was complete. Front Door \
               keeps idle connections for 90 s, so an origin with a shorter keep-alive is the first \
               suspect.",
        classes: &[
            "keepalive-race",
            "fin-before-response",
            "rst-before-response",
            "partial-header",
            "backend-process-exit",
            "request-body-rejected",
            "idle-drop-by-middlebox",
            "path-reset",
        ],
        blame: Blame::Backend,
    },
    &Meaning {
        code: "OriginTimeout",
        text: "No answer from the origin in its timeout (30 s unless changed), or no connection. A \
               slow origin, a full accept queue and a path that loses packets look alike here.",
        classes: &[
            "response-timeout",
            "connect-timeout",
            "listen-queue-overflow",
            "tls-handshake-timeout",
            "mtu-black-hole",
            "packet-loss",
        ],
        blame: Blame::Backend,
    },
    &Meaning {
        code: "OriginInvalidResponse",
        text: "The origin's response could not be used: no valid HTTP, contradictory lengths, or a \
               range answered together with compression.",
        classes: &[
            "malformed-response",
            "conflicting-framing",
            "informational-only-response",
            "protocol-version-mismatch",
            "chunk-framing-invalid",
            "plaintext-to-tls",
        ],
        blame: Blame::Backend,
    },
    &Meaning {
        code: "ResponseHeaderTooBig",
        text: "The head of the origin's response is larger than Front Door takes.",
        classes: &["header-too-large"],
        blame: Blame::Backend,
    },
    &Meaning {
        code: "OriginError",
        text: "The origin failed, and the code says no more than that. Its own log at this second \
               is the place to look.",
        classes: &["application-502"],
        blame: Blame::Application,
    },
    &Meaning {
        code: "OriginInvalidRequest",
        text: "What was sent to the origin was no request that it could serve.",
        classes: &["protocol-version-mismatch"],
        blame: Blame::Proxy,
    },
    &Meaning {
        code: "SSLHandshakeError",
        text: HANDSHAKE,
        classes: HANDSHAKE_CLASSES,
        blame: Blame::Backend,
    },
    &Meaning {
        code: "SSLInvalidCipher",
        text: "Front Door and the origin have no TLS cipher in common.",
        classes: &["tls-alert-from-backend", "tls-peer-closed"],
        blame: Blame::Backend,
    },
    &certificate("CertificateError"),
    &certificate("CertificateNameCheckFailed"),
    &certificate("SSLInvalidRootCA"),
    &names("DNSFailure"),
    &names("DNSTimeout"),
    &names("DNSNameNotResolved"),
    &Meaning {
        code: "ClientDisconnected",
        text: "The client closed the connection before the response was complete.",
        classes: &["client-abort"],
        blame: Blame::Client,
    },
    &not_the_origin("ClientGeoBlocked"),
    &not_the_origin("RestrictedIP"),
    &not_the_origin("UnspecifiedClientError"),
    &not_the_origin("InvalidRequest"),
    &Meaning {
        code: "UnspecifiedError",
        text: "Something failed that Front Door has no code for. The line does not say on which side.",
        classes: &[],
        blame: Blame::Proxy,
    },
];

const fn certificate(code: &'static str) -> Meaning {
    Meaning {
        code,
        text: CERTIFICATE,
        classes: &["tls-verify-failed"],
        blame: Blame::Backend,
    }
}

const fn names(code: &'static str) -> Meaning {
    Meaning {
        code,
        text: NAMES,
        classes: &["name-resolution-failed"],
        blame: Blame::Backend,
    }
}

const fn not_the_origin(code: &'static str) -> Meaning {
    Meaning {
        code,
        text: NOT_THE_ORIGIN,
        classes: &[],
        blame: Blame::Client,
    }
}

pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    CATEGORIES
        .iter()
        .any(|category| json::names(line, &[category]))
}

pub(in crate::logs) fn parse(line: &[u8]) -> Result<Entry<'_>, ParseError> {
    let record = json::object(line)?;
    let wrong = |expected| Err(Scan::new(line).error(expected));
    let category = json::text(&record, "category").unwrap_or_default();
    if !CATEGORIES.contains(&category.as_str()) {
        return wrong("a record of the category FrontDoorAccessLog");
    }
    let Some(about) = record.get("properties").filter(|about| about.is_object()) else {
        return wrong("a record with properties");
    };
    let text = |key| json::text(about, key);
    let mut entry = Entry::new(System::AzureFrontDoor, Kind::Access);
    entry.time = json::text(&record, "time").and_then(|time| rfc3339(&time));
    entry.status = json::status(about, "httpStatusCode");
    entry.client = client(about);
    entry.method = text("httpMethod").map(Into::into);
    let target = text("requestUri");
    entry.protocol = text("httpVersion").map(|version| match version.split_once('/') {
        Some(_) => version.into(),
        None => format!("HTTP/{version}").into(),
    });
    let host = text("hostName").or_else(|| host_of(target.as_deref()?).map(str::to_owned));
    entry.host = host.map(Into::into);
    entry.target = target.map(Into::into);
    entry.request_id = text("trackingReference").map(Into::into);
    entry.timers.total_us = json::seconds_us(about, "timeTaken");
    let origin = text("originIp").and_then(|origin| peer(&origin));
    let name = text("originName");
    if origin.is_some() || name.is_some() {
        entry.attempts.push(LogAttempt {
            name: name.map(Into::into),
            addr: origin.and_then(|origin| Some((origin.ip, origin.port?).into())),
            ip: origin
                .filter(|origin| origin.port.is_none())
                .map(|origin| origin.ip),
            ..LogAttempt::default()
        });
    }
    let says = text("errorInfo");
    entry.meaning = meaning(entry.status, says.as_deref());
    entry.says = says.map(Into::into);
    Ok(entry)
}

/// `clientIp` can come from a header; `socketIp` is who connected.
fn client(about: &Value) -> Option<Peer> {
    let ip = json::text(about, "clientIp").or_else(|| json::text(about, "socketIp"))?;
    let client = peer(&ip)?;
    let port = json::number(about, "clientPort").and_then(|port| u16::try_from(port).ok());
    Some(Peer {
        port: client.port.or(port),
        ..client
    })
}

/// A status below 500 with the code of a broken connection: the response had begun.
fn meaning(status: Option<u16>, says: Option<&str>) -> Option<&'static Meaning> {
    let failed = status.is_some_and(|status| status >= 500);
    let begun = status.is_some() && !failed && status != Some(499);
    let found = says.and_then(|code| MEANINGS.iter().find(|meaning| meaning.code == code));
    match (found.copied(), says) {
        (Some(meaning), _) if meaning == &APPLICATION => failed.then_some(meaning),
        (_, Some("OriginConnectionAborted")) if begun => Some(&CUT),
        (_, Some("OriginTimeout")) if begun => Some(&STALLED),
        (None, _) if failed => Some(&UNKNOWN),
        (found, _) => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const LINE: &str = r#"{"time":"2026-11-22T07:31:02.4173050Z","category":"FrontDoorAccessLog","properties":{"trackingReference":"0FzYhaQAAAAA","httpMethod":"GET","httpVersion":"2.0","requestUri":"https://shop.example.com:443/cart?a","hostName":"shop.example.com","clientIp":"203.0.113.5","clientPort":"51544","timeTaken":"0.412","httpStatusCode":"503","errorInfo":"OriginInvalidResponse","originIp":"192.0.2.20:443","originName":"origin.example.net:443"}}"#;

    #[test]
    fn a_response_that_could_not_be_used() {
        assert!(looks_like(LINE.as_bytes()));
        let entry = parse(LINE.as_bytes()).unwrap();
        assert_eq!(entry.time.unwrap().unix_ns - MORNING_NS, 27_062_417_305_000);
        assert_eq!((entry.status, entry.path()), (Some(503), Some("/cart")));
        assert_eq!(entry.protocol.as_deref(), Some("HTTP/2.0"));
        assert_eq!(entry.client.unwrap().port, Some(51544));
        assert_eq!(entry.timers.total_us, Some(412_000));
        assert_eq!(entry.upstream().as_deref(), Some("192.0.2.20:443"));
        assert_eq!(
            entry.attempts[0].name.as_deref(),
            Some("origin.example.net:443")
        );
        assert_eq!(entry.request_id.as_deref(), Some("0FzYhaQAAAAA"));
        assert_eq!(entry.classes()[0], "malformed-response");
    }

    #[test]
    fn what_the_codes_mean() {
        for (status, code, meaning) in [
            ("0", "OriginTimeout", Some("OriginTimeout")),
            ("503", "OriginTimeout", Some("OriginTimeout")),
            ("200", "OriginTimeout", Some(STALLED.code)),
            (
                "502",
                "OriginConnectionAborted",
                Some("OriginConnectionAborted"),
            ),
            ("200", "OriginConnectionAborted", Some(CUT.code)),
            ("499", "ClientDisconnected", Some("ClientDisconnected")),
            ("502", "NoError", Some("NoError")),
            ("404", "NoError", None),
            ("200", "", None),
            ("502", "SomethingNew", Some(UNKNOWN.code)),
            ("502", "", Some(UNKNOWN.code)),
            ("404", "SomethingNew", None),
            ("0", "SomethingNew", None),
        ] {
            let line = LINE
                .replace("\"503\"", &format!("\"{status}\""))
                .replace("OriginInvalidResponse", code);
            let entry = parse(line.as_bytes()).unwrap();
            assert_eq!(entry.meaning.map(|m| m.code), meaning, "{status} {code}");
            assert_eq!(
                entry.status,
                status.parse().ok().filter(|status| *status > 0)
            );
        }
    }

    #[test]
    fn text_and_numbers() {
        let numbers = LINE
            .replace("\"503\"", "503")
            .replace("\"0.412\"", "0.412")
            .replace("\"51544\"", "51544");
        assert_eq!(parse(numbers.as_bytes()), parse(LINE.as_bytes()));
    }

    #[test]
    fn unpleasant_lines() {
        let bare = r#"{"category":"FrontdoorAccessLog","properties":{"originIp":"192.0.2.20","socketIp":"2001:db8::5"}}"#;
        let entry = parse(bare.as_bytes()).unwrap();
        assert_eq!(entry.attempts[0].ip, "192.0.2.20".parse().ok());
        assert_eq!(entry.client.unwrap().ip.to_string(), "2001:db8::5");
        for line in [
            r#"{"category":"FrontDoorHealthProbeLog","properties":{}}"#,
            r#"{"category":"FrontDoorAccessLog"}"#,
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err().offset, 0, "{line}");
        }
        any_prefix_is_an_error_or_an_entry(LINE.as_bytes(), parse);
    }
}
