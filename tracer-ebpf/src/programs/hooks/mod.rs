//! One file per kernel hook.

mod adopt;
mod call;
mod destroy;
mod error_report;
mod process;
mod recv;
mod reset;
mod retransmit;
mod send;
mod standby;
mod state;
