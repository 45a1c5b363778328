//! why502: which backend connection caused a 502, who ended it, how, and what to change.

pub mod advise;
pub mod agent;
pub mod capture;
pub mod case;
pub mod cli;
pub mod config;
pub mod correlate;
pub mod decode;
pub mod deliver;
pub mod diagnose;
pub mod discover;
pub mod dns;
pub mod doctor;
pub mod event;
pub mod export;
pub mod http;
mod join;
pub mod kernel;
pub mod latency;
pub mod logs;
pub mod printable;
pub mod recording;
pub mod report;
pub mod session;
pub mod tls;
