//! Puts included files in the place of their `include`.

use std::path::{Path, PathBuf};

use super::parse::{Directive, Item, parse};
use crate::config::root::Root;
use crate::config::{BYTES_MAX, FILES_MAX, glob, name_of, note};

/// Files that include one another deeper than this are not followed.
const DEPTH_MAX: usize = 16;
/// Most directives of all files together.
const ITEMS_MAX: usize = 100_000;

/// A configuration with all its files.
#[derive(Debug, Default)]
pub(in crate::config) struct Loaded {
    pub(super) items: Vec<Item>,
    /// Names by the number in [`Directive::file`].
    pub(super) files: Vec<String>,
    pub(in crate::config) notes: Vec<String>,
}

/// Reads the main file and what it includes. An error if the main file cannot be read.
pub(in crate::config) fn load(root: &Root, main: &Path) -> std::io::Result<Loaded> {
    let text = root.read(main, BYTES_MAX)?;
    let mut loader = Loader {
        root,
        base: main.parent().unwrap_or(Path::new("/")),
        loaded: Loaded::default(),
        bytes: text.len(),
        items: 0,
        open: vec![main.to_owned()],
    };
    let items = loader.file(main, &text);
    loader.loaded.items = items;
    Ok(loader.loaded)
}

struct Loader<'a> {
    root: &'a Root,
    /// Relative names are relative to the main file's directory, in included files too.
    base: &'a Path,
    loaded: Loaded,
    bytes: usize,
    items: usize,
    /// The files that include one another, outermost first.
    open: Vec<PathBuf>,
}

impl Loader<'_> {
    fn file(&mut self, path: &Path, text: &[u8]) -> Vec<Item> {
        let number = self.loaded.files.len();
        let name = name_of(path);
        let (items, trouble) = parse(text, number);
        if let Some((line, reason)) = trouble {
            note(&mut self.loaded.notes, format!("{name}:{line}: {reason}."));
        }
        self.loaded.files.push(name);
        self.expand(items)
    }

    fn expand(&mut self, items: Vec<Item>) -> Vec<Item> {
        let mut expanded = Vec::with_capacity(items.len());
        for item in items {
            self.items += 1;
            if self.items > ITEMS_MAX {
                note(
                    &mut self.loaded.notes,
                    format!("Only the first {ITEMS_MAX} directives were read."),
                );
                expanded.push(Item::Gap);
                break;
            }
            match item {
                Item::Directive(directive) if directive.name == "include" => {
                    match directive.words.first() {
                        Some(pattern) => self.include(pattern, &mut expanded),
                        None => expanded.push(Item::Gap),
                    }
                }
                Item::Directive(mut directive) => {
                    directive.block = self.expand(directive.block);
                    expanded.push(Item::Directive(directive));
                }
                Item::Gap => expanded.push(Item::Gap),
            }
        }
        expanded
    }

    fn include(&mut self, pattern: &str, into: &mut Vec<Item>) {
        let path = self.base.join(pattern);
        if !glob::has_wildcard(pattern) {
            return self.one(&path, into);
        }
        // A pattern that fits nothing is no error, as in NGINX.
        match self.root.glob(&path) {
            Ok(paths) => paths.iter().for_each(|path| self.one(path, into)),
            Err(error) => self.lost(&path, &error.to_string(), into),
        }
    }

    fn one(&mut self, path: &Path, into: &mut Vec<Item>) {
        if self.open.iter().any(|open| open == path) {
            return self.lost(path, "it includes itself", into);
        }
        if self.open.len() >= DEPTH_MAX {
            return self.lost(path, "included too deeply", into);
        }
        if self.loaded.files.len() >= FILES_MAX || self.bytes >= BYTES_MAX {
            return self.lost(path, "the configuration is too large", into);
        }
        match self.root.read(path, BYTES_MAX - self.bytes) {
            Ok(text) => {
                self.bytes += text.len();
                self.open.push(path.to_owned());
                into.extend(self.file(path, &text));
                self.open.pop();
            }
            Err(error) => self.lost(path, &error.to_string(), into),
        }
    }

    fn lost(&mut self, path: &Path, reason: &str, into: &mut Vec<Item>) {
        let name = name_of(path);
        note(
            &mut self.loaded.notes,
            format!("{name} was not read: {reason}."),
        );
        into.push(Item::Gap);
    }
}

impl Loaded {
    /// `file:line` of a directive.
    pub(super) fn source(&self, directive: &Directive) -> crate::config::Source {
        crate::config::Source::File {
            file: self.files.get(directive.file).cloned().unwrap_or_default(),
            line: directive.line,
        }
    }
}
