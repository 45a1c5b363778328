//! `RST sent from A to B, [0x…:LINE] {peer} REASON`, written where `tm.rstcause.log` is on.
//!
//! BIG-IP is between two connections. `{peer}` says that the cause lies on the other one than the one
//! that was reset.

use std::net::SocketAddr;

use crate::logs::entry::{Entry, LogAttempt, Peer};
use crate::logs::meaning::{Meaning, meanings};
use crate::logs::scan::{ParseError, Scan, text};

use super::address::socket;

meanings! {
    MEMBER_RESET Backend
    "TCP RST from remote system (pool member)"
    "The pool member reset its connection, and BIG-IP passed that on to the client. When in the \
     exchange it did so is not logged; a refused connect looks the same."
    [
        "rst-before-response", "connect-refused", "keepalive-race", "backend-process-exit",
        "backend-restart", "body-truncated-rst", "path-reset",
    ];

    CLIENT_RESET Client
    "TCP RST from remote system (client)"
    "The client reset its connection, and BIG-IP ended the one to the pool member."
    ["client-abort"];

    REJECTED Backend
    "TCP 3WHS rejected"
    "The pool member refused the connection, or did not complete it."
    ["connect-refused", "connect-timeout"];

    HANDSHAKE_TIMEOUT Backend
    "handshake timeout"
    "The pool member did not answer the connection request: BIG-IP sent it several times and gave \
     up."
    ["connect-timeout", "connect-unreachable", "listen-queue-overflow", "packet-loss"];

    CLIENT_HANDSHAKE Client
    "handshake timeout (client)"
    "A client began a connection and did not complete it."
    [];

    NO_MEMBER Backend
    "No pool member available"
    "No member of the pool could be chosen: all were down, disabled or at their limit."
    ["no-backend-available"];

    NO_ROUTE Backend
    "No route to host"
    "BIG-IP has no route to the pool member."
    ["connect-unreachable"];

    NO_FLOW Backend
    "No flow found for ACK"
    "A packet came for a connection that BIG-IP does not know any more, mostly because it had been \
     idle for longer than the idle timeout and the other end went on using it."
    ["idle-drop-by-middlebox"];

    CLIENT_NO_FLOW Client
    "No flow found for ACK (client)"
    "A client went on using a connection that BIG-IP does not know any more, mostly because it had \
     been idle for longer than the idle timeout. No pool member is involved."
    ["idle-drop-by-middlebox"];

    EXPIRED Backend
    "Flow expired (sweeper)"
    "The connection was idle for as long as the profile's idle timeout (300 s unless changed), and \
     BIG-IP removed it. A response that takes that long ends like this too."
    ["idle-drop-by-middlebox", "response-timeout"];

    LOCAL_PORTS Backend
    "Unable to select local port"
    "BIG-IP found no source port for a connection to the pool member. The member was never asked."
    ["local-port-exhausted"];

    RETRANSMIT Backend
    "TCP retransmit timeout"
    "What BIG-IP sent was not acknowledged, however often it was sent again."
    ["packet-loss", "mtu-black-hole"];

    STUCK Backend
    "TCP zero window timeout"
    "The pool member stopped reading, or stopped answering keep-alive probes."
    ["body-stalled", "response-timeout", "packet-loss"];

    CLIENT_GONE Client
    "TCP … timeout (client)"
    "The client stopped acknowledging, reading, or answering keep-alive probes."
    ["client-abort"];

    CONFIGURED Proxy
    "Policy action, iRule, no local listener, …"
    "BIG-IP reset the connection because its configuration says so. No pool member failed."
    [];

    OTHER Proxy
    "RST sent"
    "BIG-IP reset a connection, for the cause that the line names."
    [];
}

/// Reasons, and what they mean when the pool member is at the other end and when the client is.
/// <https://my.f5.com/manage/s/article/K13223>
const REASONS: &[(&str, &Meaning, &Meaning)] = &[
    ("TCP RST from remote system", &MEMBER_RESET, &CLIENT_RESET),
    ("TCP 3WHS rejected", &REJECTED, &CLIENT_HANDSHAKE),
    ("handshake timeout", &HANDSHAKE_TIMEOUT, &CLIENT_HANDSHAKE),
    ("No pool member available", &NO_MEMBER, &NO_MEMBER),
    ("No route to host", &NO_ROUTE, &NO_ROUTE),
    ("No flow found for ACK", &NO_FLOW, &CLIENT_NO_FLOW),
    ("Flow expired", &EXPIRED, &EXPIRED),
    ("Unable to select local port", &LOCAL_PORTS, &LOCAL_PORTS),
    ("TCP retransmit timeout", &RETRANSMIT, &CLIENT_GONE),
    ("TCP zero window timeout", &STUCK, &CLIENT_GONE),
    ("TCP keep-alive timeout", &STUCK, &CLIENT_GONE),
    ("No local listener", &CONFIGURED, &CONFIGURED),
    ("Port denied", &CONFIGURED, &CONFIGURED),
    ("Policy action", &CONFIGURED, &CONFIGURED),
    ("iRule", &CONFIGURED, &CONFIGURED),
    (
        "RST from BIG-IP internal Linux host",
        &CONFIGURED,
        &CONFIGURED,
    ),
];

