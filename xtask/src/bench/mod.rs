//! Benchmarks against the tools that a person would reach for otherwise.

pub mod logs;

mod alb;
mod child;
