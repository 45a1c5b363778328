//! Log files from wherever they are to blocks of whole lines: the rim of [`crate::logs`].

mod blocks;
mod decode;
mod lines;
mod source;

pub use blocks::{BLOCK_BYTES, Blocks, Body, Piece};
pub use decode::Trouble;
pub use lines::{Lines, each_line};
pub use source::{Source, find};
