//! Responses that break HTTP/1.1 (RFC 9112), or the limits that proxies set to what they take.

use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Step;

/// Time between two parts of a response, so that the first is taken for itself.
const BETWEEN: Duration = Duration::from_millis(30);

/// What is wrong; named by the first segment of the path. The connection mostly stays open: it
/// is the proxy that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// `/head-size?bytes=`: a head of that size, by one long line; else a good response.
    HeadSize,
    /// `/head-sum?bytes=`: the same by many lines of 1000 bytes.
    HeadSum,
    /// `/head-lines?lines=`: so many short lines in the head.
    HeadLines,
    /// `/nul-name`: a NUL in the name of a header.
    NulName,
    /// `/nul-value`: a NUL in the value of a header.
    NulValue,
    /// `/space-colon`: a space between name and colon.
    SpaceColon,
    /// `/no-colon`: a line without a colon.
    NoColon,
    /// `/garbage`: not HTTP at all.
    Garbage,
    /// `/bad-status`: `HTTP/1.1 abc`.
    BadStatus,
    /// `/bad-version`: `HTTP/9.9 200`.
    BadVersion,
    /// `/two-lengths`: two lengths that differ.
    TwoLengths,
    /// `/bad-length`: a length that is no number.
    BadLength,
    /// `/length-chunked`: a length and chunks.
    LengthChunked,
    /// `/odd-coding`: a transfer coding that nobody knows.
    OddCoding,
    /// `/h2-settings`: the first frames of an HTTP/2 server (RFC 9113, 3.4).
    Http2Settings,
    /// `/bad-chunk-first`: the first chunk's size is no number.
    BadChunkFirst,
    /// `/bad-chunk-later`: that of the second, which comes a moment later.
    BadChunkLater,
    /// `/surplus`: more bytes than the length says, at once.
    Surplus,
    /// `/surplus-later`: the same, the surplus a moment later.
    SurplusLater,
}

