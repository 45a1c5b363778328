//! What an exchange record says about TLS.

use tracer_ebpf::flags;

use crate::diagnose::{FirstBytes, TlsFacts, WantsTls};
use crate::event::Exchange;
use crate::printable::printable_bytes;
use crate::tls::{self, Alert, Kind, Record};

/// Most bytes of an answer in plain text that are shown.
const SHOWN: usize = 16;
/// An encrypted alert of TLS 1.3 with its record header, bytes.
const HIDDEN_ALERT: u64 = 24;
/// The same behind a ChangeCipherSpec record in one send.
const HIDDEN_ALERT_AND_CCS: u32 = 30;

/// The handshake of an upstream connection that carried no request.
pub(super) fn handshake(x: &Exchange) -> Option<TlsFacts> {
    if !x.has(flags::HANDSHAKE) {
        return is_goodbye(x).then(|| TlsFacts {
            first: Some(FirstBytes::Record),
            received: x.socket.bytes_received.unwrap_or(0),
            hidden_alert_sent: true,
            second_flight: true,
            ..TlsFacts::default()
        });
    }
    let answer = &x.response_head;
    let sent = sent_last(x);
    let hello = tls::server_hello(answer);
    Some(TlsFacts {
        hello: tls::client_hello(&x.request_head),
        first: first(answer),
        chosen: hello.and_then(|hello| hello.version),
        received: x.response_bytes,
        behind_hello: hello
            .filter(|hello| !hello.retry)
            .map(|hello| x.response_bytes.saturating_sub(hello.len as u64)),
        alert_received: Alert::find(answer).or_else(|| Alert::find(&x.response_tail)),
        alert_sent: Alert::find(sent),
        hidden_alert_sent: is_hidden_alert(x, sent),
        second_flight: x.has(flags::TLS_SECOND_FLIGHT),
    })
}

/// Was the backend sent plain text, and does its answer show that it wants TLS?
pub(super) fn wants_tls(x: &Exchange) -> Option<WantsTls> {
    if x.has(flags::OPAQUE | flags::TLS | flags::TUNNEL) {
        return None;
    }
    let answer = &x.response_head;
    if let Some(alert) = Alert::find(answer) {
        return Some(WantsTls::Alert(alert));
    }
    (x.status == Some(400))
        .then(|| tls::plain_text_refusal(answer))
        .flatten()
        .map(WantsTls::Says)
}

/// Is all that came in answer to a request over TLS an alert? It cannot be a response: an alert is two
/// bytes.
pub(super) fn is_alert_only(x: &Exchange) -> bool {
    x.has(flags::TLS)
        && tls::records(&x.response_head)
            .next()
            .is_some_and(|record| record.is_alert_size() && x.response_bytes == whole(&record))
}

/// After the handshake the proxy sent two encrypted bytes and nothing else: the polite goodbye of a
/// connection that it does not want. The kernel half takes that for a request in TLS 1.3.
fn is_goodbye(x: &Exchange) -> bool {
    x.has(flags::TLS)
        && x.has(flags::TLS_SECOND_FLIGHT)
        && x.exchange == 1
        && x.request_bytes == HIDDEN_ALERT
        && x.response_bytes == 0
        && tls::records(&x.request_head)
            .next()
            .is_some_and(|record| record.is_alert_size() && whole(&record) == HIDDEN_ALERT)
}

fn first(answer: &[u8]) -> Option<FirstBytes> {
    let begin = answer.first()?;
    if (0x14..=0x17).contains(begin) {
        return Some(FirstBytes::Record);
    }
    // Up to the end of a first line, of HTTP up to the status.
    let line = answer.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let shown = line.unwrap_or_default();
    let most = if shown.starts_with(b"HTTP/") {
        12
    } else {
        SHOWN
    };
    Some(FirstBytes::Plain(printable_bytes(
        &shown[..shown.len().min(most)],
        4 * SHOWN,
    )))
}

/// What is kept of the last send within the handshake.
fn sent_last(x: &Exchange) -> &[u8] {
    let len = x.sent_last.len().min(x.sent_last_len as usize);
    &x.sent_last[..len]
}

/// An encrypted alert, alone or behind a ChangeCipherSpec record. OpenSSL sends alerts before its
/// second flight in the clear (<https://github.com/openssl/openssl/issues/27809>), BoringSSL and Go
/// encrypt them.
fn is_hidden_alert(x: &Exchange, sent: &[u8]) -> bool {
    let mut records = tls::records(sent);
    match records.next() {
        Some(first) if first.kind == Kind::ChangeCipherSpec => {
            x.sent_last_len == HIDDEN_ALERT_AND_CCS && sent.get(6) == Some(&0x17)
        }
        Some(first) => {
            first.len > 2 && first.is_alert_size() && whole(&first) == u64::from(x.sent_last_len)
        }
        None => false,
    }
}

