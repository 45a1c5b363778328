//! A failure as a log tells of it, on the clock of the session.

use std::net::{IpAddr, SocketAddr};

use crate::case::{JoinKey, LogLine};
use crate::event::{LogRead, MonoNs};
use crate::logs::{Assume, Entry, Format, Kind, Meaning, Peer, Stamp, System};
use crate::report::Clock;

/// One try, as the log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SightedAttempt {
    pub(crate) addr: Option<SocketAddr>,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) local_port: Option<u16>,
    pub(crate) status: Option<u16>,
}

impl SightedAttempt {
    /// Does it name a backend at all?
    pub(crate) fn names_backend(&self) -> bool {
        self.addr.is_some() || self.ip.is_some()
    }

    /// Is this backend the one that it names?
    pub(crate) fn is_to(&self, upstream: SocketAddr) -> bool {
        match (self.addr, self.ip) {
            (Some(addr), _) => same_ip(addr.ip(), upstream.ip()) && addr.port() == upstream.port(),
            (None, Some(ip)) => same_ip(ip, upstream.ip()),
            (None, None) => false,
        }
    }

    /// Is this the proxy's end of its connection?
    pub(crate) fn is_from(&self, local: SocketAddr) -> bool {
        match (self.local, self.local_port) {
            (Some(own), _) => same_ip(own.ip(), local.ip()) && own.port() == local.port(),
            (None, port) => port == Some(local.port()),
        }
    }
}

fn same_ip(a: IpAddr, b: IpAddr) -> bool {
    a.to_canonical() == b.to_canonical()
}

/// A failure as a log tells of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sighting {
    pub(crate) system: System,
    pub(crate) kind: Kind,
    pub(crate) meaning: Option<&'static Meaning>,
    /// First moment at which what it tells of can have happened, by the log's clock turned into the
    /// session's.
    pub(crate) from: MonoNs,
    /// Last such moment.
    pub(crate) to: MonoNs,
    /// The time of the line.
    pub(crate) at: MonoNs,
    /// How exact that is, ns.
    pub(crate) resolution_ns: u64,
    pub(crate) read_at: MonoNs,
    pub(crate) status: Option<u16>,
    pub(crate) client: Option<Peer>,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) tid: Option<u32>,
    /// The proxy's own number of the client's connection.
    pub(crate) connection: Option<u64>,
    pub(crate) attempts: Vec<SightedAttempt>,
    /// The whole request took this long, µs.
    pub(crate) total_us: Option<u64>,
    source: &'static str,
    file: String,
    number: u64,
    line: String,
    written: Option<Stamp>,
}

impl Sighting {
    /// Reads a line again that was recognised when it was found; `None` if it tells of no failure.
    pub(crate) fn new(read: &LogRead, clock: Clock, utc_offset_s: i32) -> Option<Self> {
        let format: Format = read.format.parse().ok()?;
        let assume = Assume::offset(utc_offset_s, clock.unix(read.time_ns));
        let entry = format.parse(read.line.as_bytes(), &assume).ok()?;
        entry.meaning.filter(|meaning| meaning.is_failure())?;
        Some(Self::of(&entry, &format, read, clock))
    }

    fn of(entry: &Entry<'_>, format: &Format, read: &LogRead, clock: Clock) -> Self {
        let total_us = entry.timers.total_us;
        let took_ns = total_us.unwrap_or(0).saturating_mul(1000);
        let finished = entry.started.map(|stamp| Stamp {
            unix_ns: stamp.unix_ns.saturating_add_unsigned(took_ns),
            ..stamp
        });
        let written = entry.time.or(finished);
        let at = written.map_or(read.time_ns, |stamp| clock.mono(stamp.unix_ns));
        let resolution_ns = written.map_or(0, |stamp| stamp.resolution_ns);
        let began = match entry.started {
            Some(started) => clock.mono(started.unix_ns),
            None => at.saturating_sub(took_ns),
        };
        let owned = |text: &Option<crate::logs::Text<'_>>| text.as_deref().map(str::to_owned);
        Self {
            system: entry.system,
            kind: entry.kind,
            meaning: entry.meaning,
            from: began.min(at),
            to: at.max(began).saturating_add(resolution_ns),
            at,
            resolution_ns,
            read_at: read.time_ns,
            status: entry.status,
            client: entry.client,
            method: owned(&entry.method),
            path: entry.path().map(str::to_owned),
            protocol: owned(&entry.protocol),
            host: owned(&entry.host),
            request_id: owned(&entry.request_id),
            traceparent: owned(&entry.traceparent),
            pid: entry.pid,
            tid: entry.tid,
            connection: entry.connection,
            attempts: entry
                .attempts
                .iter()
                .map(|attempt| SightedAttempt {
                    addr: attempt.addr,
                    ip: attempt.ip,
                    local: attempt.local,
                    local_port: attempt.local_port,
                    status: attempt.status,
                })
                .collect(),
            total_us,
            source: format.name(),
            file: read.path.clone(),
            number: read.number,
            line: read.line.clone(),
            written,
        }
    }

    /// The file and what its lines are about: of each such a case takes the lines that are its own.
    pub(crate) fn stream(&self) -> (&str, Kind) {
        (&self.file, self.kind)
    }

    /// Client's address and port, where both are logged.
    pub(crate) fn client_addr(&self) -> Option<SocketAddr> {
        let client = self.client?;
        Some(SocketAddr::new(client.ip.to_canonical(), client.port?))
    }

    /// Moved by the difference of the clocks.
    pub(crate) fn shifted(mut self, skew_ns: i64) -> Self {
        for moment in [&mut self.from, &mut self.to, &mut self.at] {
            *moment = moment.saturating_add_signed(-skew_ns);
        }
        self
    }

    /// As it is told in a case.
    pub(crate) fn told(&self, joined_by: JoinKey) -> LogLine {
        LogLine {
            source: self.source,
            line: self.line.clone(),
            path: self.file.clone(),
            number: self.number,
            written_unix_ns: self.written.map(|stamp| stamp.unix_ns),
            joined_by,
            meaning: self.meaning,
        }
    }
}
