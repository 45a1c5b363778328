//! What the backend does with a request: chosen by the request's path, worked out as a plan of
//! writes and pauses before a socket is touched.

use std::net::SocketAddr;
use std::time::Duration;

use super::malformed::Malformed;

/// A failure (or none), named by the first segment of the path. The rest of the path is free, so
/// that each request of a test can have a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `/ok`: 200 with a short body; `?bytes=` sets its length.
    Ok,
    /// `/slow?ms=`: 200 after a while.
    Slow,
    /// `/fin?after=`: closes politely without a response byte.
    Fin,
    /// `/rst?after=`: resets without a response byte.
    Rst,
    /// `/partial-header`: half a head, then FIN.
    PartialHeaderFin,
    /// `/partial-header-rst`: half a head, then RST.
    PartialHeaderRst,
    /// `/unread?after=`: does not wait for the body and closes without having read it: RST.
    Unread,
    /// `/100-fin`: `100 Continue` and nothing else, then FIN.
    ContinueFin,
    /// `/body-stall?length=&sent=`: a declared length, fewer bytes, then nothing.
    BodyStall,
    /// `/drip?length=&sent=&pause=`: a body of which the rest comes after a pause.
    Drip,
    /// `/ws?ms=`: switches protocols and sends back what it gets; closes after that time, if given.
    WebSocket,
    /// `/trickle`: a head and then a byte of the body every two seconds.
    Trickle,
    /// `/many-headers?lines=`: a head of so many lines.
    ManyHeaders,
    /// `/nul`: a head with bytes that no head may have.
    Nul,
    /// `/die?how=&after=`: the process of the backend ends (`how`: `segv`, `kill`, `abort`, `exit`)
    /// before a response byte.
    Die,
    /// `/die-body?how=&after=&length=&sent=`: the same in the middle of a body.
    DieBody,
    /// `/body-fin?length=&sent=`: a declared length, fewer bytes, then FIN.
    BodyFin,
    /// `/body-rst?length=&sent=`: the same with RST.
    BodyRst,
    /// `/chunked-ok`: a whole chunked response.
    ChunkedOk,
    /// `/chunked-fin`: no last chunk, then FIN.
    ChunkedFin,
    /// `/chunked-rst`: no last chunk, then RST.
    ChunkedRst,
    /// `/502`, `/204`, any number: that status from the application itself.
    Status(u16),
    /// `/hang`: takes the request and never answers.
    Hang,
    /// `/close-after?ms=`: 200 with keep-alive, then closes the idle connection.
    CloseAfter,
    /// `/cl-delimited`: a body that ends with the connection, whole.
    CloseDelimited,
    /// `/100-continue`: `100 Continue`, then 200.
    Continue,
    /// `/103-hints`: `103 Early Hints`, then 200.
    Hints,
    /// `/fin-once`: `Fin` for the first request to this very path, `Ok` after that.
    FinOnce,
    /// `/rst-once`: likewise with a reset.
    RstOnce,
    /// `/502-once`: likewise with the application's 502.
    Status502Once,
    /// A response that breaks the rules.
    Malformed(Malformed),
}

/// A request target taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// What to do.
    pub fault: Fault,
    /// Everything in front of `?`.
    pub path: &'a str,
    query: &'a str,
}

impl<'a> Target<'a> {
    /// Reads a request target; an unknown first segment is an ordinary page.
    pub fn parse(target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
        let fault = match first {
            "slow" => Fault::Slow,
            "fin" => Fault::Fin,
            "rst" => Fault::Rst,
            "partial-header" => Fault::PartialHeaderFin,
            "partial-header-rst" => Fault::PartialHeaderRst,
            "unread" => Fault::Unread,
            "100-fin" => Fault::ContinueFin,
            "body-stall" => Fault::BodyStall,
            "drip" => Fault::Drip,
            "ws" => Fault::WebSocket,
            "trickle" => Fault::Trickle,
            "many-headers" => Fault::ManyHeaders,
            "nul" => Fault::Nul,
            "die" => Fault::Die,
            "die-body" => Fault::DieBody,
            "body-fin" => Fault::BodyFin,
            "body-rst" => Fault::BodyRst,
            "chunked-ok" => Fault::ChunkedOk,
            "chunked-fin" => Fault::ChunkedFin,
            "chunked-rst" => Fault::ChunkedRst,
            "hang" => Fault::Hang,
            "close-after" => Fault::CloseAfter,
            "cl-delimited" => Fault::CloseDelimited,
            "100-continue" => Fault::Continue,
            "103-hints" => Fault::Hints,
            "fin-once" => Fault::FinOnce,
            "rst-once" => Fault::RstOnce,
            "502-once" => Fault::Status502Once,
            other => match (Malformed::named(other), other.parse()) {
                (Some(malformed), _) => Fault::Malformed(malformed),
                (None, Ok(status @ 200..=599)) => Fault::Status(status),
                _ => Fault::Ok,
            },
        };
        Self { fault, path, query }
    }

