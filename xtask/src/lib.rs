//! Development commands as a library, so that tests can use the lab.

pub mod lab;
pub mod paths;
