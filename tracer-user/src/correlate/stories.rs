//! Whole stories: inputs in, cases out.

mod alone;
mod bounds;
mod builder;
mod order;
mod outcomes;
mod ties;
mod tls;
mod traps;
mod unseen;
