//! Finds proxies and their listening ports.
