//! NGINX: <https://nginx.org/en/docs/http/ngx_http_proxy_module.html> and
//! <https://nginx.org/en/docs/http/ngx_http_upstream_module.html>.

mod evaluate;
mod include;
mod logs;
mod parse;

pub(super) use evaluate::upstreams;
pub(super) use include::load;
pub(super) use logs::logs;
