//! What this machine can and cannot observe.
