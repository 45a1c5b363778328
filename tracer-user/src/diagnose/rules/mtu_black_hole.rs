//! Segments of full size vanish on the way.

use crate::diagnose::evidence::{self, Fact};
use crate::diagnose::{Advice, AttemptFacts, Confusion, Context, Finding, Rule, words};
use crate::event::IcmpSays;

pub(super) const RULE: Rule = Rule {
    id: "mtu-black-hole",
    title: "Full-size segments vanish on the way (path MTU)",
    explanation: "Small packets pass, packets of full size do not: somewhere on the path the MTU is smaller than at the ends (a tunnel, a VPN, an overlay network, jumbo frames on one side only), and the ICMP message that should say so is dropped. The connection is made, small requests and answers work, and large ones hang until a timeout.",
    evidence: &[
        "request side: the same segment of full size was retransmitted at least twice, and less than one such segment of the request was ever acknowledged; or ICMP said that a packet of this connection was too big",
        "response side: less than one full segment arrived in order, segments behind a hole arrived, and then nothing until the timeout",
        "or, with the backend on this host: its kernel sent the same segment of full size again at least twice, unacknowledged",
    ],
    confused_with: &[
        Confusion {
            with: "packet-loss",
            difference: "there segments of full size do arrive now and then, or small ones are lost too",
        },
        Confusion {
            with: "response-timeout",
            difference: "there the request was acknowledged and nothing is missing in what came back",
        },
        Confusion {
            with: "idle-drop-by-middlebox",
            difference: "there small segments vanish as well, after an idle gap",
        },
    ],
    confirm: &[
        "ping -M do -s 1472 BACKEND from the proxy's host (1452 for IPv6): if it fails, lower the size until it passes; size + 28 (48) is the path's MTU",
        "tracepath -n BACKEND shows where the MTU gets smaller",
        "ss -tni dst BACKEND:PORT while it hangs: mss, pmtu, backoff and unacked",
        "the same request with a small body, or for a small answer, succeeds",
    ],
    remedies: &[
        Advice {
            target: "network",
            change: "clamp the MSS on the device with the smaller MTU: nft add rule inet filter forward tcp flags syn tcp option maxseg size set rt mtu",
            why: "both ends then send segments that fit; it needs no ICMP",
        },
        Advice {
            target: "network",
            change: "let ICMP type 3 code 4 (IPv6: ICMPv6 type 2) through every firewall and security group on the path",
            why: "without it path-MTU discovery cannot work (RFC 1191, RFC 8201)",
        },
        Advice {
            target: "network",
            change: "net.ipv4.tcp_mtu_probing=1 on the proxy's and the backend's host",
            why: "the kernel then finds the size by itself after a few lost segments (RFC 4821)",
        },
        Advice {
            target: "network",
            change: "set the MTU of the interfaces to that of the tunnel (for example 1450 for VXLAN, 1420 for WireGuard)",
            why: "equal MTUs need no discovery",
        },
        Advice {
            target: "alb",
            change: "allow ICMP type 3 code 4 in the security groups and network ACLs of the targets; 1500 or 9001 on both ends",
            why: "504 with target status - otherwise",
        },
        Advice {
            target: "app-gateway",
            change: "allow ICMP in the NSG of the backend's subnet",
            why: "504 otherwise",
        },
        Advice {
            target: "gcp",
            change: "MTU of the VPC (1460) on the backend's interfaces",
            why: "statusDetails backend_timeout otherwise",
        },
        Advice {
            target: "big-ip",
            change: "RST cause \"TCP retransmit timeout\"; TCP profile: Path MTU Discovery",
            why: "the balancer gave up on unacknowledged segments",
        },
    ],
    decide,
};

/// Room that TCP options may take of a segment (RFC 9293: at most 40 bytes).
const OPTIONS: u32 = 40;
/// Fewer retransmissions are ordinary loss.
const RESENT_MIN: u32 = 2;
/// Longer than this, a silent connection may have been forgotten by a middlebox altogether.
const IDLE_MAX_NS: u64 = 60_000_000_000;

/// The rule that says how the wait ended, where one of them ran into a timeout.
pub(super) fn timed_out(context: &Context<'_>) -> Option<Finding> {
    let rules = [&super::response_timeout::RULE, &super::body_stalled::RULE];
    rules.into_iter().find_map(|rule| (rule.decide)(context))
}

/// Request side: what shows that segments of full size do not get through.
fn request_side(attempt: &AttemptFacts) -> Option<Vec<Fact>> {
    let x = &attempt.exchange;
    let too_big = attempt.icmp.iter().find_map(|error| match error.says {
        IcmpSays::TooBig { mtu } => Some((error.from, mtu)),
        IcmpSays::Unreachable { .. } => None,
    });
    let segment = x.retransmitted?;
    let mss = attempt.mss()?;
    let unacked = attempt.request_unacked().filter(|unacked| *unacked > 0)?;
    let full_size = segment.len.saturating_add(OPTIONS) >= mss;
    let passed = x.request_bytes - unacked >= u64::from(mss);
    let silent_before =
        attempt.idle_before_ns().unwrap_or(0) >= IDLE_MAX_NS && unacked == x.request_bytes;
    if segment.times < RESENT_MIN || !full_size || (too_big.is_none() && (passed || silent_before))
    {
        return None;
    }
    let mut facts: Vec<Fact> = evidence::resent(attempt).into_iter().collect();
    facts.push(Fact::new(
        "segment-size",
        format!(
            "segments of this connection hold up to {}; {} of the request got through",
            words::bytes(mss.into()),
            words::bytes(x.request_bytes - unacked)
        ),
    ));
    facts.extend(too_big.map(|(from, mtu)| {
        Fact::new(
            "packet-too-big",
            format!("{from} said by ICMP that a packet of this connection was too big: its next hop takes {mtu} bytes"),
        )
    }));
    Some(facts)
}

