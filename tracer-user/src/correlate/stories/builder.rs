//! Tells a story. Times are milliseconds after the backend request; the client's request began at
//! -2 ms. Client connections are numbered from 500, backend connections from 1.

use tracer_ebpf::{Cause, LinkHow, Role};

use crate::case::{Case, Confidence, Outcome};
use crate::correlate::{Correlator, Limits};
use crate::diagnose::testing::{self, AttemptBuilder, at};
use crate::event::{
    ConnId, Exchange, Input, KernelEvent, Link, ProxyKind, ProxyProcess, SessionStart,
};

/// A request as it stands on both sides.
pub(super) const GET: &str = "GET /a?q=1 HTTP/1.1\r\nHost: h\r\n\r\n";
/// A response head that declares 1000 bytes.
pub(super) const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";

/// Inputs in order.
#[derive(Clone)]
pub(super) struct Story {
    inputs: Vec<Input>,
    limits: Limits,
}

/// What a story came to.
pub(super) struct Told {
    pub(super) cases: Vec<Case>,
    pub(super) notes: Vec<String>,
    counters: Vec<(&'static str, u64)>,
}

impl Told {
    /// Value of a counter.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.counters
            .iter()
            .find(|(other, _)| *other == name)
            .unwrap_or_else(|| panic!("no counter {name}"))
            .1
    }

    /// Outcome, status, rule, confidence and upstream ports of each case.
    pub(super) fn short(&self) -> Vec<Short> {
        self.cases
            .iter()
            .map(|case| {
                let conns = case
                    .attempts
                    .iter()
                    .map(|attempt| attempt.local.map_or(0, |local| local.port()) - 40_000)
                    .collect();
                (
                    case.outcome,
                    case.status,
                    case.verdict.rule,
                    case.verdict.confidence,
                    conns,
                )
            })
            .collect()
    }

    /// The same of the only case.
    pub(super) fn one(&self) -> Short {
        let mut all = self.short();
        assert_eq!(all.len(), 1, "{all:?} {:?}", self.counters);
        all.remove(0)
    }

    /// Expects no case, and this counter at 1.
    pub(super) fn nothing_but(&self, counter: &str) {
        assert!(self.cases.is_empty(), "{:?}", self.short());
        assert_eq!(self.count(counter), 1, "{counter} in {:?}", self.counters);
    }
}

