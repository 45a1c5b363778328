//! What an exchange record says about TLS.

use tracer_ebpf::flags;

use crate::diagnose::{FirstBytes, TlsAnswer, TlsFacts, WantsTls};
use crate::event::Exchange;
use crate::printable::printable_bytes;
use crate::tls::{self, Alert, Kind, Record};

/// Most bytes of an answer in plain text that are shown.
const SHOWN: usize = 16;
/// An encrypted alert of TLS 1.3 with its record header, bytes.
const HIDDEN_ALERT: u64 = 24;
/// Sizes of an alert with its record header in TLS 1.3, and in TLS 1.2 with AES-GCM.
const GOODBYES: [u64; 2] = [24, 31];
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
        .map(|(_, words)| WantsTls::Says(words))
}

/// What came in answer to a request over TLS. A server sends its session tickets at once after the
/// handshake, two or more, all of one size; an alert is two bytes. Neither can be a response.
pub(super) fn answer(x: &Exchange) -> Option<TlsAnswer> {
    if !x.has(flags::TLS) || x.has(flags::HANDSHAKE) || x.response_bytes == 0 {
        return None;
    }
    let seen: Vec<Record<'_>> = tls::records(&x.response_head).collect();
    let first = seen.first()?;
    let alike = |record: &&Record<'_>| {
        record.kind == Kind::ApplicationData && record.len == first.len && !record.is_alert_size()
    };
    let same = seen.iter().take_while(alike).count();
    let fresh = x.exchange == 1 && !x.has(flags::ADOPTED);
    let tickets_inferred = fresh && same == 1 && is_ticket_like(x, first);
    let tickets = if fresh && same >= 2 || tickets_inferred {
        same as u64 * whole(first)
    } else {
        0
    };
    let told: u64 = seen.iter().map(whole).sum();
    let behind = x.response_bytes.saturating_sub(told);
    // The header of the last record may lie behind the kept bytes.
    let goodbye = match seen.last() {
        Some(last) if behind == 0 => last.is_alert_size().then(|| whole(last)),
        _ => GOODBYES.contains(&behind).then_some(behind),
    };
    Some(TlsAnswer {
        tickets,
        tickets_inferred,
        goodbye: goodbye.is_some(),
        other: x
            .response_bytes
            .saturating_sub(tickets + goodbye.unwrap_or(0)),
    })
}

/// A server may put its tickets into one record. It comes at once after the handshake of TLS 1.3, when
/// the request has hardly arrived; that servers send tickets is the rule.
fn is_ticket_like(x: &Exchange, record: &Record<'_>) -> bool {
    const AT_ONCE_NS: u64 = 50_000_000;
    const LONGEST: usize = 1200;
    let at_once = match (x.times.request_start, x.times.response_start) {
        (Some(request), Some(response)) => response.saturating_sub(request) < AT_ONCE_NS,
        _ => false,
    };
    x.has(flags::TLS13) && at_once && record.len <= LONGEST
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
            // Of a send of several pieces no more than the first is kept.
            x.sent_last_len == HIDDEN_ALERT_AND_CCS && matches!(sent.get(6), Some(0x17) | None)
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
            (&[0x14, 3, 3, 0, 1], 30, None, true),
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
    fn what_came_after_a_request() {
        let record = |len: usize| {
            let mut bytes = vec![0x17, 3, 3];
            bytes.extend((len as u16).to_be_bytes());
            bytes.extend(vec![b'*'; len]);
            bytes
        };
        let mut x = exchange(Role::Connecting, 1);
        x.flags = flags::TLS | flags::OPAQUE;
        // Records as kept, bytes in all; tickets, goodbye, other bytes.
        for (head, bytes, tickets, goodbye, other) in [
            (record(19), 24, 0, true, 0),
            (record(19)[..9].to_vec(), 24, 0, true, 0),
            (record(250), 255, 0, false, 255),
            ([record(87), record(87)].concat(), 184, 184, false, 0),
            (
                [record(87), record(87), record(19)].concat(),
                208,
                184,
                true,
                0,
            ),
            // The last header lies behind what was kept.
            ([record(250), record(250)].concat(), 534, 510, true, 0),
            ([record(87), record(300)].concat(), 397, 0, false, 397),
            ([record(87), record(19)].concat(), 116, 0, true, 92),
            (vec![0x15, 3, 3, 0, 26], 31, 0, true, 0),
        ] {
            x.response_head = head;
            x.response_bytes = bytes;
            let want = TlsAnswer {
                tickets,
                tickets_inferred: false,
                goodbye,
                other,
            };
            assert_eq!(answer(&x), Some(want), "{x:?}");
        }
        // One record at once after the handshake of TLS 1.3.
        x.flags |= flags::TLS13;
        (x.times.request_start, x.times.response_start) = (Some(1_000), Some(2_000_000));
        (x.response_head, x.response_bytes) = ([record(179), record(19)].concat(), 208);
        let inferred = answer(&x).unwrap();
        assert!(inferred.tickets_inferred && inferred.goodbye);
        assert_eq!((inferred.tickets, inferred.other), (184, 0));
        x.times.response_start = Some(90_000_000);
        assert_eq!(answer(&x).map(|answer| answer.other), Some(184));
        // Later on a connection two records of one size are data.
        x.exchange = 2;
        x.response_head = [record(87), record(87)].concat();
        x.response_bytes = 184;
        assert_eq!(answer(&x).map(|answer| answer.other), Some(184));
        x.response_head.clear();
        assert_eq!(answer(&x), None);
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
