//! What was seen and did not become a case, by reason.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of a session.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $name: u64,)*
        }

        impl Counters {
            /// Names and values, in a fixed order.
            pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Records of exchanges that the kernel sent, each end of a connection for itself.
    exchange_records,
    /// Of those, the ones of healthy exchanges (`--all`, `--sample`).
    healthy_records,
    /// Cases handed out.
    cases,
    /// Cases whose outcome was not asked for.
    filtered_outcomes,
    /// Clients that left before they had their response.
    client_aborts,
    /// Client connections that ended early although no backend connection failed.
    ended_without_failure,
    /// Backend failures near a client's request that had nothing to do with it.
    unrelated_failures,
    /// Failed connects that may have been health checks or hidden first tries.
    ambiguous_connects,
    /// Backend failures for which the client got an error that is not watched.
    unwatched_statuses,
    /// Clients whose responses cannot be read (TLS, HTTP/2), after a backend failure.
    unreadable_clients,
    /// Backend connections that ended with a complete response.
    complete_upstreams,
    /// Backend connections that were closed without ever carrying a request.
    unused_upstreams,
    /// Backend failures that no client's response was found for.
    pending_expired,
    /// Backend failures dropped because too many were waiting.
    pending_evicted,
    /// Client records judged early because too many were waiting.
    held_early,
}