/// Outcome, status, rule, confidence, backend connections.
pub(super) type Short = (Outcome, Option<u16>, &'static str, Confidence, Vec<u16>);

impl Story {
    pub(super) fn new(statuses: &[u16]) -> Self {
        Self {
            limits: Limits::default(),
            inputs: vec![
                Input::Start(SessionStart {
                    version: "0".into(),
                    host: "h".into(),
                    kernel: "6.18".into(),
                    started_unix_ns: 0,
                    started_mono_ns: at(-60_000),
                    statuses: statuses.to_vec(),
                    outcomes: Vec::new(),
                    role: crate::event::HostRole::Proxy,
                    reset_reasons: vec![(4, "TCP_ABORT_ON_DATA".into())],
                    utc_offset_s: 0,
                    logs: false,
                    notes: Vec::new(),
                }),
                Input::Proxy(ProxyProcess {
                    instance: None,
                    pid: 100,
                    kind: ProxyKind::Nginx,
                }),
            ],
        }
    }

    /// A story with the statuses that are watched by default.
    pub(super) fn usual() -> Self {
        Self::new(&[502, 503, 504])
    }

    pub(super) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(super) fn outcomes(mut self, names: &[&str]) -> Self {
        if let Input::Start(start) = &mut self.inputs[0] {
            start.outcomes = names.iter().map(|name| (*name).to_owned()).collect();
        }
        self
    }

    pub(super) fn input(mut self, input: Input) -> Self {
        self.inputs.push(input);
        self
    }

    /// A backend exchange failed.
    pub(super) fn up(self, attempt: AttemptBuilder) -> Self {
        self.record(attempt.with(local_port_is_conn).exchange())
    }

    /// What a client got.
    pub(super) fn down(self, client: ClientBuilder) -> Self {
        self.record(client.0)
    }

    fn record(self, exchange: Exchange) -> Self {
        self.input(Input::Kernel(KernelEvent::Exchange(Box::new(exchange))))
    }

    pub(super) fn tick(self, ms: i64) -> Self {
        self.input(Input::Tick(at(ms)))
    }

    /// Tells it as far as it goes, without an end.
    pub(super) fn so_far(&self) -> Told {
        let mut correlator = Correlator::with_limits(self.limits);
        let cases = self
            .inputs
            .iter()
            .flat_map(|input| correlator.input(input))
            .collect();
        Told {
            cases,
            notes: correlator.notes(),
            counters: correlator.counters(),
        }
    }

    /// Tells it to its end.
    pub(super) fn tell(self) -> Told {
        self.input(Input::End(at(500_000))).so_far()
    }
}

fn local_port_is_conn(x: &mut Exchange) {
    x.local.set_port(40_000 + x.conn.0 as u16);
}

/// Builds what a client got.
#[derive(Clone)]
pub(super) struct ClientBuilder(Exchange);

/// A client that got nothing yet.
pub(super) fn client(conn: u64) -> ClientBuilder {
    let mut x = testing::exchange(Role::Accepted, conn);
    x.times.established = Some(at(-5));
    x.times.request_start = Some(at(-2));
    x.request_head = GET.as_bytes().to_vec();
    x.request_bytes = GET.len() as u64;
    ClientBuilder(x)
}

impl ClientBuilder {
    /// Its response began with this status.
    pub(super) fn status(self, status: u16, ms: i64) -> Self {
        let head = format!("HTTP/1.1 {status} X\r\n");
        self.with(|x| {
            x.cause = if [502, 503, 504].contains(&status) {
                Cause::Status
            } else {
                Cause::Watched
            };
            x.status = Some(status);
            x.response_bytes = head.len() as u64;
            x.response_head = head.into_bytes();
            x.times.response_start = Some(at(ms));
            x.time_ns = at(ms);
        })
    }

    /// It got these response bytes.
    pub(super) fn got(self, status: u16, head: &str, body: u64) -> Self {
        self.with(|x| {
            x.status = Some(status);
            x.response_head = head.as_bytes().to_vec();
            x.response_bytes = head.len() as u64 + body;
            x.times.response_start = Some(at(4));
        })
    }

    /// The proxy closed the connection.
    pub(super) fn closed(self, ms: i64) -> Self {
        self.with(|x| {
            x.cause = Cause::Ended;
            x.times.closed = Some(at(ms));
            x.time_ns = at(ms);
        })
    }

    /// The client's FIN.
    pub(super) fn left(self, ms: i64) -> Self {
        self.with(|x| {
            x.cause = Cause::Ended;
            x.times.fin_received = Some(at(ms));
        })
    }

    /// A backend connection took its request up.
    pub(super) fn served_by(self, conn: u64, exchange: u32, ms: i64) -> Self {
        self.with(|x| {
            x.link = Some(Link {
                conn: ConnId(conn),
                exchange,
                at_ns: at(ms),
                how: LinkHow::SameTarget,
            });
        })
    }

    /// The thread's last backend event.
    pub(super) fn thread_last(self, conn: u64, ms: i64) -> Self {
        self.with(|x| x.thread_last_upstream = Some((ConnId(conn), at(ms))))
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Exchange)) -> Self {
        change(&mut self.0);
        self
    }
}

/// The request was sent and the backend's FIN came after so many ms.
pub(super) fn fin(conn: u64, ms: i64) -> AttemptBuilder {
    AttemptBuilder::sent()
        .conn(conn)
        .request(GET)
        .fin(ms)
        .closed(ms)
}

/// The connection was refused at that time.
pub(super) fn refused(conn: u64, ms: i64) -> AttemptBuilder {
    AttemptBuilder::connecting()
        .conn(conn)
        .with(|x| x.times.opened = Some(at(ms)))
        .reset(ms)
        .closed(ms)
}

/// The backend cut the body after 400 of 1000 bytes.
pub(super) fn cut(conn: u64, ms: i64) -> AttemptBuilder {
    fin(conn, ms).response(200, SIZED, 400)
}
