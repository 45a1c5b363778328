//! Loads and attaches the kernel programs.

pub mod attach;
pub mod features;
pub mod hooks;
pub mod in_use;
pub mod loader;
pub mod offsets;
pub mod preflight;
pub mod problem;
pub mod rights;
pub mod types;
