//! Reads the files that a command line names; a directory stands for its `*.cfg` files.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::root::Root;
use crate::config::{BYTES_MAX, FILES_MAX, name_of, note};

/// The text of all files, in the order in which HAProxy reads them.
#[derive(Debug, Default)]
pub(in crate::config) struct Loaded {
    /// Name and text.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Some file could not be read.
    pub(super) gap: bool,
    pub(in crate::config) notes: Vec<String>,
}

/// Reads them. An error if nothing at all could be read.
pub(in crate::config) fn load(root: &Root, paths: &[PathBuf]) -> io::Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut bytes = 0;
    let mut first_error = None;
    for path in paths.iter().flat_map(|path| expand(root, path)) {
        let text = if loaded.files.len() < FILES_MAX {
            root.read(&path, BYTES_MAX - bytes)
        } else {
            Err(io::Error::other("the configuration has too many files"))
        };
        match text {
            Ok(text) => {
                bytes += text.len();
                let name = name_of(&path);
                loaded.files.push((name, text));
            }
            Err(error) => {
                let name = name_of(&path);
                note(&mut loaded.notes, format!("{name} was not read: {error}."));
                loaded.gap = true;
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if loaded.files.is_empty() => Err(error),
        _ => Ok(loaded),
    }
}

/// Hidden files and those with other names are left out, the others come in their order
/// (<https://docs.haproxy.org/2.8/management.html#3>, option `-f`).
fn expand(root: &Root, path: &Path) -> Vec<PathBuf> {
    if !root.is_dir(path) {
        return vec![path.to_owned()];
    }
    let names = root.list(path).unwrap_or_default();
    names
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".cfg") && !name.starts_with('.'))
        .map(|name| path.join(name))
        .collect()
}
