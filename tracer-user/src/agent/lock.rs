//! One agent a host: two would trace everything twice and write the same files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// Held while it lives. The kernel lets go of it however the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of that directory, which is made if it is missing.
    pub(super) fn take(directory: &Path) -> anyhow::Result<Self> {
        make_private(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join("agent.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = (&file).take(32).read_to_string(&mut pid);
            let pid: Option<u32> = pid.trim().parse().ok();
            let who = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
            bail!(
                "an agent runs already ({who} holds {}). Stop it first (systemctl stop why502), or \
                 give this one a runtime_directory of its own",
                path.display()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// Makes a directory that only we may look into; one that exists stays as it is.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("run/why502");
        let first = Lock::take(&place).unwrap();
        let error = Lock::take(&place).unwrap_err().to_string();
        let me = format!("process {} holds", std::process::id());
        assert!(error.contains(&me), "{error}");
        drop(first);
        assert!(Lock::take(&place).is_ok());
        assert!(Lock::take(Path::new("/proc/nowhere")).is_err());
    }
}
