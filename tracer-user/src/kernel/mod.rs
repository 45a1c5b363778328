//! Loads and attaches the kernel programs.
