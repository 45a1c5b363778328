//! What Debian's package tools would install.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// Asks apt which version of each package it would install; packages it does not know are absent.
pub(crate) fn candidates(packages: &[String]) -> BTreeMap<String, String> {
    let output = Command::new("apt-cache")
        .arg("policy")
        .args(packages)
        // The words of the answer are translated otherwise.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) => parse_policy(&String::from_utf8_lossy(&output.stdout)),
        Err(_) => BTreeMap::new(),
    }
}

/// Reads what `apt-cache policy` prints: a package's name at the beginning of a line, and
/// `  Candidate: VERSION` somewhere below it.
fn parse_policy(text: &str) -> BTreeMap<String, String> {
    let mut candidates = BTreeMap::new();
    let mut package = None;
    for line in text.lines() {
        if !line.starts_with(' ') {
            package = line.strip_suffix(':');
        } else if let (Some(package), Some(version)) =
            (package, line.trim_start().strip_prefix("Candidate: "))
            && version != "(none)"
        {
            candidates.insert(package.to_owned(), version.to_owned());
        }
    }
    candidates
}

/// The first two numbers of a Debian version: `1.96.0+dfsg1-1~deb12u2` → `(1, 96)`.
pub(crate) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let upstream = version
        .split_once(':')
        .map_or(version, |(_epoch, rest)| rest);
    let mut numbers = upstream.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let text = "\
rustc-web:
  Installed: (none)
  Candidate: 1.96.0+dfsg1-1~deb12u2
  Version table:
     1.96.0+dfsg1-1~deb12u2 500
        500 http://deb.example/debian-security bookworm-security/main amd64 Packages
rustc-1.99:
  Installed: (none)
  Candidate: (none)
  Version table:
nginx:
  Installed: 1.22.1-9
  Candidate: 1.22.1-9
";
        let found = parse_policy(text);
        let expected = [
            ("nginx", "1.22.1-9"),
            ("rustc-web", "1.96.0+dfsg1-1~deb12u2"),
        ];
        let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
        for torn in [
            "",
            "  Candidate: 1",
            "N: Unable to locate package x\n  Candidate: 1",
            "\u{0}:",
        ] {
            assert!(parse_policy(torn).is_empty(), "{torn:?}");
        }
    }

    #[test]
    fn versions() {
        for (version, expected) in [
            ("1.96.0+dfsg1-1~deb12u2", Some((1, 96))),
            ("1:22.1.8-1~deb12u1", Some((22, 1))),
            ("2.4", Some((2, 4))),
            ("7", None),
            ("", None),
            ("x.1", None),
        ] {
            assert_eq!(major_minor(version), expected, "{version:?}");
        }
    }
}
