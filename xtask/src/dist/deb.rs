//! The package for Debian and Ubuntu, as deb(5) describes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use md5::{Digest as _, Md5};

use super::about::{About, DESCRIPTION, SUMMARY, lines};
use super::elf::Needs;
use super::gzip::gzip;
use super::payload::{File, Kind};
use super::target::Target;
use super::tree;

const COPYRIGHT: &str = "usr/share/doc/why502/copyright";
const CHANGELOG: &str = "usr/share/doc/why502/changelog.Debian.gz";

/// The file's name, as Debian's archives would call it.
pub(super) fn name(about: &About, target: Target) -> String {
    format!("why502_{}_{}.deb", about.full_version(), target.debian())
}

/// Builds it from what [`super::payload::place`] put in place for Debian.
///
/// # Errors
///
/// When the program needs a library that no package of Debian is known for.
pub(super) fn build(
    about: &About,
    target: Target,
    needs: &Needs,
    files: &[File],
    mit: &str,
) -> Result<Vec<u8>> {
    let mut files = files.to_vec();
    let document = |path: &str, bytes| File {
        path: path.into(),
        mode: 0o644,
        kind: Kind::Document,
        bytes,
    };
    files.push(document(COPYRIGHT, copyright(mit).into_bytes()));
    files.push(document(CHANGELOG, gzip(changelog(about).as_bytes())?));
    files.sort_by(|a, b| a.path.cmp(&b.path));

    let control = [
        ("conffiles", conffiles(&files), 0o644),
        ("control", control(about, target, needs, &files)?, 0o644),
        ("md5sums", md5sums(&files), 0o644),
        ("postinst", POSTINST.to_owned(), 0o755),
        ("postrm", POSTRM.to_owned(), 0o755),
        ("prerm", PRERM.to_owned(), 0o755),
    ];
    let control: Vec<File> = control
        .into_iter()
        .map(|(name, text, mode)| File {
            path: name.into(),
            mode,
            kind: Kind::Support,
            bytes: text.into_bytes(),
        })
        .collect();

    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        (
            "control.tar.gz",
            gzip(&tree::tar(&control, "./", about.epoch)?)?,
        ),
        ("data.tar.gz", gzip(&tree::tar(&files, "./", about.epoch)?)?),
    ] {
        let mut header = ar::Header::new(name.into(), bytes.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(about.epoch);
        archive.append(&header, bytes.as_slice())?;
    }
    Ok(archive.into_inner()?)
}

fn control(about: &About, target: Target, needs: &Needs, files: &[File]) -> Result<String> {
    let mut text = String::new();
    for (field, value) in [
        ("Package", "why502".to_owned()),
        ("Version", about.full_version()),
        ("Section", "net".into()),
        ("Priority", "optional".into()),
        ("Architecture", target.debian().into()),
        ("Maintainer", about.maintainer.clone()),
        ("Installed-Size", installed_size(files).to_string()),
        ("Depends", depends(needs)?),
        // The roots that TLS to a receiver is checked with.
        ("Recommends", "ca-certificates".into()),
        ("Description", SUMMARY.into()),
    ] {
        writeln!(text, "{field}: {value}")?;
    }
    for (i, paragraph) in DESCRIPTION.iter().enumerate() {
        if i > 0 {
            text.push_str(" .\n");
        }
        for line in lines(paragraph) {
            writeln!(text, " {line}")?;
        }
    }
    Ok(text)
}

/// In KiB, each file and directory rounded up, as policy 5.6.20 has it.
fn installed_size(files: &[File]) -> usize {
    let directories: std::collections::BTreeSet<&str> = files
        .iter()
        .flat_map(|file| {
            let ends = file.path.match_indices('/');
            ends.map(|(end, _)| &file.path[..end])
        })
        .collect();
    let files = files.iter().map(|file| file.bytes.len().div_ceil(1024));
    files.sum::<usize>() + directories.len()
}

