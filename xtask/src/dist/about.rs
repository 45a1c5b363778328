//! What is said about why502 in every form of package.

use std::time::{Duration, UNIX_EPOCH};

/// One package.
#[derive(Clone, Debug)]
pub struct About {
    /// The version in Cargo.toml.
    pub version: String,
    /// Who answers for the package: `Name <mail>`.
    pub maintainer: String,
    /// The time that all files and dates get: that of the last commit, in seconds since 1970.
    pub epoch: u64,
}

/// How often this version was packaged.
pub(super) const REVISION: &str = "1";

/// One line.
pub(super) const SUMMARY: &str = "explains the 502s of this host's reverse proxies, with eBPF";

/// A paragraph for each element.
pub(super) const DESCRIPTION: [&str; 3] = [
    "why502 watches a reverse proxy from the kernel and says, for every 502, 503 or 504 it sends, \
     which backend connection caused it, who ended that connection, how, whether the request had \
     arrived, and what to change.",
    "It works with NGINX, HAProxy, Envoy and Apache httpd as they are: no module, no restart, no \
     change of configuration.",
    "The package holds the command why502 and a unit for systemd that runs its agent. The unit is \
     neither enabled nor started: \"systemctl enable --now why502\" does both.",
];

impl About {
    /// Version and revision.
    pub(super) fn full_version(&self) -> String {
        format!("{}-{REVISION}", self.version)
    }

    /// `Sun, 22 Nov 2026 23:19:17 +0000`.
    pub(super) fn date(&self) -> String {
        let time = UNIX_EPOCH + Duration::from_secs(self.epoch);
        httpdate::fmt_http_date(time).replace("GMT", "+0000")
    }

    /// `2026-11-22T23:19:17Z`.
    pub(super) fn timestamp(&self) -> String {
        let time = UNIX_EPOCH + Duration::from_secs(self.epoch);
        humantime::format_rfc3339_seconds(time).to_string()
    }
}

/// Breaks a paragraph into lines of at most 76 characters.
pub(super) fn lines(paragraph: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 76 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let about = About {
            version: "1.2.3".into(),
            maintainer: String::new(),
            epoch: 1_795_389_557,
        };
        assert_eq!(about.date(), "Sun, 22 Nov 2026 23:19:17 +0000");
        assert_eq!(about.timestamp(), "2026-11-22T23:19:17Z");
        assert_eq!(about.full_version(), "1.2.3-1");
    }

    #[test]
    fn paragraphs() {
        let long = "x".repeat(90);
        for (text, expected) in [
            ("", vec![]),
            ("a  b\n c", vec!["a b c".to_owned()]),
            (
                &*format!("a {long} b"),
                vec!["a".to_owned(), long.clone(), "b".to_owned()],
            ),
        ] {
            assert_eq!(lines(text), expected);
        }
        // Lint checks of both families complain about longer ones.
        assert!(SUMMARY.len() < 70);
    }
}
