//! Loads and attaches the kernel programs.

pub mod features;
pub mod loader;
pub mod offsets;
pub mod preflight;
pub mod problem;
pub mod rights;
