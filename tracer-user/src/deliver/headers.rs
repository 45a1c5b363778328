//! Headers that a receiver wants: mostly tokens. They are never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ureq::http::{HeaderName, HeaderValue};

/// More is no list of headers.
const FILE_MAX: u64 = 64 << 10;
/// Shorter values are words that stand in any text.
const SECRET_MIN: usize = 4;
/// What the client itself sets.
const OURS: [&str; 7] = [
    "content-type",
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "user-agent",
];

/// Names and values. Values are kept out of every text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

/// Why headers cannot be used. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// The file cannot be read.
    #[error("cannot read the headers file {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What is wrong.
        error: io::Error,
    },
    /// Others could read it.
    #[error(
        "the headers file {path} has mode {mode:03o}: others than its owner could read or change it. \
         Run: chmod 600 {path}"
    )]
    Open {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody else could change it.
    #[error(
        "the headers file {path} belongs to user {owner}, neither root nor the user that runs this. \
             Run: chown root {path}"
    )]
    Owner {
        /// The file.
        path: String,
        /// Its owner's number.
        owner: u32,
    },
    /// Not a regular file, or far too large.
    #[error("the headers file {path} is no small file of `Name: value` lines")]
    NotLines {
        /// The file.
        path: String,
    },
    /// An entry that cannot be a header.
    #[error("{what} {number} is no header ({why}); write {form}")]
    Entry {
        /// `line` or `entry`.
        what: &'static str,
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        why: &'static str,
        /// How it should look.
        form: &'static str,
    },
}

impl Headers {
    /// Of `name=value,name2=value2` with percent-encoded values, as in W3C Baggage
    /// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables>).
    pub fn from_baggage(text: &str) -> Result<Self, HeadersError> {
        let mut headers = Self::default();
        for (at, entry) in text.split(',').enumerate() {
            if entry.trim().is_empty() {
                continue;
            }
            let wrong = |why| HeadersError::Entry {
                what: "entry",
                number: at + 1,
                why,
                form: "name=value,name2=value2",
            };
            let (name, value) = entry.split_once('=').ok_or_else(|| wrong("it has no ="))?;
            // Properties of Baggage, behind a semicolon, mean nothing to a header.
            let value = value.split_once(';').map_or(value, |(value, _)| value);
            let value =
                percent_decode(value.trim()).ok_or_else(|| wrong("a % without two digits"))?;
            headers.add(name, &value).map_err(wrong)?;
        }
        Ok(headers)
    }

    /// Of lines `Name: value`; empty lines and those that begin with `#` are left out.
    pub fn from_lines(text: &str) -> Result<Self, HeadersError> {
        let mut headers = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why| HeadersError::Entry {
                what: "line",
                number: at + 1,
                why,
                form: "Name: value",
            };
            let (name, value) = line.split_once(':').ok_or_else(|| wrong("it has no :"))?;
            headers.add(name, value.trim().as_bytes()).map_err(wrong)?;
        }
        Ok(headers)
    }

    /// Of a file of such lines that only its owner (and perhaps a group) may read.
    pub fn from_file(path: &Path) -> Result<Self, HeadersError> {
        let name = || crate::printable::printable(&path.to_string_lossy(), 300);
        let failed = |error| HeadersError::Io {
            path: name(),
            error,
        };
        let file = File::open(path).map_err(failed)?;
        // Of the file that is open, not of whatever has the name by then.
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > FILE_MAX {
            return Err(HeadersError::NotLines { path: name() });
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o027 != 0 {
            return Err(HeadersError::Open { path: name(), mode });
        }
        let owner = metadata.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(HeadersError::Owner {
                path: name(),
                owner,
            });
        }
        let mut text = String::new();
        let read = file.take(FILE_MAX).read_to_string(&mut text);
        match read {
            Ok(_) => Self::from_lines(&text),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(HeadersError::NotLines { path: name() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        let name =
            HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "its name is not one")?;
        if OURS.contains(&name.as_str()) {
            return Err("why502 sets that one itself");
        }
        let mut value =
            HeaderValue::from_bytes(value).map_err(|_| "its value has a control character")?;
        value.set_sensitive(true);
        // The later one wins, as in every list of settings.
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
        Ok(())
    }

    /// `over` wins where both name a header.
    #[must_use]
    pub fn overlaid(mut self, over: &Self) -> Self {
        self.0
            .retain(|(name, _)| !over.0.iter().any(|(known, _)| known == name));
        self.0.extend(over.0.iter().cloned());
        self
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Takes the values, and the words they are made of, out of a text.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (_, value) in &self.0 {
            let value = String::from_utf8_lossy(value.as_bytes());
            // `Bearer TOKEN`: an answer may quote the token alone.
            let parts = std::iter::once(value.as_ref()).chain(value.split([' ', ':', ',', '=']));
            for part in parts {
                let scheme = ["bearer", "basic"].contains(&part.to_ascii_lowercase().as_str());
                if part.len() >= SECRET_MIN && !scheme {
                    text = text.replace(part, "[…]");
                }
            }
        }
        text
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, _)| (name.as_str(), "[…]")))
            .finish()
    }
}

