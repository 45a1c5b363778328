//! Error pages of servers that were sent plain text where they want TLS.

/// What they say. None of it is anybody's secret.
const REFUSALS: [&str; 4] = [
    // src/http/ngx_http_special_response.c
    "The plain HTTP request was sent to HTTPS port",
    // modules/http/http_protocol.c of Apache httpd
    "speaking plain HTTP to an SSL-enabled server port",
    // net/http/server.go
    "sent an HTTP request to an HTTPS server",
    // org/apache/tomcat/util/net/TLSClientHelloExtractor.java of Tomcat
    "This combination of host and port requires TLS",
];

/// The words in which these bytes refuse plain text, and where they stand.
pub fn plain_text_refusal(bytes: &[u8]) -> Option<(usize, &'static str)> {
    REFUSALS.into_iter().find_map(|words| {
        let at = bytes
            .windows(words.len())
            .position(|window| window == words.as_bytes())?;
        Some((at, words))
    })
}
