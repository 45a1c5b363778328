//! From hook to record.
//!
//! `hooks` holds one file per kernel hook and little logic: find the connection, hand the fact to
//! `exchange` (payload moved) or `end` (the connection ends). `emit` writes records. Everything else
//! is reading: `sock` (socket fields), `regs` and `user` (the caller's buffer), `head` and `framing`
//! (what the bytes mean), `link` (which client request a backend connection works for).
//!
//! Functions that are `extern "C"`, take and return plain numbers and are not inlined become global
//! functions: the verifier checks each once on its own instead of once for every path that leads to
//! it. That keeps the load time low (see <https://docs.kernel.org/bpf/verifier.html>, and the commit
//! message of kernel 51c39bb1d5d1 for the idea).
//!
//! A map value can be changed by a system call on one CPU and by the network stack on another at the
//! same time. Nothing here relies on more than single aligned fields being whole; a lost update costs
//! one timestamp or counter of one connection.

mod conn;
mod dns;
mod emit;
mod end;
mod exchange;
mod first;
mod framing;
mod globals;
mod head;
mod hooks;
mod link;
mod maps;
mod regs;
mod sock;
mod stats;
mod unseen;
mod user;
