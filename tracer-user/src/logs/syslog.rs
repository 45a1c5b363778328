//! The prefix that syslog puts before a line.