/// What `dpkg-shlibdeps` would find, for the few libraries that a Rust program is linked to.
fn depends(needs: &Needs) -> Result<String> {
    let mut packages = BTreeMap::new();
    for library in needs.libraries.keys() {
        let (package, relation) = match library.as_str() {
            "libc.so.6"
            | "libm.so.6"
            | "libdl.so.2"
            | "libpthread.so.0"
            | "librt.so.1"
            | "ld-linux-x86-64.so.2"
            | "ld-linux-aarch64.so.1" => {
                let version = needs.glibc();
                let version = version.context("the program names no version of glibc")?;
                ("libc6", format!("libc6 (>= {version})"))
            }
            // Its name before Debian 11 and Ubuntu 20.04 was another.
            "libgcc_s.so.1" => ("libgcc-s1", "libgcc-s1 | libgcc1".to_owned()),
            other => anyhow::bail!(
                "the program needs {other}, and xtask/src/dist/deb.rs does not know its package"
            ),
        };
        packages.insert(package, relation);
    }
    Ok(packages.into_values().collect::<Vec<_>>().join(", "))
}

fn conffiles(files: &[File]) -> String {
    let config = files.iter().filter(|file| file.kind == Kind::Config);
    config.map(|file| format!("/{}\n", file.path)).collect()
}

/// Without the configuration, which is changed on purpose.
fn md5sums(files: &[File]) -> String {
    let fixed = files.iter().filter(|file| file.kind != Kind::Config);
    fixed
        .map(|file| {
            let sum = Md5::digest(&file.bytes);
            format!("{sum:x}  {}\n", file.path)
        })
        .collect()
}

/// In the form that Debian's tools read.
fn copyright(mit: &str) -> String {
    let mut text = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: why502\n\
         Comment: The libraries that are linked into the program have their notices in\n \
         THIRD-PARTY-NOTICES.gz beside this file.\n\
         \n\
         Files: *\n\
         Copyright: (c) the why502 authors\n\
         License: Expat or Apache-2.0\n\
         \n\
         License: Expat\n",
    );
    for line in mit.trim().lines() {
        text.push_str(match line.trim() {
            "" => " .",
            _ => " ",
        });
        text.push_str(line.trim());
        text.push('\n');
    }
    text.push_str(
        "\nLicense: Apache-2.0\n \
         On Debian systems it is found in /usr/share/common-licenses/Apache-2.0.\n",
    );
    text
}

fn changelog(about: &About) -> String {
    format!(
        "why502 ({}) unstable; urgency=medium\n\n  * Release {}.\n\n -- {}  {}\n",
        about.full_version(),
        about.version,
        about.maintainer,
        about.date(),
    )
}

/// What debhelper's `dh_installsystemd --no-enable --no-start` would write: the unit is left off when
/// it is new, an enabled one stays enabled, and a running agent goes on with the new program.
const POSTINST: &str = r#"#!/bin/sh
set -e

if [ "$1" = configure ] || [ "$1" = abort-upgrade ] || [ "$1" = abort-deconfigure ] || [ "$1" = abort-remove ]; then
    # Never enabled on a first installation: the helper knows no state of the unit then.
    if deb-systemd-helper debian-installed why502.service; then
        # Undoes the mask that a removal left.
        deb-systemd-helper unmask why502.service >/dev/null || true
        if deb-systemd-helper --quiet was-enabled why502.service; then
            deb-systemd-helper enable why502.service >/dev/null || true
        fi
    fi
    deb-systemd-helper update-state why502.service >/dev/null || true
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then
            deb-systemd-invoke try-restart why502.service >/dev/null || true
        fi
    fi
fi
"#;

const PRERM: &str = r#"#!/bin/sh
set -e

if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop why502.service >/dev/null || true
fi
"#;

/// Recordings hold the first bytes of people's requests, so a purge takes them along.
const POSTRM: &str = r#"#!/bin/sh
set -e

