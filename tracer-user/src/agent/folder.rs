//! The folder of snapshots: each is written whole or not at all, and old ones make room.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::config;
use super::lock::make_private;

const PREFIX: &str = "why502-";
const SUFFIX: &str = ".w502";
const PARTIAL: &str = ".partial";

/// Where snapshots are, and how many.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    max_files: u64,
    max_bytes: u64,
}

/// A snapshot that was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Older ones that were deleted for it.
    pub(super) deleted: Vec<PathBuf>,
}

impl Folder {
    pub(super) fn new(config: &config::Snapshot) -> Self {
        Self {
            path: config.directory.clone(),
            max_files: config.max_files,
            max_bytes: config.max_bytes,
        }
    }

    /// Writes one. `unix_ns`: now; `reason`: a word for its name.
    pub(super) fn write(
        &self,
        unix_ns: u64,
        reason: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Written> {
        make_private(&self.path)?;
        let name = format!("{PREFIX}{}-{reason}{SUFFIX}", stamp(unix_ns));
        let path = self.path.join(&name);
        let partial = self.path.join(format!(".{name}{PARTIAL}"));
        self.clear_partials();
        let written = write_whole(&partial, fill).and_then(|bytes| {
            fs::rename(&partial, &path)?;
            Ok(bytes)
        });
        let bytes = written.inspect_err(|_| {
            // Half a snapshot would only take the room that is missing.
            let _ = fs::remove_file(&partial);
        })?;
        let deleted = self.prune(&path);
        Ok(Written {
            path,
            bytes,
            deleted,
        })
    }

    /// What a process that was killed has left.
    fn clear_partials(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&format!(".{PREFIX}")) && name.ends_with(PARTIAL) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Deletes the oldest until the rest fits; `newest` stays. Other files are none of ours.
    fn prune(&self, newest: &Path) -> Vec<PathBuf> {
        let mut ours: Vec<(PathBuf, u64)> = fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(PREFIX) && name.ends_with(SUFFIX)
            })
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len())))
            .collect();
        // Their names begin with their time.
        ours.sort();
        let mut files = ours.len() as u64;
        let mut bytes: u64 = ours.iter().map(|(_, bytes)| bytes).sum();
        let mut deleted = Vec::new();
        for (path, size) in ours {
            if files <= self.max_files && bytes <= self.max_bytes {
                break;
            }
            if path != newest && fs::remove_file(&path).is_ok() {
                files -= 1;
                bytes -= size;
                deleted.push(path);
            }
        }
        deleted
    }
}

fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut out = BufWriter::with_capacity(256 << 10, file);
    fill(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    // A full disk may show only now.
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// `20261122T211357.042Z`.
fn stamp(unix_ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: u64 = 1_795_382_037_042_000_000;

    fn folder(path: &Path, max_files: u64, max_bytes: u64) -> Folder {
        Folder {
            path: path.join("snapshots"),
            max_files,
            max_bytes,
        }
    }

    #[test]
    fn old_ones_make_room_for_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path(), 3, 1000);
        let write = |n: u64, size: usize| {
            folder.write(NOW + n * 1_000_000, "burst", |out| {
                out.write_all(&vec![0; size])
            })
        };
        let first = write(0, 10).unwrap();
        assert!(
            first
                .path
                .ends_with("why502-20261122T211357.042Z-burst.w502"),
            "{}",
            first.path.display()
        );
        let mode = fs::metadata(&first.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(folder.path.join("mine.w502"), "not the agent's").unwrap();
        fs::write(folder.path.join(".why502-killed.w502.partial"), "half").unwrap();
        for n in 1..3 {
            assert!(write(n, 10).unwrap().deleted.is_empty());
        }
        assert_eq!(write(3, 10).unwrap().deleted, [first.path]);
        // By size; the newest stays even if it is too big alone.
        assert_eq!(write(4, 5000).unwrap().deleted.len(), 3);
        let left = fs::read_dir(&folder.path).unwrap().count();
        assert_eq!(left, 2, "the newest and what is not ours");
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path(), 3, 1000);
        let full = |_: &mut dyn Write| Err(io::Error::from(io::ErrorKind::StorageFull));
        let error = folder.write(NOW, "signal", full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 0);
        // The next one works.
        assert!(folder.write(NOW, "signal", |_| Ok(())).is_ok());
    }
}
