//! What the rules look at, derived from what the kernel said. No rule reads a clock or a socket.

mod around;
mod tls;

pub use around::{Around, FailureWas, NameFailure, NameSays, RecentFailure};
pub use tls::{FirstBytes, TlsAnswer, TlsFacts, WantsTls};

use tracer_ebpf::flags;

use super::errno::{EHOSTUNREACH, ENETUNREACH, ETIMEDOUT};
use crate::case::{Confidence, Outcome, RequestSummary, SeenFrom};
use crate::event::{Exchange, IcmpError, ListenQueue, MonoNs, ProxyKind, Retransmitted};
use crate::http::{RequestFacts, ResponseFacts};

/// How much of the backend's response arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No byte.
    Nothing,
    /// Bytes, but the head of the final response is not complete.
    NoHead,
    /// The head is complete, the body is not.
    Body {
        /// Body bytes that the head declared; `None` for a chunked body.
        declared: Option<u64>,
        /// Body bytes that arrived, chunk lines included.
        received: u64,
    },
    /// The head is complete and the chunks of the body are not well-formed.
    BadChunks {
        /// Body bytes that arrived, chunk lines included.
        received: u64,
    },
    /// The head is complete and the close ends the body: a FIN completes it, a reset does not.
    UntilClose {
        /// Body bytes that arrived.
        received: u64,
    },
    /// All of it.
    Complete,
    /// Bytes that cannot be read: TLS, another protocol, a head longer than what was kept.
    Opaque,
}

/// Where the exchange stood when the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The handshake was not done.
    Connect,
    /// Connected, and a TLS handshake had not led to a request.
    Handshake,
    /// Connected, no response byte.
    Waiting,
    /// Response bytes, no complete head.
    Head,
    /// Complete head, incomplete body.
    Body,
    /// Complete response.
    Complete,
    /// Response bytes that cannot be read.
    Unreadable,
}

/// What ended the connection first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The backend's FIN.
    PeerFin,
    /// The backend's RST.
    PeerReset,
    /// A timer of the proxy's kernel.
    KernelTimeout,
    /// An ICMP error or a missing route.
    Unreachable,
    /// The proxy closed, shut down or aborted.
    Proxy,
}

/// Shortest time that is allowed for the answer to a request.
const ANSWER_NS: u64 = 2_000_000;
/// A proxy that closes earlier than this after the last byte did not run into a timeout.
const STALL_NS: u64 = 100_000_000;

/// One attempt at a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptFacts {
    /// What the kernel reported. Its heads are not used any more.
    pub exchange: Exchange,
    /// The TLS handshake, if it was all that happened.
    pub tls: Option<TlsFacts>,
    /// What came in answer to a request over TLS.
    pub tls_answer: Option<TlsAnswer>,
    /// The backend's answer shows that it wants TLS, and the request was plain text.
    pub wants_tls: Option<WantsTls>,
    /// The accept queue of the backend (on this host) was full during the attempt.
    pub listen_queue: Option<ListenQueue>,
    /// How much of the response arrived.
    pub progress: Progress,
    /// The request as it went to the backend.
    pub request: Option<RequestSummary>,
    /// Name of the reason the backend's kernel gave for its reset (backend on this host).
    pub reset_received_reason: Option<String>,
    /// Name of the reason of our own reset.
    pub reset_sent_reason: Option<String>,
    /// What the request asked for.
    pub asked: RequestFacts,
    /// What stands out in the response.
    pub response: ResponseFacts,
    /// This kernel names the reasons of the resets that it sends, and tells of those that answer for a
    /// connection which is gone (≥ 6.10).
    pub reasons_known: bool,
    /// ICMP errors about this connection.
    pub icmp: Vec<IcmpError>,
    /// The backend runs on this host.
    pub peer_local: bool,
    /// The backend's own half of the connection, where it runs on this host.
    pub peer: Option<PeerHalf>,
    /// The backend's process ended and took the connection (or the listener) with it.
    pub process_end: Option<ProcessEnd>,
}

/// A backend's half of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHalf {
    /// The backend's process; 0 if none ever used the connection.
    pub pid: u32,
    /// Request bytes that had arrived and that no thread had read when its side ended.
    pub unread: Option<u32>,
    /// A thread read the current request.
    pub request_read: bool,
    /// When its side closed.
    pub closed_ns: Option<MonoNs>,
    /// Name of the reason of its reset.
    pub reset_reason: Option<String>,
    /// Data came after its side had closed.
    pub late_request: bool,
    /// The segment of the response that its kernel sent again and again, unacknowledged.
    pub unheard: Option<Retransmitted>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEnd {
    /// The process.
    pub pid: u32,
    /// When.
    pub at_ns: MonoNs,
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel had chosen it to be killed for want of memory.
    pub oom: bool,
}