if [ "$1" = remove ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
    fi
    if command -v deb-systemd-helper >/dev/null; then
        deb-systemd-helper mask why502.service >/dev/null || true
    fi
fi

if [ "$1" = purge ]; then
    if command -v deb-systemd-helper >/dev/null; then
        deb-systemd-helper purge why502.service >/dev/null || true
        deb-systemd-helper unmask why502.service >/dev/null || true
    fi
    rm -rf /var/lib/why502 /var/log/why502
    [ ! -d /etc/why502 ] || rmdir --ignore-fail-on-non-empty /etc/why502
fi
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(libraries: &[(&str, &[&str])]) -> Needs {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Needs {
            libraries: libraries
                .iter()
                .map(|(name, versions)| ((*name).to_owned(), owned(versions)))
                .collect(),
            ..Needs::default()
        }
    }

    #[test]
    fn dependencies_are_those_of_the_program() {
        let gcc = ("libgcc_s.so.1", &["GCC_3.0"][..]);
        for (libraries, expected) in [
            (vec![], Some("")),
            (
                vec![
                    ("libc.so.6", &["GLIBC_2.2.5", "GLIBC_2.17"][..]),
                    gcc,
                    ("libm.so.6", &["GLIBC_2.29"]),
                ],
                Some("libc6 (>= 2.29), libgcc-s1 | libgcc1"),
            ),
            (vec![("libssl.so.3", &[][..])], None),
            (vec![("libc.so.6", &[][..])], None),
        ] {
            assert_eq!(
                depends(&needs(&libraries)).ok().as_deref(),
                expected,
                "{libraries:?}"
            );
        }
    }

    #[test]
    fn what_the_control_files_say() {
        let file = |path: &str, kind, size| File {
            path: path.into(),
            mode: 0o644,
            kind,
            bytes: vec![0; size],
        };
        let files = [
            file("etc/why502/why502.toml", Kind::Config, 1),
            file("usr/bin/why502", Kind::Program, 1025),
        ];
        // Two blocks and one, and etc, etc/why502, usr, usr/bin.
        assert_eq!(installed_size(&files), 7);
        assert_eq!(conffiles(&files), "/etc/why502/why502.toml\n");
        let sums = md5sums(&files);
        assert!(sums.ends_with("  usr/bin/why502\n") && sums.lines().count() == 1);

        let about = About {
            version: "1.2.3".into(),
            maintainer: "A <a@b.c>".into(),
            epoch: 1_795_389_557,
        };
        let needs = needs(&[("libc.so.6", &["GLIBC_2.17"])]);
        let control = control(&about, Target::Aarch64, &needs, &files).unwrap();
        for line in [
            "Version: 1.2.3-1",
            "Architecture: arm64",
            "Depends: libc6 (>= 2.17)",
            "Installed-Size: 7",
            "Maintainer: A <a@b.c>",
        ] {
            assert!(control.lines().any(|found| found == line), "{control}");
        }
        assert!(control.lines().all(|line| line.chars().count() <= 78));
        assert!(changelog(&about).ends_with(" -- A <a@b.c>  Sun, 22 Nov 2026 23:19:17 +0000\n"));
    }

    #[test]
    fn the_licence_is_one_field() {
        let text = copyright("One\n\ntwo\n");
        assert!(
            text.contains("License: Expat\n One\n .\n two\n\nLicense: Apache-2.0\n"),
            "{text}"
        );
    }

    #[test]
    fn the_archive_has_the_members_that_dpkg_expects() {
        let about = About {
            version: "1.2.3".into(),
            maintainer: "A <a@b.c>".into(),
            epoch: 7,
        };
        let needs = needs(&[("libc.so.6", &["GLIBC_2.17"])]);
        let once = || build(&about, Target::X86_64, &needs, &[], "MIT").unwrap();
        let package = once();
        let mut archive = ar::Archive::new(package.as_slice());
        let mut members = Vec::new();
        while let Some(member) = archive.next_entry() {
            let member = member.unwrap();
            let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
            assert_eq!(member.header().mtime(), 7);
            members.push(name);
        }
        assert_eq!(members, ["debian-binary", "control.tar.gz", "data.tar.gz"]);
        assert_eq!(package, once());
    }
}
