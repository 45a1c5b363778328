//! What is found, in the forms of tracing backends: plain functions from cases and counts to documents.
//! How they get there is [`crate::deliver`]'s concern.
