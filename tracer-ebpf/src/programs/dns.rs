//! Which sockets ask for names.

use super::sock;

const DNS: u16 = 53;

/// A UDP socket that is connected to port 53. Resolvers connect theirs, so that answers of others are
/// dropped (NGINX, HAProxy, c-ares in Envoy, the C library).
#[inline(always)]
pub(crate) fn is_query(sk: u64) -> bool {
    sock::remote_port(sk) == DNS && sock::is_udp(sk)
}
