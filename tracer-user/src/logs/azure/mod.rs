//! Balancers of Azure.

pub(super) mod app_gateway;
pub(super) mod front_door;