impl Phase {
    /// Was no request sent yet?
    pub fn is_before_request(self) -> bool {
        matches!(self, Self::Connect | Self::Handshake)
    }
}

impl AttemptFacts {
    /// Where the exchange stood at the end.
    pub fn phase(&self) -> Phase {
        if self.exchange.times.established.is_none() && !self.exchange.has(flags::ADOPTED) {
            return Phase::Connect;
        }
        if self.tls.is_some() {
            return Phase::Handshake;
        }
        match self.progress {
            Progress::Nothing => Phase::Waiting,
            Progress::NoHead => Phase::Head,
            Progress::Body { .. } | Progress::BadChunks { .. } => Phase::Body,
            // Only the end of the connection tells whether this one is complete.
            Progress::UntilClose { .. } => match self.first_end() {
                Some((End::PeerFin, _)) => Phase::Complete,
                _ => Phase::Body,
            },
            Progress::Complete => Phase::Complete,
            Progress::Opaque => Phase::Unreadable,
        }
    }

    /// What ended the connection first, and when.
    ///
    /// 1. the earliest of FIN received, RST received, a reported timeout or ICMP error, and the
    ///    proxy's close counts;
    /// 2. at equal times the peer goes before the proxy, which can only have followed.
    ///
    /// A reset that we sent never counts: it follows the proxy's close or answers late data.
    pub fn first_end(&self) -> Option<(End, MonoNs)> {
        let times = &self.exchange.times;
        let reported = match self.errno() {
            Some(ETIMEDOUT) => Some(End::KernelTimeout),
            Some(EHOSTUNREACH | ENETUNREACH) => Some(End::Unreachable),
            _ => None,
        };
        let error_ns = times.error.unwrap_or(self.exchange.time_ns);
        // Over TLS a side that closes says so first, and the other may close before the FIN is there.
        let goodbye = self.tls_answer.is_some_and(|answer| answer.goodbye);
        let goodbye = times.response_last.filter(|_| goodbye);
        [
            times.fin_received.map(|at| (End::PeerFin, at)),
            goodbye.map(|at| (End::PeerFin, at)),
            times.reset_received.map(|at| (End::PeerReset, at)),
            reported.map(|end| (end, error_ns)),
            times.closed.map(|at| (End::Proxy, at)),
            times.goodbye.map(|at| (End::Proxy, at)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(_, at)| *at)
    }

    /// When the exchange was over: the first end, or the record itself.
    pub fn end_ns(&self) -> MonoNs {
        let end = self.first_end().map_or(self.exchange.time_ns, |(_, at)| at);
        // A FIN on an idle connection comes before the request that it dooms.
        end.max(self.start_ns())
    }

    /// First moment: the SYN of a fresh connection, the first request byte on a reused one.
    pub fn start_ns(&self) -> MonoNs {
        let times = &self.exchange.times;
        let fresh = (!self.exchange.reused()).then_some(times.opened).flatten();
        fresh
            .or(times.request_start)
            .or(times.opened)
            .unwrap_or(self.exchange.time_ns)
    }

    /// Errno of the end, the socket's own first.
    pub fn errno(&self) -> Option<i32> {
        let x = &self.exchange;
        x.sk_err.or(x.recv_errno).or(x.send_errno)
    }

    /// Did the backend's FIN or RST come before the proxy closed?
    pub fn backend_ended_first(&self) -> bool {
        matches!(self.first_end(), Some((End::PeerFin | End::PeerReset, _)))
    }

    /// Idle time of a reused connection before this request, ns.
    pub fn idle_before_ns(&self) -> Option<u64> {
        let times = &self.exchange.times;
        if !self.exchange.reused() {
            return None;
        }
        times.request_start?.checked_sub(times.idle_since?)
    }

    /// When the backend's FIN or RST arrived, how many bytes of this request had been written by
    /// then (0: the request was written after it) and how many of them were acknowledged.
    /// `None` when the kernel half could not read the sequence numbers, or nothing arrived.
    pub fn at_peer_end(&self) -> Option<AtPeerEnd> {
        let x = &self.exchange;
        if x.times.fin_received.is_none() && x.times.reset_received.is_none() {
            return None;
        }
        // How long a request was that went unseen may not be known.
        if x.has(flags::UNSEEN) && x.request_bytes == 0 {
            return None;
        }
        // All three are zero only on a kernel whose sequence numbers could not be read.
        if (x.request_start_seq, x.snd_una_at_end, x.write_seq_at_end) == (0, 0, 0) {
            return None;
        }
        Some(AtPeerEnd {
            written: distance(x.request_start_seq, x.write_seq_at_end).min(x.request_bytes),
            acked: distance(x.request_start_seq, x.snd_una_at_end).min(x.request_bytes),
        })
    }

    /// Bytes of the request that the backend's kernel had not acknowledged at the end.
    ///
    /// The kernel does not look at the acknowledgement that a reset carries, so after a reset this
    /// is an upper bound.
    pub fn request_unacked(&self) -> Option<u64> {
        let x = &self.exchange;
        if x.request_bytes == 0 {
            return None;
        }
        let at_record = x.socket.unacked.map(|unacked| {
            // The proxy's own FIN takes one sequence number.
            let fin = u32::from(x.times.closed.is_some() && unacked == 1 && x.request_bytes > 1);
            x.request_bytes.saturating_sub(u64::from(unacked - fin))
        });
        let at_end = self.at_peer_end().map(|at_end| at_end.acked);
        // `None` is less than any count.
        Some(x.request_bytes - at_record.max(at_end)?)
    }

    /// Did the backend's kernel acknowledge any byte of this request?
    pub fn any_acked(&self) -> Option<bool> {
        Some(self.request_unacked()? < self.exchange.request_bytes)
    }

    /// Time from the first request byte to the end, ns.
    pub fn waited_ns(&self) -> Option<u64> {
        let start = self.exchange.times.request_start?;
        Some(self.first_end()?.1.saturating_sub(start))
    }

    /// An RST arrived and no socket sent it: the backend runs on this host, whose kernel tells of every
    /// reset that a socket of it sends. Where [`Self::reasons_known`] is not set, one that answers for a
    /// connection which is gone looks the same.
    pub fn reset_by_no_socket(&self) -> bool {
        let Some(reset) = self.exchange.times.reset_received else {
            return false;
        };
        let backend_had_ended = self.peer.as_ref().is_some_and(|half| {
            half.reset_reason.is_some() || half.closed_ns.is_some_and(|closed| closed <= reset)
        });
        self.peer_local
            && self.exchange.reset_received_reason.is_none()
            && self.reset_received_reason.is_none()
            && self.exchange.times.fin_received.is_none()
            && !backend_had_ended
    }

    /// A reset without a FIN before it and without a reason answered this request, of which nothing
    /// was acknowledged, on a reused connection: how long that had been idle, ns.
    ///
    /// The FIN of a backend that closes comes first, in order; so this is no plain keep-alive race.
    pub fn bare_reset_after_ns(&self) -> Option<u64> {
        let x = &self.exchange;
        let answered = x
            .times
            .reset_received?
            .checked_sub(x.times.request_start?)?;
        let round_trips = 2 * u64::from(x.socket.srtt_us.unwrap_or(0)) * 1000;
        let fits = self.phase() == Phase::Waiting
            && x.times.fin_received.is_none()
            && x.reset_received_reason.is_none()
            && self.reset_received_reason.is_none()
            && answered <= round_trips.max(ANSWER_NS)
            && self.any_acked() == Some(false)
            && matches!(self.first_end(), Some((End::PeerReset, _)));
        fits.then(|| self.idle_before_ns()).flatten()
    }

    /// Maximum segment size with which the connection began, bytes.
    pub fn mss(&self) -> Option<u32> {
        self.exchange.mss_at_start.or(self.exchange.socket.mss)
    }

    /// How long the backend had been silent within the body when the proxy closed, or its kernel gave
    /// up, with everything read, ns; `None` if that was not long enough for a timer.
    pub fn stalled_ns(&self) -> Option<u64> {
        let (End::Proxy | End::KernelTimeout, at) = self.first_end()? else {
            return None;
        };
        let silent = at.checked_sub(self.exchange.times.response_last?)?;
        let all_read = self.exchange.socket.unread.unwrap_or(0) == 0;
        (self.phase() == Phase::Body && all_read && silent >= STALL_NS).then_some(silent)
    }

    /// Did the client that this attempt worked for leave before the attempt ended, as the kernel
    /// half saw it?
    pub fn client_had_left(&self) -> bool {
        self.exchange.has(flags::LINK_CLIENT_LEFT) || self.exchange.has(flags::LINK_GONE)
    }
}

/// State of the request at the moment the peer's FIN or RST arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtPeerEnd {
    /// Bytes of this request written by then.
    pub written: u64,
    /// Of those, acknowledged.
    pub acked: u64,
}

