//! The notices that the licences of linked libraries want to be passed on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::inventory::Inventory;

/// A library with the texts that lie beside its source.
#[derive(Clone, Debug)]
pub(super) struct Noticed {
    /// `name version`.
    pub(super) name: String,
    /// What it declares.
    pub(super) licence: String,
    /// Its texts.
    pub(super) texts: Vec<String>,
}

/// Reads the texts of everything that is linked in and not ours.
///
/// # Errors
///
/// When a source that cargo named cannot be read.
pub(super) fn read(inventory: &Inventory) -> Result<Vec<Noticed>> {
    inventory
        .third_party()
        .map(|one| {
            Ok(Noticed {
                name: format!("{} {}", one.name, one.version),
                licence: one.licence.clone(),
                texts: texts(&one.directory)?,
            })
        })
        .collect()
}

fn texts(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        let named = is_notice(&entry.file_name().to_string_lossy());
        if named && entry.file_type()?.is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let texts = paths.iter().map(|path| {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        Ok(tidy(&String::from_utf8_lossy(&bytes)))
    });
    texts.collect()
}

fn is_notice(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "license",
        "licence",
        "copying",
        "copyright",
        "notice",
        "unlicense",
    ]
    .iter()
    .any(|begin| name.starts_with(begin))
}

/// So that texts that differ in their line ends or margins are one.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// One document: each text once, with the names of all that carry it.
pub(super) fn document(noticed: &[Noticed]) -> String {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in noticed {
        for text in &one.texts {
            owners.entry(text).or_default().push(&one.name);
        }
    }
    // In the order of the first name, which is the order of the list below.
    let mut owners: Vec<(&str, Vec<&str>)> = owners.into_iter().collect();
    owners.sort_by(|a, b| a.1.cmp(&b.1));

    let mut out = String::from(
        "why502 is linked with these libraries, under the terms that each declares:\n\n",
    );
    for one in noticed {
        let licence = match one.licence.as_str() {
            "" => "see below",
            licence => licence,
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {}: {licence}", one.name);
    }
    for (text, names) in owners {
        let _ = write!(
            out,
            "\n{}\n{}\n\n{text}\n",
            "-".repeat(76),
            super::about::lines(&names.join(", ")).join("\n")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_files_are_notices() {
        for (name, expected) in [
            ("LICENSE-MIT", true),
            ("license.txt", true),
            ("COPYING", true),
            ("NOTICE", true),
            ("UNLICENSE", true),
            ("README.md", false),
            ("src", false),
        ] {
            assert_eq!(is_notice(name), expected, "{name}");
        }
    }

    #[test]
    fn the_same_text_is_there_once() {
        let one = |name: &str, licence: &str, texts: &[&str]| Noticed {
            name: name.into(),
            licence: licence.into(),
            texts: texts.iter().map(|text| tidy(text)).collect(),
        };
        let text = document(&[
            one("a 1", "MIT", &["Text\r\n", "Other"]),
            one("b 1", "", &["\nText  \n"]),
            one("c 1", "ISC", &[]),
        ]);
        assert_eq!(text.matches("\nText\n").count(), 1, "{text}");
        assert!(text.contains("\na 1, b 1\n\nText\n"), "{text}");
        assert!(text.contains("  b 1: see below\n  c 1: ISC\n"), "{text}");
    }

    #[test]
    fn texts_are_files_beside_the_source() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("LICENSE"), "x \n").unwrap();
        fs::create_dir(directory.path().join("licenses")).unwrap();
        assert_eq!(texts(directory.path()).unwrap(), ["x"]);
        assert!(texts(Path::new("/nonexistent")).is_err());
    }
}
