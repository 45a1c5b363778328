//! Words about TLS handshakes, shared by their rules.

use super::evidence::{self, Fact, NEVER_SENT};
use super::facts::{AttemptFacts, End, FirstBytes, TlsFacts};
use super::{Context, Finding, words};
use crate::case::{EndedBy, How};
use crate::tls::version_name;

/// The handshake of an attempt that did not get past it.
pub(super) fn of(attempt: &AttemptFacts) -> Option<&TlsFacts> {
    attempt
        .tls
        .as_ref()
        .filter(|_| attempt.phase().is_before_request())
}

/// Who ended the connection, and how. A proxy's close has no manner of its own.
pub(super) fn ending(attempt: &AttemptFacts) -> (EndedBy, How) {
    match attempt.first_end() {
        Some((End::PeerFin, _)) => (EndedBy::Backend, How::Fin),
        Some((End::PeerReset, _)) => (EndedBy::Backend, How::Reset),
        Some((End::KernelTimeout, _)) => (EndedBy::Kernel, How::Timeout),
        Some((End::Unreachable, _)) => (EndedBy::Network, How::Unreachable),
        Some((End::Proxy, _)) => (EndedBy::Proxy, How::Unknown),
        None => (EndedBy::Unknown, How::Unknown),
    }
}

/// The backend ended the connection first, in this manner, and nothing in the clear says why: neither an
/// alert nor plain text. `did`: what it did to the connection, in words.
pub(super) fn ended_without_a_word(
    context: &Context<'_>,
    end: End,
    how: How,
    did: &str,
) -> Option<Finding> {
    let attempt = context.attempt?;
    let tls = of(attempt)?;
    let (first, at) = attempt.first_end()?;
    if first != end
        || tls.error_received().is_some()
        || matches!(tls.first, Some(FirstBytes::Plain(_)))
    {
        return None;
    }
    let mut facts = facts(attempt, tls);
    facts.extend(hidden(tls));
    Some(Finding {
        ended_by: EndedBy::Backend,
        how,
        what: format!(
            "{} {did} within the TLS handshake, {}, {}",
            attempt.exchange.remote,
            after_hello(attempt, at),
            came(tls)
        ),
        delivery: NEVER_SENT.to_owned(),
        facts,
    })
}

/// What came before the end.
fn came(tls: &TlsFacts) -> String {
    match tls.received {
        0 => "without a byte of an answer".to_owned(),
        received => format!("after {} of its part", words::bytes(received)),
    }
}

/// In TLS 1.3 alerts behind the ServerHello are encrypted.
fn hidden(tls: &TlsFacts) -> Option<Fact> {
    (tls.chosen == Some(crate::tls::TLS_1_3)).then(|| {
        Fact::new(
            "alerts-hidden",
            "TLS 1.3 encrypts what follows the ServerHello: an alert of the backend may be among it",
        )
    })
}

/// What both sides said in the clear.
pub(super) fn facts(attempt: &AttemptFacts, tls: &TlsFacts) -> Vec<Fact> {
    let mut facts = vec![evidence::first_end(attempt)];
    facts.extend(offer(tls));
    facts.push(answer(tls));
    if let Some(alert) = tls.alert_received {
        facts.push(Fact::new(
            "alert-received",
            format!("the backend sent the TLS alert {}", alert.describe()),
        ));
    }
    if let Some(alert) = tls.alert_sent {
        facts.push(Fact::new(
            "alert-sent",
            format!("the proxy sent the TLS alert {}", alert.describe()),
        ));
    }
    facts.extend(evidence::retransmits(attempt));
    facts.extend(evidence::reset_reason(attempt));
    facts.extend(evidence::errno(attempt));
    facts
}

fn offer(tls: &TlsFacts) -> Option<Fact> {
    let hello = tls.hello.as_ref()?;
    let mut said = Vec::new();
    match (&hello.sni, hello.whole) {
        (Some(name), _) => said.push(format!("server name {name}")),
        (None, true) => said.push("no server name".to_owned()),
        (None, false) => {}
    }
    if !hello.versions.is_empty() {
        let names: Vec<String> = hello.versions.iter().map(|v| version_name(*v)).collect();
        said.push(names.join(", "));
    }
    match (hello.alpn.is_empty(), hello.whole) {
        (false, _) => said.push(format!("ALPN {}", hello.alpn.join(", "))),
        (true, true) => said.push("no ALPN".to_owned()),
        (true, false) => {}
    }
    let cut = if hello.whole {
        ""
    } else {
        " (only its first bytes were kept)"
    };
    (!said.is_empty()).then(|| {
        Fact::new(
            "client-hello",
            format!("the proxy's ClientHello{cut}: {}", said.join("; ")),
        )
    })
}

fn answer(tls: &TlsFacts) -> Fact {
    let received = words::bytes(tls.received);
    let text = match (&tls.first, tls.chosen) {
        (None, _) if tls.received == 0 => "the backend sent nothing".to_owned(),
        (None, _) => format!("the backend sent {received} that could not be read"),
        (Some(FirstBytes::Plain(text)), _) => {
            format!("the backend sent {received}, which are no TLS: they begin with {text}")
        }
        (Some(FirstBytes::Record), Some(version)) => {
            format!(
                "the backend sent {received} and chose {}",
                version_name(version)
            )
        }
        (Some(FirstBytes::Record), None) => format!("the backend sent {received} of TLS"),
    };
    Fact::new("backend-sent", text)
}

/// How long after the ClientHello that was.
pub(super) fn after_hello(attempt: &AttemptFacts, at: u64) -> String {
    match attempt
        .exchange
        .times
        .request_start
        .and_then(|start| at.checked_sub(start))
    {
        Some(ns) => format!("{} after the ClientHello", words::duration(ns)),
        None => "before the ClientHello".to_owned(),
    }
}
