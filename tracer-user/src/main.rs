//! The command `why502`.

fn main() {}
