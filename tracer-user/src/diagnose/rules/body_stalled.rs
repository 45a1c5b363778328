//! The body stopped coming.

use crate::case::{EndedBy, How};
use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::facts::End;
use crate::diagnose::rules::body_truncated_rst::received;
use crate::diagnose::{Advice, Confusion, Context, Finding, Rule, words};

pub(super) const RULE: Rule = Rule {
    id: "body-stalled",
    title: "The backend stopped in the middle of the body",
    explanation: "The response head was complete and on its way to the client, then no more of the body came until the proxy's timeout. The client sees a good status and a short body. The producer is slow, blocked or waits for something behind it.",
    evidence: &[
        "a complete response head, an incomplete body",
        "silence of at least 100 ms, then the proxy closed first, with nothing unread and the client still there",
    ],
    confused_with: &[
        Confusion {
            with: "body-truncated-fin",
            difference: "there the backend closes",
        },
        Confusion {
            with: "mtu-black-hole",
            difference: "there segments of full size are missing and smaller ones behind them came",
        },
        Confusion {
            with: "client-abort",
            difference: "there the client leaves first",
        },
    ],
    confirm: &[
        "curl -sN -o /dev/null -w '%{size_download} %{time_total}\\n' http://BACKEND:PORT/path from the proxy's host: does it hang at the same size?",
        "on the backend's host while it hangs: ss -tnio 'sport = :PORT'; Send-Q 0 means that the application has written nothing more, Send-Q above 0 that the network does not deliver it",
    ],
    remedies: &[
        Advice {
            target: "backend",
            change: "find what the producer waits for; send heartbeats on streams (a comment line in server-sent events, a WebSocket ping)",
            why: "the timeout of the proxy counts from one read to the next",
        },
        Advice {
            target: "nginx",
            change: "location /stream { proxy_read_timeout 1h; }",
            why: "60 s between two reads by default",
        },
        Advice {
            target: "haproxy",
            change: "timeout server 1h in the backend of the stream; timeout tunnel for WebSockets",
            why: "it counts in the body as well",
        },
        Advice {
            target: "envoy",
            change: "stream_idle_timeout and the route's idle_timeout; route timeout: 0s for streams",
            why: "5 minutes of silence, and 15 s for the whole response, by default",
        },
        Advice {
            target: "apache",
            change: "ProxyPass /stream … timeout=3600",
            why: "otherwise ProxyTimeout or Timeout counts",
        },
        Advice {
            target: "alb",
            change: "idle_timeout.timeout_seconds above the longest silence",
            why: "60 s by default",
        },
        Advice {
            target: "gcp",
            change: "timeout of the backend service",
            why: "30 s by default for the whole response",
        },
        Advice {
            target: "front-door",
            change: "origin response timeout",
            why: "30 s by default",
        },
        Advice {
            target: "big-ip",
            change: "idle timeout of the TCP profile",
            why: "300 s by default",
        },
    ],
    decide,
};

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let silent = attempt.stalled_ns()?;
    if attempt.client_had_left() || context.case.client_left_ns.is_some() {
        return None;
    }
    let x = &attempt.exchange;
    let mut facts = vec![
        Fact::new("body-incomplete", received(attempt)),
        Fact::new(
            "silence",
            format!(
                "then nothing for {}, and the proxy closed",
                words::duration(silent)
            ),
        ),
    ];
    facts.extend(evidence::kernel_timer(attempt));
    facts.extend(evidence::retransmits(attempt));
    let by_kernel = matches!(attempt.first_end(), Some((End::KernelTimeout, _)));
    Some(Finding {
        ended_by: if by_kernel {
            EndedBy::Kernel
        } else {
            EndedBy::Proxy
        },
        how: How::Timeout,
        what: format!(
            "{} sent {} and then nothing for {}, until the proxy{} gave up",
            x.remote,
            received(attempt),
            words::duration(silent),
            if by_kernel { "'s kernel" } else { "" }
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Progress;
    use crate::diagnose::testing::{AttemptBuilder, expect};

    #[test]
    fn stalls() {
        let half = Progress::Body {
            declared: Some(1000),
            received: 400,
        };
        let up = |progress| AttemptBuilder::sent().received(200, 450).progress(progress);
        let stalled = ("body-stalled", EndedBy::Proxy, How::Timeout);
        let unknown = ("unexplained", EndedBy::Proxy, How::Unknown);
        expect(502, up(half).closed(1005), stalled);
        expect(
            502,
            up(Progress::UntilClose { received: 400 }).closed(1005),
            stalled,
        );
        expect(502, up(half).closed(50), unknown);
        expect(502, up(half).closed(1005).client_left(), unknown);
        // The proxy did not read: a slow client, say.
        expect(
            502,
            up(half).closed(1005).with(|x| x.socket.unread = Some(5000)),
            unknown,
        );
        expect(
            502,
            up(half).fin(1005).closed(1006),
            ("body-truncated-fin", EndedBy::Backend, How::Fin),
        );
    }
}
