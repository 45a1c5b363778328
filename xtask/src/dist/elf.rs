//! What a program needs of the system that it is to run on, read from the program itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use object::LittleEndian;
use object::elf::{FileHeader64, VER_FLG_WEAK};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _};

use super::target::Target;

/// A version of the C library: `2.17`, `2.2.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc(u32, u32, u32);

impl Glibc {
    /// `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self(major, minor, 0)
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}")?;
        match patch {
            0 => Ok(()),
            patch => write!(f, ".{patch}"),
        }
    }
}

impl FromStr for Glibc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().ok();
        let parts: Option<Vec<u32>> = text.split('.').map(number).collect();
        match parts.as_deref() {
            Some(&[major, minor]) => Ok(Self(major, minor, 0)),
            Some(&[major, minor, patch]) => Ok(Self(major, minor, patch)),
            _ => Err("give a version of glibc, like 2.17".into()),
        }
    }
}

/// What the loader will look for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The machine, when packages are made for it.
    pub machine: Option<Target>,
    /// The loader itself; `None` when the program is static.
    pub interpreter: Option<String>,
    /// Libraries, by the names they are looked up by, each with the versions of its symbols. Versions
    /// that only weak symbols name are left out: the program starts without them.
    pub libraries: BTreeMap<String, Vec<String>>,
}

impl Needs {
    /// The oldest C library that will do; `None` when no version is asked for.
    pub fn glibc(&self) -> Option<Glibc> {
        let versions = self.libraries.values().flatten();
        let numbers = versions.filter_map(|version| version.strip_prefix("GLIBC_"));
        numbers.filter_map(|number| number.parse().ok()).max()
    }
}

/// Reads them from the bytes of a program for a 64-bit little-endian machine.
///
/// # Errors
///
/// When it is not such a program, or broken.
pub fn needs(program: &[u8]) -> Result<Needs> {
    let header =
        FileHeader64::<LittleEndian>::parse(program).context("not a 64-bit ELF program")?;
    let endian = header.endian()?;
    let mut needs = Needs {
        machine: match header.e_machine(endian) {
            object::elf::EM_X86_64 => Some(Target::X86_64),
            object::elf::EM_AARCH64 => Some(Target::Aarch64),
            _ => None,
        },
        ..Needs::default()
    };
    for segment in header.program_headers(endian, program)? {
        if let Some(name) = segment.interpreter(endian, program)? {
            needs.interpreter = Some(text(name));
        }
    }
    let sections = header.sections(endian, program)?;
    if let Some((entries, link)) = sections.dynamic(endian, program)? {
        let strings = sections.strings(endian, program, link)?;
        for entry in entries {
            if entry.tag(endian) == object::elf::DT_NEEDED {
                let name = entry.string(endian, strings)?;
                needs.libraries.entry(text(name)).or_default();
            }
        }
    }
    for section in sections.iter() {
        let Some((mut files, link)) = section.gnu_verneed(endian, program)? else {
            continue;
        };
        let strings = sections.strings(endian, program, link)?;
        while let Some((file, mut versions)) = files.next()? {
            let library = needs
                .libraries
                .entry(text(file.file(endian, strings)?))
                .or_default();
            while let Some(version) = versions.next()? {
                if version.vna_flags.get(endian) & VER_FLG_WEAK == 0 {
                    library.push(text(version.name(endian, strings)?));
                }
            }
            library.sort_unstable();
        }
    }
    Ok(needs)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_and_not_text() {
        let parse = |text: &str| text.parse::<Glibc>();
        assert!(parse("2.9").unwrap() < parse("2.17").unwrap());
        assert!(parse("2.2.5").unwrap() < parse("2.17").unwrap());
        for (given, shown) in [("2.28", "2.28"), ("2.2.5", "2.2.5"), ("2.0", "2.0")] {
            assert_eq!(parse(given).unwrap().to_string(), shown);
        }
        for wrong in ["", "2", "2.x", "2.1.1.1", "GLIBC_2.17", "-2.1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_highest_version_counts() {
        let libraries = |list: &[(&str, &[&str])]| Needs {
            libraries: list
                .iter()
                .map(|(name, versions)| {
                    let versions = versions.iter().map(ToString::to_string).collect();
                    ((*name).to_owned(), versions)
                })
                .collect(),
            ..Needs::default()
        };
        for (list, expected) in [
            (libraries(&[]), None),
            (libraries(&[("libgcc_s.so.1", &["GCC_3.0"])]), None),
            (
                libraries(&[
                    ("libc.so.6", &["GLIBC_2.2.5", "GLIBC_2.9"]),
                    ("libm.so.6", &["GLIBC_2.17"]),
                ]),
                Some(Glibc::new(2, 17)),
            ),
            (libraries(&[("libc.so.6", &["GLIBC_PRIVATE"])]), None),
        ] {
            assert_eq!(list.glibc(), expected, "{list:?}");
        }
    }

    #[test]
    fn this_very_program_needs_a_libc() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&program).unwrap();
        assert!(needs.interpreter.unwrap().contains("ld-"));
        assert!(needs.libraries.contains_key("libc.so.6"));
        assert_eq!(needs.machine, Target::host());
    }

    #[test]
    fn what_is_no_program_is_refused() {
        for wrong in [&b""[..], b"#!/bin/sh\n", &[0x7f, b'E', b'L', b'F', 2, 1, 1]] {
            assert!(needs(wrong).is_err());
        }
    }
}