    /// Is it carried out when the request's head is there, whatever follows?
    pub const fn is_early(&self) -> bool {
        matches!(self.fault, Fault::Unread)
    }

    /// A number from the query string.
    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        let pairs = self.query.split('&');
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn death(&self) -> End {
        End::Die(match self.text("how") {
            Some("segv") => Death::Segv,
            Some("abort") => Death::Abort,
            Some("exit") => Death::Exit,
            _ => Death::Kill,
        })
    }

    fn pause(&self, name: &str, default_ms: u64) -> Step {
        Step::Pause(Duration::from_millis(
            self.number(name).unwrap_or(default_ms),
        ))
    }
}

/// One thing to do with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes.
    Write(Vec<u8>),
    /// Wait.
    Pause(Duration),
}

/// How an exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection stays open for the next request, if the request allows it.
    Keep,
    /// It stays open, but no longer than this.
    KeepFor(Duration),
    /// `close()`: FIN.
    Fin,
    /// `close()` with linger 0: RST.
    Reset,
    /// Nothing more, until the peer closes.
    Hang,
    /// Whatever comes is sent back, until the peer closes or that time is over.
    Echo(Option<Duration>),
    /// The whole process ends; a backend that is a thread of something else closes instead.
    Die(Death),
}

/// How a process ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// As by a bad pointer.
    Segv,
    /// As by a failed assertion.
    Abort,
    /// As by the out-of-memory killer.
    Kill,
    /// With exit code 3.
    Exit,
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Writes and pauses.
    pub steps: Vec<Step>,
    /// The end.
    pub end: End,
}

/// What a plan depends on besides the target.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Request method: a HEAD is answered without a body.
    pub method: &'a str,
    /// The proxy's end of the connection, sent back in `X-Lab-Peer`.
    pub peer: SocketAddr,
    /// This very path was asked for before (by any connection).
    pub seen: bool,
}

/// Time between the last data and a reset: the receiver shall have read the data, because some
/// proxies drop what is unread once they are told of the error.
const BEFORE_RESET_MS: u64 = 30;