/// Response side: a hole of full size, with smaller segments behind it.
fn response_side(attempt: &AttemptFacts) -> Option<Vec<Fact>> {
    let x = &attempt.exchange;
    if let Some(segment) = attempt.peer.as_ref().and_then(|half| half.unheard) {
        let full = segment.len.saturating_add(OPTIONS) >= attempt.mss()?;
        return full.then(|| evidence::unheard(attempt).into_iter().collect());
    }
    let behind = x.socket.out_of_order.filter(|count| *count > 0)?;
    let mss = attempt.mss()?;
    // Small segments of ours were lost: then size is not what matters.
    if x.retransmitted.is_some_and(|segment| {
        segment.times >= RESENT_MIN && segment.len.saturating_add(OPTIONS) < mss
    }) {
        return None;
    }
    let in_order = x.response_bytes + u64::from(x.socket.unread.unwrap_or(0));
    (in_order < u64::from(mss)).then(|| {
        // Of the missing segment only the place is known, not the size.
        vec![Fact::inferred(
            "hole-in-response",
            format!(
                "{} of the response arrived in order, and {behind} segment{} behind a hole: what is missing begins with a segment of up to {}; packet-loss leaves the same when the first segment and all its repetitions were lost",
                words::bytes(in_order),
                if behind == 1 { "" } else { "s" },
                words::bytes(mss.into())
            ),
        )]
    })
}

/// The MSS or the path MTU got smaller: then ICMP did get through, or probing found it.
fn shrunk(attempt: &AttemptFacts) -> Option<Fact> {
    let x = &attempt.exchange;
    let change = |was: Option<u32>, now: Option<u32>| {
        let (was, now) = (was?, now?);
        (now < was && now > 0).then_some((was, now))
    };
    let text = match change(x.pmtu_at_start, x.socket.pmtu) {
        Some((was, now)) => {
            format!("the path MTU went down from {was} to {now} bytes: ICMP got through")
        }
        None => {
            let (was, now) = change(x.mss_at_start, x.socket.mss)?;
            format!("the maximum segment size went down from {was} to {now} bytes")
        }
    };
    Some(Fact::new("size-went-down", text))
}

fn decide(context: &Context<'_>) -> Option<Finding> {
    let attempt = context.attempt?;
    let wait = timed_out(context)?;
    let (side, mut facts) = match request_side(attempt) {
        Some(facts) => ("request to", facts),
        None => ("response from", response_side(attempt)?),
    };
    facts.extend(shrunk(attempt));
    facts.push(evidence::first_end(attempt));
    facts.extend(evidence::kernel_timer(attempt));
    facts.extend(evidence::acknowledged(attempt));
    let x = &attempt.exchange;
    let size = attempt
        .mss()
        .map(|mss| format!(" of up to {}", words::bytes(mss.into())))
        .unwrap_or_default();
    Some(Finding {
        ended_by: wait.ended_by,
        how: wait.how,
        what: format!(
            "full-size segments{size} of the {side} {} do not get through, small ones do: the path takes smaller packets than the ends believe",
            x.remote
        ),
        delivery: evidence::delivery(attempt),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use crate::case::{EndedBy, How};
    use crate::diagnose::testing::{AttemptBuilder, expect};

    fn upload(base: AttemptBuilder, acked: u32) -> AttemptBuilder {
        base.with(|x| {
            x.request_bytes = 50_000;
            x.socket.unacked = Some(50_000 - acked);
        })
        .closed(3000)
    }

    #[test]
    fn request_side() {
        let hole = ("mtu-black-hole", EndedBy::Proxy, How::Timeout);
        let loss = ("packet-loss", EndedBy::Proxy, How::Timeout);
        let sent = AttemptBuilder::sent;
        expect(504, upload(sent(), 300).resent(1448, 4), hole);
        expect(504, upload(sent(), 0).resent(1448, 4), hole);
        // Segments of full size did get through.
        expect(504, upload(sent(), 20_000).resent(1448, 4), loss);
        // Unless a router says it outright.
        expect(
            504,
            upload(sent(), 20_000).resent(1448, 4).too_big(1400),
            hole,
        );
        // Small segments vanish too.
        expect(504, upload(sent(), 0).resent(300, 4), loss);
        expect(
            504,
            upload(sent(), 50_000).resent(1448, 1),
            ("response-timeout", EndedBy::Proxy, How::Timeout),
        );
    }

    #[test]
    fn response_side() {
        let waiting = |hole: u32| {
            AttemptBuilder::sent()
                .with(|x| {
                    x.mss_at_start = Some(1448);
                    x.socket.out_of_order = Some(hole);
                })
                .closed(3000)
        };
        expect(
            504,
            waiting(1),
            ("mtu-black-hole", EndedBy::Proxy, How::Timeout),
        );
        expect(
            504,
            waiting(0),
            ("response-timeout", EndedBy::Proxy, How::Timeout),
        );
        // The backend's own kernel says what it is that does not arrive.
        expect(
            504,
            waiting(0).unheard(1448, 2),
            ("mtu-black-hole", EndedBy::Proxy, How::Timeout),
        );
        expect(
            504,
            waiting(1).unheard(300, 2),
            ("packet-loss", EndedBy::Proxy, How::Timeout),
        );
        // The small request had been lost as well.
        expect(
            504,
            waiting(1).resent(200, 3),
            ("packet-loss", EndedBy::Proxy, How::Timeout),
        );
        // The backend ended it: nobody waited.
        expect(
            502,
            waiting(1).fin(20),
            ("fin-before-response", EndedBy::Backend, How::Fin),
        );
    }
}
