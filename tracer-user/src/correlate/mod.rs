//! Ties backend exchanges to what the client got: events in, cases out.
