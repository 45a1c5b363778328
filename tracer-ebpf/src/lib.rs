//! The ABI between the kernel programs and user space.
//!
//! Everything here is `#[repr(C)]` with fixed-width integers and byte arrays, so both sides agree
//! on every byte. Rules:
//!
//! - one [`RecordHeader`] stands in front of every record; unknown kinds are skipped by length and a
//!   known record that is longer than expected is accepted (a newer kernel half);
//! - padding is a named field and is written as zero;
//! - times are `CLOCK_MONOTONIC` nanoseconds, and 0 means "did not happen" (the clock is never 0
//!   after boot);
//! - addresses are in network byte order, ports in host byte order.
#![no_std]

pub mod conn;
pub mod heads;
pub mod hist;
pub mod load;
pub mod record;
pub mod tracked;

pub use conn::{ConnKey, ConnState, Direction, LinkHow, Role, flags};
pub use heads::{APPEND_MAX, HEAD_USUAL, Heads, LINES_MAX};
pub use hist::{
    BUCKETS, BackendKey, BackendStats, IDLE_CLOSE_MIN_US, bucket_high_us, bucket_low_us,
    bucket_of_us,
};
pub use load::{ABSENT, Config, Offsets, loss};
pub use record::{
    BackendRecord, Cause, DNS_MAX, DnsRecord, ExchangeRecord, HEAD_MAX, Kind, ProcessRecord,
    RecordHeader, SignRecord, SocketFacts, process,
};
pub use tracked::{Conn, Tracked, TrackedLong, TrackedWith, marks};
