//! Command line: arguments and their conversion, one file per command.
