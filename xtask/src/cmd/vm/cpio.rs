//! An archive in the form that the kernel unpacks as its first file system: cpio, "newc".
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Writes entries; paths without a leading `/`, directories before what lies in them.
pub(super) struct Archive<W: Write> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub(super) const fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, &[])
    }

    /// A file; `mode` is its permissions.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | mode & 0o7777, content)
    }

    pub(super) fn link(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.entry(path, LINK | 0o777, to.as_bytes())
    }

    /// Writes the end; without it the kernel takes the archive for torn.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entries = 0;
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{path}: 4 GB or more do not fit into a cpio archive"),
            )
        })?;
        self.entries += 1;
        let name = path.len() + 1;
        let inode = if mode == 0 { 0 } else { self.entries };
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // Inode, mode, user, group, links, time, size, device (2), its number (2), name, checksum.
        write!(
            self.out,
            "070701{inode:08X}{mode:08X}{:08X}{:08X}{links:08X}{:08X}{size:08X}{:08X}{:08X}{:08X}{:08X}{name:08X}{:08X}{path}\0",
            0, 0, 0, 0, 0, 0, 0, 0
        )?;
        // The header is 110 bytes long; names and contents begin at multiples of four.
        self.pad(110 + name)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let missing = written.next_multiple_of(4) - written;
        self.out.write_all(&[0; 3][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_archive_has_an_end() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("etc").unwrap();
        archive.file("etc/x", 0o644, b"hello").unwrap();
        archive.link("lib", "usr/lib").unwrap();
        let bytes = archive.finish().unwrap();

        let mut rest = bytes.as_slice();
        let mut seen = Vec::new();
        let field = |head: &[u8], at: usize| {
            let text = std::str::from_utf8(&head[6 + 8 * at..14 + 8 * at]).unwrap();
            usize::from_str_radix(text, 16).unwrap()
        };
        while !rest.is_empty() {
            assert_eq!(&rest[..6], b"070701");
            let (mode, size, name) = (field(rest, 1), field(rest, 6), field(rest, 11));
            let path = String::from_utf8(rest[110..110 + name - 1].to_vec()).unwrap();
            assert_eq!(rest[110 + name - 1], 0, "{path}");
            let content = (110 + name).next_multiple_of(4);
            let end = (content + size).next_multiple_of(4);
            seen.push((
                path,
                mode,
                String::from_utf8_lossy(&rest[content..content + size]).into_owned(),
            ));
            rest = &rest[end..];
        }
        let expected = [
            ("etc", 0o040_755, ""),
            ("etc/x", 0o100_644, "hello"),
            ("lib", 0o120_777, "usr/lib"),
            ("TRAILER!!!", 0, ""),
        ];
        let expected = expected.map(|(path, mode, text)| (path.to_owned(), mode, text.to_owned()));
        assert_eq!(seen, expected);
    }
}
