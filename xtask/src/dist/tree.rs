//! Files as a tar archive that depends on nothing but the files.

use std::collections::BTreeSet;
use std::io;

use tar::{Builder, EntryType, Header};

use super::payload::File;

/// Packs `files` below `top` (which ends in a slash, or is empty) with all the directories above
/// them; they belong to root, and all times are `epoch`, seconds since 1970.
///
/// # Errors
///
/// When a path is longer than the format allows.
pub(super) fn tar(files: &[File], top: &str, epoch: u64) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let mut made = BTreeSet::new();
    for file in files {
        let path = format!("{top}{}", file.path);
        for (end, _) in path.match_indices('/') {
            let directory = &path[..=end];
            if made.insert(directory.to_owned()) {
                let mut header = header(EntryType::Directory, 0o755, 0, epoch);
                archive.append_data(&mut header, directory, io::empty())?;
            }
        }
        let size = file.bytes.len() as u64;
        let mut header = header(EntryType::Regular, file.mode, size, epoch);
        archive.append_data(&mut header, &path, file.bytes.as_slice())?;
    }
    archive.into_inner()
}

fn header(kind: EntryType, mode: u32, size: u64, epoch: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(epoch);
    header.set_uid(0);
    header.set_gid(0);
    // Names of up to 31 bytes fit.
    let _ = header.set_username("root");
    let _ = header.set_groupname("root");
    header
}

#[cfg(test)]
mod tests {
    use super::super::payload::Kind;
    use super::*;

    #[test]
    fn directories_come_first_and_once() {
        let file = |path: &str, mode| File {
            path: path.into(),
            mode,
            kind: Kind::Document,
            bytes: b"x".to_vec(),
        };
        let packed = tar(&[file("a/b", 0o600), file("a/c/d", 0o755)], "./", 7).unwrap();
        let mut archive = tar::Archive::new(packed.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (7, 0));
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            format!("{:o} {path}", header.mode().unwrap())
        });
        let entries: Vec<String> = entries.collect();
        assert_eq!(
            entries,
            ["755 ./", "755 a/", "600 a/b", "755 a/c/", "755 a/c/d"]
        );
    }
}
