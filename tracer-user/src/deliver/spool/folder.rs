//! The folder of a spool: whose it is, and which files are in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::printable::printable;

const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const SUFFIX: &str = ".segment";

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system.
    #[error("cannot use the spool folder {folder}: {error}")]
    Io {
        /// The folder.
        folder: String,
        /// What is wrong.
        error: io::Error,
    },
    /// Somebody else could put documents there, or read ours.
    #[error(
        "the spool folder {folder} {why}: others could read what is sent, or send in our name. Give a \
         folder of its own, and run: chmod 700 {folder}"
    )]
    Open {
        /// The folder.
        folder: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two at once would send everything twice.
    #[error(
        "the spool folder {folder} is in use by another why502; stop that one, or give this one a \
         folder of its own"
    )]
    InUse {
        /// The folder.
        folder: String,
    },
}

/// An open folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The lock goes with it.
    _lock: File,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, SpoolError> {
        let shown = || shown(path);
        let failed = |error| SpoolError::Io {
            folder: shown(),
            error,
        };
        let mut builder = DirBuilder::new();
        builder.mode(FOLDER_MODE);
        match builder.create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let wrong = |why: String| SpoolError::Open {
            folder: shown(),
            why,
        };
        if !metadata.is_dir() {
            return Err(wrong("is no folder (a link to one is not followed)".into()));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(wrong(format!("belongs to user {}", metadata.uid())));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(wrong(format!("has mode {:03o}", metadata.mode() & 0o777)));
        }
        let lock = create(&path.join("lock")).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(SpoolError::InUse { folder: shown() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn shown(&self) -> String {
        shown(&self.path)
    }

    /// The file that says what was taken.
    pub(super) fn acked(&self) -> io::Result<File> {
        create(&self.path.join("acked"))
    }

    /// Begins a segment.
    pub(super) fn begin(&self, seq: u64) -> io::Result<(PathBuf, File)> {
        let path = self.path.join(format!("{seq:020}{SUFFIX}"));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            // Numbers do not come back: what is there is left of an attempt that failed.
            .truncate(true)
            .mode(MODE)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(&path)?;
        Ok((path, file))
    }

    /// The segments by number. Other files are left alone.
    pub(super) fn segments(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let seq = name
                .to_str()
                .and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
            if let Some(seq) = seq
                && entry.file_type()?.is_file()
            {
                found.push((seq, entry.path()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), 300)
}