/// `None`: a `%` without two hexadecimal digits behind it.
pub(super) fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = tail;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn list(headers: &Headers) -> Vec<(String, String)> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    }

    #[test]
    fn baggage() {
        let table: [(&str, &[(&str, &str)]); 8] = [
            ("", &[]),
            (" , ,", &[]),
            ("api-key=abc", &[("api-key", "abc")]),
            ("a=1, B = 2 ", &[("a", "1"), ("b", "2")]),
            (
                "Authorization=Bearer%20x%3Dy",
                &[("authorization", "Bearer x=y")],
            ),
            (
                "Authorization=Basic dTpw==",
                &[("authorization", "Basic dTpw==")],
            ),
            ("a=1,A=2", &[("a", "2")]),
            ("a=1;prop=2", &[("a", "1")]),
        ];
        for (text, want) in table {
            let want: Vec<_> = want
                .iter()
                .map(|(a, b)| ((*a).into(), (*b).into()))
                .collect();
            assert_eq!(list(&Headers::from_baggage(text).unwrap()), want, "{text}");
        }
        for bad in [
            "hunter2",
            "=hunter2",
            "a b=hunter2",
            "a=hunter2%",
            "a=hunter2%zz",
            "a=%0ahunter2",
            "host=hunter2",
        ] {
            let error = Headers::from_baggage(bad).unwrap_err().to_string();
            assert!(error.contains("entry 1"), "{bad}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn lines() {
        let text = "# token of the collector\n\nAuthorization:  Bearer a:b \r\nX-Scope: 1\n";
        let want = [("authorization", "Bearer a:b"), ("x-scope", "1")];
        let want: Vec<_> = want.map(|(a, b)| (a.into(), b.into())).into();
        assert_eq!(list(&Headers::from_lines(text).unwrap()), want);
        for bad in [
            "a: 1\nhunter2",
            "a: 1\n: hunter2",
            "a: 1\nContent-Type: hunter2",
        ] {
            let error = Headers::from_lines(bad).unwrap_err().to_string();
            assert!(
                error.contains("line 2") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_one_nearer_to_the_signal_wins() {
        let general = Headers::from_lines("a: 1\nb: 1").unwrap();
        let near = Headers::from_lines("B: 2\nc: 2").unwrap();
        let want = [("a", "1"), ("b", "2"), ("c", "2")];
        let want: Vec<_> = want.map(|(a, b)| (a.into(), b.into())).into();
        assert_eq!(list(&general.overlaid(&near)), want);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headers");
        fs::write(&path, "Authorization: Bearer hunter2\n").unwrap();
        for (mode, good) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o660, false),
            (0o604, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let got = Headers::from_file(&path);
            assert_eq!(got.is_ok(), good, "{mode:o}");
            if let Err(error) = got {
                let error = error.to_string();
                assert!(
                    error.contains("chmod 600") && !error.contains("hunter2"),
                    "{error}"
                );
            }
        }
        let error = Headers::from_file(&dir.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"));
        assert!(matches!(
            Headers::from_file(dir.path()),
            Err(HeadersError::NotLines { .. })
        ));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"a: \xff\xfe\xff").unwrap();
        assert!(matches!(
            Headers::from_file(&path),
            Err(HeadersError::NotLines { .. })
        ));
    }
}
