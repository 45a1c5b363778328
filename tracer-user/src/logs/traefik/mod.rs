//! Traefik.

pub(super) mod json;
mod statuses;
pub(super) mod text;
