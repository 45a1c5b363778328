//! Real failures made on purpose: a backend that fails as told, real proxies in front of it, and a
//! client that sees how it ended. The demo, the live tests and the fault lab are built on it.
//!
//! Everything here talks over 127.0.0.0/8 only, keeps its files in a temporary directory and is
//! gone when its owner is dropped.

pub mod agent;
pub mod backend;
pub mod capture;
pub mod client;
pub mod debian;
pub mod demo;
pub mod dns;
pub mod fault;
pub mod log;
pub mod malformed;
pub mod matrix;
pub mod net;
pub mod netns;
pub mod process;
pub mod proxy;
pub mod ready;
pub mod receivers;
pub mod scratch;
pub mod stand;
mod stream;
pub mod tls;
