//! What a process had open when it failed a request without a backend connection.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tracer_ebpf::{Cause, Role};

use crate::event::{Exchange, UpstreamsInUse};
use crate::kernel::loader::Tracer;

/// One look serves all failures of a process within this time.
const AGAIN: Duration = Duration::from_millis(200);
/// Most connections that are looked at: each costs two system calls.
const CONNECTIONS_MAX: usize = 20_000;

/// When each process was looked at, by the port that its client came to.
#[derive(Default)]
pub(super) struct InUse {
    looked: HashMap<(u32, u16), Instant>,
}

impl InUse {
    /// Looks, if this record is of a failure that no backend connection explains.
    pub(super) fn look(
        &mut self,
        tracer: &Tracer,
        client: &Exchange,
        now: Instant,
    ) -> Option<UpstreamsInUse> {
        let fails = client.role == Role::Accepted
            && client.link.is_none()
            && client.cause == Cause::Status
            && client.status.is_some_and(|status| status >= 500);
        let recent = |at: &Instant| now.duration_since(*at) < AGAIN;
        let place = (client.pid, client.local.port());
        if !fails || self.looked.get(&place).is_some_and(recent) {
            return None;
        }
        self.looked.retain(|_, at| recent(at));
        self.looked.insert(place, now);
        let at = client.times.response_start.unwrap_or(client.time_ns);
        let port = client.local.port();
        let found = tracer.upstreams_in_use(client.pid, port, at, CONNECTIONS_MAX);
        let process = Path::new("/proc").join(client.pid.to_string());
        Some(UpstreamsInUse {
            time_ns: at,
            pid: client.pid,
            busy: found.busy,
            idle: found.idle,
            port: Some(port),
            route_busy: Some(found.route_busy),
            route_idle: Some(found.route_idle),
            descriptors: fs::read_dir(process.join("fd"))
                .ok()
                .map(|entries| entries.count() as u64),
            descriptor_limit: fs::read_to_string(process.join("limits"))
                .ok()
                .and_then(|limits| soft_limit(&limits)),
        })
    }
}

/// `Max open files            1024                 524288               files`
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let own = fs::read_to_string("/proc/self/limits").unwrap();
        assert!(soft_limit(&own).is_some_and(|limit| limit > 0));
        assert_eq!(
            soft_limit("Max open files   unlimited   unlimited files"),
            None
        );
        assert_eq!(soft_limit(""), None);
    }
}
