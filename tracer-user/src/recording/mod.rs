//! The recording file: inputs of a session, framed and checksummed.
