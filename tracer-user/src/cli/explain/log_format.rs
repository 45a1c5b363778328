//! `why502 explain log-format`: log configurations with which a line can be tied to its connection.
//!
//! What each variable holds: <https://nginx.org/en/docs/varindex.html>,
//! <https://docs.haproxy.org/2.6/configuration.html#8.2.6>,
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>,
//! <https://httpd.apache.org/docs/2.4/mod/mod_log_config.html#formats> and
//! <https://httpd.apache.org/docs/2.4/mod/core.html#errorlogformat>.

use std::io::{self, Write};

use crate::cli::args::LogFormatOf;

/// Prints it as it can be pasted, whatever the width.
pub(super) fn write(of: LogFormatOf, out: &mut impl Write) -> io::Result<()> {
    out.write_all(text(of).as_bytes())
}

const fn text(of: LogFormatOf) -> &'static str {
    match of {
        LogFormatOf::Nginx => include_str!("log_format/nginx.conf"),
        LogFormatOf::Haproxy => include_str!("log_format/haproxy.cfg"),
        LogFormatOf::Envoy => include_str!("log_format/envoy.yaml"),
        LogFormatOf::Apache => include_str!("log_format/apache.conf"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ties a line to a connection.
    #[test]
    fn the_join_is_exact() {
        for (of, parts) in [
            (
                LogFormatOf::Nginx,
                &[
                    "$request_id",
                    "$http_x_request_id",
                    "$http_traceparent",
                    "$pid",
                    "$remote_port",
                    "$server_addr",
                    "$server_port",
                    "$upstream_addr",
                ][..],
            ),
            (
                LogFormatOf::Haproxy,
                &["%ci:%cp", "%bi:%bp", "%si:%sp", "%tsc"],
            ),
            (
                LogFormatOf::Envoy,
                &[
                    "%UPSTREAM_LOCAL_ADDRESS%",
                    "%DOWNSTREAM_REMOTE_ADDRESS%",
                    "%REQ(X-REQUEST-ID)%",
                    "%REQ(TRACEPARENT)%",
                    "%RESPONSE_CODE_DETAILS%",
                    "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
                ],
            ),
            (
                LogFormatOf::Apache,
                &[
                    "%a:%{remote}p",
                    "%{X-Request-Id}i",
                    "%{traceparent}i",
                    "%L",
                    "ErrorLogFormat",
                ],
            ),
        ] {
            let text = text(of);
            for part in parts {
                assert!(text.contains(part), "{of:?}: {part}");
            }
            assert!(text.ends_with('\n') && text.is_char_boundary(1));
        }
    }
}
