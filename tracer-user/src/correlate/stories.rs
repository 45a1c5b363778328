//! Whole stories: inputs in, cases out.
