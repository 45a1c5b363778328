//! Requests at a fixed rate, and how long each took from the moment at which it was due: a site that stands
//! still delays those behind, too, and a client that waits for it would not count them ("coordinated
//! omission", <https://www.scylladb.com/2021/04/22/on-coordinated-omission/>).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde::Serialize;

use crate::lab::client::{Client, Request};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Requests in a second, over all connections.
    pub(super) per_second: f64,
    /// Connections, each with one request at a time.
    pub(super) connections: u32,
    /// For how long.
    pub(super) duration: Duration,
}

/// How long requests took from when they were due, us.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latencies {
    /// Requests in a second that were wanted.
    pub per_second: f64,
    /// Half of them took at most so long.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1000.
    pub p999_us: f64,
}

/// Asks. Errors: a response is not a good one.
pub(super) fn run(addr: SocketAddr, plan: Plan) -> Result<Latencies> {
    let gap = Duration::from_secs_f64(f64::from(plan.connections) / plan.per_second);
    // All of them are connected by then.
    let start = Instant::now() + Duration::from_millis(100);
    let mut took = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.connections)
            .map(|n| {
                let first = start + gap.mul_f64(f64::from(n) / f64::from(plan.connections));
                scope.spawn(move || one(addr, first, gap, start + plan.duration))
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            let took = thread.join().map_err(|_| anyhow!("a client panicked"))??;
            all.extend(took);
        }
        anyhow::Ok(all)
    })?;
    took.sort_unstable();
    ensure!(!took.is_empty(), "no request was due");
    let at = |share: f64| {
        let index = ((took.len() - 1) as f64 * share).round() as usize;
        took[index].as_secs_f64() * 1e6
    };
    Ok(Latencies {
        per_second: plan.per_second,
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
    })
}

/// The requests of one connection.
fn one(addr: SocketAddr, first: Instant, gap: Duration, end: Instant) -> Result<Vec<Duration>> {
    let mut client = Client::connect(addr)?;
    let request = Request::get("/");
    let mut took = Vec::new();
    let mut due = first;
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let reply = client.send(&request)?;
        ensure!(
            reply.complete && reply.status == Some(200),
            "not a good response: {reply:?}"
        );
        took.push(due.elapsed());
        due += gap;
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::backend::Backend;

    #[test]
    fn what_stands_still_delays_those_behind() {
        let backend = Backend::start().unwrap();
        let plan = Plan {
            per_second: 200.0,
            connections: 2,
            duration: Duration::from_millis(500),
        };
        let calm = run(backend.addr(), plan).unwrap();
        assert!(calm.p50_us <= calm.p99_us && calm.p99_us <= calm.p999_us);
        let first = Instant::now() - Duration::from_millis(300);
        let took = one(
            backend.addr(),
            first,
            Duration::from_millis(100),
            first + Duration::from_millis(250),
        );
        let took = took.unwrap();
        // Three were due before the first was sent.
        assert_eq!(took.len(), 3);
        assert!(took[0] > Duration::from_millis(290) && took[1] > Duration::from_millis(190));
        assert!(took[0] > took[2]);
    }
}
