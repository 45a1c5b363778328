//! Cases as lines of JSON in a file that is begun anew when it is large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Exporter;
use crate::agent::config::NdjsonFile;
use crate::case::Case;
use crate::event::Input;
use crate::session::Session;

/// The file, and how it goes.
pub(in crate::agent) struct Lines {
    options: NdjsonFile,
    file: Option<File>,
    bytes: u64,
    /// Cases that could not be written.
    lost: u64,
}

impl Lines {
    /// Opens the file, and goes on behind what is in it.
    pub(in crate::agent) fn open(options: &NdjsonFile) -> io::Result<Self> {
        let (file, bytes) = open(&options.path)?;
        Ok(Self {
            options: options.clone(),
            file: Some(file),
            bytes,
            lost: 0,
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.options.max_bytes {
            self.file = None;
            rotate(&self.options.path, self.options.max_files)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let (file, bytes) = open(&self.options.path)?;
                self.bytes = bytes;
                self.file.insert(file)
            }
        };
        file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl Exporter for Lines {
    fn case(&mut self, session: &Session, case: &Case) {
        let written = serde_json::to_vec(&session.case_document(case))
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                self.write(&line)
            });
        match written {
            Ok(()) if self.lost > 0 => {
                let (path, lost) = (self.options.path.display(), self.lost);
                tracing::warn!("{path} can be written again; {lost} cases are not in it");
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                self.lost += 1;
                // A line cut short would spoil the next: it begins on a line of its own.
                self.file = None;
                if self.lost == 1 {
                    tracing::warn!("cannot write {}: {error}", self.options.path.display());
                }
            }
        }
    }

    fn input(&mut self, _: &Input) {}

    fn tick(&mut self) {}

    fn finish(&mut self) {}
}

/// Opens it for its owner only, behind its last whole line.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true).mode(0o600);
    let mut file = options.open(path)?;
    let mut bytes = file.metadata()?.len();
    if bytes > 0 && !ends_with_line(&file, bytes)? {
        file.write_all(b"\n")?;
        bytes += 1;
    }
    Ok((file, bytes))
}

fn ends_with_line(file: &File, bytes: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut last = [0];
    file.read_exact_at(&mut last, bytes - 1)?;
    Ok(last == *b"\n")
}

/// `cases.ndjson` becomes `cases.ndjson.1`, that becomes `.2`, and so on; the last goes.
fn rotate(path: &Path, keep: u64) -> io::Result<()> {
    let numbered = |n: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for n in (1..keep).rev() {
        match fs::rename(numbered(n), numbered(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn lines(dir: &Path, max_files: u64) -> Lines {
        Lines::open(&NdjsonFile {
            path: dir.join("cases.ndjson"),
            max_bytes: 20,
            max_files,
        })
        .unwrap()
    }

    #[test]
    fn a_large_file_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = lines(dir.path(), 2);
        for n in 0..8 {
            lines.write(format!("{{\"n\":{n}}}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            names(dir.path()),
            ["cases.ndjson", "cases.ndjson.1", "cases.ndjson.2"]
        );
        assert_eq!(read("cases.ndjson"), "{\"n\":6}\n{\"n\":7}\n");
        assert_eq!(read("cases.ndjson.1"), "{\"n\":4}\n{\"n\":5}\n");
        assert_eq!(read("cases.ndjson.2"), "{\"n\":2}\n{\"n\":3}\n");
    }

    #[test]
    fn a_line_that_was_cut_short_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cases.ndjson");
        fs::write(&path, "{\"n\":").unwrap();
        let mut lines = lines(dir.path(), 0);
        lines.write(b"{\"n\":1}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"n\":\n{\"n\":1}\n");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_ne!(mode & 0o400, 0);
    }
}
