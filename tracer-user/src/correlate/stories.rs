//! Whole stories: inputs in, cases out.

mod bounds;
mod builder;
mod order;
mod outcomes;
mod ties;
mod tls;
mod traps;
