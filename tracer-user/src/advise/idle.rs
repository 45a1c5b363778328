//! Who lets go of an idle connection first: can a request meet one that the backend is closing?

use super::in_force::{InForce, micros};
use super::{Advice, Measured, plural, time};
use tracer_ebpf::IDLE_CLOSE_MIN_US;

use crate::config::{Directive, Setting};
use crate::diagnose::idle::near_default;
use crate::event::ProxyKind;

const KIND: &str = "keep-alive";
/// Fewer closed connections may be anything: a restart, a limit of requests.
const SAMPLES: u64 = 3;
/// A race after a shorter gap shows no idle timeout either.
const SHORTEST_US: u64 = IDLE_CLOSE_MIN_US as u64;

/// What is known of the backend's idle timeout.
struct Gap {
    /// Shortest idle time after which it closed, µs.
    closes_us: u64,
    /// In how many closes.
    count: u64,
}

pub(super) fn advise(
    proxy: &ProxyKind,
    measured: &Measured<'_>,
    in_force: &InForce<'_>,
) -> Option<Advice> {
    let gap = gap(measured)?;
    let races = measured.failures.race_idle;
    let reused = measured.idle_reused_max_us;
    let used_late = reused.is_some_and(|us| us >= gap.closes_us - gap.closes_us / 5);
    let directive = match proxy {
        ProxyKind::Nginx => Some(Directive::KeepaliveTimeout),
        ProxyKind::Haproxy => Some(Directive::PoolPurgeDelay),
        ProxyKind::Envoy | ProxyKind::Apache | ProxyKind::Other(_) => None,
    };
    let longest = directive.and_then(|directive| {
        let values = in_force.values(directive).into_iter();
        values.max_by_key(|setting| micros(&setting.value))
    });
    let kept_us = longest.and_then(|setting| micros(&setting.value));
    let happened = races.count > 0;
    let possible = match (proxy, kept_us) {
        // NGINX closes on time; it must pool at all.
        (ProxyKind::Nginx, Some(kept)) => {
            kept >= gap.closes_us - gap.closes_us / 10 && (happened || reused.is_some())
        }
        // HAProxy drops half of the idle connections at a time, so single ones live longer.
        _ => happened || used_late,
    };
    if !possible {
        return None;
    }

    let mut text = match measured.idle_closed {
        0 => format!(
            "The backend closed idle connections, as soon as after {}",
            time(gap.closes_us)
        ),
        closed => format!(
            "The backend closed idle connections {}, the soonest after {}",
            times(closed),
            time(gap.closes_us)
        ),
    };
    if let Some((seconds, who)) = near_default(gap.closes_us.saturating_mul(1000)) {
        text += &format!(" ({seconds} s is the default of {who})");
    }
    if let Some(us) = reused {
        text += &format!("; {proxy} used one again after up to {}", time(us));
    }
    if let Some(sentence) = directive.and_then(|directive| in_force.sentence(directive)) {
        text += &format!("; {sentence}");
    }
    text += match happened {
        true => ". ",
        false => ". No request was lost so far, but one can be: ",
    };
    if happened {
        text += &format!(
            "{} met a connection that was being closed. ",
            plural(races.count, "request")
        );
    }
    text += &remedy(proxy, kept_us, happened);
    let change = match proxy {
        ProxyKind::Nginx => Some(format!("keepalive_timeout {};", below(gap.closes_us, 5, 4))),
        ProxyKind::Haproxy => Some(format!("pool-purge-delay {}", below(gap.closes_us, 4, 1))),
        ProxyKind::Envoy | ProxyKind::Apache | ProxyKind::Other(_) => None,
    };
    Some(
        Advice::new(KIND, text, directive)
            .with(longest.filter(|longest| is_only(in_force, longest)))
            .change(change)
            .measured([
                ("idle_closed", Some(measured.idle_closed)),
                ("idle_closed_min_us", measured.idle_closed_min_us),
                ("idle_reused_max_us", reused),
                ("races", happened.then_some(races.count)),
                ("race_idle_min_us", happened.then_some(races.min)),
            ]),
    )
}

/// Both what the kernel counted and the races that happened show when the backend closes.
fn gap(measured: &Measured<'_>) -> Option<Gap> {
    let races = measured.failures.race_idle;
    let seen = [
        measured
            .idle_closed_min_us
            .map(|us| (us, measured.idle_closed)),
        (races.count > 0).then_some((races.min, races.count)),
    ];
    let timeouts = seen
        .into_iter()
        .flatten()
        .filter(|(us, count)| *us >= SHORTEST_US && *count > 0);
    let gap = timeouts.fold(None, |gap: Option<Gap>, (us, count)| {
        Some(match gap {
            Some(gap) => Gap {
                closes_us: gap.closes_us.min(us),
                // A race may be counted among the closes.
                count: gap.count.max(count),
            },
            None => Gap {
                closes_us: us,
                count,
            },
        })
    })?;
    // Connections lived much longer than that: it was no timeout that closed the one.
    let outlived = measured
        .idle_reused_max_us
        .is_some_and(|us| us / 3 > gap.closes_us / 2);
    (gap.count >= SAMPLES && !outlived).then_some(gap)
}

fn is_only(in_force: &InForce<'_>, setting: &Setting) -> bool {
    in_force.only(setting.directive).is_some()
}

fn remedy(proxy: &ProxyKind, kept_us: Option<u64>, happened: bool) -> String {
    let above = match (proxy, kept_us) {
        (ProxyKind::Nginx, Some(us)) if us < u64::MAX => format!(
            "raise the backend's idle timeout above {} s",
            us.div_ceil(1_000_000) + 5
        ),
        _ => "raise the backend's idle timeout well above the time that the proxy keeps a \
              connection"
            .to_owned(),
    };
    let text = match proxy {
        ProxyKind::Nginx => format!("let nginx close first, or {above}."),
        ProxyKind::Haproxy => format!(
            "{above}. A shorter pool-purge-delay makes it rarer, not impossible: half of the idle \
             connections go at a time."
        ),
        _ => format!("{above}, or let the proxy close first."),
    };
    if happened {
        let mut letters = text.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        return first.into_iter().chain(letters).collect();
    }
    text
}

/// `times`/`of` of a duration, in whole seconds where that is one or more.
fn below(us: u64, of: u64, times: u64) -> String {
    let ms = us / 1000 * times / of;
    match ms / 1000 {
        0 => format!("{ms}ms"),
        seconds => format!("{seconds}s"),
    }
}

fn times(count: u64) -> String {
    crate::diagnose::words::times(count)
}
