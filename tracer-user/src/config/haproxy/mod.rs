//! HAProxy: <https://docs.haproxy.org/2.8/configuration.html>.

mod evaluate;
mod load;
mod logs;
mod sections;
mod words;

pub(super) use evaluate::upstreams;
pub(super) use load::load;
pub(super) use logs::logs;
