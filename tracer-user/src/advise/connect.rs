//! Time to connect against the connect timeout.

use super::in_force::{InForce, micros};
use super::{Advice, Measured, SAMPLES_P99, line, plural, round_seconds, time};
use crate::config::Directive;
use crate::event::ProxyKind;

const KIND: &str = "connect-timeout";
/// A lost SYN is sent again after 1 s, and after 2 s more
/// (<https://www.rfc-editor.org/rfc/rfc6298#section-2>): less than this turns one lost packet into
/// an error.
const SHORTEST_US: u64 = 3_000_000;
/// A timeout below this is left alone.
const LONG_US: u64 = 10_000_000;

pub(super) fn advise(
    proxy: &ProxyKind,
    measured: &Measured<'_>,
    in_force: &InForce<'_>,
) -> Option<Advice> {
    let directive = match proxy {
        ProxyKind::Nginx => Directive::ProxyConnectTimeout,
        ProxyKind::Haproxy => Directive::TimeoutConnect,
        ProxyKind::Envoy | ProxyKind::Apache | ProxyKind::Other(_) => return None,
    };
    let connects = measured.connect.filter(|c| c.count >= SAMPLES_P99)?;
    let limits = || in_force.values(directive).into_iter();
    let shortest = limits().filter_map(|s| micros(&s.value)).min()?;
    let longest = limits().filter_map(|s| micros(&s.value)).max()?;
    let seconds = round_seconds(connects.p99_us.saturating_mul(3).max(SHORTEST_US));
    let wanted = seconds * 1_000_000;
    let follows = if connects.p99_us.saturating_mul(2) >= shortest && wanted > shortest {
        "That leaves no room: a little more delay, and connects fail."
    } else if longest >= LONG_US && longest / 3 >= wanted {
        "When this backend is gone without a word, every request waits that long before another \
         server is asked or the client gets its error."
    } else {
        return None;
    };
    let text = format!(
        "Of {}, 99 % were done within {}, the slowest within {}; {}. {follows}",
        plural(connects.count, "connect"),
        time(connects.p99_us),
        time(connects.max_us),
        in_force.sentence(directive)?
    );
    let waits = measured.failures.connect_waits;
    Some(
        Advice::new(KIND, text, Some(directive))
            .with(in_force.only(directive))
            .change(Some(line(directive, seconds)))
            .measured([
                ("connects", Some(connects.count)),
                ("connect_p99_us", Some(connects.p99_us)),
                ("connect_max_us", Some(connects.max_us)),
                ("timeouts", (waits.count > 0).then_some(waits.count)),
                ("waited_min_us", (waits.count > 0).then_some(waits.min)),
                ("waited_max_us", (waits.count > 0).then_some(waits.max)),
            ]),
    )
}
