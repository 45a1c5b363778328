//! Variables of NGINX and their values, and what they say together.
//!
//! Variables: <https://nginx.org/en/docs/varindex.html>; those of backends:
//! <https://nginx.org/en/docs/http/ngx_http_upstream_module.html#variables>.

use super::statuses::{self, Seen};
use crate::logs::entry::{Entry, Kind, LogAttempt, System, Text, peer};
use crate::logs::scan::{number, seconds_as_us, status};
use crate::logs::stamp::{Stamp, clf, epoch, rfc3339};

/// Tries of one request that are kept. NGINX makes as many as a group has servers.
const ATTEMPTS_MAX: usize = 64;

/// A variable that tells something about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Iso8601,
    TimeLocal,
    Msec,
    Client,
    ClientPort,
    Request,
    Method,
    Target,
    Path,
    Protocol,
    Host,
    ServerName,
    Status,
    RequestTime,
    RequestId,
    OwnRequestId,
    Traceparent,
    Pid,
    Connection,
    CacheStatus,
    Upstream(Column),
}

/// A variable that holds one value for each try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Addr,
    Status,
    Connect,
    Header,
    Response,
    Received,
    Sent,
}

const COLUMNS: usize = 7;

impl Variable {
    /// The variable of a name, or of a key that people give it in JSON.
    pub(super) fn named(name: &str) -> Option<Self> {
        use Column as C;
        Some(match name {
            "time_iso8601" | "time" | "timestamp" | "@timestamp" => Self::Iso8601,
            "time_local" => Self::TimeLocal,
            "msec" => Self::Msec,
            "remote_addr" => Self::Client,
            "remote_port" => Self::ClientPort,
            "request" => Self::Request,
            "request_method" | "method" => Self::Method,
            "request_uri" => Self::Target,
            "uri" | "document_uri" => Self::Path,
            "server_protocol" => Self::Protocol,
            "host" | "http_host" => Self::Host,
            "server_name" => Self::ServerName,
            "status" => Self::Status,
            "request_time" => Self::RequestTime,
            "http_x_request_id" | "x_request_id" => Self::RequestId,
            "request_id" => Self::OwnRequestId,
            "http_traceparent" | "traceparent" => Self::Traceparent,
            "pid" => Self::Pid,
            "connection" => Self::Connection,
            "upstream_cache_status" => Self::CacheStatus,
            "upstream_addr" => Self::Upstream(C::Addr),
            "upstream_status" => Self::Upstream(C::Status),
            "upstream_connect_time" => Self::Upstream(C::Connect),
            "upstream_header_time" => Self::Upstream(C::Header),
            "upstream_response_time" => Self::Upstream(C::Response),
            "upstream_bytes_received" => Self::Upstream(C::Received),
            "upstream_bytes_sent" => Self::Upstream(C::Sent),
            _ => return None,
        })
    }

    /// Does the value say for each try how it went? Only then can it hold `, ` and ` : `.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Upstream(_))
    }
}

/// The variables of one line.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    entry: Entry<'a>,
    client_port: Option<u16>,
    path: Option<Text<'a>>,
    server_name: Option<Text<'a>>,
    own_request_id: Option<Text<'a>>,
    from_cache: bool,
    columns: [Option<Text<'a>>; COLUMNS],
}

impl<'a> Fields<'a> {
    pub(super) fn new() -> Self {
        Self {
            entry: Entry::new(System::Nginx, Kind::Access),
            client_port: None,
            path: None,
            server_name: None,
            own_request_id: None,
            from_cache: false,
            columns: Default::default(),
        }
    }

