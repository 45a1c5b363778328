//! Balancers of AWS.

pub(super) mod alb;
pub(super) mod alb_connection;
pub(super) mod nlb;
