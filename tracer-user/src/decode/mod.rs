//! Kernel records to events.
