//! Which TLS library does a process use? Told by what it has mapped, else by what is linked into its
//! program.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Libraries by the beginning of their file's name. libcrypto holds the version of OpenSSL.
const SHARED: [(&str, &str); 6] = [
    ("libcrypto.so", "OpenSSL"),
    ("libssl.so", "OpenSSL"),
    ("libgnutls.so", "GnuTLS"),
    ("libwolfssl.so", "wolfSSL"),
    ("libmbedtls.so", "Mbed TLS"),
    ("libnss3.so", "NSS"),
];
/// What a program or library says of itself. A version follows where the text ends in a blank.
const MARKS: [(&[u8], &str); 5] = [
    (b"AWS-LC ", "AWS-LC"),
    (b"LibreSSL ", "LibreSSL"),
    (b"BoringSSL", "BoringSSL"),
    (b"OpenSSL ", "OpenSSL"),
    (b"crypto/tls.(*Conn)", "Go crypto/tls"),
];
/// Programs with all linked in are large (Envoy: 100 MB); nothing larger is read.
const MOST: u64 = 256 << 20;
const BLOCK: usize = 1 << 20;
/// Longest text that is looked for, with a version behind it.
const OVERLAP: usize = 64;

/// A TLS library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsLibrary {
    /// Its name.
    pub name: &'static str,
    /// Its version, where it tells.
    pub version: Option<String>,
    /// Its file, in the mount namespace of the process; `None`: linked into the program.
    pub path: Option<PathBuf>,
}

/// The library of a process; `None` where there is none, or we may not look.
pub fn tls_library(proc: &Path, pid: u32) -> Option<TlsLibrary> {
    let process = proc.join(pid.to_string());
    let maps = std::fs::read_to_string(process.join("maps")).ok()?;
    if let Some((path, name)) = mapped(&maps) {
        let inside = path.strip_prefix("/").unwrap_or(&path);
        let told = told_by(&process.join("root").join(inside));
        return Some(TlsLibrary {
            name: told.as_ref().map_or(name, |(name, _)| name),
            version: told.and_then(|(_, version)| version),
            path: Some(path),
        });
    }
    let (name, version) = told_by(&process.join("exe"))?;
    Some(TlsLibrary {
        name,
        version,
        path: None,
    })
}

/// The first library of [`SHARED`] that is mapped.
fn mapped(maps: &str) -> Option<(PathBuf, &'static str)> {
    let files = || {
        maps.lines()
            .filter_map(|line| Some(&line[line.find('/')?..]))
    };
    SHARED.iter().find_map(|(prefix, name)| {
        let file = files().find(|file| {
            Path::new(file)
                .file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(prefix))
        })?;
        Some((file.into(), *name))
    })
}

/// What a file says of the library in it.
fn told_by(path: &Path) -> Option<(&'static str, Option<String>)> {
    let file = File::open(path).ok()?;
    told(file.take(MOST))
}

fn told(mut file: impl Read) -> Option<(&'static str, Option<String>)> {
    let mut block = vec![0; OVERLAP + BLOCK];
    let mut kept = 0;
    let mut best: Option<usize> = None;
    let mut version = None;
    loop {
        let read = file.read(&mut block[kept..]).ok()?;
        let bytes = &block[..kept + read];
        // What could be cut by the block's end is looked at with the next.
        let whole = if read == 0 {
            bytes.len()
        } else {
            bytes.len().saturating_sub(OVERLAP)
        };
        for (rank, (mark, _)) in MARKS.iter().enumerate() {
            for at in find_all(bytes, mark, whole) {
                let found = version_at(&bytes[at + mark.len()..]);
                if mark.ends_with(b" ") && found.is_none() {
                    continue;
                }
                if best.is_none_or(|best| rank < best) {
                    best = Some(rank);
                    version = found.filter(|_| mark.ends_with(b" "));
                }
                break;
            }
        }
        if read == 0 {
            break;
        }
        let end = bytes.len();
        block.copy_within(whole..end, 0);
        kept = end - whole;
    }
    best.map(|rank| (MARKS[rank].1, version))
}

/// Where `needle` begins in the first `until` bytes.
fn find_all<'a>(
    bytes: &'a [u8],
    needle: &'a [u8],
    until: usize,
) -> impl Iterator<Item = usize> + 'a {
    let first = needle[0];
    bytes[..until]
        .iter()
        .enumerate()
        .filter(move |&(at, &byte)| byte == first && bytes[at..].starts_with(needle))
        .map(|(at, _)| at)
}

/// `3.0.17` of `3.0.17 1 Jul 2025`.
fn version_at(bytes: &[u8]) -> Option<String> {
    let len = bytes
        .iter()
        .take(16)
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'.')
        .count();
    let text = std::str::from_utf8(&bytes[..len]).ok()?;
    let looks_right = text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.');
    looks_right.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped() {
        let maps = "\
7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/libssl.so.3
7f01-7f02 r-xp 00000000 08:01 2 /usr/lib/x86_64-linux-gnu/libcrypto.so.3
7f02-7f03 rw-p 00000000 00:00 0 [heap]
";
        let (path, name) = mapped(maps).unwrap();
        assert!(path.ends_with("libcrypto.so.3"));
        assert_eq!(name, "OpenSSL");
        assert_eq!(mapped("7f00-7f01 r-xp 0 08:01 1 /usr/sbin/nginx\n"), None);
    }

    #[test]
    fn what_a_file_says() {
        let version = |text: &str| Some(text.to_owned());
        let table = [
            (
                &b"..OpenSSL 3.0.17 1 Jul 2025\0"[..],
                Some(("OpenSSL", version("3.0.17"))),
            ),
            (
                b"OpenSSL 1.1.1w  11 Sep 2023",
                Some(("OpenSSL", version("1.1.1w"))),
            ),
            // BoringSSL calls itself OpenSSL for those who ask.
            (
                b"OpenSSL 1.1.1 (compatible; BoringSSL)",
                Some(("BoringSSL", None)),
            ),
            (b"needs OpenSSL to work", None),
            (b"crypto/tls.(*Conn).Read", Some(("Go crypto/tls", None))),
            (b"", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(told(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_text_across_two_blocks() {
        for before in [BLOCK - 4, BLOCK, BLOCK + OVERLAP - 4, BLOCK + OVERLAP] {
            let mut bytes = vec![b'x'; before];
            bytes.extend(b"OpenSSL 3.5.1 and more");
            assert_eq!(
                told(bytes.as_slice()),
                Some(("OpenSSL", Some("3.5.1".into()))),
                "{before}"
            );
        }
    }
}
