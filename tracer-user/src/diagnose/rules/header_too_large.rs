//! The response head does not fit the proxy's buffer.

use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::refusal::refusal;
use crate::diagnose::{Advice, AttemptFacts, Confusion, Context, Finding, Rule, words};
use crate::event::ProxyKind;
use crate::http::Head;

pub(super) const RULE: Rule = Rule {
    id: "header-too-large",
    title: "The backend's response head is larger than the proxy takes",
    explanation: "The proxy read as much of the response head as it has room for, found no end of it, and gave the response up: long cookies, a long Content-Security-Policy or Link header, a token in a header. The backend did nothing wrong in its own eyes and its log shows a success.",
    evidence: &[
        "more bytes of a response came than were kept, and all kept ones are still head",
        "what the proxy read fits the size at which this kind of proxy gives up (nginx a full proxy_buffer_size, HAProxy tune.bufsize less tune.maxrewrite, Envoy 60 or 80 KiB, Apache 8 KiB a field)",
        "the proxy ended it at once after the data, without having seen the backend's end",
    ],
    confused_with: &[
        Confusion {
            with: "partial-header",
            difference: "there the backend ends the connection within the head",
        },
        Confusion {
            with: "malformed-response",
            difference: "there a byte that HTTP does not allow is within the kept ones; one behind them cannot be told from a head that is too large (a larger --snaplen helps)",
        },
        Confusion {
            with: "body-truncated-rst",
            difference: "there the head is complete",
        },
    ],
    confirm: &[
        "curl -s -o /dev/null -D - http://BACKEND:PORT/path from the proxy's host | wc -c gives the size of the head; compare it with the proxy's limit",
        "the proxy's log: nginx \"upstream sent too big header\", HAProxy PH, Envoy headers_too_large, Apache AH10124",
    ],
    remedies: &[
        Advice {
            target: "nginx",
            change: "proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 32k;",
            why: "the whole head must fit proxy_buffer_size, one page (4k) by default; the three belong together, and more or larger proxy_buffers alone do not help",
        },
        Advice {
            target: "haproxy",
            change: "tune.bufsize 32768 (and tune.http.maxhdr 202 if there are more than 101 header lines)",
            why: "16384 less tune.maxrewrite 1024 by default",
        },
        Advice {
            target: "envoy",
            change: "common_http_protocol_options: {max_response_headers_kb: 96, max_headers_count: 200} on the cluster",
            why: "60 or 80 KiB (by version) and 100 headers by default",
        },
        Advice {
            target: "apache",
            change: "ProxyPass … responsefieldsize=16384",
            why: "8192 bytes for one header line by default",
        },
        Advice {
            target: "backend",
            change: "find the header that grows (Set-Cookie, Content-Security-Policy, Link, a token) and shrink it",
            why: "every hop on the way has a limit of its own",
        },
        Advice {
            target: "alb",
            change: "shrink the headers: 32 K for all together, fixed",
            why: "splitting one header into several does not help, the limit is on the sum",
        },
        Advice {
            target: "app-gateway",
            change: "shrink the headers",
            why: "the limit is fixed",
        },
        Advice {
            target: "front-door",
            change: "shrink the headers; errorInfo ResponseHeaderTooBig",
            why: "the limit is fixed",
        },
        Advice {
            target: "gcp",
            change: "shrink the headers; statusDetails backend_response_headers_too_long",
            why: "the limit is fixed",
        },
        Advice {
            target: "big-ip",
            change: "HTTP profile: max-header-size (32768) and max-header-count (64)",
            why: "message 011f0005 with \"Server side\" names the size",
        },
    ],
    decide,
};

/// Most header lines that HAProxy (`tune.http.maxhdr`) and Envoy (`max_headers_count`) take by
/// default.
const FIELDS_MAX: u32 = 100;

/// Which limit of such a proxy was reached by these many bytes read, in words.
///
/// nginx reads into one buffer, so what it has read when it gives up is exactly the buffer's size.
/// The defaults of the others: HAProxy management.txt (`tune.bufsize`, `tune.maxrewrite`), Envoy
/// `HttpProtocolOptions`, Apache `responsefieldsize=`.
fn limit(proxy: &ProxyKind, read: u64, fields: u32) -> Option<String> {
    let whole_buffer = read >= 1024 && read.is_multiple_of(1024);
    if fields > FIELDS_MAX && matches!(proxy, ProxyKind::Haproxy | ProxyKind::Envoy) {
        return Some(format!(
            "it has more than {FIELDS_MAX} header lines, the default limit"
        ));
    }
    match proxy {
        ProxyKind::Nginx if whole_buffer => Some(format!(
            "that is a proxy_buffer_size of {}k, full to the last byte",
            read / 1024
        )),
        ProxyKind::Haproxy if read >= 15_000 || whole_buffer && read >= 4096 => Some(
            "HAProxy's limit is tune.bufsize less tune.maxrewrite, 15360 by default".to_owned(),
        ),
        ProxyKind::Envoy if read >= 60_000 => Some(
            "Envoy's limit is max_response_headers_kb, 60 or 80 KiB by default (by version)"
                .to_owned(),
        ),
        ProxyKind::Apache if read >= 8000 => Some(
            "Apache's limit is responsefieldsize, 8192 bytes by default, a header line".to_owned(),
        ),
        ProxyKind::Other(_) if read >= 4096 => {
            Some("buffers for heads begin at 4096 bytes".to_owned())
        }
        ProxyKind::Nginx
        | ProxyKind::Haproxy
        | ProxyKind::Envoy
        | ProxyKind::Apache
        | ProxyKind::Other(_) => None,
    }
}

