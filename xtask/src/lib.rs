//! Development commands as a library, so that tests can use the lab.

pub mod bench;
pub mod dist;
pub mod lab;
pub mod paths;
