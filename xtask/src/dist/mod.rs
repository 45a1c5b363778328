//! Packages: what is built, put into the forms that distributions install.
//!
//! [`gather`] reads and asks, [`payload`] says what lies where, [`deb`], [`rpm`], [`tree`] and
//! [`sbom`] are plain functions from that to bytes, and [`package`] writes them down.

mod about;
mod deb;
mod elf;
mod gather;
mod gzip;
mod inventory;
mod notices;
mod payload;
mod rpm;
mod sbom;
mod target;
mod tree;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use about::About;
pub use elf::{Glibc, Needs, needs};
pub use gather::epoch;
use payload::Family;
pub use target::{OLDEST_GLIBC, Target};

/// A program to be packaged.
#[derive(Clone, Debug)]
pub struct Order {
    /// The machine it is for.
    pub target: Target,
    /// The program.
    pub program: PathBuf,
    /// The same program for this machine, which prints manual pages and completions.
    pub speaker: PathBuf,
    /// The newest C library that it may need.
    pub limit: Glibc,
}

/// What was made.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The version of why502.
    pub version: String,
    /// The time that all files bear, seconds since 1970.
    pub source_date_epoch: u64,
    /// What the programs need.
    pub programs: Vec<Program>,
    /// The files, in the order of their names; `SHA256SUMS` is the last.
    pub artefacts: Vec<Artefact>,
}

/// A program that was packaged.
#[derive(Debug, Serialize)]
pub struct Program {
    /// The compiler's name of the machine.
    pub target: &'static str,
    /// Its size.
    pub bytes: u64,
    /// The oldest glibc that it runs with; absent when it needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glibc: Option<String>,
    /// The newest that it was allowed to need.
    pub glibc_limit: String,
    /// The libraries that it is linked with at run time.
    pub libraries: Vec<String>,
}

/// A file.
#[derive(Debug, Serialize)]
pub struct Artefact {
    /// `deb`, `rpm`, `tarball`, `sbom` or `checksums`.
    pub kind: &'static str,
    /// The compiler's name of the machine that it is for; absent when it is for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'static str>,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its contents, hexadecimal.
    pub sha256: String,
}

const SUMS: &str = "SHA256SUMS";

/// Makes all packages of all `orders` in `out`, which is emptied of older ones first.
///
/// # Errors
///
/// When a program is of another machine than it was said to be, needs a newer C library than it may,
/// or something cannot be read or written.
pub fn package(about: &About, orders: &[Order], out: &Path, say: &dyn Fn(&str)) -> Result<Outcome> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    remove_older(out)?;
    let mut outcome = Outcome {
        version: about.version.clone(),
        source_date_epoch: about.epoch,
        programs: Vec::new(),
        artefacts: Vec::new(),
    };
    for order in orders {
        one(about, order, out, say, &mut outcome)
            .with_context(|| format!("packages for {}", order.target.triple()))?;
    }
    outcome.artefacts.sort_by(|a, b| a.path.cmp(&b.path));
    let sums = checksums(&outcome.artefacts);
    let sums = write(out, SUMS, "checksums", None, sums.as_bytes())?;
    outcome.artefacts.push(sums);
    Ok(outcome)
}

fn one(
    about: &About,
    order: &Order,
    out: &Path,
    say: &dyn Fn(&str),
    outcome: &mut Outcome,
) -> Result<()> {
    let target = order.target;
    let program = fs::read(&order.program).with_context(|| order.program.display().to_string())?;
    let needs = needs(&program).with_context(|| order.program.display().to_string())?;
    check(&needs, order)?;
    let glibc = needs.glibc().map(|version| version.to_string());
    say(&format!(
        "{}: needs glibc {} (may need up to {})",
        target.triple(),
        glibc.as_deref().unwrap_or("of no version"),
        order.limit
    ));
    outcome.programs.push(Program {
        target: target.triple(),
        bytes: program.len() as u64,
        glibc,
        glibc_limit: order.limit.to_string(),
        libraries: needs.libraries.keys().cloned().collect(),
    });

    let inventory = gather::inventory(target.triple())?;
    let noticed = notices::read(&inventory)?;
    for one in noticed.iter().filter(|one| one.texts.is_empty()) {
        say(&format!(
            "{}: its source has no text of its licence ({})",
            one.name, one.licence
        ));
    }
    let sha256 = hex(&Sha256::digest(&program));
    let parts = gather::parts(program, &order.speaker, notices::document(&noticed))?;
    if parts.std_notices.is_none() {
        say("the notices of Rust's standard library are not beside this compiler, and left out");
    }
    let mit = parts
        .licences
        .iter()
        .find(|(name, _)| name == "LICENSE-MIT");
    let mit = &mit.context("there is no LICENSE-MIT")?.1;

    let mut add = |kind, name: &str, bytes: &[u8]| -> Result<()> {
        let artefact = write(out, name, kind, Some(target.triple()), bytes)?;
        say(&format!("{name}: {} bytes", artefact.bytes));
        outcome.artefacts.push(artefact);
        Ok(())
    };
    let files = payload::place(&parts, Family::Debian)?;
    let deb = deb::build(about, target, &needs, &files, mit)?;
    add("deb", &deb::name(about, target), &deb)?;

    let files = payload::place(&parts, Family::Rpm)?;
    let rpm = rpm::build(about, target, &needs, &files)?;
    add("rpm", &rpm::name(about, target), &rpm)?;

    let files = payload::place(&parts, Family::Local)?;
    let name = format!("why502-{}-{}", about.version, target.triple());
    let tarball = tree::tar(&files, &format!("{name}/"), about.epoch)?;
    add("tarball", &format!("{name}.tar.gz"), &gzip::gzip(&tarball)?)?;

    let build = sbom::Build {
        rustc: &gather::rustc()?,
        triple: target.triple(),
        sha256: &sha256,
    };
    let sbom = sbom::render(about, &build, &inventory)?;
    add("sbom", &format!("{name}.cdx.json"), &sbom)
}