/// `to - from` in sequence space; 0 when `to` lies before `from`.
fn distance(from: u32, to: u32) -> u64 {
    u64::try_from(to.wrapping_sub(from).cast_signed()).unwrap_or(0)
}

/// How a masked failure was hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenBy {
    /// Another backend connection took the request up.
    Retry,
    /// No other connection did: the proxy answered by itself (a cache, a fallback page).
    Proxy,
}

/// One failed response with everything known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseFacts {
    /// Where there is no attempt: what happened around the failure.
    pub around: Around,
    /// Where it was seen.
    pub seen_from: SeenFrom,
    /// What the proxy is.
    pub proxy: ProxyKind,
    /// What the client got.
    pub outcome: Outcome,
    /// Status the client got.
    pub status: Option<u16>,
    /// Attempts, oldest first; the last one decides. With a weak tie these are the candidates.
    pub attempts: Vec<AttemptFacts>,
    /// How sure the tie between the deciding attempt and the response is.
    pub tie: Confidence,
    /// When the client's FIN or RST came, if it came before the proxy ended anything.
    pub client_left_ns: Option<MonoNs>,
    /// When the client's request began.
    pub request_start_ns: Option<MonoNs>,
    /// Response bytes that the client was sent.
    pub client_bytes: Option<u64>,
    /// How a masked failure was hidden.
    pub hidden_by: Option<HiddenBy>,
    /// Some backend connection took the request up.
    pub taken_up: bool,
    /// The protocol that the client's own request wants to change to.
    pub client_upgrade: Option<String>,
}

