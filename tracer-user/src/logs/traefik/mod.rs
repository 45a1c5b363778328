//! Traefik.

pub(super) mod json;
pub(super) mod text;
