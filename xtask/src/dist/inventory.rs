//! What is linked into the program: asked of cargo, read as plain text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Parts name and licences in what `cargo tree` is asked to print.
const SEPARATOR: char = '|';
/// How each line of `cargo tree` is to look.
pub(super) const FORMAT: &str = " {p}|{l}";

/// A library, or one of our own packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Crate {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
    /// Its licences, as an SPDX expression; empty where it names none.
    pub(super) licence: String,
    /// Where its source is.
    pub(super) directory: PathBuf,
    /// SHA-256 of the archive that it came in; `None` for our own.
    pub(super) checksum: Option<String>,
    /// What it uses, as places in [`Inventory::crates`].
    pub(super) uses: BTreeSet<usize>,
}

/// Everything that is linked in.
#[derive(Clone, Debug, Default)]
pub(super) struct Inventory {
    /// By name and version.
    pub(super) crates: Vec<Crate>,
}

impl Inventory {
    /// Without our own packages.
    pub(super) fn third_party(&self) -> impl Iterator<Item = &Crate> {
        self.crates.iter().filter(|one| one.checksum.is_some())
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
}

type Id = (String, String);

/// Puts together what `cargo tree --prefix depth` (in our [`FORMAT`]), `cargo metadata` and
/// Cargo.lock say.
///
/// # Errors
///
/// When a line is not understood, or the three do not fit.
pub(super) fn inventory(tree: &str, metadata: &str, lock: &str) -> Result<Inventory> {
    let metadata: Metadata =
        serde_json::from_str(metadata).context("cannot read what `cargo metadata` printed")?;
    let mut directories: BTreeMap<Id, PathBuf> = BTreeMap::new();
    for package in metadata.packages {
        let directory = package.manifest_path.parent().map(PathBuf::from);
        let directory = directory.context("a manifest without a directory")?;
        directories.insert((package.name, package.version), directory);
    }
    let checksums = checksums(lock);

    let nodes: Vec<Node> = tree
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| node(line).with_context(|| format!("`cargo tree` printed {line:?}")))
        .collect::<Result<_>>()?;
    let ids: BTreeSet<&Id> = nodes.iter().map(|node| &node.id).collect();
    let places: BTreeMap<&Id, usize> = ids.into_iter().zip(0..).collect();
    let mut crates = vec![Crate::default(); places.len()];
    for (id, place) in &places {
        let one = &mut crates[*place];
        (one.name, one.version) = (*id).clone();
        one.directory = directories
            .remove(*id)
            .with_context(|| format!("`cargo metadata` does not know {} {}", id.0, id.1))?;
        one.checksum = checksums.get(*id).cloned();
    }
    // The way from a root to the line before.
    let mut above: Vec<usize> = Vec::new();
    for node in &nodes {
        let place = places[&node.id];
        crates[place].licence.clone_from(&node.licence);
        ensure!(
            node.depth <= above.len(),
            "`cargo tree` leaves a level out before {}",
            node.id.0
        );
        above.truncate(node.depth);
        if let Some(user) = above.last() {
            crates[*user].uses.insert(place);
        }
        above.push(place);
    }
    Ok(Inventory { crates })
}

struct Node {
    depth: usize,
    id: Id,
    licence: String,
}

/// `3 object v0.39.1|Apache-2.0 OR MIT (*)`, `0 xtask v0.1.0 (/path)|MIT/Apache-2.0`.
fn node(line: &str) -> Option<Node> {
    let (depth, rest) = line.split_once(' ')?;
    let (package, licence) = rest.split_once(SEPARATOR)?;
    let mut words = package.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let licence = licence.trim_end_matches("(*)").trim();
    Some(Node {
        depth: depth.parse().ok()?,
        id: (name.to_owned(), version.to_owned()),
        // What was usual before SPDX expressions.
        licence: licence.replace('/', " OR "),
    })
}

/// Cargo writes one key a line, always in the same way.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let value = |line: &str, key: &str| {
        let rest = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        Some(rest.strip_suffix('"')?.to_owned())
    };
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let find = |key| package.lines().find_map(|line| value(line, key));
        if let (Some(name), Some(version), Some(checksum)) =
            (find("name"), find("version"), find("checksum"))
        {
            checksums.insert((name, version), checksum);
        }
    }
    checksums
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One package of ours that uses two libraries, one of which uses the other.
    pub(in super::super) fn small() -> Inventory {
        let tree = "0 why v0.1.0 (/w)|MIT OR Apache-2.0\n\
                    1 b v2.0.0|MIT/Apache-2.0\n\
                    2 a v1.0.0+x|\n\
                    1 a v1.0.0+x| (*)\n";
        let metadata = r#"{"packages": [
            {"name": "why", "version": "0.1.0", "manifest_path": "/w/Cargo.toml"},
            {"name": "a", "version": "1.0.0+x", "manifest_path": "/r/a/Cargo.toml"},
            {"name": "b", "version": "2.0.0", "manifest_path": "/r/b/Cargo.toml"},
            {"name": "c", "version": "3.0.0", "manifest_path": "/r/c/Cargo.toml"}]}"#;
        let lock = "version = 4\n\n\
                    [[package]]\nname = \"a\"\nversion = \"1.0.0+x\"\nchecksum = \"aa\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"bb\"\ndependencies = [\n \"a\",\n]\n\n\
                    [[package]]\nname = \"why\"\nversion = \"0.1.0\"\n";
        inventory(tree, metadata, lock).unwrap()
    }

    #[test]
    fn three_sources_make_one_list() {
        let found = small();
        let rows: Vec<_> = found
            .crates
            .iter()
            .map(|one| {
                let uses: Vec<usize> = one.uses.iter().copied().collect();
                (
                    one.name.as_str(),
                    one.licence.as_str(),
                    one.checksum.as_deref(),
                    uses,
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("a", "", Some("aa"), vec![]),
                ("b", "MIT OR Apache-2.0", Some("bb"), vec![0]),
                ("why", "MIT OR Apache-2.0", None, vec![0, 1]),
            ]
        );
        assert_eq!(found.third_party().count(), 2);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (tree, metadata) in [
            ("x", "{\"packages\": []}"),
            ("0 a v1|MIT", "{\"packages\": []}"),
            ("0 a 1|MIT", "{\"packages\": []}"),
            ("", "{}"),
            (
                "1 a v1|MIT",
                r#"{"packages": [{"name": "a", "version": "1", "manifest_path": "/a/b"}]}"#,
            ),
        ] {
            assert!(inventory(tree, metadata, "").is_err(), "{tree}");
        }
    }
}
