//! From flags, details and status to a meaning.

use crate::logs::entry::Text;
use crate::logs::meaning::Meaning;

use super::flags::Flags;
use super::meanings as is;

/// What a line says of how a request ended. Text that is not in it is empty.
#[derive(Clone, Copy)]
pub(super) struct Outcome<'l> {
    pub(super) flags: Flags<'l>,
    /// `RESPONSE_CODE_DETAILS`.
    pub(super) details: &'l str,
    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`.
    pub(super) transport: &'l str,
    /// `CONNECTION_TERMINATION_DETAILS`.
    pub(super) termination: &'l str,
    pub(super) status: Option<u16>,
    /// A backend is named.
    pub(super) has_upstream: bool,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`.
    pub(super) attempts: Option<u64>,
}

/// Details of a response that the backend made.
const VIA_UPSTREAM: &str = "via_upstream";

/// No error of a connect is longer, in bytes.
const ERROR_MAX: usize = 200;

/// Parts of a transport failure's text, by errno (Linux) and by words: the form has changed over the
/// years (`delayed_connect_error:_111`, `…:_Connection_refused`), and so has what stands around it.
const CONNECT_ERRORS: &[(&str, &str, &Meaning)] = &[
    ("111", "connection_refused", &is::REFUSED),
    ("110", "timed_out", &is::CONNECT_TIMEOUT),
    ("113", "no_route_to_host", &is::UNREACHABLE),
    ("101", "network_is_unreachable", &is::UNREACHABLE),
    ("112", "host_is_down", &is::UNREACHABLE),
    ("99", "cannot_assign", &is::PORTS),
    ("24", "too_many_open_files", &is::FILES),
    ("23", "too_many_open_files_in_system", &is::FILES),
    ("104", "connection_reset", &is::CONNECT_RESET),
];

/// Parts of the TLS library's text. BoringSSL names alerts that it received `TLSV1_…` and
/// `SSLV3_ALERT_…`, with and without ALERT in them.
const TLS_ERRORS: &[(&str, &Meaning)] = &[
    ("certificate_verify_failed", &is::VERIFY),
    ("verify_cert", &is::VERIFY),
    ("wrong_version_number", &is::PLAINTEXT),
    (":http_request", &is::PLAINTEXT),
    ("https_proxy_request", &is::PLAINTEXT),
    ("_alert", &is::ALERT),
    (":tlsv1_", &is::ALERT),
];

