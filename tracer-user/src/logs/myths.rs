//! What is often repeated about 502s and is wrong, or true of one system only.

/// A statement that does not hold.
#[derive(Debug)]
pub struct Myth {
    /// Words that stand in such a statement: all of one list, in any order. Lower case.
    keys: &'static [&'static [&'static str]],
    /// What is claimed.
    pub claim: &'static str,
    /// What holds.
    pub fact: &'static str,
}

/// Longest text in which words are looked for, bytes.
const TEXT_MAX: usize = 4096;

/// The statements that a text makes, or is about.
pub fn myths(text: &str) -> impl Iterator<Item = &'static Myth> {
    let end = text.floor_char_boundary(TEXT_MAX);
    let text = text[..end].to_lowercase();
    MYTHS.iter().filter(move |myth| {
        let mut any = myth.keys.iter();
        any.any(|all| all.iter().all(|key| text.contains(key)))
    })
}

static MYTHS: &[Myth] = &[
    Myth {
        keys: &[
            &["502", "reached", "backend"],
            &["502", "connection", "succeeded"],
            &["502", "means", "connected"],
        ],
        claim: "A 502 shows that the balancer reached the backend.",
        fact: "It does not. NGINX, ALB, Caddy, Application Gateway and Google Cloud answer 502 for a \
               refused or unreachable backend too, and some of them when none is left to ask.",
    },
    Myth {
        keys: &[
            &["503", "no healthy"],
            &["503", "no backend"],
            &["503", "unhealthy"],
        ],
        claim: "No healthy backend is a 503, never a 502.",
        fact: "NGINX and Application Gateway answer 502 then. ALB and Front Door do not answer \
               themselves: with all backends unhealthy they try them all.",
    },
    Myth {
        keys: &[&["timeout", "502"], &["timed out", "502"], &["slow", "502"]],
        claim: "A backend that is too slow gives a 502.",
        fact: "It is a 504 on NGINX, HAProxy, Envoy, Caddy, ALB and Application Gateway v2. Apache, \
               Application Gateway v1 and Google Cloud answer 502.",
    },
    Myth {
        keys: &[&["upstream_response_invalid"]],
        claim: "The log says upstream_response_invalid.",
        fact: "None of the systems known here writes that. NGINX writes `upstream sent invalid header`, \
               Envoy the flag UPE, HAProxy PH, Front Door OriginInvalidResponse.",
    },
    Myth {
        keys: &[&["target.responsecode"]],
        claim: "ALB's access log has a field Target.ResponseCode.",
        fact: "Its fields are elb_status_code (the 9th) and target_status_code (the 10th). \
               Target.ResponseCodeMismatch is a reason that health checks give.",
    },
    Myth {
        keys: &[
            &["target_status_code", " 0"],
            &["target_status_code=0"],
            &["target status", "zero"],
        ],
        claim: "ALB logs target_status_code 0 where the target did not answer.",
        fact: "It logs `-`.",
    },
    Myth {
        keys: &[&["alb", "300"], &["target timeout", "300"]],
        claim: "ALB waits 300 s for a target, fixed.",
        fact: "300 s is the default deregistration delay. Connecting may take 10 s, fixed; an answer \
               may take the idle timeout: 60 s by default, 4000 s at most.",
    },
    Myth {
        keys: &[
            &["alb", "certificate"],
            &["target certificate"],
            &["target's certificate"],
        ],
        claim: "ALB checks the certificates of its targets.",
        fact: "It does not: expired and self-signed ones pass. A handshake that fails is about \
               versions, ciphers or a port without TLS.",
    },
    Myth {
        keys: &[
            &["alb", "header", "16"],
            &["split", "header"],
            &["splitting", "header"],
        ],
        claim: "ALB takes response heads of 16 KB; splitting a large header helps.",
        fact: "The limit is 32 K for the whole head of the response, so splitting changes nothing. \
               16 K is the limit of the request line and of one header of a request.",
    },
    Myth {
        keys: &[&["upstream sent invalid response"]],
        claim: "NGINX logs `upstream sent invalid response`.",
        fact: "It logs `upstream sent invalid header`, `upstream sent no valid HTTP/1.0 header` or \
               `upstream sent invalid chunked response`, and they mean different things.",
    },
    Myth {
        keys: &[&["proxy_ignore_headers"]],
        claim: "proxy_ignore_headers helps against `upstream sent too big header`.",
        fact: "It takes names of a fixed list only (NGINX does not start with others), and an ignored \
               header must still fit into proxy_buffer_size.",
    },
    Myth {
        keys: &[&["proxy_buffers"]],
        claim: "Larger proxy_buffers prevent 502s of large responses.",
        fact: "A large body gives no 502. What must fit is the head, and that into proxy_buffer_size \
               alone; raise the buffers with it only because NGINX wants them to be consistent.",
    },
    Myth {
        keys: &[
            &["expired", "certificate", "nginx"],
            &["expired", "certificate", "502"],
        ],
        claim: "An expired certificate of the backend gives a 502 in NGINX.",
        fact: "Only with proxy_ssl_verify on, and the default is off: NGINX then accepts any \
               certificate.",
    },
    Myth {
        keys: &[
            &["server", "down", "502", "haproxy"],
            &["backend/app1 down"],
        ],
        claim: "HAProxy logs that a server is DOWN and answers 502.",
        fact: "The line is `Server backend/app1 is DOWN, reason: …`, and requests without a server get \
               503 with SC and <NOSRV>.",
    },
    Myth {
        keys: &[&["allbackups"]],
        claim: "option allbackups makes HAProxy try again after a 502.",
        fact: "It only lets all backup servers be used at once. Trying again is retry-on's matter.",
    },
    Myth {
        keys: &[
            &["retry-on", "safe"],
            &["retry-on", "response-timeout"],
            &["retry-on", "502"],
        ],
        claim: "retry-on response-timeout 502 can be set without harm.",
        fact: "It sends requests again that may have been executed already. Keep it off methods that \
               are not idempotent: http-request disable-l7-retry if METH_POST.",
    },
    Myth {
        keys: &[&["option httpchk", "host:"], &["option httpchk", "\\r\\n"]],
        claim: "The Host header of a health check belongs into option httpchk, behind \\r\\n.",
        fact: "That form is deprecated and draws a warning: http-check send meth GET uri /health ver \
               HTTP/1.1 hdr Host app.example.com.",
    },
    Myth {
        keys: &[&["proxy_next_upstream"], &["http_502", "retr"]],
        claim: "proxy_next_upstream http_502 makes NGINX try everything again.",
        fact: "POST, LOCK and PATCH are not sent twice without non_idempotent, and responses with an \
               invalid header only with invalid_header in the list.",
    },
    Myth {
        keys: &[
            &["nlb", "502"],
            &["network load balancer", "502"],
            &["azure load balancer", "502"],
        ],
        claim: "A Network Load Balancer or an Azure Load Balancer answers 502.",
        fact: "They pass packets on and know no HTTP. They reset connections or drop packets; the 502 \
               comes from a proxy before or behind them.",
    },
    Myth {
        keys: &[&["f5", "502"], &["big-ip", "502"], &["bigip", "502"]],
        claim: "BIG-IP answers 502 when a pool member fails.",
        fact: "It resets the client's connection. A 502 that comes through it was made by the member, \
               an iRule or a fallback host.",
    },
    Myth {
        keys: &[&["listen", "ssl http2"]],
        claim: "HTTP/2 is switched on with listen 443 ssl http2.",
        fact: "The parameter is deprecated since NGINX 1.25.1: use the directive http2 on.",
    },
    Myth {
        keys: &[
            &["crash", "mid"],
            &["crash", "502", "body"],
            &["dies", "502", "response"],
        ],
        claim: "A backend that crashes in the middle of its response gives a 502.",
        fact: "The status has been sent by then: the client gets a 200 that is cut short. It is a 502 \
               only before the head is complete.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_is_found_by_its_own_words() {
        for myth in MYTHS {
            assert!(
                myth.keys
                    .iter()
                    .flat_map(|keys| keys.iter())
                    .all(|key| { !key.is_empty() && *key == key.to_lowercase() }),
                "{}",
                myth.claim
            );
            let found: Vec<_> = myths(myth.claim).map(|found| found.claim).collect();
            assert!(found.contains(&myth.claim), "{}: {found:?}", myth.claim);
            assert_ne!(myth.claim, myth.fact);
        }
    }

    #[test]
    fn statements_as_people_make_them() {
        for (text, claim) in [
            ("502 means that the load balancer reached the backend", 0),
            ("a backend timeout gives 502", 2),
            ("logs show `upstream_response_invalid`", 3),
            ("target_status_code is 0 when there is no response", 5),
            ("ALB validates target certificates", 7),
            ("Larger `proxy_buffers` prevent 502 for large responses", 11),
            ("NLB / Azure Load Balancer return 502", 18),
            ("F5 returns 502 when the pool member fails", 19),
            ("listen 443 ssl http2", 20),
            ("a crash in mid-response gives 502", 21),
        ] {
            let found: Vec<_> = myths(text).map(|found| found.claim).collect();
            assert!(found.contains(&MYTHS[claim].claim), "{text}: {found:?}");
        }
    }

    #[test]
    fn other_text_is_none() {
        for text in ["", "hello", "502", "keepalive-race", "SC--"] {
            assert_eq!(myths(text).count(), 0, "{text}");
        }
        let long = "é".repeat(TEXT_MAX) + "allbackups";
        assert_eq!(myths(&long).count(), 0);
    }
}