fn check(needs: &Needs, order: &Order) -> Result<()> {
    let (target, program) = (order.target, order.program.display());
    ensure!(
        needs.machine == Some(target),
        "{program} is not a program for {}",
        target.architecture()
    );
    match needs.glibc() {
        Some(version) if version > order.limit => bail!(
            "{program} needs glibc {version}, and may need {} at most; `--glibc {version}` \
             allows it, and gives up the distributions that are older",
            order.limit
        ),
        _ => Ok(()),
    }
}

/// What an earlier run left, so that the checksums are those of all that lies there.
fn remove_older(out: &Path) -> Result<()> {
    for entry in fs::read_dir(out).with_context(|| out.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && is_artefact(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_artefact(name: &str) -> bool {
    let ends = [".deb", ".rpm", ".tar.gz", ".cdx.json"];
    let ours = ["why502-", "why502_"]
        .iter()
        .any(|begin| name.starts_with(begin));
    name == SUMS || (ours && ends.iter().any(|end| name.ends_with(end)))
}

fn write(
    out: &Path,
    name: &str,
    kind: &'static str,
    target: Option<&'static str>,
    bytes: &[u8],
) -> Result<Artefact> {
    let path = out.join(name);
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Artefact {
        kind,
        target,
        path,
        bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(bytes)),
    })
}

/// In the form that `sha256sum --check` reads.
fn checksums(artefacts: &[Artefact]) -> String {
    let mut text = String::new();
    for artefact in artefacts {
        let name = artefact.path.file_name().unwrap_or_default();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}  {}", artefact.sha256, name.display());
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_too_new_or_foreign_is_refused() {
        let needs = |machine, version: &str| Needs {
            machine,
            libraries: BTreeMap::from([("libc.so.6".to_owned(), vec![format!("GLIBC_{version}")])]),
            ..Needs::default()
        };
        let order = Order {
            target: Target::X86_64,
            program: "/x/why502".into(),
            speaker: "/x/why502".into(),
            limit: Glibc::new(2, 17),
        };
        let x86 = Some(Target::X86_64);
        for (machine, version, refused) in [
            (x86, "2.17", None),
            (x86, "2.2.5", None),
            (x86, "2.18", Some("`--glibc 2.18` allows it")),
            (
                Some(Target::Aarch64),
                "2.17",
                Some("not a program for x86_64"),
            ),
            (None, "2.17", Some("not a program for x86_64")),
        ] {
            let error = check(&needs(machine, version), &order).err();
            let error = error.map(|error| error.to_string());
            match (&error, refused) {
                (None, None) => {}
                (Some(text), Some(part)) => assert!(text.contains(part), "{text}"),
                _ => panic!("{machine:?} {version}: {error:?}"),
            }
        }
    }

    #[test]
    fn only_our_own_files_are_removed() {
        for (name, ours) in [
            ("why502_0.1.0-1_amd64.deb", true),
            ("why502-0.1.0-1.x86_64.rpm", true),
            ("why502-0.1.0-x86_64-unknown-linux-gnu.tar.gz", true),
            ("why502-0.1.0-x86_64-unknown-linux-gnu.cdx.json", true),
            ("SHA256SUMS", true),
            ("why502", false),
            ("notes.tar.gz", false),
        ] {
            assert_eq!(is_artefact(name), ours, "{name}");
        }
    }

    #[test]
    fn sums_are_lines_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        let artefact = write(dir.path(), "a", "deb", None, b"abc").unwrap();
        assert_eq!(
            checksums(&[artefact]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n"
        );
    }
}
