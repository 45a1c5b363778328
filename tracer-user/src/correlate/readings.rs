//! What the capture looked up beside the kernel's records: accept queues and open connections.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::event::{ListenQueue, MonoNs, UpstreamsInUse};

/// Readings of each sort that are remembered.
const MAX: usize = 1024;
/// The counter of overflows is read in steps, and one look at a process serves its next failures
/// too: a reading counts for what was this long before or after it.
const SLACK_NS: MonoNs = 300_000_000;

/// The recent readings, oldest first.
#[derive(Debug, Default)]
pub(super) struct Readings {
    queues: VecDeque<ListenQueue>,
    in_use: VecDeque<UpstreamsInUse>,
}

impl Readings {
    /// An accept queue was found full.
    pub(super) fn queue(&mut self, reading: ListenQueue) {
        push(&mut self.queues, reading);
    }

    /// A process was looked at.
    pub(super) fn process(&mut self, reading: UpstreamsInUse) {
        push(&mut self.in_use, reading);
    }

    /// The longest queue of that address between the two moments, if one was full, with all overflows of
    /// that time.
    pub(super) fn full_queue(
        &self,
        addr: SocketAddr,
        from: MonoNs,
        to: MonoNs,
    ) -> Option<ListenQueue> {
        let near = || {
            self.queues.iter().filter(|queue| {
                queue.addr == addr && queue.overflows > 0 && is_near(queue.time_ns, from, to)
            })
        };
        let longest = near().max_by_key(|queue| (queue.waiting, queue.overflows))?;
        Some(ListenQueue {
            overflows: near().map(|queue| queue.overflows).sum(),
            ..*longest
        })
    }

    /// What a process had open at that moment.
    pub(super) fn in_use(&self, pid: u32, port: u16, moment: MonoNs) -> Option<UpstreamsInUse> {
        self.in_use
            .iter()
            .filter(|reading| reading.pid == pid && is_near(reading.time_ns, moment, moment))
            .filter(|reading| reading.port.is_none_or(|its| its == port))
            .min_by_key(|reading| reading.time_ns.abs_diff(moment))
            .copied()
    }
}

fn push<T>(readings: &mut VecDeque<T>, reading: T) {
    if readings.len() >= MAX {
        readings.pop_front();
    }
    readings.push_back(reading);
}

fn is_near(at: MonoNs, from: MonoNs, to: MonoNs) -> bool {
    at.saturating_add(SLACK_NS) >= from && at <= to.saturating_add(SLACK_NS)
}
