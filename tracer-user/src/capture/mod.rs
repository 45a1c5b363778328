//! The `capture` command: loader, session and reports, wired together.