    /// Takes the value of a variable; escaping was undone.
    pub(super) fn set(&mut self, variable: Variable, value: Text<'a>) {
        if let Variable::Upstream(column) = variable {
            if let Some(place) = self.columns.get_mut(column as usize) {
                *place = Some(value);
            }
            return;
        }
        if matches!(&*value, "" | "-") {
            return;
        }
        let entry = &mut self.entry;
        match variable {
            Variable::Iso8601 => self.set_time(rfc3339(&value).or_else(|| clf(&value))),
            Variable::TimeLocal => self.set_time(clf(&value)),
            Variable::Msec => self.set_time(epoch(&value)),
            Variable::Client => entry.client = peer(&value),
            Variable::ClientPort => self.client_port = number(value.as_bytes()),
            Variable::Request => entry.set_request_line(value),
            Variable::Method => entry.method = Some(value),
            Variable::Target => entry.target = Some(value),
            Variable::Path => self.path = Some(value),
            Variable::Protocol => entry.protocol = Some(value),
            Variable::Host => entry.host = Some(value),
            Variable::ServerName => self.server_name = Some(value),
            Variable::Status => entry.status = status(value.as_bytes()),
            Variable::RequestTime => entry.timers.total_us = seconds_as_us(value.as_bytes()),
            Variable::RequestId => entry.request_id = Some(value),
            Variable::OwnRequestId => self.own_request_id = Some(value),
            Variable::Traceparent => entry.traceparent = Some(value),
            Variable::Pid => entry.pid = number(value.as_bytes()),
            Variable::Connection => entry.connection = number(value.as_bytes()),
            Variable::CacheStatus => {
                self.from_cache = matches!(&*value, "HIT" | "STALE" | "UPDATING" | "REVALIDATED");
            }
            Variable::Upstream(_) => {}
        }
    }

    /// Of several times the one that is more exact.
    fn set_time(&mut self, time: Option<Stamp>) {
        let exactness = |stamp: &Stamp| stamp.resolution_ns;
        self.entry.time = self
            .entry
            .time
            .into_iter()
            .chain(time)
            .min_by_key(exactness);
    }

    /// What all the variables say together.
    pub(super) fn finish(mut self) -> Entry<'a> {
        let attempts = self.attempts();
        let has = |column: Column| self.column(column).is_some();
        let seen = Seen {
            attempts: &attempts,
            upstream: has(Column::Addr) || has(Column::Status),
            connect: has(Column::Connect),
            header: has(Column::Header),
            from_cache: self.from_cache,
        };
        let meaning = self
            .entry
            .status
            .and_then(|status| statuses::meaning(status, &seen));
        let mut entry = self.entry;
        entry.meaning = meaning;
        entry.attempts = attempts;
        entry.target = entry.target.or(self.path);
        entry.host = entry.host.or(self.server_name);
        entry.request_id = entry.request_id.or(self.own_request_id.take());
        if let Some(client) = &mut entry.client {
            client.port = client.port.or(self.client_port);
        }
        entry
    }

    fn column(&self, column: Column) -> Option<&str> {
        self.columns.get(column as usize)?.as_deref()
    }

    /// `, ` stands between the peers of one pass, ` : ` between passes; all columns have the same form.
    fn attempts(&self) -> Vec<LogAttempt<'a>> {
        use Column as C;
        let mut attempts: Vec<LogAttempt<'a>> = Vec::new();
        for column in [
            C::Addr,
            C::Status,
            C::Connect,
            C::Header,
            C::Response,
            C::Received,
            C::Sent,
        ] {
            // A single `-`: no backend was asked.
            let Some(value) = self.column(column).filter(|value| *value != "-") else {
                continue;
            };
            let parts = value.split(", ").flat_map(|pass| pass.split(" : "));
            // A pass in which nobody was asked leaves nothing behind its separator.
            let parts = parts.map(str::trim).filter(|part| !part.is_empty());
            for (at, part) in parts.take(ATTEMPTS_MAX).enumerate() {
                if at == attempts.len() {
                    attempts.push(LogAttempt::default());
                }
                if let Some(attempt) = attempts.get_mut(at) {
                    set_part(attempt, column, part);
                }
            }
        }
        // With one column alone that says `-`, there is nothing to tell of a try.
        if self
            .column(C::Addr)
            .is_some_and(|addr| matches!(addr, "" | "-"))
        {
            attempts.clear();
        }
        attempts
    }
}

fn set_part(attempt: &mut LogAttempt<'_>, column: Column, part: &str) {
    let bytes = part.as_bytes();
    match column {
        Column::Addr => {
            attempt.addr = part.parse().ok();
            attempt.name = (part != "-").then(|| part.to_owned().into());
        }
        Column::Status => attempt.status = status(bytes),
        Column::Connect => attempt.connect_us = seconds_as_us(bytes),
        Column::Header => attempt.header_us = seconds_as_us(bytes),
        Column::Response => attempt.response_us = seconds_as_us(bytes),
        Column::Received => attempt.received_bytes = number(bytes),
        Column::Sent => attempt.sent_bytes = number(bytes),
    }
}