/// Fewer lines than this among the kept bytes say nothing about the rest.
const FIELDS_SAMPLE: u32 = 20;

/// The head is short in bytes, but its lines are so short that the rest most likely holds more of them
/// than the proxy takes.
fn too_many_lines(context: &Context<'_>, attempt: &AttemptFacts) -> Option<Fact> {
    let response = &attempt.response;
    let limited = matches!(context.case.proxy, ProxyKind::Haproxy | ProxyKind::Envoy);
    if !limited || response.fields < FIELDS_SAMPLE || response.kept == 0 {
        return None;
    }
    let lines = u64::from(response.fields) * attempt.exchange.response_bytes / response.kept;
    (lines > u64::from(FIELDS_MAX)).then(|| {
        Fact::inferred(
            "header-lines",
            format!(
                "the first {} hold {} header lines, so all of it holds about {lines}, and the default limit is {FIELDS_MAX}",
                words::bytes(response.kept),
                response.fields
            ),
        )
    })
}

/// The proxy stopped reading before the backend's end.
fn stopped_reading(attempt: &AttemptFacts) -> bool {
    attempt.exchange.times.end_read.is_none() && attempt.exchange.times.reset_received.is_none()
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let response = &attempt.response;
    let x = &attempt.exchange;
    if !matches!(response.head, Head::Beyond | Head::Cut) || !stopped_reading(attempt) {
        return None;
    }
    let refusal = refusal(context)?;
    let limit = limit(&context.case.proxy, x.response_bytes, response.fields);
    let by_count = limit.is_none().then(|| too_many_lines(context, attempt));
    let by_count = by_count.flatten();
    let limit = limit.or_else(|| Some(by_count.as_ref()?.text().to_owned()))?;
    let unread = u64::from(x.socket.unread.unwrap_or(0));
    let more = if unread > 0 {
        format!(", {} more unread", words::bytes(unread))
    } else {
        String::new()
    };
    let mut facts = vec![
        Fact::new(
            "head-size",
            format!(
                "the proxy had read {} of a response{more}, and the first {} are all head; {limit}",
                words::bytes(x.response_bytes),
                response.kept
            ),
        ),
        Fact::new("refused", refusal.text()),
    ];
    facts.extend(by_count);
    facts.extend(evidence::our_reset(attempt));
    facts.extend(evidence::unread(attempt));
    Some(Finding {
        ended_by: refusal.ended_by,
        how: refusal.how,
        what: format!(
            "{} refused the response of {}: its head was not complete after {}, and {limit}",
            context.case.proxy,
            x.remote,
            words::bytes(x.response_bytes)
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Confidence, EndedBy, How};
    use crate::diagnose::testing::{AttemptBuilder, at, case};
    use crate::diagnose::{Progress, ending, judge};

    const HEAD: &str = "HTTP/1.1 200 OK\r\nSet-Cookie: ********************************";

    fn large(read: u64) -> AttemptBuilder {
        AttemptBuilder::sent()
            .answered(HEAD, read - HEAD.len() as u64)
            .progress(Progress::Opaque)
            .with(|x| {
                x.socket.unread = Some(3000);
                x.times.reset_sent = Some(at(6));
            })
            .closed(6)
    }

    #[test]
    fn sizes() {
        for (proxy, read, want) in [
            (ProxyKind::Nginx, 4096, "header-too-large"),
            (ProxyKind::Nginx, 8192, "header-too-large"),
            (ProxyKind::Nginx, 3000, "unexplained"),
            (ProxyKind::Haproxy, 15_360, "header-too-large"),
            (ProxyKind::Haproxy, 9000, "unexplained"),
            (ProxyKind::Envoy, 61_500, "header-too-large"),
            (ProxyKind::Envoy, 20_000, "unexplained"),
            (ProxyKind::Apache, 8192, "header-too-large"),
        ] {
            let facts = case(proxy, 502, vec![large(read).build()]);
            let verdict = judge(&facts);
            assert_eq!(verdict.rule, want, "{facts:#?}");
            if want == "header-too-large" {
                assert_eq!(ending(&facts, 0), (EndedBy::Proxy, How::Reset));
                assert!(verdict.evidence[0].text.contains("3000 bytes more unread"));
            }
        }
    }

    #[test]
    fn many_short_lines_are_a_guess() {
        let head = format!("HTTP/1.1 200 OK\r\n{}", "x: 1\r\n".repeat(60));
        for (more, want) in [
            (1000, ("header-too-large", Confidence::Weak)),
            (10, ("unexplained", Confidence::None)),
        ] {
            let attempt = AttemptBuilder::sent()
                .answered(&head, more)
                .progress(Progress::Opaque)
                .closed(6);
            let verdict = judge(&case(ProxyKind::Haproxy, 502, vec![attempt.build()]));
            assert_eq!((verdict.rule, verdict.confidence), want);
        }
    }

    #[test]
    fn neighbours() {
        for attempt in [
            // The backend ended it, and the proxy saw that.
            large(4096).fin(5).end_read(5),
            large(4096).reset(5),
            // Slow: a timer may be the reason.
            large(4096).closed(3000),
        ] {
            let facts = case(ProxyKind::Nginx, 502, vec![attempt.build()]);
            assert_ne!(judge(&facts).rule, "header-too-large", "{facts:#?}");
        }
        // The backend had closed already; the proxy did not get to see it.
        let facts = case(ProxyKind::Nginx, 502, vec![large(4096).fin(4).build()]);
        assert_eq!(judge(&facts).rule, "header-too-large");
        assert_eq!(ending(&facts, 0), (EndedBy::Proxy, How::Reset));
    }
}