impl Malformed {
    /// By its name in a path.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "head-size" => Self::HeadSize,
            "head-sum" => Self::HeadSum,
            "head-lines" => Self::HeadLines,
            "nul-name" => Self::NulName,
            "nul-value" => Self::NulValue,
            "space-colon" => Self::SpaceColon,
            "no-colon" => Self::NoColon,
            "garbage" => Self::Garbage,
            "bad-status" => Self::BadStatus,
            "bad-version" => Self::BadVersion,
            "two-lengths" => Self::TwoLengths,
            "bad-length" => Self::BadLength,
            "length-chunked" => Self::LengthChunked,
            "odd-coding" => Self::OddCoding,
            "h2-settings" => Self::Http2Settings,
            "bad-chunk-first" => Self::BadChunkFirst,
            "bad-chunk-later" => Self::BadChunkLater,
            "surplus" => Self::Surplus,
            "surplus-later" => Self::SurplusLater,
            _ => return None,
        })
    }

    /// Does the backend close after a moment? Such servers do.
    pub(super) const fn closes(self) -> bool {
        matches!(self, Self::Garbage | Self::Http2Settings)
    }

    /// How long the connection stays open after that, even if the request wants it closed, ms: so
    /// that it is the proxy that ends it. `?stay=` says otherwise.
    pub(super) const fn stay_ms(self) -> u64 {
        match self {
            Self::Http2Settings | Self::Surplus | Self::SurplusLater => 0,
            _ => 250,
        }
    }

    /// What is sent. `number` reads a number of the query.
    pub(super) fn steps(self, peer: SocketAddr, number: impl Fn(&str) -> Option<u64>) -> Vec<Step> {
        const OK: &str = "HTTP/1.1 200 Lab";
        let response = |line: &str, headers: &str, body: &str| {
            format!("{line}\r\nX-Lab-Peer: {peer}\r\n{headers}\r\n{body}").into_bytes()
        };
        let with_line =
            |header: &str| response(OK, &format!("{header}\r\nContent-Length: 3\r\n"), "xxx");
        let size = |default: u64| number("bytes").unwrap_or(default) as usize;
        let now = match self {
            Self::HeadSize => {
                let small = with_line("X-Big: ").len() - 3;
                with_line(&format!(
                    "X-Big: {}",
                    "b".repeat(size(8200).saturating_sub(small))
                ))
            }
            Self::HeadSum => {
                let line = format!("X-Big: {}\r\n", "b".repeat(991));
                let lines = line.repeat(size(8200) / line.len());
                with_line(lines.trim_end())
            }
            Self::HeadLines => {
                let lines = (0..number("lines").unwrap_or(120)).map(|n| format!("X-{n}: 1\r\n"));
                with_line(lines.collect::<String>().trim_end())
            }
            Self::NulName => with_line("X-\0Bad: 1"),
            Self::NulValue => with_line("X-Bad: a\0b"),
            Self::SpaceColon => with_line("X-Bad : 1"),
            Self::NoColon => with_line("no colon here"),
            Self::Garbage => b"this is not HTTP\r\n\r\nnot at all\r\n".to_vec(),
            Self::BadStatus => response("HTTP/1.1 abc Lab", "Content-Length: 3\r\n", "xxx"),
            Self::BadVersion => response("HTTP/9.9 200 Lab", "Content-Length: 3\r\n", "xxx"),
            Self::TwoLengths => with_line("Content-Length: 2"),
            Self::BadLength => response(OK, "Content-Length: three\r\n", "xxx"),
            Self::LengthChunked => response(
                OK,
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                "3\r\nxxx\r\n0\r\n\r\n",
            ),
            Self::OddCoding => response(OK, "Transfer-Encoding: lab\r\n", "xxx"),
            // SETTINGS with MAX_CONCURRENT_STREAMS 100, then GOAWAY with PROTOCOL_ERROR.
            Self::Http2Settings => b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\
                \0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01"
                .to_vec(),
            Self::BadChunkFirst => {
                response(OK, "Transfer-Encoding: chunked\r\n", "zz\r\nhello\r\n")
            }
            Self::BadChunkLater => response(OK, "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
            Self::Surplus => response(OK, "Content-Length: 3\r\n", "xxxand more than that"),
            Self::SurplusLater => response(OK, "Content-Length: 3\r\n", "xxx"),
        };
        let later: &[u8] = match self {
            Self::BadChunkLater => b"zz\r\nhello\r\n",
            Self::SurplusLater => b"and more than that",
            _ => b"",
        };
        let mut steps = vec![Step::Write(now)];
        if !later.is_empty() {
            steps.extend([Step::Pause(BETWEEN), Step::Write(later.to_vec())]);
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(name: &str, bytes: Option<u64>) -> Vec<u8> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4000));
        let malformed = Malformed::named(name).unwrap();
        let steps = malformed.steps(peer, |_| bytes);
        let written = steps.into_iter().filter_map(|step| match step {
            Step::Write(bytes) => Some(bytes),
            Step::Pause(_) => None,
        });
        written.flatten().collect()
    }

    #[test]
    fn a_head_has_the_size_asked_for() {
        for size in [4100, 8200, 63_000] {
            for (name, off_by) in [("head-size", 0), ("head-sum", 1100)] {
                let text = String::from_utf8(sent(name, Some(size))).unwrap();
                let head = text.find("\r\n\r\n").unwrap() as u64 + 4;
                assert!(head.abs_diff(size) <= off_by, "{name} {size}: {head}");
                assert!(text.ends_with("\r\n\r\nxxx"), "{name}");
            }
        }
    }

    #[test]
    fn each_is_wrong_in_its_way() {
        for (name, part) in [
            ("nul-name", "\r\nX-\0Bad: 1\r\n"),
            ("nul-value", "\r\nX-Bad: a\0b\r\n"),
            ("space-colon", "\r\nX-Bad : 1\r\n"),
            ("no-colon", "\r\nno colon here\r\n"),
            ("bad-status", "HTTP/1.1 abc "),
            ("bad-version", "HTTP/9.9 200 "),
            ("two-lengths", "Content-Length: 2\r\nContent-Length: 3\r\n"),
            ("bad-length", "Content-Length: three\r\n"),
            (
                "length-chunked",
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            ),
            ("odd-coding", "Transfer-Encoding: lab\r\n"),
            ("bad-chunk-first", "\r\n\r\nzz\r\n"),
            ("bad-chunk-later", "5\r\nhello\r\nzz\r\n"),
            ("surplus", "\r\n\r\nxxxand more"),
            ("surplus-later", "\r\n\r\nxxxand more"),
        ] {
            let text = String::from_utf8(sent(name, None)).unwrap();
            assert!(text.contains(part), "{name}: {text}");
        }
        let lines = String::from_utf8(sent("head-lines", Some(7))).unwrap();
        assert!(lines.contains("\r\nX-6: 1\r\n") && !lines.contains("X-7"));
        // Length 6, type SETTINGS, stream 0.
        assert_eq!(&sent("h2-settings", None)[..9], b"\0\0\x06\x04\0\0\0\0\0");
        assert_eq!(Malformed::named("ok"), None);
    }
}
