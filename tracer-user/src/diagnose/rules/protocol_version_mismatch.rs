//! HTTP/1.x on one side, HTTP/2 on the other.

use tracer_ebpf::flags;

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::End;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule};
use crate::http::{First, Http2Frame};

pub(super) const RULE: Rule = Rule {
    id: "protocol-version-mismatch",
    title: "Proxy and backend speak different versions of HTTP",
    explanation: "One side spoke HTTP/2 without asking (prior knowledge, gRPC), the other HTTP/1.x. Every request of this route fails, from the first on.",
    evidence: &[
        "the proxy sent the HTTP/2 preface and the answer begins with HTTP/1.x; or",
        "the proxy sent an HTTP/1.x request and the answer begins with an HTTP/2 SETTINGS or GOAWAY frame",
    ],
    confused_with: &[
        Confusion {
            with: "malformed-response",
            difference: "there the bytes are of neither version",
        },
        Confusion {
            with: "plaintext-to-tls",
            difference: "there the answer is a TLS record",
        },
    ],
    confirm: &[
        "curl -v --http2-prior-knowledge http://BACKEND:PORT/ and curl -v --http1.1 http://BACKEND:PORT/ from the proxy's host: one of them works",
        "for TLS backends: openssl s_client -connect BACKEND:PORT -alpn h2,http/1.1, and look at \"ALPN protocol\"",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "proxy_http_version 1.1 for HTTP/1.x backends, grpc_pass for gRPC, proxy_http_version 2 (from 1.29.4) for HTTP/2",
            why: "nginx speaks HTTP/1.x to backends unless told otherwise",
        },
        Advice {
            target: "haproxy",
            change: "proto h2 (or alpn h2) on the server line only where the backend speaks it",
            why: "without it HAProxy speaks HTTP/1.x",
        },
        Advice {
            target: "envoy",
            change: "explicit_http_config with http_protocol_options or http2_protocol_options on the cluster",
            why: "Envoy speaks what the cluster says, without asking the backend",
        },
        Advice {
            target: "apache",
            change: "ProxyPass with http:// for HTTP/1.x, h2c:// (mod_proxy_http2) for HTTP/2",
            why: "the scheme decides",
        },
        Advice {
            target: "backend",
            change: "enable h2c, or plain HTTP/1.1, on this port",
            why: "gRPC servers take nothing but HTTP/2",
        },
        Advice {
            target: "alb",
            change: "protocol version of the target group: HTTP1, HTTP2 or gRPC",
            why: "status 464 means that client and target group do not fit",
        },
        Advice {
            target: "gcp",
            change: "backend protocol HTTP2 needs TLS with ALPN h2 on the backend",
            why: "statusDetails failed_to_negotiate_alpn",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let x = &attempt.exchange;
    let (name, what) = match (attempt.asked.http2, attempt.response.first) {
        (true, First::Http) => (
            "http1-answer",
            "the proxy began with HTTP/2 and the backend answered in HTTP/1.x",
        ),
        (false, First::Http2(frame)) if !x.has(flags::OPAQUE | flags::TLS) => (
            "http2-answer",
            match frame {
                Http2Frame::Settings => {
                    "the proxy sent an HTTP/1.x request and the backend answered with an HTTP/2 SETTINGS frame"
                }
                Http2Frame::GoAway => {
                    "the proxy sent an HTTP/1.x request and the backend answered with an HTTP/2 GOAWAY frame"
                }
            },
        ),
        _ => return None,
    };
    let (ended_by, how) = match attempt.first_end() {
        Some((End::PeerFin, _)) => (EndedBy::Backend, How::Fin),
        Some((End::PeerReset, _)) => (EndedBy::Backend, How::Reset),
        Some((End::Proxy, _)) if x.times.reset_sent.is_some() => (EndedBy::Proxy, How::Reset),
        Some((End::Proxy, _)) => (EndedBy::Proxy, How::Fin),
        // It has answered the client and not closed yet.
        None => (EndedBy::Proxy, How::Unknown),
        Some((End::KernelTimeout | End::Unreachable, _)) => (EndedBy::Unknown, How::Unknown),
    };
    Some(Finding {
        ended_by,
        how,
        what: format!("{what} ({})", x.remote),
        delivery: "the backend could not read the request".to_owned(),
        facts: vec![Fact::new(name, what), evidence::first_end(attempt)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Progress;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    const SETTINGS: &str = "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0";

    #[test]
    fn mismatches() {
        let answered = |asked: &str, answer: &str| {
            AttemptBuilder::sent()
                .asked(asked)
                .answered(answer, 0)
                .progress(Progress::Opaque)
        };
        let get = "GET / HTTP/1.1\r\n\r\n";
        let preface = "PRI * HTTP/2.0\r\n\r\n";
        expect(
            502,
            answered(get, SETTINGS).closed(6),
            ("protocol-version-mismatch", EndedBy::Proxy, How::Fin),
        );
        expect(
            503,
            answered(preface, "HTTP/1.1 400 Bad Request\r\n\r\n").fin(6),
            ("protocol-version-mismatch", EndedBy::Backend, How::Fin),
        );
        // Both speak HTTP/2.
        expect(
            502,
            answered(preface, SETTINGS)
                .with(|x| x.flags |= flags::OPAQUE)
                .closed(6),
            ("unexplained", EndedBy::Proxy, How::Unknown),
        );
    }
}