impl Outcome<'_> {
    pub(super) fn meaning(&self) -> Option<&'static Meaning> {
        let has = |flag| self.flags.has(flag);
        if has("DF") || self.mentions("dns_resolution_failure") {
            return Some(&is::DNS);
        }
        if has("UF") {
            return Some(self.connect());
        }
        if has("UPE") {
            return Some(self.protocol());
        }
        if has("UC") {
            return Some(self.closed());
        }
        let found = if has("UT") && self.began() {
            &is::BODY_TIMEOUT
        } else if has("UT") {
            &is::TIMEOUT
        } else if has("UR") {
            &is::REMOTE_RESET
        } else if has("UO") {
            &is::OVERFLOW
        } else if has("UH") {
            &is::NO_HOST
        } else if has("UMSDR") || has("DT") {
            &is::MAX_DURATION
        } else if has("SI") && self.status == Some(408) {
            &is::IDLE_REQUEST
        } else if has("SI") {
            &is::IDLE
        } else if has("DC") || has("DR") {
            &is::CLIENT_LEFT
        } else if has("LR") {
            &is::LOCAL_RESET
        } else if has("NR") || has("NC") {
            &is::NO_ROUTE
        } else if has("DPE") {
            &is::CLIENT_PROTOCOL
        } else if ["LH", "OM", "DO", "UDO"].into_iter().any(has) {
            &is::OVERLOAD
        } else {
            return self.without_failure();
        };
        Some(found)
    }

    /// No flag names a failure of a connection.
    fn without_failure(&self) -> Option<&'static Meaning> {
        let failed = self.status.is_some_and(|status| status >= 500);
        let answered = match self.details {
            "" | "-" => self.has_upstream && !self.flags.any(),
            details => details == VIA_UPSTREAM,
        };
        match (failed, answered) {
            (true, true) => Some(&is::APPLICATION),
            (true, false) if self.flags.has("URX") => Some(&is::RETRY_LIMIT),
            (true, false) => Some(self.by_details().unwrap_or(&is::LOCAL_REPLY)),
            (false, _) if self.refused_by_filter() => Some(&is::POLICY),
            (false, _) if self.attempts.is_some_and(|tries| tries > 1) => Some(&is::RETRIED),
            (false, _) => None,
        }
    }

    /// Formats may have the details but not the flags.
    fn by_details(&self) -> Option<&'static Meaning> {
        if self.flags.any() {
            return Some(&is::POLICY);
        }
        let begins = |part: &str| self.details.starts_with(part);
        let found = if begins("upstream_reset") && self.mentions("protocol_error") {
            self.protocol()
        } else if begins("upstream_reset") && self.mentions("overflow") {
            &is::OVERFLOW
        } else if begins("upstream_reset")
            && (self.mentions("connection_failure") || self.mentions("connection_timeout"))
        {
            self.connect()
        } else if begins("upstream_reset") && self.mentions("connection_termination") {
            self.closed()
        } else if begins("upstream_reset") && self.mentions("remote_") {
            &is::REMOTE_RESET
        } else if begins("upstream_reset") {
            &is::LOCAL_RESET
        } else if begins("no_healthy_upstream") {
            &is::NO_HOST
        } else if begins("response_timeout")
            || begins("upstream_response_timeout")
            || begins("upstream_per_try_timeout")
        {
            &is::TIMEOUT
        } else if begins("upstream_max_stream_duration") || begins("max_duration_timeout") {
            &is::MAX_DURATION
        } else if begins("stream_idle_timeout") {
            &is::IDLE
        } else if begins("overload") {
            &is::OVERLOAD
        } else if begins("downstream_remote_disconnect") {
            &is::CLIENT_LEFT
        } else if begins("route_not_found") || begins("cluster_not_found") {
            &is::NO_ROUTE
        } else {
            return None;
        };
        Some(found)
    }

    fn refused_by_filter(&self) -> bool {
        let filters = ["UAEX", "RL", "RLSE", "FI", "IH", "NFCF"];
        self.flags.any() && filters.into_iter().any(|flag| self.flags.has(flag))
    }

    fn connect(&self) -> &'static Meaning {
        if let Some(found) = self.tls() {
            return found;
        }
        for text in [self.transport, self.details, self.termination] {
            if let Some(found) = connect_error(text) {
                return found;
            }
        }
        if self.mentions("connection_timeout") {
            &is::CONNECT_TIMEOUT
        } else if self.mentions("local_connection_failure") {
            &is::LOCAL_CONNECT
        } else if self.mentions("connection_failure") || self.mentions("connection_termination") {
            &is::CUT_CONNECT
        } else {
            &is::CONNECT
        }
    }

    fn tls(&self) -> Option<&'static Meaning> {
        let texts = || [self.transport, self.details, self.termination].into_iter();
        if !texts().any(|text| holds(text, "tls_error") || holds(text, "tls error")) {
            return None;
        }
        let of = |(part, _): &&(&str, &Meaning)| texts().any(|text| holds(text, part));
        Some(TLS_ERRORS.iter().find(of).map_or(&is::TLS, |found| found.1))
    }

    fn closed(&self) -> &'static Meaning {
        // In TLS 1.3 a backend looks at the client's certificate when the handshake is over for Envoy.
        if let Some(found) = self.tls() {
            return found;
        }
        if self.began() {
            &is::TRUNCATED
        } else {
            &is::CLOSED
        }
    }

    fn protocol(&self) -> &'static Meaning {
        if self.mentions("headers_too_large") || self.mentions("too_many_headers") {
            &is::TOO_LARGE
        } else if self.began() {
            &is::BROKEN_BODY
        } else if self.mentions("codec_error") {
            &is::CODEC
        } else {
            &is::PROTOCOL
        }
    }

    /// Had the response begun when the failure came?
    fn began(&self) -> bool {
        match self.details {
            "" | "-" | VIA_UPSTREAM => self
                .status
                .is_some_and(|status| (200..500).contains(&status)),
            details => details.contains("after_response_started"),
        }
    }

    fn mentions(&self, part: &str) -> bool {
        [self.details, self.transport, self.termination]
            .into_iter()
            .any(|text| holds(text, part))
    }

    /// The system's own words.
    pub(super) fn says(&self) -> Option<Text<'static>> {
        let mut says = String::new();
        for part in [self.flags.0, self.details, self.transport, self.termination] {
            if matches!(part, "" | "-") || says.contains(part) {
                continue;
            }
            if !says.is_empty() {
                says.push(' ');
            }
            says.push_str(part);
        }
        (!says.is_empty()).then(|| says.into())
    }
}

