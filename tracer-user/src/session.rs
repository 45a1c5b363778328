//! One session: inputs in, cases out. The same code for live capture and replay.
