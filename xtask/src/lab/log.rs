//! What the proxies' own log lines say, in the words of our rules.

use super::proxy::Kind;

/// The lines of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestLog {
    /// Error-log lines, in order (NGINX, Apache).
    pub errors: Vec<String>,
    /// The access-log line; `None` if the proxy wrote none.
    pub access: Option<String>,
}

/// Rules that a log allows. A proxy often cannot tell two causes apart; then both are here.
pub type Allowed = &'static [&'static str];

/// An early end, seen on a connection that may or may not have been used before.
const ENDED_EARLY: Allowed = &[
    "fin-before-response",
    "rst-before-response",
    "partial-header",
    "keepalive-race",
];
const BODY_CUT: Allowed = &["body-truncated-fin", "body-truncated-rst"];
/// Nothing was tried, so the kernel saw nothing: our answer is that we do not know.
const NO_BACKEND: Allowed = &["no-backend-available", "unexplained"];

impl RequestLog {
    /// The rules these lines allow; empty when they say nothing of a failure.
    pub fn allows(&self, kind: Kind) -> Allowed {
        match kind {
            Kind::Nginx => self.nginx(),
            Kind::Haproxy => self.haproxy(),
            Kind::Envoy => self.envoy(),
            Kind::Apache => self.apache(),
        }
    }

    fn nginx(&self) -> Allowed {
        // (part of the message, part of the action, rules)
        const TABLE: &[(&str, &str, Allowed)] = &[
            (
                "connect() failed (111:",
                "connecting to",
                &["connect-refused"],
            ),
            ("upstream timed out", "connecting to", &["connect-timeout"]),
            (
                "upstream timed out",
                "reading response header",
                &["response-timeout"],
            ),
            (
                "prematurely closed",
                "reading response header",
                // A FIN that comes before the request was sent is seen at the same place.
                &["fin-before-response", "partial-header", "keepalive-race"],
            ),
            (
                "recv() failed (104:",
                "reading response header",
                &["rst-before-response", "partial-header", "keepalive-race"],
            ),
            ("writev() failed (", "sending request", &["keepalive-race"]),
            ("send() failed (", "sending request", &["keepalive-race"]),
            (
                "prematurely closed",
                "reading upstream",
                &["body-truncated-fin"],
            ),
            (
                "v() failed (104:",
                "reading upstream",
                &["body-truncated-rst"],
            ),
            ("no live upstreams", "connecting to", NO_BACKEND),
            (
                "client prematurely closed connection",
                "",
                &["client-abort"],
            ),
        ];
        for line in &self.errors {
            for (message, action, rules) in TABLE {
                if line.contains(message) && line.contains(&format!("while {action}"))
                    || action.is_empty() && line.contains(message)
                {
                    return rules;
                }
            }
        }
        let access = self.access.as_deref().unwrap_or("");
        let made_by_backend = json_text(access, "upstream_header_time").is_some_and(|t| t != "-");
        match json_text(access, "status") {
            Some("502" | "503" | "504") if made_by_backend => &["application-502"],
            Some("499") => &["client-abort"],
            _ => &[],
        }
    }

    fn haproxy(&self) -> Allowed {
        let Some(access) = &self.access else {
            // The silent drop: the only failure without a line.
            return &["keepalive-race"];
        };
        let words: Vec<_> = access.split(' ').collect();
        let [status, code, server] = [5, 9, 3].map(|at| words.get(at).copied().unwrap_or(""));
        match (code.get(..2).unwrap_or(""), status) {
            ("SC", _) if server.ends_with("<NOSRV>") => NO_BACKEND,
            ("SC", _) => &["connect-refused"],
            ("sC", _) => &["connect-timeout"],
            ("SH", _) => ENDED_EARLY,
            ("sH", _) => &["response-timeout"],
            ("SD", _) => BODY_CUT,
            ("CD" | "CH" | "CC" | "CQ", _) => &["client-abort"],
            ("--", "502" | "503" | "504") => &["application-502"],
            _ => &[],
        }
    }

    fn envoy(&self) -> Allowed {
        let access = self.access.as_deref().unwrap_or("");
        let details = json_text(access, "response_code_details").unwrap_or("");
        let flags = json_text(access, "response_flags").unwrap_or("");
        let has = |flag: &str| flags.split(',').any(|one| one == flag);
        if has("UF") && details.contains("connection_timeout") {
            &["connect-timeout"]
        } else if has("UF") {
            &["connect-refused"]
        } else if (has("UC") || has("UPE")) && details.contains("after_response_started") {
            BODY_CUT
        } else if has("UC") || has("UPE") {
            ENDED_EARLY
        } else if has("UT") {
            &["response-timeout"]
        } else if has("UH") {
            NO_BACKEND
        } else if has("DC") {
            &["client-abort"]
        } else if details == "via_upstream"
            && ["502", "503", "504"].contains(&json_number(access, "response_code"))
        {
            &["application-502"]
        } else {
            &[]
        }
    }