/// Length of a record with its header, bytes.
fn whole(record: &Record<'_>) -> u64 {
    record.len as u64 + 5
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::Role;

    use super::*;
    use crate::diagnose::testing::exchange;

    fn in_handshake(answer: &[u8]) -> Exchange {
        let mut x = exchange(Role::Connecting, 1);
        x.flags = flags::TLS | flags::OPAQUE | flags::HANDSHAKE;
        x.response_head = answer.to_vec();
        x.response_bytes = answer.len() as u64;
        x
    }

    #[test]
    fn first_bytes() {
        let plain = |text: &str| Some(FirstBytes::Plain(text.to_owned()));
        for (answer, want) in [
            (&b""[..], None),
            (b"\x16\x03\x03\x00\x7a", Some(FirstBytes::Record)),
            (b"\x15\x03\x01\x00\x02\x02\x28", Some(FirstBytes::Record)),
            (b"HTTP/1.1 400 Bad Request\r\n", plain("HTTP/1.1 400")),
            (b"SSH-2.0-x\r\n", plain("SSH-2.0-x")),
            (b"\x00\x00\x12\x04", plain("\\x00\\x00\\x12\\x04")),
        ] {
            let facts = handshake(&in_handshake(answer)).unwrap();
            assert_eq!(facts.first, want, "{answer:?}");
        }
        assert_eq!(handshake(&exchange(Role::Connecting, 1)), None);
    }

    #[test]
    fn alerts_of_either_side() {
        let clear = Alert {
            fatal: true,
            description: 48,
        };
        for (sent, len, alert, hidden) in [
            (&[0x15, 3, 3, 0, 2, 2, 48][..], 7, Some(clear), false),
            (&[0x17, 3, 3, 0, 19, 1, 2, 3], 24, None, true),
            (&[0x14, 3, 3, 0, 1, 1, 0x17, 3], 30, None, true),
            (&[0x15, 3, 3, 0, 26, 1, 2, 3], 31, None, true),
            // A second flight.
            (&[0x14, 3, 3, 0, 1, 1, 0x17, 3], 64, None, false),
            (&[0x17, 3, 3, 0, 53, 1, 2, 3], 58, None, false),
            (&[], 0, None, false),
        ] {
            let mut x = in_handshake(&[]);
            x.sent_last = sent.to_vec();
            x.sent_last_len = len;
            let facts = handshake(&x).unwrap();
            assert_eq!(
                (facts.alert_sent, facts.hidden_alert_sent),
                (alert, hidden),
                "{sent:?}"
            );
        }
        let mut x = in_handshake(&[0x16, 3, 3, 0, 9]);
        x.response_tail = vec![0x15, 3, 3, 0, 2, 2, 48];
        assert_eq!(handshake(&x).unwrap().alert_received, Some(clear));
    }

    #[test]
    fn a_goodbye_is_no_request() {
        let mut x = exchange(Role::Connecting, 1);
        x.flags = flags::TLS | flags::OPAQUE | flags::TLS_SECOND_FLIGHT;
        x.request_head = vec![0x17, 3, 3, 0, 19, 9, 9];
        x.request_bytes = 24;
        assert!(handshake(&x).unwrap().second_flight);
        x.request_bytes = 124;
        assert_eq!(handshake(&x), None);
    }

    #[test]
    fn only_an_alert_came() {
        let mut x = exchange(Role::Connecting, 1);
        x.flags = flags::TLS | flags::OPAQUE;
        for (head, bytes, want) in [
            (vec![0x17, 3, 3, 0, 19], 24, true),
            (vec![0x17, 3, 3, 0, 19], 240, false),
            (vec![0x17, 3, 3, 0, 250], 255, false),
            (vec![0x15, 3, 3, 0, 26], 31, true),
            (vec![], 31, false),
        ] {
            x.response_head = head;
            x.response_bytes = bytes;
            assert_eq!(is_alert_only(&x), want, "{x:?}");
        }
    }

    #[test]
    fn backends_that_want_tls() {
        let mut x = exchange(Role::Connecting, 1);
        x.response_head = vec![0x15, 3, 1, 0, 2, 2, 70];
        assert!(matches!(wants_tls(&x), Some(WantsTls::Alert(alert)) if alert.description == 70));
        x.flags = flags::TLS;
        assert_eq!(wants_tls(&x), None);
        x.flags = 0;
        x.response_head =
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
                .to_vec();
        x.status = Some(400);
        assert!(matches!(wants_tls(&x), Some(WantsTls::Says(_))));
        x.response_head = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
        assert_eq!(wants_tls(&x), None);
    }
}
