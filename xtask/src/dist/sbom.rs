//! The list of ingredients, as a CycloneDX 1.5 document.
//!
//! Written here and not with a library: the format is a dozen fields of JSON, and the library for it
//! builds longer than the rest of this command.

use anyhow::Result;
use serde::Serialize;

use super::about::About;
use super::inventory::{Crate, Inventory};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom<'a> {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: String,
    component: Component<'a>,
    properties: Vec<Property<'a>>,
}

#[derive(Serialize)]
struct Component<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

#[derive(Serialize)]
struct Hash<'a> {
    alg: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct Licence<'a> {
    expression: &'a str,
}

#[derive(Serialize)]
struct Property<'a> {
    name: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    reference: String,
    depends_on: Vec<String>,
}

/// What the program was compiled with and for.
pub(super) struct Build<'a> {
    /// The release of the compiler, whose standard library is linked in.
    pub(super) rustc: &'a str,
    /// The compiler's name of the machine.
    pub(super) triple: &'a str,
    /// SHA-256 of the program.
    pub(super) sha256: &'a str,
}

/// Renders it.
///
/// # Errors
///
/// Only when memory ends.
pub(super) fn render(about: &About, build: &Build<'_>, inventory: &Inventory) -> Result<Vec<u8>> {
    let own = "why502".to_owned();
    let std = format!("rust-std@{}", build.rustc);
    let mut components: Vec<Component<'_>> = inventory.crates.iter().map(component).collect();
    components.push(Component {
        kind: "library",
        reference: std.clone(),
        name: "rust-std",
        version: build.rustc,
        hashes: Vec::new(),
        licenses: vec![Licence {
            expression: "MIT OR Apache-2.0",
        }],
        purl: None,
    });
    let mut roots: Vec<String> = inventory
        .crates
        .iter()
        .filter(|one| one.checksum.is_none())
        .map(reference)
        .collect();
    roots.push(std);
    let mut dependencies = vec![Dependency {
        reference: own.clone(),
        depends_on: roots,
    }];
    dependencies.extend(inventory.crates.iter().map(|one| {
        Dependency {
            reference: reference(one),
            depends_on: one
                .uses
                .iter()
                .map(|used| reference(&inventory.crates[*used]))
                .collect(),
        }
    }));
    let bom = Bom {
        bom_format: "CycloneDX",
        spec_version: "1.5",
        version: 1,
        metadata: Metadata {
            timestamp: about.timestamp(),
            component: Component {
                kind: "application",
                reference: own,
                name: "why502",
                version: &about.version,
                hashes: vec![Hash {
                    alg: "SHA-256",
                    content: build.sha256,
                }],
                licenses: vec![Licence {
                    expression: "MIT OR Apache-2.0",
                }],
                purl: None,
            },
            properties: vec![
                Property {
                    name: "why502:target",
                    value: build.triple,
                },
                Property {
                    name: "why502:rustc",
                    value: build.rustc,
                },
            ],
        },
        components,
        dependencies,
    };
    let mut bytes = serde_json::to_vec_pretty(&bom)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn component(one: &Crate) -> Component<'_> {
    let hashes = one.checksum.iter().map(|content| Hash {
        alg: "SHA-256",
        content,
    });
    let licence = Some(one.licence.as_str()).filter(|licence| !licence.is_empty());
    Component {
        kind: "library",
        reference: reference(one),
        name: &one.name,
        version: &one.version,
        hashes: hashes.collect(),
        licenses: licence
            .map(|expression| Licence { expression })
            .into_iter()
            .collect(),
        // Ours are in no registry.
        purl: one
            .checksum
            .is_some()
            .then(|| format!("pkg:cargo/{}@{}", one.name, one.version.replace('+', "%2B"))),
    }
}

fn reference(one: &Crate) -> String {
    format!("{}@{}", one.name, one.version)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::inventory::tests::small;
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let about = About {
            version: "1.2.3".into(),
            maintainer: String::new(),
            epoch: 1_795_389_557,
        };
        let build = Build {
            rustc: "1.95.0",
            triple: "x86_64-unknown-linux-gnu",
            sha256: "cc",
        };
        let bytes = render(&about, &build, &small()).unwrap();
        let bom: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(bom["metadata"]["timestamp"], "2026-11-22T23:19:17Z");
        assert_eq!(
            bom["components"][0],
            json!({
                "type": "library", "bom-ref": "a@1.0.0+x", "name": "a", "version": "1.0.0+x",
                "hashes": [{"alg": "SHA-256", "content": "aa"}], "purl": "pkg:cargo/a@1.0.0%2Bx",
            })
        );
        let components = bom["components"].as_array().unwrap();
        let mut known: Vec<&Value> = components.iter().map(|one| &one["bom-ref"]).collect();
        known.push(&bom["metadata"]["component"]["bom-ref"]);
        let dependencies = bom["dependencies"].as_array().unwrap();
        for dependency in dependencies {
            assert!(known.contains(&&dependency["ref"]), "{dependency}");
            for used in dependency["dependsOn"].as_array().unwrap() {
                assert!(known.contains(&used), "{dependency}");
            }
        }
        assert_eq!(
            dependencies[0]["dependsOn"],
            json!(["why@0.1.0", "rust-std@1.95.0"])
        );
    }
}
