//! What has to hold of tracing, of tracing without the backends of this host, and of standing by.

use super::scenario::SCENARIOS;
use super::{Row, Tool, latency};
use crate::bench::target::Target;

/// At least so much of the requests per second must be left with why502, in the first scenario.
const RATIO_MIN: f64 = 0.98;
/// Most time of its programs for a request that goes through the proxy, ns.
const KERNEL_NS_MAX: f64 = 1000.0;
/// The same, in times of what empty programs take.
const FLOOR_TIMES_MAX: f64 = 4.0;

/// All of it.
pub(super) fn targets(rows: &[Row]) -> Vec<Target> {
    [Tool::Why502, Tool::Why502Proxy, Tool::Why502Standby]
        .into_iter()
        .flat_map(|tool| targets_of(rows, tool))
        .collect()
}

fn find<'a>(rows: &'a [Row], scenario: &str, tool: Tool) -> Option<&'a Row> {
    rows.iter()
        .find(|row| row.scenario == scenario && row.tool == tool.name())
}

fn targets_of(rows: &[Row], tool: Tool) -> Vec<Target> {
    let mut targets = Vec::new();
    if let Some(ours) = find(rows, SCENARIOS[0].name, tool) {
        let what = format!("{}: {}", ours.scenario, ours.tool);
        if let Some(ratio) = ours.rps_ratio_median {
            targets.push(Target {
                what: format!(
                    "{what}: {:.1} % of the requests per second are left, at least {:.0} % are wanted",
                    ratio * 100.0,
                    RATIO_MIN * 100.0
                ),
                held: ratio >= RATIO_MIN,
            });
        }
        if let Some(ns) = ours.kernel_ns_per_request {
            targets.push(Target {
                what: format!(
                    "{what}: {ns:.0} ns in the kernel for a request, at most {KERNEL_NS_MAX} are wanted"
                ),
                held: ns <= KERNEL_NS_MAX,
            });
            let floor = find(rows, ours.scenario, Tool::Floor);
            if let Some(floor) = floor.and_then(|row| row.kernel_ns_per_request) {
                targets.push(Target {
                    what: format!(
                        "{what}: {:.1} times the time of empty programs ({floor:.0} ns), at most \
                         {FLOOR_TIMES_MAX} are wanted",
                        ns / floor
                    ),
                    held: ns <= floor * FLOOR_TIMES_MAX,
                });
            }
        }
        targets.extend(latency::target(ours));
    }
    for ours in rows.iter().filter(|row| row.tool == tool.name()) {
        for peer in Tool::ALL.into_iter().filter(|tool| tool.sees_payload()) {
            let peer = find(rows, ours.scenario, peer);
            let added = peer.and_then(|peer| Some((peer, peer.cpu_ns_added_quiet?)));
            let (Some((peer, theirs)), Some(own)) = (added, ours.cpu_ns_added_quiet) else {
                continue;
            };
            targets.push(Target {
                what: format!(
                    "{}: {} adds {:.1} us of processor time to a request in the quietest round, {} {:.1} us",
                    ours.scenario,
                    ours.tool,
                    own / 1e3,
                    peer.tool,
                    theirs / 1e3
                ),
                held: own < theirs,
            });
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_must_hold() {
        let row = |tool: Tool, ratio, ns, added| Row {
            scenario: SCENARIOS[0].name,
            tool: tool.name(),
            rps_median: 1.0,
            rps_ratio_median: Some(ratio),
            rps_ratio_spread: None,
            cpu_ns_per_request: 1.0,
            cpu_ns_least: 1.0,
            cpu_ns_added_quiet: Some(added),
            cpu_ns_added_median: None,
            cpu_ns_added_spread: None,
            kernel_ns_per_request: ns,
            kernel_programs: BTreeMap::new(),
            latency: None,
            user_cpu_ratio: None,
            rss_bytes: None,
        };
        let held = |rows: &[Row]| {
            let targets = targets(rows);
            targets.iter().map(|target| target.held).collect::<Vec<_>>()
        };
        let peers = [
            row(Tool::BpftraceSock, 0.8, Some(3000.0), 4000.0),
            row(Tool::Tcpdump, 0.99, None, 1900.0),
            row(Tool::Tcplife, 1.0, None, 0.0),
        ];
        let mut rows = vec![
            row(Tool::Floor, 0.99, Some(300.0), 500.0),
            row(Tool::Why502, 0.985, Some(900.0), 2000.0),
        ];
        rows.extend(peers.clone());
        assert_eq!(held(&rows), [true, true, true, true, false]);
        rows[1] = row(Tool::Why502, 0.97, Some(1300.0), 2000.0);
        assert_eq!(held(&rows), [false, false, false, true, false]);
        assert_eq!(held(&peers), [] as [bool; 0]);
    }
}
