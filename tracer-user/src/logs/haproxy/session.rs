//! What lines of requests and of sessions share.

use crate::logs::entry::{Entry, Kind, LogAttempt, System, Text};
use crate::logs::meaning::Blame;
use crate::logs::scan::{ParseError, Scan, number, text};
use crate::logs::stamp::Stamp;

use super::extra::Extra;
use super::head::Head;
use super::state::{self, Outcome};

/// Stands where a server's name would, if none was chosen.
pub(super) const NO_SERVER: &[u8] = b"<NOSRV>";
const MS_NS: u64 = 1_000_000;

/// `%b/%s`.
pub(super) struct Route<'a> {
    /// `be_shop/app1`.
    pub(super) name: Text<'a>,
    /// No server was chosen.
    pub(super) no_server: bool,
}

impl<'a> Route<'a> {
    pub(super) fn read(scan: &mut Scan<'a>) -> Result<Self, ParseError> {
        let before = scan.clone();
        let name = scan.word("a backend and its server")?;
        let at =
            memchr::memrchr(b'/', name).ok_or_else(|| before.error("a backend and its server"))?;
        let no_server = name.get(at + 1..) == Some(NO_SERVER);
        Ok(Self {
            name: text(name),
            no_server,
        })
    }
}

/// Timers of a line, µs. `None`: the phase was not completed.
#[derive(Default)]
pub(super) struct Times {
    pub(super) queue_us: Option<u64>,
    pub(super) connect_us: Option<u64>,
    pub(super) header_us: Option<u64>,
    pub(super) total_us: Option<u64>,
}

/// How the line says that it ended.
pub(super) struct End<'a> {
    pub(super) status: Option<u16>,
    pub(super) state: &'a [u8],
    pub(super) retries: Retries,
    pub(super) bytes_received: Option<u64>,
    pub(super) is_http: bool,
}

/// `%rc`.
#[derive(Clone, Copy, Default)]
pub(super) struct Retries {
    /// Connections that were tried again.
    pub(super) count: u64,
    /// The last of them went to another server.
    pub(super) redispatched: bool,
}

impl Retries {
    /// The last of `%ac/%fc/%bc/%sc/%rc`.
    pub(super) fn of(connections: &[u8]) -> Self {
        let last = connections.rsplit(|byte| *byte == b'/').next();
        let last = last.unwrap_or_default();
        let redispatched = last.starts_with(b"+");
        Self {
            count: number(last.strip_prefix(b"+").unwrap_or(last)).unwrap_or(0),
            redispatched,
        }
    }

    fn any(self) -> bool {
        self.count > 0 || self.redispatched
    }
}

/// A timer in ms, as µs; a `+` stands before one that went on when the line was written.
pub(super) fn ms_as_us(timer: &[u8]) -> Option<u64> {
    let timer = timer.strip_prefix(b"+").unwrap_or(timer);
    number::<u64>(timer)?.checked_mul(1000)
}

/// `total_us` behind `started`. Both were cut to ms, so the moment is known to two of them.
pub(super) fn ended(started: Stamp, total_us: Option<u64>) -> Option<Stamp> {
    let total_ns = i64::try_from(total_us?.checked_mul(1000)?).ok()?;
    Some(Stamp {
        unix_ns: started.unix_ns.checked_add(total_ns)?,
        resolution_ns: started.resolution_ns.saturating_add(MS_NS),
    })
}

/// Puts the parts together.
pub(super) fn entry<'a>(
    head: &Head<'a>,
    route: &Route<'a>,
    times: &Times,
    end: &End<'a>,
    extra: Extra<'a>,
) -> Entry<'a> {
    let mut entry = Entry::new(System::Haproxy, Kind::Access);
    entry.started = Some(head.started);
    entry.time = ended(head.started, times.total_us);
    entry.client = head.client;
    finish(&mut entry, route, times, end, extra);
    entry
}

/// Everything but who asked, and when.
pub(super) fn finish<'a>(
    entry: &mut Entry<'a>,
    route: &Route<'a>,
    times: &Times,
    end: &End<'a>,
    extra: Extra<'a>,
) {
    entry.status = end.status;
    entry.timers.queue_us = times.queue_us;
    entry.timers.connect_us = times.connect_us;
    entry.timers.header_us = times.header_us;
    entry.timers.total_us = times.total_us;
    entry.meaning = state::meaning(&Outcome {
        state: end.state,
        status: end.status,
        no_server: route.no_server,
        retried: end.retries.any(),
        is_http: end.is_http,
        error: &extra.error,
    });
    entry.request_id = extra.request_id;
    entry.traceparent = extra.traceparent;
    if entry.meaning.is_some() {
        let mut says = text(end.state).into_owned();
        for part in [extra.error.connection, extra.error.tls]
            .into_iter()
            .flatten()
        {
            says.push(' ');
            says.push_str(&text(part));
        }
        entry.says = Some(says.into());
    }
    // Where nobody was asked, the backend is worth a name only if it should have been asked.
    let blames_backend = entry
        .meaning
        .is_some_and(|meaning| meaning.blame == Blame::Backend);
    if route.no_server && !blames_backend {
        return;
    }
    entry.attempts.push(LogAttempt {
        name: Some(route.name.clone()),
        addr: extra.server,
        local: extra.local,
        // Without a head from the server the status, and what was sent with it, is HAProxy's own.
        status: end.status.filter(|_| times.header_us.is_some()),
        connect_us: times.connect_us,
        header_us: times.header_us,
        received_bytes: end
            .bytes_received
            .filter(|_| times.header_us.is_some() || !end.is_http),
        ..LogAttempt::default()
    });
}
