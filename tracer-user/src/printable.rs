//! Makes untrusted text safe for a terminal.