/// `delayed_connect_error:_111`, `immediate_connect_error:_Cannot_assign_requested_address`, and the same
/// with spaces, which is how the reason is before it goes into the details.
fn connect_error(text: &str) -> Option<&'static Meaning> {
    let at = memchr::memmem::find(text.as_bytes(), b"connect_error")
        .or_else(|| memchr::memmem::find(text.as_bytes(), b"connect error"))?;
    let error = text.get(at + "connect_error".len()..)?;
    let error = error.trim_start_matches([':', '_', ' ']);
    let end = error.find(['}', '|', ',']).unwrap_or(error.len());
    let error = error.get(..end).filter(|error| error.len() <= ERROR_MAX)?;
    let of = |(number, words, _): &&(&str, &str, &Meaning)| *number == error || holds(error, words);
    CONNECT_ERRORS.iter().find(of).map(|found| found.2)
}

/// Is this part in the text? Case does not count, and a space counts as `_`. The part is in lower case.
fn holds(text: &str, part: &str) -> bool {
    let same = |(text, part): (&u8, &u8)| {
        text.eq_ignore_ascii_case(part) || (*text == b' ' && *part == b'_')
    };
    text.as_bytes()
        .windows(part.len())
        .any(|window| window.iter().zip(part.as_bytes()).all(same))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome<'l>(
        flags: &'l str,
        status: u16,
        details: &'l str,
        transport: &'l str,
    ) -> Outcome<'l> {
        Outcome {
            flags: Flags(flags),
            details,
            transport,
            termination: "",
            status: (status > 0).then_some(status),
            has_upstream: true,
            attempts: None,
        }
    }

    const RESET: &str = "upstream_reset_before_response_started";

    #[test]
    fn flags_alone() {
        for (flags, status, meaning) in [
            ("UF", 503, Some(&is::CONNECT)),
            ("URX,UF", 503, Some(&is::CONNECT)),
            ("UpstreamConnectionFailure", 503, Some(&is::CONNECT)),
            ("UC", 503, Some(&is::CLOSED)),
            ("UC", 200, Some(&is::TRUNCATED)),
            ("UT", 504, Some(&is::TIMEOUT)),
            ("UT", 200, Some(&is::BODY_TIMEOUT)),
            ("UPE", 502, Some(&is::PROTOCOL)),
            ("UPE", 200, Some(&is::BROKEN_BODY)),
            ("UR", 503, Some(&is::REMOTE_RESET)),
            ("LR", 503, Some(&is::LOCAL_RESET)),
            ("UH", 503, Some(&is::NO_HOST)),
            ("UO", 503, Some(&is::OVERFLOW)),
            ("URX", 503, Some(&is::RETRY_LIMIT)),
            ("NR", 404, Some(&is::NO_ROUTE)),
            ("NC", 503, Some(&is::NO_ROUTE)),
            ("DC", 0, Some(&is::CLIENT_LEFT)),
            ("DC,UC", 503, Some(&is::CLOSED)),
            ("SI", 504, Some(&is::IDLE)),
            ("SI", 408, Some(&is::IDLE_REQUEST)),
            ("DT", 504, Some(&is::MAX_DURATION)),
            ("UMSDR", 504, Some(&is::MAX_DURATION)),
            ("DF", 503, Some(&is::DNS)),
            ("LH", 503, Some(&is::OVERLOAD)),
            ("DPE", 400, Some(&is::CLIENT_PROTOCOL)),
            ("UAEX", 403, Some(&is::POLICY)),
            ("FI", 503, Some(&is::POLICY)),
            ("RFCF", 200, None),
            ("-", 200, None),
            ("-", 404, None),
            ("-", 502, Some(&is::APPLICATION)),
        ] {
            assert_eq!(outcome(flags, status, "", "").meaning(), meaning, "{flags}");
        }
    }

    #[test]
    fn details_and_reasons() {
        let tls = |error: &str| {
            format!("TLS_error:|268435581:SSL_routines:OPENSSL_internal:{error}:TLS_error_end")
        };
        for (flags, inside, transport, meaning) in [
            (
                "UF",
                "connection_failure,delayed_connect_error:_111",
                "",
                &is::REFUSED,
            ),
            (
                "UF",
                "remote_connection_failure,delayed_connect_error:_111",
                "",
                &is::REFUSED,
            ),
            (
                "UF",
                "remote_connection_failure|delayed_connect_error:_Connection_refused",
                "",
                &is::REFUSED,
            ),
            (
                "UF",
                "",
                "delayed connect error: Connection refused",
                &is::REFUSED,
            ),
            ("UF", "", "delayed_connect_error:_113", &is::UNREACHABLE),
            (
                "UF",
                "local_connection_failure|immediate_connect_error:_Network_is_unreachable",
                "",
                &is::UNREACHABLE,
            ),
            (
                "UF",
                "",
                "immediate_connect_error:_Cannot_assign_requested_address|QUIC",
                &is::PORTS,
            ),
            ("UF", "", "immediate_connect_error:_24", &is::FILES),
            (
                "UF",
                "",
                "delayed_connect_error:_Connection_timed_out",
                &is::CONNECT_TIMEOUT,
            ),
            ("UF", "connection_timeout", "", &is::CONNECT_TIMEOUT),
            ("UF", "local_connection_failure", "", &is::LOCAL_CONNECT),
            ("UF", "remote_connection_failure", "", &is::CUT_CONNECT),
            ("UF", "", &*tls("WRONG_VERSION_NUMBER"), &is::PLAINTEXT),
            (
                "UF",
                "",
                &*tls("CERTIFICATE_VERIFY_FAILED:verify_cert_failed"),
                &is::VERIFY,
            ),
            ("UF", "", &*tls("TLSV1_ALERT_PROTOCOL_VERSION"), &is::ALERT),
            ("UF", "", &*tls("SSLV3_ALERT_HANDSHAKE_FAILURE"), &is::ALERT),
            ("UF", "", &*tls("TLSV1_UNRECOGNIZED_NAME"), &is::ALERT),
            ("UF", "", &*tls("NO_SHARED_CIPHER"), &is::TLS),
            ("UC", "connection_termination", "", &is::CLOSED),
            ("UC", "", &*tls("TLSV1_CERTIFICATE_REQUIRED"), &is::ALERT),
            ("UPE", "protocol_error", "", &is::PROTOCOL),
            ("UPE", "protocol_error|http1.codec_error", "", &is::CODEC),
            (
                "UPE",
                "protocol_error,http1.headers_too_large",
                "",
                &is::TOO_LARGE,
            ),
            (
                "UPE",
                "protocol_error",
                "http1.too_many_headers",
                &is::TOO_LARGE,
            ),
        ] {
            let details = match inside {
                "" => String::new(),
                inside => format!("{RESET}{{{inside}}}"),
            };
            let status = if flags == "UPE" { 502 } else { 503 };
            let found = outcome(flags, status, &details, transport).meaning();
            assert_eq!(found, Some(meaning), "{flags} {details} {transport}");
        }
    }

    #[test]
    fn details_without_flags() {
        let inside = |reason: &str| format!("{RESET}{{{reason}}}");
        for (status, details, meaning) in [
            (502, "via_upstream", Some(&is::APPLICATION)),
            (503, &*inside("connection_termination"), Some(&is::CLOSED)),
            (
                503,
                &*inside("connection_timeout"),
                Some(&is::CONNECT_TIMEOUT),
            ),
            (
                503,
                &*inside("remote_connection_failure|delayed_connect_error:_111"),
                Some(&is::REFUSED),
            ),
            (503, &*inside("overflow"), Some(&is::OVERFLOW)),
            (503, &*inside("remote_reset"), Some(&is::REMOTE_RESET)),
            (502, &*inside("protocol_error"), Some(&is::PROTOCOL)),
            (503, "no_healthy_upstream", Some(&is::NO_HOST)),
            (504, "response_timeout", Some(&is::TIMEOUT)),
            (504, "upstream_per_try_timeout", Some(&is::TIMEOUT)),
            (503, "cluster_not_found", Some(&is::NO_ROUTE)),
            (503, "direct_response", Some(&is::LOCAL_REPLY)),
            (404, "route_not_found", None),
        ] {
            assert_eq!(
                outcome("", status, details, "").meaning(),
                meaning,
                "{details}"
            );
        }
    }

    #[test]
    fn retries_hide_failures() {
        for (flags, status, attempts, meaning) in [
            ("-", 200, 2, Some(&is::RETRIED)),
            ("-", 200, 1, None),
            ("-", 502, 2, Some(&is::APPLICATION)),
            ("UF,URX", 503, 3, Some(&is::CONNECT)),
        ] {
            let mut outcome = outcome(flags, status, "", "");
            outcome.attempts = Some(attempts);
            assert_eq!(outcome.meaning(), meaning, "{flags} {attempts}");
        }
        let mut nobody = outcome("-", 503, "", "");
        nobody.has_upstream = false;
        assert_eq!(nobody.meaning(), Some(&is::LOCAL_REPLY));
    }

    #[test]
    fn nothing_is_said_twice() {
        let details = format!("{RESET}{{connection_failure|x}}");
        let says = outcome("UF", 503, &details, "connection_failure|x").says();
        assert_eq!(says, Some(format!("UF {details}").into()));
        assert_eq!(outcome("-", 502, "", "").says(), None);
        let answered = outcome("-", 502, "via_upstream", "").says();
        assert_eq!(answered.as_deref(), Some("via_upstream"));
    }
}
