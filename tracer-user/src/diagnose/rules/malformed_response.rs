//! The response head is not HTTP.

use tracer_ebpf::flags;

use crate::diagnose::evidence::Fact;
use crate::diagnose::refusal::refusal;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};
use crate::http::{Fault, FaultKind, First};

pub(super) const RULE: Rule = Rule {
    id: "malformed-response",
    title: "The backend's response head is not valid HTTP",
    explanation: "The proxy read a response head with something in it that HTTP does not allow (a bad status line, a control character, a blank in a header's name, a line without a colon) and refused it. Which of these are refused differs from proxy to proxy.",
    evidence: &[
        "a fault within the kept bytes of the response head, with its offset",
        "the proxy ended it at once after the data; the client got something else",
    ],
    confused_with: &[
        Confusion {
            with: "header-too-large",
            difference: "there nothing is wrong with the kept bytes, and the size is at the proxy's limit",
        },
        Confusion {
            with: "protocol-version-mismatch",
            difference: "there the bytes are HTTP/2",
        },
        Confusion {
            with: "plaintext-to-tls",
            difference: "there the bytes are a TLS record",
        },
        Confusion {
            with: "conflicting-framing",
            difference: "there the head is well-formed and contradicts itself",
        },
    ],
    confirm: &[
        "printf 'GET /path HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | nc BACKEND PORT | head -c 2000 | cat -v shows control characters as ^X",
        "HAProxy: echo 'show errors' | socat - SOCKET shows the response and the position; nginx: \"upstream sent invalid header\"",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "mend what writes that header or status line; the evidence names the offset",
            why: "a proxy that lets it pass hands it on to the next hop, where it can be read as two responses",
        },
        Advice {
            target: "haproxy",
            change: "option accept-unsafe-violations-in-http-response (accept-invalid-http-response before 3.0) in the backend, only to find the fault",
            why: "it lets responses pass that other parties read otherwise",
        },
        Advice {
            target: "alb",
            change: "502 with target status -",
            why: "the balancer refuses it too",
        },
        Advice {
            target: "front-door",
            change: "errorInfo OriginInvalidResponse",
            why: "the edge refuses it too",
        },
        Advice {
            target: "gcp",
            change: "statusDetails backend_response_corrupted",
            why: "the balancer refuses it too",
        },
    ],
    decide,
};

/// The fault in words.
fn describe(fault: Fault) -> String {
    let what = match fault.kind {
        FaultKind::StatusLine => "no valid status line".to_owned(),
        FaultKind::Nul => "a NUL".to_owned(),
        FaultKind::Control(byte) => format!("a control character (0x{byte:02x})"),
        FaultKind::BareCr => "a carriage return without a line feed".to_owned(),
        FaultKind::BlankInName => "a blank in the name of a header".to_owned(),
        FaultKind::BadName(byte) if byte.is_ascii_graphic() => {
            format!("\"{}\" in the name of a header", char::from(byte))
        }
        FaultKind::BadName(byte) => format!("byte 0x{byte:02x} in the name of a header"),
        FaultKind::NoColon => "a header line without a colon".to_owned(),
    };
    format!("{what} at byte {}", fault.offset)
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let response = &attempt.response;
    let x = &attempt.exchange;
    if x.has(flags::OPAQUE | flags::TLS) {
        return None;
    }
    let what = match (response.fault, response.first) {
        (Some(fault), _) => describe(fault),
        (None, First::Binary) => "no HTTP from its first byte on".to_owned(),
        (None, _) => return None,
    };
    let refusal = refusal(context)?;
    Some(refusal.finding(
        attempt,
        Fact::new("malformed-head", format!("the response has {what}")),
        format!(
            "{} refused the response of {}: it has {what}",
            context.case.proxy, x.remote
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{AttemptBuilder, case};
    use crate::diagnose::{Progress, judge};
    use crate::event::ProxyKind;

    #[test]
    fn faults() {
        for (head, progress, want, text) in [
            (
                "HTTP/1.1 2x0 OK\r\n\r\n",
                Progress::Opaque,
                "malformed-response",
                "status line at byte 10",
            ),
            (
                "HELLO WORLD\r\n",
                Progress::Opaque,
                "malformed-response",
                "status line at byte 0",
            ),
            (
                "HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n",
                Progress::Opaque,
                "malformed-response",
                "blank in the name of a header at byte 18",
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\x01\r\nContent-Length: 0\r\n\r\n",
                Progress::Complete,
                "malformed-response",
                "(0x01) at byte 21",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                Progress::Complete,
                "unexplained",
                "",
            ),
        ] {
            let attempt = AttemptBuilder::sent()
                .answered(head, 0)
                .progress(progress)
                .closed(6);
            let verdict = judge(&case(ProxyKind::Haproxy, 502, vec![attempt.build()]));
            assert_eq!(verdict.rule, want, "{head:?}");
            assert!(verdict.summary.contains(text), "{}", verdict.summary);
        }
    }

    #[test]
    fn neighbours() {
        let bad = || {
            AttemptBuilder::sent()
                .answered("HTTP/1.1 200 OK\r\nX Y: z\r\n", 0)
                .progress(Progress::Opaque)
        };
        let rule = |attempt: AttemptBuilder, status| {
            judge(&case(ProxyKind::Nginx, status, vec![attempt.build()])).rule
        };
        // A backend that is done closes; that does not mend its head.
        assert_eq!(
            rule(bad().fin(6).end_read(6).closed(6), 502),
            "malformed-response"
        );
        // The proxy took it and waited for more.
        assert_eq!(rule(bad().closed(3000), 504), "unexplained");
        // FastCGI and the like are no HTTP either.
        let other = AttemptBuilder::sent()
            .answered("\x01\x06\0\x01\0\x10", 0)
            .progress(Progress::Opaque)
            .with(|x| x.flags |= flags::OPAQUE)
            .closed(6);
        assert_eq!(rule(other, 502), "unexplained");
    }
}