/// Works out what to do.
pub fn plan(target: &Target<'_>, facts: Facts<'_>) -> Plan {
    let ok = |bytes: u64| whole(200, &vec![b'x'; bytes as usize], facts);
    let cut = |head: String, body: &[u8], end: End| {
        let mut steps = vec![Step::Write([head.as_bytes(), body].concat())];
        if !matches!(end, End::Fin | End::Keep) {
            steps.push(target.pause("after", BEFORE_RESET_MS));
        }
        Plan { steps, end }
    };
    let half_head = || {
        format!(
            "HTTP/1.1 200 OK\r\nX-Lab-Peer: {}\r\nContent-Le",
            facts.peer
        )
    };
    let short_body = |end| {
        let (length, sent) = match target.fault {
            Fault::Drip => (20_000, 6_000),
            _ => (1000, 400),
        };
        let length = target.number("length").unwrap_or(length);
        let sent = vec![b'x'; target.number("sent").unwrap_or(sent) as usize];
        cut(head(200, &[("Content-Length", &length)], facts), &sent, end)
    };
    let open_chunks = |end| {
        let body = b"5\r\nhello\r\n";
        cut(
            head(200, &[("Transfer-Encoding", &"chunked")], facts),
            body,
            end,
        )
    };
    let silent = |end| Plan {
        steps: vec![target.pause("after", 0)],
        end,
    };
    match target.fault {
        Fault::FinOnce | Fault::RstOnce | Fault::Status502Once if facts.seen => ok(3),
        Fault::Ok => ok(target.number("bytes").unwrap_or(3)),
        Fault::Slow => {
            let mut plan = ok(3);
            plan.steps.insert(0, target.pause("ms", 100));
            plan
        }
        Fault::Fin | Fault::FinOnce => silent(End::Fin),
        Fault::Rst | Fault::RstOnce => silent(End::Reset),
        Fault::PartialHeaderFin => cut(half_head(), b"", End::Fin),
        Fault::PartialHeaderRst => cut(half_head(), b"", End::Reset),
        // What lies unread in the socket makes a reset of a plain close.
        Fault::Unread => silent(End::Fin),
        Fault::ContinueFin => cut("HTTP/1.1 100 Continue\r\n\r\n".into(), b"", End::Fin),
        Fault::BodyStall => short_body(End::Hang),
        Fault::Drip => {
            let length = target.number("length").unwrap_or(20_000);
            let sent = target.number("sent").unwrap_or(6_000).min(length);
            let mut plan = short_body(End::Keep);
            plan.steps.push(target.pause("pause", 300));
            plan.steps
                .push(Step::Write(vec![b'y'; (length - sent) as usize]));
            plan
        }
        // The key is that of RFC 6455 section 1.3, and so is the answer.
        Fault::WebSocket => Plan {
            steps: vec![Step::Write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                    .into(),
            )],
            end: End::Echo(target.number("ms").map(Duration::from_millis)),
        },
        Fault::Trickle => {
            let head = head(200, &[("Content-Length", &1000)], facts);
            let bytes = (0..30).flat_map(|_| {
                [
                    Step::Pause(Duration::from_secs(2)),
                    Step::Write(b"x".to_vec()),
                ]
            });
            Plan {
                steps: std::iter::once(Step::Write(head.into()))
                    .chain(bytes)
                    .collect(),
                end: End::Fin,
            }
        }
        Fault::ManyHeaders => {
            let lines = target.number("lines").unwrap_or(1_000_000) as usize;
            cut(
                format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(lines)),
                b"",
                End::Fin,
            )
        }
        Fault::Nul => cut(
            "HTTP/1.1 200 OK\r\nX\0Y: a\0b\r\n\0\0: \0\r\nContent-Length: 3\r\n\r\n".into(),
            b"\0\0\0",
            End::Fin,
        ),
        Fault::Die => silent(target.death()),
        Fault::DieBody => short_body(target.death()),
        Fault::BodyFin => short_body(End::Fin),
        Fault::BodyRst => short_body(End::Reset),
        Fault::ChunkedOk => cut(
            head(200, &[("Transfer-Encoding", &"chunked")], facts),
            if facts.method == "HEAD" {
                b""
            } else {
                b"5\r\nhello\r\n0\r\n\r\n"
            },
            End::Keep,
        ),
        Fault::ChunkedFin => open_chunks(End::Fin),
        Fault::ChunkedRst => open_chunks(End::Reset),
        Fault::Malformed(malformed) => Plan {
            steps: {
                let mut steps = malformed.steps(facts.peer, |name| target.number(name));
                steps.push(target.pause("stay", malformed.stay_ms()));
                steps
            },
            end: match malformed.closes() {
                true => End::Fin,
                false => End::Keep,
            },
        },
        Fault::Status(status) => whole(status, b"from the application\n", facts),
        Fault::Status502Once => whole(502, b"from the application\n", facts),
        Fault::Hang => Plan {
            steps: Vec::new(),
            end: End::Hang,
        },
        Fault::CloseAfter => Plan {
            end: End::KeepFor(Duration::from_millis(target.number("ms").unwrap_or(50))),
            ..ok(3)
        },
        Fault::CloseDelimited => cut(
            head(200, &[("Connection", &"close")], facts),
            b"the end of the connection ends the body\n",
            End::Fin,
        ),
        Fault::Continue => after_interim("HTTP/1.1 100 Continue\r\n\r\n", ok(3)),
        Fault::Hints => after_interim(
            "HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n",
            ok(3),
        ),
    }
}