impl CaseFacts {
    /// The attempt that decided the outcome.
    pub fn deciding(&self) -> Option<&AttemptFacts> {
        self.attempts.last()
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::AttemptBuilder;
    use super::*;

    #[test]
    fn who_ended_first() {
        for (attempt, want) in [
            (AttemptBuilder::sent().fin(10).closed(11), End::PeerFin),
            (AttemptBuilder::sent().closed(10).fin(11), End::Proxy),
            (AttemptBuilder::sent().fin(10).reset(11), End::PeerFin),
            (AttemptBuilder::sent().reset(10).closed(10), End::PeerReset),
            (AttemptBuilder::sent().closed(9).reset(10), End::Proxy),
            (
                AttemptBuilder::sent().error(110, 9).closed(10),
                End::KernelTimeout,
            ),
            (
                AttemptBuilder::sent().error(113, 9).closed(10),
                End::Unreachable,
            ),
        ] {
            assert_eq!(attempt.build().first_end().map(|(end, _)| end), Some(want));
        }
        assert_eq!(AttemptBuilder::sent().build().first_end(), None);
    }

    #[test]
    fn phases() {
        for (progress, attempt, want) in [
            (
                Progress::Nothing,
                AttemptBuilder::connecting(),
                Phase::Connect,
            ),
            (Progress::Nothing, AttemptBuilder::sent(), Phase::Waiting),
            (Progress::NoHead, AttemptBuilder::sent(), Phase::Head),
            (Progress::Complete, AttemptBuilder::sent(), Phase::Complete),
            (Progress::Opaque, AttemptBuilder::sent(), Phase::Unreadable),
            (
                Progress::UntilClose { received: 5 },
                AttemptBuilder::sent().fin(3),
                Phase::Complete,
            ),
            (
                Progress::UntilClose { received: 5 },
                AttemptBuilder::sent().reset(3),
                Phase::Body,
            ),
        ] {
            assert_eq!(attempt.progress(progress).build().phase(), want);
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(distance(u32::MAX - 1, 3), 5);
        assert_eq!(distance(5, 5), 0);
        assert_eq!(distance(5, 3), 0);
    }

    #[test]
    fn unacknowledged_bytes() {
        // (at the peer's end: una and write_seq relative to the request's start), final, want
        for (una, write, unacked, reset, want) in [
            // All in flight at the reset.
            (0, 100, Some(100), true, 100),
            // All acknowledged before it.
            (100, 100, Some(0), true, 0),
            // Acknowledged in part.
            (40, 100, Some(60), true, 60),
            // Written after the peer's FIN: the final count is what there is.
            (0, 0, Some(100), false, 100),
            // The proxy's FIN is not a byte of the request.
            (0, 0, Some(1), false, 0),
        ] {
            let mut attempt = AttemptBuilder::sent()
                .fin(5)
                .closed(9)
                .seq(una, write)
                .build();
            attempt.exchange.times.reset_received = reset.then_some(6_000_000);
            attempt.exchange.request_bytes = 100;
            attempt.exchange.socket.unacked = unacked;
            assert_eq!(
                attempt.request_unacked(),
                Some(want),
                "{una} {write} {unacked:?}"
            );
        }
    }
}
