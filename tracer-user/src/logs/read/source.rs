//! Which files are meant.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file, or something that can be opened like one.
    File(PathBuf),
}

impl Source {
    /// The name that is shown; not escaped.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(path) => path.to_string_lossy().into_owned(),
        }
    }

    /// Bytes as they are stored, where that is known before reading them.
    pub fn bytes(&self) -> Option<u64> {
        let metadata = self.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// May more come in while it is read? Then nobody should wait for a block to be full.
    pub(super) fn is_live(&self) -> bool {
        !self.metadata().is_ok_and(|metadata| metadata.is_file())
    }

    pub(super) fn open(&self) -> io::Result<Box<dyn Input>> {
        match self {
            // Not `io::stdin()`: its own buffer would hide from a poll what was read ahead.
            Self::Stdin => Ok(Box::new(File::from(rustix::io::dup(io::stdin())?))),
            Self::File(path) => Ok(Box::new(File::open(path)?)),
        }
    }

    fn metadata(&self) -> io::Result<Metadata> {
        match self {
            Self::Stdin => File::from(rustix::io::dup(io::stdin())?).metadata(),
            Self::File(path) => fs::metadata(path),
        }
    }
}

/// What can be read and waited for.
pub(super) trait Input: Read + std::os::fd::AsFd + Send {}

impl Input for File {}

/// The sources that arguments name: `-` is standard input, a folder stands for the files in it and
/// below, in the order of their names. What cannot be listed is handed to `failed`.
pub fn find(arguments: &[PathBuf], mut failed: impl FnMut(&Path, io::Error)) -> Vec<Source> {
    let mut sources = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            sources.push(Source::Stdin);
        } else if argument.is_dir() {
            walk(argument, &mut sources, &mut failed);
        } else {
            // Whether it is there is found out when its turn comes.
            sources.push(Source::File(argument.clone()));
        }
    }
    sources
}

/// Links to folders are not followed: they could lead in circles. Pipes and devices in a folder are
/// left alone: opening one could wait for ever.
fn walk(folder: &Path, sources: &mut Vec<Source>, failed: &mut impl FnMut(&Path, io::Error)) {
    let listed = fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(error) => return failed(folder, error),
    };
    paths.sort();
    for path in paths {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => walk(&path, sources, failed),
            Ok(_) if path.is_file() => sources.push(Source::File(path)),
            Ok(_) => {}
            Err(error) => failed(&path, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("b")).unwrap();
        for name in ["c.log", "a.log.gz", "b/1", "b/0"] {
            fs::write(at(name), "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), at("circle")).unwrap();
        std::os::unix::fs::symlink(at("c.log"), at("current")).unwrap();
        let arguments = [dir.path().to_path_buf(), "-".into(), at("missing")];
        let sources = find(&arguments, |path, error| panic!("{path:?}: {error}"));
        let expected: Vec<Source> = ["a.log.gz", "b/0", "b/1", "c.log", "current"]
            .map(|name| Source::File(at(name)))
            .into_iter()
            .chain([Source::Stdin, Source::File(at("missing"))])
            .collect();
        assert_eq!(sources, expected);
    }
}