fn after_interim(interim: &str, mut plan: Plan) -> Plan {
    plan.steps.insert(0, Step::Write(interim.into()));
    plan.steps.insert(1, Step::Pause(Duration::from_millis(10)));
    plan
}

fn head(status: u16, headers: &[(&str, &dyn std::fmt::Display)], facts: Facts<'_>) -> String {
    let mut head = format!("HTTP/1.1 {status} Lab\r\nX-Lab-Peer: {}\r\n", facts.peer);
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

fn whole(status: u16, body: &[u8], facts: Facts<'_>) -> Plan {
    let text = match status {
        // Neither has a body, whatever a length says.
        204 | 304 => head(status, &[], facts),
        _ => head(status, &[("Content-Length", &body.len())], facts),
    };
    let body = if matches!(status, 204 | 304) || facts.method == "HEAD" {
        b""
    } else {
        body
    };
    Plan {
        steps: vec![Step::Write([text.as_bytes(), body].concat())],
        end: End::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'static> = Facts {
        method: "GET",
        peer: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4000),
        seen: false,
    };

    fn made(target: &str, facts: Facts<'_>) -> (String, End) {
        let plan = plan(&Target::parse(target), facts);
        let written = plan
            .steps
            .into_iter()
            .filter_map(|step| match step {
                Step::Write(bytes) => Some(String::from_utf8(bytes).unwrap()),
                Step::Pause(_) => None,
            })
            .collect();
        (written, plan.end)
    }

    #[test]
    fn the_first_segment_chooses() {
        for (target, fault) in [
            ("/", Fault::Ok),
            ("/ok/a/b", Fault::Ok),
            ("/fin", Fault::Fin),
            ("/fin/r17?after=3", Fault::Fin),
            ("/502/x", Fault::Status(502)),
            ("/99", Fault::Ok),
            ("/600", Fault::Ok),
            ("no-slash", Fault::Ok),
            ("/rst-once/a", Fault::RstOnce),
            ("/garbage/a", Fault::Malformed(Malformed::Garbage)),
        ] {
            assert_eq!(Target::parse(target).fault, fault, "{target}");
        }
    }

    #[test]
    fn a_cut_body_is_shorter_than_declared() {
        let (text, end) = made("/body-fin?length=50&sent=7", FACTS);
        assert!(text.contains("Content-Length: 50\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nxxxxxxx"), "{text}");
        assert_eq!(end, End::Fin);
        assert_eq!(made("/body-rst", FACTS).1, End::Reset);
    }

    #[test]
    fn chunks_end_only_where_they_should() {
        assert!(made("/chunked-ok", FACTS).0.ends_with("0\r\n\r\n"));
        assert!(made("/chunked-fin", FACTS).0.ends_with("hello\r\n"));
    }

    #[test]
    fn nothing_is_written_for_silent_ends() {
        for (target, end) in [
            ("/fin", End::Fin),
            ("/rst", End::Reset),
            ("/hang", End::Hang),
            ("/unread", End::Fin),
            ("/die?how=segv", End::Die(Death::Segv)),
            ("/die", End::Die(Death::Kill)),
        ] {
            assert_eq!(made(target, FACTS), (String::new(), end), "{target}");
        }
    }

    #[test]
    fn no_body_where_http_forbids_one() {
        let head = Facts {
            method: "HEAD",
            ..FACTS
        };
        for (target, facts) in [
            ("/ok", head),
            ("/204", FACTS),
            ("/304", FACTS),
            ("/chunked-ok", head),
        ] {
            assert!(made(target, facts).0.ends_with("\r\n\r\n"), "{target}");
        }
        assert!(made("/ok", head).0.contains("Content-Length: 3"));
    }

    #[test]
    fn once_means_once() {
        let seen = Facts {
            seen: true,
            ..FACTS
        };
        assert_eq!(made("/fin-once/a", FACTS).1, End::Fin);
        assert!(made("/fin-once/a", seen).0.starts_with("HTTP/1.1 200"));
        assert!(made("/502-once/a", FACTS).0.starts_with("HTTP/1.1 502"));
        assert!(made("/502-once/a", seen).0.starts_with("HTTP/1.1 200"));
    }
}