    fn apache(&self) -> Allowed {
        let any = |what: &str| self.errors.iter().any(|line| line.contains(what));
        let with = |code: &str, what: &str| {
            let mut lines = self.errors.iter();
            lines.any(|line| line.contains(code) && line.contains(what))
        };
        if with("AH00957", "(111)") {
            &["connect-refused"]
        } else if any("AH00957") {
            &["connect-timeout"]
        } else if any("AH10404") || any("AH01106") {
            &["partial-header"]
        } else if with("AH01102", "(70007)") {
            &["response-timeout"]
        } else if with("AH01102", "(104)") {
            &["rst-before-response", "keepalive-race"]
        } else if any("AH01102") {
            &["fin-before-response", "keepalive-race"]
        } else if with("AH01110", "(104)") {
            &["body-truncated-rst"]
        } else if any("AH01110") {
            &["body-truncated-fin"]
        } else if any("AH01167") || any("AH01170") {
            NO_BACKEND
        } else {
            match apache_status(self.access.as_deref()) {
                Some("502" | "503" | "504") => &["application-502"],
                // No error line and no bytes: the silent drop.
                _ => &["keepalive-race"],
            }
        }
    }
}

fn apache_status(access: Option<&str>) -> Option<&str> {
    let (_, after) = access?.rsplit_once('"')?;
    after.trim_start().split(' ').next()
}

/// The text value of a key in a flat JSON line.
fn json_text<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, after) = line.split_once(&format!("\"{key}\":\""))?;
    after.split('"').next()
}

/// The number of a key in a flat JSON line, as text; empty if there is none.
fn json_number<'a>(line: &'a str, key: &str) -> &'a str {
    line.split_once(&format!("\"{key}\":"))
        .and_then(|(_, after)| after.split([',', '}']).next())
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_catalogue() {
        let nginx = |line: &str| RequestLog {
            errors: vec![line.into()],
            access: None,
        };
        let access = |line: &str| RequestLog {
            errors: vec![],
            access: Some(line.into()),
        };
        for (kind, log, rule) in [
            (
                Kind::Nginx,
                nginx("connect() failed (111: Connection refused) while connecting to upstream"),
                "connect-refused",
            ),
            (
                Kind::Nginx,
                nginx(
                    "upstream timed out (110: Connection timed out) while connecting to upstream",
                ),
                "connect-timeout",
            ),
            (
                Kind::Nginx,
                nginx(
                    "upstream timed out (110: Connection timed out) while reading response header from upstream",
                ),
                "response-timeout",
            ),
            (
                Kind::Nginx,
                nginx("readv() failed (104: Connection reset by peer) while reading upstream"),
                "body-truncated-rst",
            ),
            (
                Kind::Nginx,
                nginx("no live upstreams while connecting to upstream"),
                "unexplained",
            ),
            (
                Kind::Nginx,
                access(r#"{"status":"502","upstream_header_time":"0.004"}"#),
                "application-502",
            ),
            (
                Kind::Haproxy,
                access(
                    r#"203.0.113.5:1 [t] fe be/app1 0/0/-1/-1/1002 503 217 - - SC-- 1/1/0/0/1 0/0 "GET / HTTP/1.1""#,
                ),
                "connect-refused",
            ),
            (
                Kind::Haproxy,
                access(
                    r#"203.0.113.5:1 [t] fe be/<NOSRV> 0/-1/-1/-1/0 503 217 - - SC-- 1/1/0/0/0 0/0 "GET / HTTP/1.1""#,
                ),
                "unexplained",
            ),
            (
                Kind::Haproxy,
                access(
                    r#"203.0.113.5:1 [t] fe be/app1 0/0/0/1/1 502 61 - - ---- 1/1/0/0/0 0/0 "GET /app HTTP/1.1""#,
                ),
                "application-502",
            ),
            (Kind::Haproxy, RequestLog::default(), "keepalive-race"),
            (
                Kind::Envoy,
                access(
                    r#"{"response_flags":"URX,UF","response_code_details":"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"}"#,
                ),
                "connect-refused",
            ),
            (
                Kind::Envoy,
                access(
                    r#"{"response_code":502,"response_flags":"-","response_code_details":"via_upstream"}"#,
                ),
                "application-502",
            ),
            (
                Kind::Apache,
                nginx("(111)Connection refused: AH00957: http: attempt to connect to"),
                "connect-refused",
            ),
            (
                Kind::Apache,
                nginx("(104)Connection reset by peer: [client A] AH01110: error reading response"),
                "body-truncated-rst",
            ),
            (
                Kind::Apache,
                access(r#"127.0.0.1:1 "GET / HTTP/1.1" 502 20"#),
                "application-502",
            ),
        ] {
            assert!(log.allows(kind).contains(&rule), "{kind:?} {log:?} {rule}");
        }
    }
}
