//! Benchmarks: what why502 costs, and how fast it is against the tools that a person would reach for
//! otherwise.

pub mod agent;
pub mod logs;

mod alb;
mod child;
mod load;
mod machine;
mod site;
mod usage;