/// Reads what stands behind the message's number.
pub(super) fn read<'a>(entry: &mut Entry<'a>, mut scan: Scan<'a>) -> Result<(), ParseError> {
    entry.says = Some(text(scan.rest()));
    scan.expect("RST sent from ")?;
    let mut address = |end: &'static str| {
        let before = scan.clone();
        let field = scan.until_text(end, "an address and a port")?;
        socket(&text(field)).ok_or_else(|| before.error("an address and a port"))
    };
    let from = address(" to ")?;
    let to = address(", [")?;
    scan.until_text("] ", "the place in the source")?;
    let by_other_side = scan.take_if("{peer} ");
    let reason = scan.rest();
    let to_member = is_to_member(from, to);
    let of_member = to_member != by_other_side;
    let found = REASONS
        .iter()
        .find(|(known, ..)| reason.starts_with(known.as_bytes()));
    entry.meaning = Some(match found {
        Some((_, meaning, _)) if of_member => meaning,
        Some((.., meaning)) => meaning,
        None => &OTHER,
    });
    if to_member {
        entry.attempts.push(LogAttempt {
            name: Some(to.to_string().into()),
            addr: Some(to),
            local: Some(from),
            ..LogAttempt::default()
        });
    } else {
        entry.client = Some(Peer {
            ip: to.ip(),
            port: Some(to.port()),
        });
    }
    Ok(())
}

/// The line does not say which of its two connections was reset. Who connected has a port from the upper
/// range, who listens mostly has not: if BIG-IP has the higher one, the other end is a pool member.
fn is_to_member(from: SocketAddr, to: SocketAddr) -> bool {
    from.port() > to.port()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::big_ip::parse;
    use crate::logs::testing::assume;

    #[test]
    fn resets_and_their_causes() {
        let (client, member) = (
            "198.51.100.10:443 to 203.0.113.5:51544",
            "192.0.2.10:33210 to 192.0.2.20:8080",
        );
        for (ends, reason, meaning) in [
            (client, "{peer} TCP RST from remote system", &MEMBER_RESET),
            (client, "TCP RST from remote system", &CLIENT_RESET),
            (member, "{peer} TCP RST from remote system", &CLIENT_RESET),
            (member, "TCP RST from remote system", &MEMBER_RESET),
            (client, "No pool member available", &NO_MEMBER),
            (member, "handshake timeout", &HANDSHAKE_TIMEOUT),
            (client, "{peer} handshake timeout", &HANDSHAKE_TIMEOUT),
            (client, "{peer} TCP 3WHS rejected", &REJECTED),
            (client, "handshake timeout", &CLIENT_HANDSHAKE),
            (member, "No flow found for ACK", &NO_FLOW),
            (client, "No flow found for ACK", &CLIENT_NO_FLOW),
            (client, "Flow expired (sweeper)", &EXPIRED),
            (member, "TCP retransmit timeout", &RETRANSMIT),
            (client, "TCP retransmit timeout", &CLIENT_GONE),
            (member, "TCP zero window timeout", &STUCK),
            (member, "Unable to select local port", &LOCAL_PORTS),
            (client, "iRule reject command", &CONFIGURED),
            (client, "Something new", &OTHER),
        ] {
            let line = format!(
                "Nov 22 07:31:02 bigip-a.example.net err tmm1[11925]: 01230140:3: RST sent from {ends}, [0x2664c65:2574] {reason}"
            );
            let entry = parse(line.as_bytes(), &assume()).unwrap();
            assert_eq!(entry.meaning, Some(meaning), "{line}");
            assert!(entry.says.unwrap().ends_with(reason));
            assert_eq!(entry.client.is_some(), ends == client);
            assert_eq!(entry.attempts.len(), usize::from(ends == member));
        }
    }

    #[test]
    fn both_addresses_of_a_members_connection() {
        let line = b"Nov 22 07:31:09 b err tmm2[1]: 01230140:3: RST sent from 192.0.2.10%1:33210 to 2001:db8::20.8080, [0x2664c65:912] handshake timeout";
        let entry = parse(line, &assume()).unwrap();
        assert_eq!(entry.attempts[0].local, "192.0.2.10:33210".parse().ok());
        assert_eq!(entry.upstream().as_deref(), Some("[2001:db8::20]:8080"));
    }

    #[test]
    fn errors_say_where() {
        let line = b"01230140:3: RST sent from here to there, [0x1:2] x";
        let error = parse(line, &assume()).unwrap_err();
        assert_eq!(
            (error.offset, error.expected),
            (26, "an address and a port")
        );
    }
}
