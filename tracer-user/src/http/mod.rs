//! Reads HTTP/1.x heads, complete or cut.
