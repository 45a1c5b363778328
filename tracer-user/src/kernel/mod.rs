//! Loads and attaches the kernel programs.

pub mod features;
pub mod problem;
pub mod rights;
