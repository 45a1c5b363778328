//! Response heads against the buffer that they must fit.

use super::in_force::{InForce, bytes};
use super::{Advice, Measured};
use crate::config::Directive;
use crate::event::ProxyKind;

const KIND: &str = "response-header";
/// No head needs more than this; an absurd number gives no absurd advice.
const LARGEST: u64 = 1 << 20;
/// The smallest default of any proxy.
const SMALLEST: u64 = 4096;

/// One case is enough: whether a head fits does not depend on chance.
pub(super) fn advise(
    proxy: &ProxyKind,
    measured: &Measured<'_>,
    in_force: &InForce<'_>,
) -> Option<Advice> {
    let heads = measured.failures.large_heads;
    if heads.count == 0 {
        return None;
    }
    let directive = match proxy {
        ProxyKind::Nginx => Some(Directive::ProxyBufferSize),
        ProxyKind::Haproxy => Some(Directive::Bufsize),
        ProxyKind::Envoy | ProxyKind::Apache | ProxyKind::Other(_) => None,
    };
    let setting = directive.and_then(|directive| in_force.only(directive));
    let mut text = format!(
        "{} larger than {proxy} takes; up to {} bytes had been read when it gave up",
        match heads.count {
            1 => "1 response head was".to_owned(),
            n => format!("{n} response heads were"),
        },
        heads.max
    );
    if let Some(sentence) = directive.and_then(|directive| in_force.sentence(directive)) {
        text += &format!("; {sentence}");
    }
    text += ". Find the large header first: a cookie, a token, Link or CSP.";
    // The proxy stops reading at its limit: how large the head is, nobody knows.
    let limit = setting.and_then(|setting| bytes(&setting.value));
    let room = heads
        .max
        .max(limit.unwrap_or(SMALLEST))
        .saturating_mul(2)
        .min(LARGEST);
    let kib = room.next_power_of_two() / 1024;
    let change = match proxy {
        ProxyKind::Nginx => Some(format!(
            "proxy_buffer_size {kib}k; proxy_buffers 8 {kib}k; proxy_busy_buffers_size {}k;",
            2 * kib
        )),
        ProxyKind::Haproxy => Some(format!("tune.bufsize {}", kib * 1024)),
        _ => None,
    };
    Some(
        Advice::new(KIND, text, directive)
            .with(setting)
            .change(change)
            .measured([
                ("large_heads", Some(heads.count)),
                ("head_read_max_bytes", Some(heads.max)),
            ]),
    )
}
