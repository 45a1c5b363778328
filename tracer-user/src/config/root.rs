//! Reads files as a traced process sees them: below its root directory, with links resolved inside
//! it. The process may be hostile: nothing outside its root is opened, and nothing but plain files
//! and directories.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use super::glob::{fits, has_wildcard};

/// Most entries of a directory that are looked at.
const ENTRIES_MAX: usize = 10_000;
/// Most paths that a pattern may give.
const PATHS_MAX: usize = super::FILES_MAX;

/// A root directory.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    /// `path` is `/proc/PID/root`, or a directory in a test.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Device and inode: the same for processes that share it.
    pub(super) fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(&self.0)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn open_inside(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.0, path, flags, Mode::empty(), inside)?)
    }

    /// The bytes of a plain file of at most `most` bytes.
    pub(super) fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        // NONBLOCK: a FIFO must not hold us up.
        let file = self.open_inside(path, OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a plain file"));
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(most as u64 + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(io::Error::other("too large"));
        }
        Ok(bytes)
    }

    /// Is that a directory?
    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.open_inside(path, OFlags::PATH | OFlags::DIRECTORY)
            .is_ok()
    }

    /// Names in a directory, sorted.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let directory = self.open_inside(path, OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(directory)?.take(ENTRIES_MAX) {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The existing paths that fit a pattern, sorted. Wildcards may stand in any part.
    pub(super) fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = vec![PathBuf::new()];
        for part in pattern.components() {
            let text = part.as_os_str().to_string_lossy();
            match part {
                Component::Normal(_) if has_wildcard(&text) => {
                    let mut next = Vec::new();
                    for path in &paths {
                        let names = match self.list(path) {
                            Ok(names) => names,
                            Err(error) if is_nothing(&error) => continue,
                            Err(error) => return Err(error),
                        };
                        let fitting = names
                            .into_iter()
                            .filter(|name| fits(&text, &name.to_string_lossy()));
                        next.extend(fitting.map(|name| path.join(name)));
                        if next.len() > PATHS_MAX {
                            return Err(io::Error::other("too many files"));
                        }
                    }
                    paths = next;
                }
                part => paths.iter_mut().for_each(|path| path.push(part)),
            }
        }
        paths.retain(|path| match self.open_inside(path, OFlags::PATH) {
            Ok(_) => true,
            // Whoever reads it will say why it cannot.
            Err(error) => !is_nothing(&error),
        });
        Ok(paths)
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_the_root_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("root");
        std::fs::create_dir_all(inside.join("etc")).unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::fs::write(inside.join("secret"), "inside").unwrap();
        symlink("/secret", inside.join("etc/absolute")).unwrap();
        symlink("../../../secret", inside.join("etc/climbing")).unwrap();
        let root = Root::open(&inside).unwrap();
        for path in ["/secret", "/etc/absolute", "etc/climbing", "/../../secret"] {
            let got = root.read(Path::new(path), 100).unwrap();
            assert_eq!(got, b"inside", "{path}");
        }
        assert!(root.is_dir(Path::new("/etc")) && !root.is_dir(Path::new("/secret")));
    }

    #[test]
    fn plain_files_of_bounded_size_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("large"), vec![b'x'; 101]).unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = Root::open(dir.path()).unwrap();
        for path in ["large", "fifo", "absent", "."] {
            assert!(root.read(Path::new(path), 100).is_err(), "{path}");
        }
        assert_eq!(root.read(Path::new("large"), 101).unwrap().len(), 101);
    }

    #[test]
    fn patterns_in_any_part() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a/x.conf",
            "a/y.conf",
            "a/.hidden.conf",
            "b/x.conf",
            "b/x.txt",
        ] {
            let path = dir.path().join("etc").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        for (pattern, want) in [
            ("/etc/*/*.conf", "/etc/a/x.conf /etc/a/y.conf /etc/b/x.conf"),
            ("/etc/?/x.conf", "/etc/a/x.conf /etc/b/x.conf"),
            ("/etc/[b-z]/x*", "/etc/b/x.conf /etc/b/x.txt"),
            ("/none/*.conf", ""),
            ("/etc/a/x.conf/*", ""),
        ] {
            let paths = root.glob(Path::new(pattern)).unwrap();
            let got: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
            assert_eq!(got.join(" "), want, "{pattern}");
        }
    }
}
